"""LoRA adapters on models: what trains, what is saved, and that loading them gives back what was trained."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.adapters import (
    FINAL_LAYERS,
    LoraSettings,
    adapted_model,
    adapter_base,
    add_lora,
    load_adapter,
    load_adapters,
    save_adapter,
)
from modeling_enecg.modeling_backbone import RecordDropout
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS, tiny_backbone_configs
from tests.helpers.training import ROOT

pytestmark = [
    # peft 0.21 asks for what transformers 5.23 calls deprecated.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.xdist_group("adapters"),  # one fresh process serves several tests
]

PAIR = ("ecgfounder", "stmem")
SHALLOW = {"ecgfounder": {"depths": [1, 1]}, "stmem": {"num_hidden_layers": 2}}
GATE_LAYERS = {
    "features": ([], ["linear"]),
    "leads": (["layers.0"], ["layers.2"]),
    "encoder": (["convolutions.0", "convolutions.4", "convolutions.8"], ["linear"]),
    "uniform": ([], []),
}
ATTENTION = {
    "stmem": ["blocks.{}.attention.qkv", "blocks.{}.attention.output"],
    "ecgfm": [f"blocks.{{}}.attention.{name}" for name in ("query", "key", "value", "output")],
    "ecgjepa": ["blocks.{}.attention.qkv", "blocks.{}.attention.output"],
    "hubertecg": [f"blocks.{{}}.attention.{name}" for name in ("query", "key", "value", "output")],
    "moment": [f"blocks.{{}}.attention.{name}" for name in "qkvo"],
    "tempo": ["decoder.h.{}.attn.c_attn", "decoder.h.{}.attn.c_proj"],
}
WITHOUT_ATTENTION = ("ecgfounder", "dlinear", "timesnet")
PLAIN = LoraSettings()
LORA_ONLY = LoraSettings(final_layers="lora")
EVERY_WAY = [
    PLAIN,
    LORA_ONLY,
    LoraSettings(final_layers="frozen"),
    LoraSettings(use_dora=True),
    LoraSettings(use_rslora=True),
    LoraSettings(use_dora=True, use_rslora=True, experts=True),
]
PRINT_LOGITS = """
import sys
from safetensors.torch import load_file, save_file
import modeling_enecg
from modeling_enecg.adapters import load_adapter
from transformers import AutoModel
inputs, target, *folders = sys.argv[1:]
inputs = load_file(inputs)
models = {f"adapter_{index}": load_adapter(folder) for index, folder in enumerate(folders)}
models["auto"] = AutoModel.from_pretrained(folders[0])
save_file({f"{n}.{t}": each for n, m in models.items() for t, each in m(**inputs).logits.items()}, target)
"""


def brief(settings: LoraSettings) -> str:
    other = {key: value for key, value in vars(settings).items() if value != getattr(LoraSettings, key)}
    return "-".join(f"{key}={value}" for key, value in other.items()) or "default"


def new_model(names=PAIR, tasks=TASKS, gate="features", expert_fields=None, **fields) -> EnECGModel:
    """An ensemble of tiny experts whose heads and gates have learnt something."""
    torch.manual_seed(0)
    configs = tiny_backbone_configs()
    experts = {}
    for name in names:
        config = configs[f"enecg-{name}"]
        for key, value in (SHALLOW.get(name, {}) | (expert_fields or {}).get(name, {})).items():
            setattr(config, key, value)
        experts[name] = BACKBONES[config.model_type](config)
    fields = {"head_hidden_sizes": [8], "gate_sequence_length": 100, "gate_hidden_size": 6} | fields
    model = EnECGModel.from_experts(experts, tasks, gate=gate, **fields)
    return learn(model.requires_grad_(True), seed=1, only=("heads.", "gates."))


@torch.no_grad()
def learn(model, seed: int, only: tuple[str, ...] = ("",)):
    """Move all that trains, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.startswith(only):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def batch(model: EnECGModel) -> dict[str, torch.Tensor]:
    samples = min(expert.config.sequence_length for expert in model.backbones.values())
    generator = torch.Generator().manual_seed(2)
    inputs = {"input_values": torch.randn(4, 12, samples, generator=generator)}
    if model.config.gate_reads_signal:
        inputs["gate_values"] = torch.randn(4, len(model.config.gate_leads), 100, generator=generator)
    return inputs


@torch.inference_mode()
def logits_of(model) -> dict[str, torch.Tensor]:
    plain = model if isinstance(model, EnECGModel) else adapted_model(model)
    return {name: each.clone() for name, each in model.eval()(**batch(plain)).logits.items()}


def assert_equal_logits(ours, theirs, **tolerance):
    for name, logits in theirs.items():
        torch.testing.assert_close(ours[name], logits, **({"atol": 0, "rtol": 0} | tolerance), msg=name)


def changed(ours, theirs) -> list[str]:
    return [name for name in theirs if not torch.equal(ours[name], theirs[name])]


def trainable(model) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def with_lora(model) -> set[str]:
    """The names of the layers that have LoRA weights."""
    return {name.split(".lora_")[0] for name in model.state_dict() if ".lora_" in name}


@dataclass
class Trained:
    """An adapter's folder, and the logits of its tasks when it was saved."""

    folder: Path
    logits: dict[str, torch.Tensor]
    num_trainable: int


@pytest.fixture
def train_adapter(tmp_path):
    """A function that gives a base in a folder an adapter of some tasks, as a run does, and saves it."""

    def train_adapter(base: Path, tasks, name, settings=PLAIN, seed=7) -> Trained:
        model = EnECGModel.from_pretrained(base)
        source = adapter_base(model, [task["name"] for task in tasks], str(base))
        first = next(iter(model.tasks))
        for task in tasks:
            if task["name"] not in model.tasks:
                model.add_task(task, like=first)
        for other in model.tasks.keys() - {task["name"] for task in tasks}:
            model.remove_task(other)
        adapted = add_lora(model, settings)
        learn(model, seed)
        save_adapter(adapted, tmp_path / name, source)
        return Trained(tmp_path / name, logits_of(model), len(trainable(model)))

    return train_adapter


@pytest.fixture
def saved(tmp_path):
    """A function that saves a base and returns its folder."""

    def saved(name="base", **fields) -> Path:
        new_model(**fields).save_pretrained(tmp_path / name)
        return tmp_path / name

    return saved


# What trains


@pytest.mark.parametrize("final_layers", FINAL_LAYERS)
@pytest.mark.parametrize("gate", GATE_LAYERS)
def test_lora_weights_and_whole_final_layers_train_and_nothing_else(gate, final_layers):
    model = new_model(gate=gate)
    add_lora(model, LoraSettings(final_layers=final_layers))
    names = [task["name"] for task in TASKS]
    hidden, final = GATE_LAYERS[gate]
    lora = [f"heads.{task}.{expert}.layers.1" for task in names for expert in PAIR]
    lora += [f"gates.{task}.{layer}" for task in names for layer in hidden]
    last = [f"heads.{task}.{expert}.layers.4" for task in names for expert in PAIR]
    last += [f"gates.{task}.{layer}" for task in names for layer in final]
    whole = last if final_layers == "whole" else []
    lora += last if final_layers == "lora" else []
    expected = {f"{layer}.lora_{part}.default.weight" for layer in lora for part in "AB"}
    expected |= {f"{layer}.modules_to_save.default.{kind}" for layer in whole for kind in ("weight", "bias")}
    assert sorted(trainable(model)) == sorted(expected)


@pytest.mark.parametrize("experts", [False, True])
def test_training_changes_the_adapter_alone(experts):
    """Batch norm and dropout would move statistics and features if a frozen expert were left in training mode."""
    model = new_model(expert_fields={"ecgfounder": {"use_batch_norm": True, "dropout": 0.5}})
    add_lora(model, LoraSettings(experts=experts))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert any("running_mean" in name for name in before)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-3)
    labels = {"rhythm": torch.eye(4, 3), "sex": torch.tensor([0, 1, 1, 0]), "age": torch.arange(4.0)}
    for _step in range(2):  # at the first LoRA's B is 0 and its A gets no gradient
        model.train()(**batch(model), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sorted(changed(model.state_dict(), before)) == sorted(trainable(model))
    assert not model.experts["ecgfounder"].training
    assert model.experts["stmem"].training == experts


@pytest.mark.parametrize("settings", EVERY_WAY, ids=brief)
def test_a_new_adapter_changes_no_output(settings):
    model = new_model()
    before = logits_of(model)
    adapted = add_lora(model, settings)
    assert trainable(model)
    tolerance = {"atol": 1e-6, "rtol": 1e-6} if settings.use_dora else {}  # it divides by a norm that it multiplies by
    assert_equal_logits(logits_of(model), before, **tolerance)
    assert_equal_logits(logits_of(adapted), before, **tolerance)
    assert adapted_model(adapted) is model


@pytest.mark.parametrize("final_layers", ["whole", "frozen"])
def test_one_expert_with_linear_heads_has_nothing_to_adapt(final_layers):
    model = new_model(names=["stmem"], head_hidden_sizes=[])
    with pytest.raises(ValueError, match=r'these heads are linear.*Set final_layers to "lora", or give the heads hid'):
        add_lora(model, LoraSettings(final_layers=final_layers))
    assert isinstance(model.heads["sex"]["stmem"].layers[1], nn.Linear), "a refusal changed the model"


def test_linear_heads_take_lora_on_their_only_layer():
    model = new_model(names=["stmem"], head_hidden_sizes=[])
    add_lora(model, LORA_ONLY)
    assert with_lora(model) == {f"heads.{task['name']}.stmem.layers.1" for task in TASKS}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("name", ATTENTION)
def test_experts_attention_is_adapted_saved_and_merged(name, tmp_path):
    base = new_model(names=[name], tasks=[SEX])
    base.save_pretrained(tmp_path / "base")
    source, keys = adapter_base(base, ["sex"], str(tmp_path / "base")), list(base.state_dict())
    weights = {key: value.clone() for key, value in base.state_dict().items()}
    adapted = add_lora(base, LoraSettings(experts=True))
    blocks = range(base.backbones[name].config.num_hidden_layers)
    expected = {f"experts.{name}.{layer.format(block)}" for layer in ATTENTION[name] for block in blocks}
    assert {layer for layer in with_lora(base) if layer.startswith("experts.")} == expected
    assert not [each for each in trainable(base) if each.startswith("experts.") and ".lora_" not in each]

    learn(base, seed=3, only=("experts.",))
    trained = logits_of(base)
    save_adapter(adapted, tmp_path / "adapter", source)
    loaded = load_adapter(tmp_path / "adapter")
    assert_equal_logits(logits_of(loaded), trained)
    merged = loaded.merge_and_unload()
    assert_equal_logits(logits_of(merged), trained, atol=1e-5, rtol=1e-5)
    assert list(merged.state_dict()) == keys
    assert set(changed(merged.state_dict(), weights)) == {f"{layer}.weight" for layer in expected}


@pytest.mark.parametrize("name", WITHOUT_ATTENTION)
def test_lora_in_experts_without_attention_is_refused(name):
    model = new_model(names=[name], tasks=[SEX])
    with pytest.raises(ValueError, match=f"none of {name} has attention"):
        add_lora(model, LoraSettings(experts=True))


def test_of_several_experts_those_with_attention_are_adapted():
    model = new_model()
    add_lora(model, LoraSettings(experts=True))
    assert {layer.split(".")[1] for layer in with_lora(model) if layer.startswith("experts.")} == {"stmem"}


@pytest.mark.parametrize("name", ["lora_a", "default", "modules_to_save"])
def test_an_expert_with_a_name_of_pefts_own_is_refused(name):
    """Such words in a weight's name tell what trains, what is saved, and what the base is."""
    stmem = tiny_backbone_configs()["enecg-stmem"]
    experts = {each: BACKBONES["enecg-stmem"](stmem) for each in (name, "other")}
    model = EnECGModel.from_experts(experts, [SEX], head_hidden_sizes=[8])
    with pytest.raises(ValueError, match=name):
        add_lora(model, PLAIN)


# DoRA, rsLoRA, dropout


def test_dora_on_a_layer_of_zeros_is_refused():
    model = new_model()
    nn.init.zeros_(model.gates["sex"].linear.weight)  # as a fresh gate
    with pytest.raises(ValueError, match="DoRA cannot rescale a layer of zeros"):
        add_lora(model, LoraSettings(use_dora=True, final_layers="lora"))
    before = logits_of(model)
    add_lora(model, LoraSettings(use_dora=True))
    assert all(each.isfinite().all() for each in logits_of(model).values())
    assert_equal_logits(logits_of(model), before, atol=1e-6, rtol=1e-6)


def test_dora_learns_magnitudes_apart_from_directions():
    """Twice the magnitudes are twice the weights, whatever the directions are."""
    model = new_model(tasks=[SEX])
    layer = "heads.sex.stmem.layers.1"
    adapted = add_lora(model, LoraSettings(use_dora=True))
    learn(model, seed=3)
    magnitudes = [name for name in trainable(model) if "lora_magnitude" in name]
    assert len(magnitudes) == len(PAIR)
    with torch.no_grad():
        model.get_parameter(next(name for name in magnitudes if layer in name)).copy_(torch.arange(1.0, 9.0))
    weight = adapted.merge_and_unload().get_submodule(layer).weight
    torch.testing.assert_close(weight.norm(dim=1), torch.arange(1.0, 9.0))


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 32 / 4), (True, 32 / 2)])
def test_a_change_is_scaled_by_rank_or_by_its_root(use_rslora, scale):
    model = new_model(tasks=[SEX])
    before = model.heads["sex"]["stmem"].layers[1].weight.clone()
    adapted = add_lora(model, LoraSettings(rank=4, alpha=32, use_rslora=use_rslora))
    learn(model, seed=3)
    layer = model.heads["sex"]["stmem"].layers[1]
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert change.shape == before.shape
    merged = adapted.merge_and_unload().heads["sex"]["stmem"].layers[1].weight
    torch.testing.assert_close(merged - before, scale * change, atol=1e-5, rtol=1e-4)


def test_loras_dropout_drops_the_same_on_two_processes_as_on_one(monkeypatch):
    model = new_model(gate="encoder")
    add_lora(model, LoraSettings(dropout=0.5, experts=True))
    learn(model, seed=3)
    inputs = batch(model)

    def training_logits(rows=slice(None)):
        torch.manual_seed(4)
        return model.train()(**{name: values[rows] for name, values in inputs.items()}).logits

    whole = training_logits()
    assert len(changed(logits_of(model), whole)) == len(TASKS), "no unit was dropped"
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank, rows in enumerate((slice(0, 2), slice(2, 4))):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares = {name: each[rows] for name, each in whole.items()}
        assert_equal_logits(training_logits(rows), shares, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_loras_dropout_has_the_rate_that_was_asked_for(rate):
    model = new_model(tasks=[SEX])
    add_lora(model, LoraSettings(dropout=rate))
    dropouts = {name: module for name, module in model.named_modules() if name.endswith("lora_dropout.default")}
    assert len(dropouts) == len(PAIR)
    for module in dropouts.values():
        assert isinstance(module, RecordDropout if rate else nn.Identity)
        assert getattr(module, "rate", 0.0) == rate


# Saving and loading


@pytest.fixture(scope="module")
def in_both_places(tmp_path_factory) -> dict[str, Trained]:
    """One adapter for a base in a folder of its own, and one with its base inside; every expert, gate and task."""
    folder = tmp_path_factory.mktemp("adapters")
    trained = {}
    for place in ("path", "inside"):
        model = new_model(gate="encoder")
        at = folder / "base" if place == "path" else folder / place / "base"
        model.save_pretrained(at)
        base = adapter_base(model, list(model.tasks), str(at) if place == "path" else None)
        adapted = add_lora(model, PLAIN)
        learn(model, seed=5)
        save_adapter(adapted, folder / place, base)
        trained[place] = Trained(folder / place, logits_of(model), len(trainable(model)))
    return trained


@pytest.fixture(scope="module")
def elsewhere(in_both_places, tmp_path_factory) -> dict[str, torch.Tensor]:
    """The logits of a fresh process, which knows the folders only."""
    folder = tmp_path_factory.mktemp("fresh")
    save_file(batch(new_model(gate="encoder")), folder / "inputs.safetensors")
    paths = [str(each.folder) for each in in_both_places.values()]
    files = [str(folder / f"{name}.safetensors") for name in ("inputs", "logits")]
    done = subprocess.run(
        [sys.executable, "-c", PRINT_LOGITS, *files, *paths],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return load_file(files[1])


def loaded_elsewhere(elsewhere, model):
    return {name.split(".")[1]: each for name, each in elsewhere.items() if name.startswith(f"{model}.")}


@pytest.mark.parametrize("place", ["path", "inside"])
def test_an_adapter_loads_bit_for_bit(in_both_places, place):
    trained = in_both_places[place]
    loaded = load_adapter(trained.folder)
    assert not loaded.training
    assert not trainable(loaded)
    assert_equal_logits(logits_of(loaded), trained.logits)
    again = load_adapter(str(trained.folder), EnECGModel.from_pretrained(trained.folder.parent / "base"))
    assert_equal_logits(logits_of(again), trained.logits)


@pytest.mark.parametrize(("index", "place"), [(0, "path"), (1, "inside")])
def test_an_adapter_loads_bit_for_bit_in_a_fresh_process(in_both_places, elsewhere, index, place):
    assert_equal_logits(loaded_elsewhere(elsewhere, f"adapter_{index}"), in_both_places[place].logits)


def test_transformers_loads_an_adapter_whose_base_has_its_tasks(in_both_places, elsewhere):
    trained = in_both_places["path"]
    model = AutoModel.from_pretrained(trained.folder)
    assert isinstance(model, EnECGModel)
    assert_equal_logits(logits_of(model), trained.logits)
    assert_equal_logits(loaded_elsewhere(elsewhere, "auto"), trained.logits)


def test_transformers_says_how_to_load_an_adapter_whose_base_lies_inside(in_both_places):
    folder = in_both_places["inside"].folder
    with pytest.raises(OSError, match=r"load this adapter with modeling_enecg\.adapters\.load_adapter"):
        AutoModel.from_pretrained(folder)


def test_an_adapter_with_its_base_inside_may_be_moved(in_both_places, tmp_path):
    folder = shutil.copytree(in_both_places["inside"].folder, tmp_path / "moved")
    assert_equal_logits(logits_of(load_adapter(folder)), in_both_places["inside"].logits)


def test_the_adapter_alone_is_saved_and_all_of_it(in_both_places):
    """Of 3 tasks: 2 heads with a hidden and a final layer, and a gate of 3 hidden layers and a final one."""
    trained = in_both_places["path"]
    assert [path.name for path in trained.folder.rglob("*.safetensors")] == ["adapter_model.safetensors"]
    tensors = load_file(trained.folder / "adapter_model.safetensors")
    assert len(tensors) == trained.num_trainable == 3 * (2 * (2 + 2) + 3 * 2 + 2)
    assert not [name for name in tensors if ".experts." in name]
    size = (trained.folder / "adapter_model.safetensors").stat().st_size
    assert size < 4 * sum(each.numel() for each in tensors.values()) + 200 * len(tensors)
    info = json.loads((trained.folder / "enecg.json").read_text())
    assert info["base"]["path"] == str(trained.folder.parent / "base")
    assert [task["name"] for task in info["tasks"]] == [task["name"] for task in TASKS]


def test_the_merged_model_is_a_plain_one_with_the_same_logits(in_both_places, tmp_path):
    trained = in_both_places["path"]
    base = EnECGModel.from_pretrained(trained.folder.parent / "base")
    keys, experts = list(base.state_dict()), {n: v.clone() for n, v in base.experts.state_dict().items()}
    merged = load_adapter(trained.folder, base).merge_and_unload()
    assert type(merged) is EnECGModel
    assert list(merged.state_dict()) == keys
    assert not changed(merged.experts.state_dict(), experts)
    assert_equal_logits(logits_of(merged), trained.logits, atol=1e-5, rtol=1e-5)
    merged.save_pretrained(tmp_path)
    assert_equal_logits(logits_of(AutoModel.from_pretrained(tmp_path)), logits_of(merged))


def test_weights_that_peft_would_leave_out_are_noticed(tmp_path):
    model = new_model()
    base = adapter_base(model, list(model.tasks))
    adapted = add_lora(model, PLAIN)
    model.experts["stmem"].norm.weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match="peft saved 30 of the adapter's 31 tensors"):
        save_adapter(adapted, tmp_path / "adapter", base)
    assert not list((tmp_path / "adapter").iterdir())


@pytest.mark.parametrize("settings", EVERY_WAY, ids=brief)
def test_every_kind_of_adapter_loads_and_merges(saved, train_adapter, settings):
    trained = train_adapter(saved(), TASKS, "adapter", settings)
    loaded = load_adapter(trained.folder)
    assert_equal_logits(logits_of(loaded), trained.logits)
    assert_equal_logits(logits_of(loaded.merge_and_unload()), trained.logits, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_many_layers_adapts_its_own_tasks_only(saved, train_adapter, recwarn):
    """Of a list of 20 layers and more peft keeps endings of names, which fit other tasks' layers as well."""
    tasks = [SEX | {"name": f"sex_{index}"} for index in range(4)]
    trained = train_adapter(saved(tasks=tasks, gate="encoder"), tasks[:3], "adapter", LORA_ONLY)
    assert trained.num_trainable / 2 == 3 * (2 * 2 + 4) > 20
    loaded = load_adapter(trained.folder)
    assert_equal_logits(logits_of(loaded), trained.logits)
    assert {layer.split(".")[1] for layer in with_lora(adapted_model(loaded))} == {"sex_0", "sex_1", "sex_2"}
    assert not [str(each.message) for each in recwarn if "missing adapter keys" in str(each.message)]


# What is refused


def test_a_base_with_other_weights_is_refused(in_both_places):
    """The same architecture, and a difference that would hardly show in the logits."""
    folder = in_both_places["path"].folder
    base = EnECGModel.from_pretrained(folder.parent / "base")
    with torch.no_grad():
        base.experts["stmem"].norm.weight[0] += 1e-6
    with pytest.raises(ValueError, match=f"{folder} was made for {folder.parent / 'base'}; this base has other weigh"):
        load_adapter(folder, base)
    assert not with_lora(base)


def test_a_base_that_was_changed_on_disk_is_refused(saved, train_adapter):
    base = saved()
    trained = train_adapter(base, [SEX], "adapter")
    learn(new_model(), seed=9).save_pretrained(base)
    with pytest.raises(ValueError, match="this base has other weights"):
        load_adapter(trained.folder)


def test_other_tasks_of_the_base_may_change(saved, train_adapter):
    base = saved()
    trained = train_adapter(base, [SEX], "adapter")
    model = EnECGModel.from_pretrained(base)
    learn(model.requires_grad_(True), seed=9, only=("heads.age", "gates.rhythm"))
    assert_equal_logits(logits_of(load_adapter(trained.folder, model)), trained.logits)


def test_a_base_that_lacks_the_task_is_refused(saved, train_adapter):
    trained = train_adapter(saved(), [SEX, AGE], "adapter")
    with pytest.raises(ValueError, match=r"adapter was made for .*base; this base lacks the tasks age, sex\."):
        load_adapter(trained.folder, new_model(tasks=[RHYTHM]))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"base": {"digest": "x"}, "tasks": []}'])
def test_a_folder_that_is_no_adapter_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "enecg.json").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path} holds no adapter of an EnECG model: enecg.json"):
        load_adapter(tmp_path)


@pytest.mark.parametrize("name", ["heads", "sex", "stmem", "layers", "1", "with.dot"])
def test_an_adapter_name_that_peft_would_mix_up_is_refused(saved, train_adapter, name):
    trained = train_adapter(saved(), [SEX], "adapter")
    with pytest.raises(ValueError, match=f"Adapter name '{name}'"):
        load_adapter(trained.folder, name=name)


def test_a_refused_adapter_leaves_the_base_as_it_was(saved, train_adapter):
    folder = saved(tasks=[SEX])
    trained = train_adapter(folder, [RHYTHM], "adapter")
    base = EnECGModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="Adapter name 'heads'"):
        load_adapter(trained.folder, base, "heads")
    assert list(base.tasks) == ["sex"]
    assert_equal_logits(logits_of(load_adapter(trained.folder, base)), trained.logits)


# New tasks


def test_a_task_that_the_base_lacks_comes_with_the_adapter(saved, train_adapter):
    base = saved(tasks=[SEX])
    trained = train_adapter(base, [RHYTHM, AGE, SEX], "adapter")
    loaded = load_adapter(trained.folder)
    logits = logits_of(loaded)
    assert {name: tuple(each.shape) for name, each in logits.items()} == {
        "sex": (4, 2),
        "rhythm": (4, 3),
        "age": (4, 1),
    }
    assert_equal_logits(logits, trained.logits)
    task = adapted_model(loaded).tasks["age"]
    assert (task.unit, task.target_mean, task.target_std) == ("years", [60.0], [15.0])


def test_a_new_task_leaves_the_bases_own_as_they_were(saved, train_adapter):
    base = saved(tasks=[SEX])
    logits = logits_of(load_adapter(train_adapter(base, [RHYTHM], "adapter").folder))
    assert torch.equal(logits["sex"], logits_of(EnECGModel.from_pretrained(base))["sex"])


@pytest.mark.parametrize("final_layers", ["lora", "frozen"])
def test_a_new_task_whose_final_layers_do_not_train_whole_is_refused(saved, train_adapter, final_layers):
    """They start at random and are in no base: loading the adapter would draw others."""
    base = saved(tasks=[SEX])
    with pytest.raises(ValueError, match="final_layers"):
        train_adapter(base, [RHYTHM], "adapter", LoraSettings(final_layers=final_layers))


def test_an_adapter_that_changes_the_experts_leaves_tasks_out_that_it_was_not_made_for(saved, train_adapter):
    trained = train_adapter(saved(), [SEX], "deep", LoraSettings(experts=True))
    loaded = load_adapter(trained.folder)
    assert list(adapted_model(loaded).tasks) == ["sex"]
    assert_equal_logits(logits_of(loaded), trained.logits)
    assert list(load_adapter(trained.folder).merge_and_unload().tasks) == ["sex"]


# Several adapters


@pytest.mark.parametrize("settings", [PLAIN, LORA_ONLY, LoraSettings(use_dora=True)], ids=brief)
def test_stacked_adapters_give_each_task_what_its_own_gives(saved, train_adapter, settings):
    base = saved()
    sex, rhythm = (train_adapter(base, [task], task["name"], settings, seed) for task, seed in ((SEX, 7), (RHYTHM, 8)))
    logits = logits_of(load_adapters({"for_sex": sex.folder, "for_rhythm": rhythm.folder}))
    assert_equal_logits(logits, sex.logits | rhythm.logits)
    untouched = logits_of(EnECGModel.from_pretrained(base))
    assert torch.equal(logits["age"], untouched["age"])
    assert set(changed(logits, untouched)) == {"sex", "rhythm"}


def test_an_adapter_is_stacked_on_a_base_in_memory(saved, train_adapter):
    base = saved()
    trained = [train_adapter(base, [task], task["name"], seed=seed) for task, seed in ((SEX, 7), (RHYTHM, 8))]
    model = EnECGModel.from_pretrained(base)
    stacked = load_adapters({each.folder.name + "_adapter": each.folder for each in trained}, model)
    assert adapted_model(stacked) is model
    assert not trainable(model)
    assert_equal_logits(logits_of(model), trained[0].logits | trained[1].logits)


@pytest.mark.parametrize("order", [("sex", "rhythm"), ("rhythm", "sex"), ("rhythm", "age", "sex")], ids="-".join)
def test_adapters_of_new_tasks_are_stacked_in_any_order(saved, train_adapter, order):
    """A new task starts like the base's, not like what another adapter has made of it."""
    base = saved(tasks=[SEX])
    tasks = {task["name"]: task for task in TASKS}
    trained = {name: train_adapter(base, [tasks[name]], name, seed=len(name)) for name in order}
    logits = logits_of(load_adapters({f"for_{name}": each.folder for name, each in trained.items()}))
    for each in trained.values():
        assert_equal_logits(logits, each.logits)


@pytest.mark.parametrize("settings", [PLAIN, LORA_ONLY], ids=brief)
@pytest.mark.parametrize("tasks", [[SEX], [SEX, AGE]], ids=len)
def test_two_adapters_of_the_same_task_are_refused(saved, train_adapter, settings, tasks):
    base = saved()
    one, two = train_adapter(base, [SEX], "one", settings), train_adapter(base, tasks, "two", settings)
    with pytest.raises(ValueError, match="The adapters 'one' and 'two' both change 'sex'; load one of them"):
        load_adapters({"one": one.folder, "two": two.folder})


def test_two_adapters_of_the_same_new_task_are_refused(saved, train_adapter):
    base = saved(tasks=[SEX])
    one, two = (train_adapter(base, [RHYTHM], name) for name in ("one", "two"))
    with pytest.raises(ValueError, match="'rhythm'"):
        load_adapters({"one": one.folder, "two": two.folder})


def test_adapters_of_many_layers_are_stacked_and_told_apart(saved, train_adapter):
    """Each has 20 layers and more, which peft abbreviates."""
    tasks = [SEX | {"name": f"sex_{index}"} for index in range(7)]
    base = saved(tasks=tasks, gate="encoder")
    first, second = (
        train_adapter(base, tasks[part], name, LORA_ONLY, seed)
        for part, name, seed in ((slice(0, 3), "first", 7), (slice(3, 6), "second", 8))
    )
    both = {"one": first.folder, "two": second.folder}
    stacked = load_adapters(both)
    assert_equal_logits(logits_of(stacked), first.logits | second.logits)
    untouched = logits_of(EnECGModel.from_pretrained(base))["sex_6"]
    assert torch.equal(logits_of(stacked)["sex_6"], untouched)
    overlapping = train_adapter(base, tasks[2:5], "overlapping", LORA_ONLY)
    for other, task in (("first", "sex_2"), ("second", "sex_[34]")):
        with pytest.raises(ValueError, match=f"'one' and 'two' both change '{task}'"):
            load_adapters({"one": overlapping.folder, "two": base.parent / other})


def test_an_adapter_in_the_experts_is_not_stacked(saved, train_adapter):
    """The experts' features are every task's: another adapter on them is not what it was when it was trained."""
    base = saved()
    deep = train_adapter(base, [SEX], "deep", replace(LORA_ONLY, experts=True))
    shallow = train_adapter(base, [RHYTHM], "shallow")
    for paths in ({"one": deep.folder, "two": shallow.folder}, {"one": shallow.folder, "two": deep.folder}):
        with pytest.raises(ValueError, match="experts"):
            load_adapters(paths)
    assert_equal_logits(logits_of(load_adapters({"one": deep.folder})), deep.logits)


def test_a_second_adapter_of_the_same_name_is_refused(saved, train_adapter):
    """peft would put its weights over the first's."""
    base = saved()
    one, two = (train_adapter(base, [task], task["name"], LORA_ONLY, seed) for task, seed in ((SEX, 7), (SEX, 8)))
    loaded = load_adapter(one.folder)
    with pytest.raises(ValueError, match="'default'"):
        load_adapter(two.folder, loaded)


def test_no_adapter_to_load_is_refused():
    with pytest.raises(ValueError, match="Got no adapter to load"):
        load_adapters({}, new_model())
