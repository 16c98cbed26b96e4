"""Functions that save a base, and that train an adapter of it."""

from pathlib import Path

import pytest

from modeling_enecg import EnECGModel
from modeling_enecg.adapters import adapter_base, add_lora, save_adapter
from tests.helpers.adapters import PLAIN, Trained, learn, logits_of, new_model, trainable


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
