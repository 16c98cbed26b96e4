"""Several LoRA adapters on one model."""

from dataclasses import replace

import pytest
import torch

from modeling_enecg import EnECGModel
from modeling_enecg.adapters import LoraSettings, adapted_model, load_adapter, load_adapters
from tests.helpers.adapters import (
    LORA_ONLY,
    PLAIN,
    assert_equal_logits,
    brief,
    changed,
    logits_of,
    new_model,
    trainable,
)
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, TASKS

# peft 0.21 asks for what transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


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
