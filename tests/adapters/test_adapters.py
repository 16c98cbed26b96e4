"""LoRA adapters in folders: what is saved, that loading gives back what was trained, and what is refused."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, pipeline

from modeling_enecg import EnECGModel
from modeling_enecg.adapters import LoraSettings, adapted_model, adapter_base, add_lora, load_adapter, save_adapter
from modeling_enecg.pipeline_ecg import PIPELINE_TASK
from tests.helpers.adapters import (
    EVERY_WAY,
    LORA_ONLY,
    PLAIN,
    Trained,
    assert_equal_logits,
    batch,
    brief,
    changed,
    learn,
    logits_of,
    new_model,
    trainable,
    with_lora,
)
from tests.helpers.processes import ROOT
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS

pytestmark = [
    # peft 0.21 asks for what transformers 5.23 calls deprecated.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.xdist_group("adapters"),  # one fresh process serves several tests
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


def test_the_pipeline_takes_an_adapter_as_it_takes_a_model(in_both_places):
    find = pipeline(PIPELINE_TASK, model=str(in_both_places["path"].folder))
    signal = np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4
    merged = load_adapter(in_both_places["path"].folder).merge_and_unload()
    alone = pipeline(PIPELINE_TASK, model=merged, feature_extractor=merged.feature_extractor())
    ours, theirs = find(signal, sampling_rate=500), alone(signal, sampling_rate=500)
    scores = [{each["label"]: each["score"] for each in found["rhythm"]} for found in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


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
    by_transformers = AutoModel.from_pretrained(trained.folder)
    assert list(by_transformers.tasks) == ["sex"]
    assert_equal_logits(logits_of(by_transformers), trained.logits)


def test_transformers_takes_what_validation_decided_of_an_adapters_tasks(saved, train_adapter):
    trained = train_adapter(saved(), [RHYTHM], "adapter")
    file = trained.folder / "enecg.json"
    content = json.loads(file.read_text())
    content["tasks"][0]["thresholds"] = [0.25, 0.5, 0.75]
    file.write_text(json.dumps(content))
    model = AutoModel.from_pretrained(trained.folder)
    assert model.tasks["rhythm"].thresholds == [0.25, 0.5, 0.75]
    assert model.tasks == adapted_model(load_adapter(trained.folder)).tasks
