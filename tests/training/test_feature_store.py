import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb

from modeling_enecg.data.preparing import load_splits
from modeling_enecg.training import feature_store, load_recipe, run_recipe
from modeling_enecg.training.feature_store import stored_features
from tests.helpers.encoded import count_encoded
from tests.helpers.training import (
    ECGFOUNDER,
    STMEM,
    ptbxl_tasks,
    recipe_fields,
    recipe_source,
    start_train,
    tiny_model,
    tiny_recipe,
    tiny_start,
    train,
    write_recipe,
)

BOTH = {
    "ecgfounder": {"config": ECGFOUNDER | {"use_batch_norm": True, "dropout": 0.5}},
    "stmem": {"config": STMEM | {"sequence_length": 900}},
}


@pytest.fixture(scope="module")
def recipe(simulated, training_cache):
    return tiny_recipe(simulated, training_cache, experts=BOTH)


@pytest.fixture
def model(recipe):
    return tiny_model(recipe)


def prepare(recipe, **extractor_changes):
    """All records of a recipe's training fold, those without a label as well."""
    extractor = tiny_start(recipe).extractor
    for settings in extractor.experts.values():
        settings.update(extractor_changes)
    return load_splits(recipe_source(recipe), extractor, ptbxl_tasks(recipe.tasks))["train"]


@pytest.fixture(scope="module")
def split(recipe):
    return prepare(recipe)


@pytest.fixture
def computed(model):
    """How many records each expert has encoded so far."""
    return count_encoded(model)


def files(folder):
    return sorted(folder.rglob("*"))


@torch.inference_mode()
def direct_features(model, split, batch_size):
    batches = []
    for start in range(0, len(split), batch_size):
        rows = range(start, min(start + batch_size, len(split)))
        inputs = [split.model_inputs(index)["input_values"] for index in rows]
        batches.append(model.eval().extract_features([torch.stack(views) for views in zip(*inputs, strict=True)]))
    return {name: torch.cat([batch[name] for batch in batches]).numpy() for name in model.experts}


def test_stored_features_are_what_the_experts_compute(model, split, tmp_path):
    stored = stored_features(model, split, tmp_path, batch_size=32)
    expected = direct_features(model, split, batch_size=32)
    for name, features in stored.items():
        assert features.shape == (len(split), model.backbones[name].config.feature_size)
        np.testing.assert_array_equal(features, expected[name])


def test_experts_compute_in_eval_mode_and_go_back_to_their_own(model, split, tmp_path):
    expected = direct_features(model, split, batch_size=16)
    model.set_drop_path_rate(0.5)
    model.train()
    stored = stored_features(model, split, tmp_path)
    for name, features in stored.items():
        np.testing.assert_array_equal(features, expected[name])
        assert model.backbones[name].training


def test_the_number_of_records_computed_at_once_changes_nothing_that_matters(model, split, tmp_path):
    few, many = (stored_features(model, split, tmp_path / str(size), batch_size=size) for size in (7, 64))
    for name in few:
        np.testing.assert_allclose(few[name], many[name], atol=1e-6)


def test_features_stay_on_disk_as_float32(model, split, tmp_path):
    for features in stored_features(model, split, tmp_path).values():
        assert isinstance(features, np.memmap)
        assert features.dtype == np.float32
        assert not features.flags.writeable


def test_a_second_call_computes_nothing_and_leaves_the_files(model, split, tmp_path, computed):
    first = stored_features(model, split, tmp_path)
    assert computed == dict.fromkeys(model.experts, len(split))
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert len(before) == 2
    second = stored_features(model, split, tmp_path)
    assert computed == dict.fromkeys(model.experts, len(split))
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_heads_do_not_matter_to_the_store(model, split, tmp_path, computed):
    stored_features(model, split, tmp_path)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(1.0)
    stored_features(model, split, tmp_path)
    assert computed == dict.fromkeys(model.experts, len(split))


@pytest.mark.parametrize("name", ["stem.weight", "stem_norm.running_mean"])
def test_a_changed_weight_or_statistic_gives_another_key(model, split, tmp_path, name):
    before = stored_features(model, split, tmp_path)
    with torch.no_grad():
        dict(model.experts["ecgfounder"].state_dict())[name][0] += 0.5
    after = stored_features(model, split, tmp_path)
    assert len(files(tmp_path)) == 3
    assert not np.array_equal(before["ecgfounder"], after["ecgfounder"])
    np.testing.assert_array_equal(before["stmem"], after["stmem"])


def test_a_changed_architecture_gives_another_key(model, split, tmp_path):
    stored_features(model, split, tmp_path)
    model.experts["stmem"].config.layer_norm_eps = 1e-3
    stored_features(model, split, tmp_path)
    assert len(files(tmp_path)) == 3


def test_a_changed_extractor_setting_gives_another_key(model, recipe, split, tmp_path):
    stored_features(model, split, tmp_path)
    stored_features(model, prepare(recipe, padding_value=1.0), tmp_path)
    assert len(files(tmp_path)) == 4


def test_a_changed_record_gives_another_key_and_other_features(model, recipe, split, simulated, tmp_path):
    data_dir = Path(shutil.copytree(simulated, tmp_path / "ptbxl", copy_function=os.link))
    ecg_id = split.records[0]["ecg_id"]
    folder, name = data_dir / "records100" / "00000", f"{ecg_id:05d}_lr"
    record = wfdb.rdrecord(str(folder / name), physical=False)
    for ending in (".hea", ".dat"):
        (folder / f"{name}{ending}").unlink()
    wfdb.wrsamp(
        *(name, record.fs, record.units, record.sig_name),
        d_signal=record.d_signal[::-1],
        fmt=record.fmt,
        adc_gain=record.adc_gain,
        baseline=record.baseline,
        write_dir=str(folder),
    )
    changed = prepare(tiny_recipe(data_dir, tmp_path / "cache", experts=BOTH))
    assert changed.records[0]["ecg_id"] == ecg_id
    before = stored_features(model, split, tmp_path / "store")
    after = stored_features(model, changed, tmp_path / "store")
    assert len(files(tmp_path / "store")) == 4
    for name in before:
        assert not np.allclose(before[name][0], after[name][0])
        np.testing.assert_array_equal(before[name][1:], after[name][1:])


def test_the_parts_of_a_killed_computation_are_used(model, split, tmp_path, computed, monkeypatch):
    """Of the parts of 50 records one is there, and another was cut off while it was written."""
    monkeypatch.setattr(feature_store, "RECORDS_A_PART", 50)
    whole = stored_features(model, split, tmp_path / "whole")
    done = dict(computed)
    for path in files(tmp_path / "whole"):
        parts = tmp_path / "killed" / path.name.split(".")[0]
        parts.mkdir(parents=True)
        np.save(parts / "0000000050.npy", np.load(path)[50:100])
        (parts / "0000000100.npy").write_bytes(b"\x93NUMPY half")
    resumed = stored_features(model, split, tmp_path / "killed")
    assert {name: computed[name] - done[name] for name in done} == dict.fromkeys(done, len(split) - 50)
    for name in whole:
        np.testing.assert_array_equal(resumed[name], whole[name])
    assert [path.name for path in files(tmp_path / "killed")] == [path.name for path in files(tmp_path / "whole")]


def test_two_runs_that_share_a_cold_store_both_have_exact_features(simulated, tmp_path):
    """Two real processes, started together, against one that has a store of its own."""
    stages = {"linear_probing": {"num_train_epochs": 1, "global_batch_size": 16}}
    fields = recipe_fields(simulated, tmp_path / "run", tmp_path / "shared", stages=stages, num_resamples=5)
    config = write_recipe(tmp_path / "recipe.yaml", fields | {"experts": BOTH})
    started = [start_train(config, "--output_dir", str(tmp_path / name)) for name in ("first", "second")]
    ends = [process.end() for process in started]
    assert [status for status, _ in ends] == [0, 0], ends
    status, output = train(config, "--output_dir", str(tmp_path / "alone"), "--cache_dir", str(tmp_path / "own"))
    assert status == 0, output
    for name in ("first", "second"):
        assert (tmp_path / name / "metrics.json").read_bytes() == (tmp_path / "alone" / "metrics.json").read_bytes()
    stored = [[path.name for path in files(tmp_path / cache / "features")] for cache in ("shared", "own")]
    assert [len(names) for names in stored] == [6, 6], "parts or a lock were left"
    assert stored[0] == stored[1], "content is in the name"


@pytest.mark.parametrize("damage", ["zeroed", "cut"])
def test_a_damaged_file_is_found_out_and_computed_anew(model, split, tmp_path, damage):
    exact = {name: values.copy() for name, values in stored_features(model, split, tmp_path).items()}
    for path in files(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[:-500] + (b"" if damage == "cut" else bytes(500)))
    for name, values in stored_features(model, split, tmp_path).items():
        np.testing.assert_array_equal(values, exact[name])


def test_linear_probing_loses_the_same_with_and_without_the_store(simulated, training_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    stages = {"linear_probing": {"num_train_epochs": 3, "global_batch_size": 16, "dropout": 0.1, "disable_tqdm": True}}
    metrics, logs = [], []
    for uses_store in (True, False):
        folder = tmp_path / str(uses_store)
        fields = recipe_fields(simulated, folder / "run", training_cache, stages=stages, feature_store=uses_store)
        folder.mkdir()
        metrics.append(run_recipe(load_recipe(write_recipe(folder / "recipe.yaml", fields | {"experts": BOTH}))))
        log = json.loads((folder / "run" / "linear_probing" / "history.json").read_text())["log"]
        logs.append([entry[key] for entry in log for key in ("loss", "eval_loss") if key in entry])
    assert len(logs[0]) == 6
    assert logs[0] == pytest.approx(logs[1], abs=1e-6)
    for split in ("validation", "test"):
        first, second = (each[split]["superdiagnostic"]["macro_auroc"]["point"] for each in metrics)
        assert first == pytest.approx(second, abs=1e-6)
