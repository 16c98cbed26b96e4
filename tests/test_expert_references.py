"""Models whose experts are fetched by name at load, and models that gain and lose tasks."""

import copy
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoModel

from modeling_enecg import BACKBONES, EnECGModel, Task
from modeling_enecg.expert_references import weights_digest
from tests.helpers.processes import ROOT
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS

# peft 0.21 asks for what transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture
def folders(tiny_experts, tmp_path):
    """Two experts, each in a folder."""
    for name, expert in tiny_experts.items():
        expert.save_pretrained(tmp_path / "experts" / name)
    return {name: tmp_path / "experts" / name for name in tiny_experts}


@pytest.fixture
def model(folders):
    return new_model(folders)


@pytest.fixture
def saved(model, tmp_path):
    """The folder of a model saved by reference."""
    model.save_pretrained(tmp_path / "model", experts="reference")
    return tmp_path / "model"


def new_model(experts, tasks=TASKS, **fields):
    """An ensemble all of whose own tensors have learnt something."""
    torch.manual_seed(0)
    model = EnECGModel.from_experts(experts, tasks, **({"head_hidden_sizes": [8]} | fields))
    for name, tensor in model.state_dict().items():
        if not name.startswith("experts."):
            tensor.add_(torch.rand_like(tensor))
    return model


def tensor_names(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def references(folder):
    return json.loads((folder / "config.json").read_text())["expert_references"]


@torch.inference_mode()
def assert_same_output(ours, theirs, inputs):
    ours, theirs = ours(inputs), theirs(inputs)
    assert ours.logits.keys() == theirs.logits.keys()
    for name in theirs.logits:
        assert torch.equal(ours.logits[name], theirs.logits[name]), name
        assert torch.equal(ours.gate_weights[name], theirs.gate_weights[name]), name


# Saving and loading by reference


def test_a_model_saved_by_reference_holds_no_weight_of_an_expert(model, saved, folders, tmp_path):
    own = {name for name in model.state_dict() if not name.startswith("experts.")}
    assert tensor_names(saved) == own
    assert {"heads", "gates"} <= {name.split(".")[0] for name in own}
    model.save_pretrained(tmp_path / "whole")
    assert tensor_names(tmp_path / "whole") == set(model.state_dict())
    own_bytes = sum(each.nbytes for name, each in model.state_dict().items() if name in own)
    assert (saved / "model.safetensors").stat().st_size < own_bytes + 5000
    for name, folder in folders.items():
        assert references(saved)[name] == {
            "path": str(folder),
            "revision": None,
            "sha256": weights_digest(model.backbones[name]),
        }


@pytest.mark.parametrize("auto_class", [EnECGModel, AutoModel])
def test_a_model_saved_by_reference_is_bitwise_the_same_after_loading(model, saved, inputs, auto_class):
    loaded = auto_class.from_pretrained(saved)
    assert type(loaded) is EnECGModel
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert_same_output(loaded, model, inputs)


@pytest.mark.parametrize("auto_class", [EnECGModel, AutoModel])
def test_loading_by_reference_reports_nothing_as_missing(saved, model, inputs, auto_class, caplog):
    loaded, info = auto_class.from_pretrained(saved, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert "newly initialized" not in caplog.text
    assert_same_output(loaded, model, inputs)


def test_another_process_loads_the_same(model, saved, inputs, tmp_path):
    torch.save(inputs, tmp_path / "inputs.pt")
    script = (
        "import sys, torch, modeling_enecg\n"
        "from transformers import AutoModel\n"
        "model, inputs = AutoModel.from_pretrained(sys.argv[1]), torch.load(sys.argv[2], weights_only=True)\n"
        "with torch.inference_mode():\n"
        "    torch.save(dict(model(inputs).logits), sys.argv[3])\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, *(str(path) for path in (saved, tmp_path / "inputs.pt", tmp_path / "out.pt"))],
        check=True,
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())},
        timeout=120,
    )
    logits = torch.load(tmp_path / "out.pt", weights_only=True)
    with torch.inference_mode():
        for name, expected in model(inputs).logits.items():
            assert torch.equal(logits[name], expected)


@torch.inference_mode()
@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_every_backbone_can_be_referred_to(tiny_configs, tmp_path, model_type):
    """Also its buffers, whether saved or not."""
    config = tiny_configs[model_type]
    torch.manual_seed(0)
    BACKBONES[model_type](config).save_pretrained(tmp_path / "expert")
    model = new_model({"expert": tmp_path / "expert"}, [SEX])
    model.save_pretrained(tmp_path / "model", experts="reference")
    inputs = torch.randn(3, config.num_leads, config.sequence_length)
    assert_same_output(AutoModel.from_pretrained(tmp_path / "model"), model, inputs)


def test_a_model_saved_by_reference_can_be_loaded_and_saved_again_either_way(model, saved, inputs, folders, tmp_path):
    loaded = AutoModel.from_pretrained(saved)
    loaded.save_pretrained(tmp_path / "again", experts="reference")
    assert references(tmp_path / "again") == references(saved)
    loaded.save_pretrained(tmp_path / "whole")
    shutil.rmtree(folders["stmem"])
    whole = AutoModel.from_pretrained(tmp_path / "whole")
    assert whole.config.expert_references is None
    assert not whole.expert_sources
    assert_same_output(whole, model, inputs)


def test_saving_by_value_after_saving_by_reference_writes_everything(model, saved, tmp_path):
    assert model.config.expert_references is not None
    model.save_pretrained(saved)
    assert references(saved) is None
    assert tensor_names(saved) == set(model.state_dict())


def test_a_relative_path_is_found_from_elsewhere(folders, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "experts")
    model = new_model({name: name for name in folders})
    model.save_pretrained(tmp_path / "model", experts="reference")
    monkeypatch.chdir("/")
    assert_same_output(AutoModel.from_pretrained(tmp_path / "model"), model, inputs)


def test_stochastic_depth_set_after_loading_is_kept_by_reference(model, inputs, tmp_path):
    model.set_drop_path_rate(0.25)
    model.save_pretrained(tmp_path / "model", experts="reference")
    loaded = AutoModel.from_pretrained(tmp_path / "model")
    for expert in loaded.backbones.values():
        assert expert.residual_blocks[-1].drop_path_rate == 0.25
    assert_same_output(loaded, model, inputs)


def test_heads_trained_since_are_saved_by_reference(saved, inputs, tmp_path):
    model = AutoModel.from_pretrained(saved)
    model.freeze_experts()
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    model.train()(inputs, labels={"sex": torch.tensor([0, 1, 1, 0])}).loss.backward()
    optimizer.step()
    model.eval().save_pretrained(tmp_path / "trained", experts="reference")
    assert_same_output(AutoModel.from_pretrained(tmp_path / "trained"), model, inputs)
    with pytest.raises(AssertionError):
        assert_same_output(AutoModel.from_pretrained(saved), model, inputs)


def test_a_model_in_bfloat16_loads_its_experts_in_bfloat16(saved, model, inputs):
    loaded = AutoModel.from_pretrained(saved, dtype=torch.bfloat16)
    assert {each.dtype for each in loaded.parameters()} == {torch.bfloat16}
    for name, tensor in copy.deepcopy(model).to(torch.bfloat16).state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_experts_by_value_are_the_default(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert tensor_names(tmp_path) == set(model.state_dict())
    assert model.config.expert_references is None
    assert references(tmp_path) is None


# What cannot be referred to, and what is no longer there


def test_another_word_for_experts_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match='experts must be "value" or "reference"; got \'nonsense\''):
        model.save_pretrained(tmp_path / "model", experts="nonsense")
    assert not (tmp_path / "model").exists()


def test_an_expert_that_came_from_nowhere_cannot_be_referred_to(folders, tiny_experts, tmp_path):
    mixed = new_model({"ecgfounder": folders["ecgfounder"], "stmem": tiny_experts["stmem"]})
    with pytest.raises(ValueError, match="Expert 'stmem' was not loaded from a folder or the Hub; save it by value"):
        mixed.save_pretrained(tmp_path / "model", experts="reference")
    assert not (tmp_path / "model").exists()
    mixed.save_pretrained(tmp_path / "model")
    assert references(tmp_path / "model") is None


def test_an_expert_trained_since_cannot_be_referred_to(model, folders, tmp_path):
    with torch.no_grad():
        model.experts["ecgfounder"].stem.weight[0, 0, 0] += 1e-3
    with pytest.raises(ValueError, match=f"'ecgfounder' is no longer what {folders['ecgfounder']} holds.*by value"):
        model.save_pretrained(tmp_path / "model", experts="reference")
    assert not (tmp_path / "model").exists()


def test_another_expert_at_the_place_is_refused_at_loading(saved, tiny_configs, folders):
    torch.manual_seed(7)
    BACKBONES["enecg-stmem"](tiny_configs["enecg-stmem"]).save_pretrained(folders["stmem"])
    for auto_class in (EnECGModel, AutoModel):
        with pytest.raises(ValueError, match=f"(?s)Expert 'stmem': {folders['stmem']} holds other weights.*sha256"):
            auto_class.from_pretrained(saved)


def test_a_model_of_another_kind_at_the_place_is_refused_at_loading(saved, tiny_configs, folders):
    shutil.rmtree(folders["stmem"])
    BACKBONES["enecg-dlinear"](tiny_configs["enecg-dlinear"]).save_pretrained(folders["stmem"])
    with pytest.raises(ValueError, match=f"Expert 'stmem': {folders['stmem']} holds other weights"):
        AutoModel.from_pretrained(saved)


def test_a_place_that_is_gone_is_named_at_loading(saved, folders):
    shutil.rmtree(folders["ecgfounder"])
    with pytest.raises(OSError, match="experts/ecgfounder"):
        AutoModel.from_pretrained(saved)


def test_a_place_that_is_gone_is_named_at_saving(model, folders, tmp_path):
    shutil.rmtree(folders["ecgfounder"])
    with pytest.raises(OSError, match="experts/ecgfounder"):
        model.save_pretrained(tmp_path / "model", experts="reference")
    assert not (tmp_path / "model").exists()


# Tasks come and go


@pytest.fixture
def two_tasks(folders):
    return new_model(folders, [SEX, AGE], gate="features")


@torch.inference_mode()
def test_an_added_task_has_new_heads_and_leaves_the_others_alone(two_tasks, inputs):
    before = two_tasks(inputs)
    two_tasks.add_task(RHYTHM)
    after = two_tasks(inputs)
    assert list(after.logits) == ["sex", "age", "rhythm"]
    assert after.logits["rhythm"].shape == (4, 3)
    for name in ("sex", "age"):
        assert torch.equal(after.logits[name], before.logits[name])
    assert torch.equal(after.gate_weights["rhythm"], torch.full((4, 2), 0.5))
    assert two_tasks.config.tasks[-1] == Task(**RHYTHM).to_dict()
    assert not two_tasks.heads["rhythm"].training


def test_a_task_like_another_starts_with_its_gate_and_hidden_layers_and_a_final_layer_of_its_own(two_tasks, inputs):
    torch.manual_seed(3)
    two_tasks.add_task(Task(**RHYTHM), like="sex")
    for name, tensor in two_tasks.gates["sex"].state_dict().items():
        assert torch.equal(two_tasks.gates["rhythm"].state_dict()[name], tensor)
    for ours, theirs in zip(two_tasks.task_heads("rhythm"), two_tasks.task_heads("sex"), strict=True):
        assert torch.equal(ours.layers[1].weight, theirs.layers[1].weight)
        assert torch.equal(ours.layers[1].bias, theirs.layers[1].bias)
        assert (ours.layers[-1].out_features, theirs.layers[-1].out_features) == (3, 2)
    # Each has its own: training one leaves the other alone.
    before = copy.deepcopy(two_tasks.state_dict())
    two_tasks.train()(inputs, labels={"rhythm": torch.ones(4, 3)}).loss.backward()
    with torch.no_grad():
        for parameter in two_tasks.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    after = two_tasks.state_dict()
    changed = {name.split(".")[1] for name in after if not torch.equal(after[name], before[name])}
    assert "rhythm" in changed
    assert not changed & {"sex", "age"}


def test_the_final_layer_is_new_even_where_the_shapes_would_fit(two_tasks):
    two_tasks.add_task(SEX | {"name": "gender"}, like="sex")
    for ours, theirs in zip(two_tasks.task_heads("gender"), two_tasks.task_heads("sex"), strict=True):
        assert not torch.equal(ours.layers[-1].weight, theirs.layers[-1].weight)


@pytest.mark.parametrize("experts", ["value", "reference"])
def test_a_model_with_an_added_and_a_removed_task_is_the_same_after_loading(two_tasks, inputs, tmp_path, experts):
    two_tasks.add_task(RHYTHM, like="age")
    two_tasks.remove_task("sex")
    two_tasks.save_pretrained(tmp_path / "model", experts=experts)
    loaded, info = EnECGModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert list(loaded.tasks) == ["age", "rhythm"]
    assert_same_output(loaded, two_tasks, inputs)


def test_an_added_task_has_the_models_precision_and_mode(two_tasks, inputs):
    two_tasks.to(torch.bfloat16).train()
    two_tasks.add_task(RHYTHM, like="sex")
    assert {each.dtype for each in two_tasks.parameters()} == {torch.bfloat16}
    assert two_tasks.heads["rhythm"].training
    output = two_tasks(inputs.to(torch.bfloat16), labels={"rhythm": torch.ones(4, 3)})
    assert output.loss.isfinite()


def test_frozen_experts_stay_frozen_when_a_task_is_added(two_tasks):
    two_tasks.freeze_experts()
    two_tasks.train()
    two_tasks.add_task(RHYTHM)
    assert not any(each.requires_grad for each in two_tasks.experts.parameters())
    assert not any(expert.training for expert in two_tasks.backbones.values())
    assert all(each.requires_grad for each in two_tasks.heads["rhythm"].parameters())


@pytest.mark.parametrize(
    ("task", "like", "message"),
    [
        (SEX, None, "There is a task 'sex' already"),
        (RHYTHM, "rythm", "There is no task 'rythm' to be like; there are sex, age"),
        (RHYTHM, "rhythm", "There is no task 'rhythm' to be like; there are sex, age"),
        (RHYTHM | {"lables": []}, None, "unknown field 'lables'"),
    ],
)
def test_an_impossible_task_is_refused_and_changes_nothing(two_tasks, task, like, message):
    before, config = set(two_tasks.state_dict()), copy.deepcopy(two_tasks.config.tasks)
    with pytest.raises(ValueError, match=message):
        two_tasks.add_task(task, like=like)
    assert set(two_tasks.state_dict()) == before
    assert two_tasks.config.tasks == config
    assert list(two_tasks.tasks) == ["sex", "age"]


def test_a_removed_task_is_gone_from_everywhere(two_tasks, inputs):
    with torch.inference_mode():
        before = two_tasks(inputs)
        two_tasks.remove_task("sex")
        after = two_tasks(inputs)
    assert list(after.logits) == list(after.gate_weights) == ["age"]
    assert torch.equal(after.logits["age"], before.logits["age"])
    assert [task["name"] for task in two_tasks.config.tasks] == ["age"]
    assert not [name for name in two_tasks.state_dict() if "sex" in name]
    with pytest.raises(ValueError, match=r"unknown tasks \['sex'\]"):
        two_tasks(inputs, labels={"sex": torch.tensor([0, 1, 1, 0])})


def test_the_last_task_and_an_unknown_one_cannot_be_removed(two_tasks):
    with pytest.raises(ValueError, match="Cannot remove the task 'gender' of sex, age"):
        two_tasks.remove_task("gender")
    two_tasks.remove_task("sex")
    with pytest.raises(ValueError, match="Cannot remove the task 'age' of age: a model needs one task"):
        two_tasks.remove_task("age")
    assert list(two_tasks.heads) == ["age"]


# Adapters on experts


@pytest.fixture
def adapted(tiny_experts):
    """A PeftModel of a small ST-MEM, whose adapter has learnt something."""
    torch.manual_seed(5)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["qkv", "output"], init_lora_weights=False)
    return get_peft_model(copy.deepcopy(tiny_experts["stmem"]), config).eval()


@torch.inference_mode()
def test_an_adapter_on_an_expert_is_merged_into_its_weights(adapted, tiny_experts, inputs, tmp_path):
    expected = adapted(inputs).pooler_output
    assert (expected - tiny_experts["stmem"](inputs).pooler_output).abs().max() > 0.01
    model = new_model({"ecgfounder": tiny_experts["ecgfounder"], "stmem": adapted})
    assert type(model.backbones["stmem"]) is type(tiny_experts["stmem"])
    torch.testing.assert_close(model.extract_features(inputs)["stmem"], expected, atol=1e-5, rtol=1e-5)
    names = set(model.state_dict())
    assert not [name for name in names if "lora_" in name or "base_layer" in name]
    assert {name for name in names if name.startswith("experts.stmem.")} == {
        f"experts.stmem.{name}" for name in tiny_experts["stmem"].state_dict()
    }
    model.save_pretrained(tmp_path)
    assert_same_output(AutoModel.from_pretrained(tmp_path), model, inputs)


def test_a_merged_expert_came_from_nowhere(adapted, tmp_path):
    model = new_model({"stmem": adapted}, [SEX])
    with pytest.raises(ValueError, match="Expert 'stmem' was not loaded from a folder"):
        model.save_pretrained(tmp_path, experts="reference")


def test_a_merged_expert_can_be_trained(adapted, inputs):
    model = new_model({"stmem": adapted}, [SEX])
    model.unfreeze_experts()
    model.train()(inputs, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
    assert all(each.grad is not None for each in model.experts.parameters())
