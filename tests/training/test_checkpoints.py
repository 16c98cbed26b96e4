"""From which checkpoint a killed stage goes on: the newest sound one; a damaged one is named and passed over."""

import json
import shutil

import pytest

from modeling_enecg.data.prepared import SignalRecords
from modeling_enecg.training import FineTuningTrainer
from modeling_enecg.training.arguments import FineTuningArguments
from modeling_enecg.training.checkpoints import checkpoint_fault, last_sound_checkpoint
from tests.helpers.training import first_records, read_json, stage_arguments, tiny_model, tiny_recipe, tiny_splits

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@pytest.fixture(scope="module")
def trained(simulated, training_cache, tmp_path_factory):
    """The checkpoints of a stage of three epochs, not to be changed."""
    recipe = tiny_recipe(simulated, training_cache)
    splits, folder = tiny_splits(recipe), tmp_path_factory.mktemp("checkpoints")
    arguments = stage_arguments(folder, FineTuningArguments, num_train_epochs=3, save_total_limit=3)
    records = [SignalRecords(first_records(splits[name], 16)) for name in ("train", "validation")]
    FineTuningTrainer(tiny_model(recipe), arguments, *records).train()
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "checkpoints")


def test_two_checkpoints_are_kept_while_a_stage_runs():
    assert FineTuningArguments(use_cpu=True).save_total_limit == 2


def test_the_newest_sound_checkpoint_is_taken(folder):
    assert last_sound_checkpoint(folder) == str(folder / "checkpoint-3")


@pytest.mark.parametrize("damage", ["cut", "missing"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_sends_back_to_the_checkpoint_before(folder, name, damage):
    file = folder / "checkpoint-3" / name
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    assert name in str(checkpoint_fault(folder / "checkpoint-3", 1))
    assert last_sound_checkpoint(folder) == str(folder / "checkpoint-2")
    assert not (folder / "checkpoint-3").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors"])
def test_a_changed_byte_is_found_out(folder, name):
    file = folder / "checkpoint-3" / name
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    assert name in str(checkpoint_fault(folder / "checkpoint-3", 1))
    assert last_sound_checkpoint(folder) == str(folder / "checkpoint-2")


def test_a_checkpoint_without_a_seal_is_as_sound_as_its_files(folder):
    (folder / "checkpoint-3" / "model.crc32").unlink()
    assert last_sound_checkpoint(folder) == str(folder / "checkpoint-3")


def test_a_checkpoint_whose_best_epoch_is_lost_cannot_be_used(folder):
    path = folder / "checkpoint-3" / "trainer_state.json"
    path.write_text(json.dumps(read_json(path) | {"best_global_step": 1}))
    assert checkpoint_fault(folder / "checkpoint-3", 1) is None
    (folder / "checkpoint-1" / "model.safetensors").unlink()
    assert "checkpoint-1, the best so far" in str(checkpoint_fault(folder / "checkpoint-3", 1))


def test_a_checkpoint_of_other_processes_is_not_taken(folder):
    assert "rng_state_0.pth" in str(checkpoint_fault(folder / "checkpoint-3", 2))


def test_without_any_sound_checkpoint_the_stage_starts_anew(folder):
    for path in folder.glob("checkpoint-*"):
        (path / "optimizer.pt").write_bytes(b"")
    assert last_sound_checkpoint(folder) is None
    assert list(folder.glob("checkpoint-*")) == []
