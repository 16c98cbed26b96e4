"""Training on any dataset of the common columns: which one lies in a folder, windows of long records, fewer leads."""

import json

import numpy as np
import pandas as pd
import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.preparing import load_splits, mean_over_windows
from modeling_enecg.data.ptbxl.parquet import write_parquet
from modeling_enecg.data.sources import DatasetOptions, find_source
from modeling_enecg.data.targets import dataset_tasks
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.training import Recipe, run_recipe
from modeling_enecg.training.building import ModelSource, starting_model
from modeling_enecg.training.run_data import Selection, read_data
from tests.helpers.ecg_folder import noise, write_folder, write_record
from tests.helpers.mimic_release import write_mimic_iv, write_release
from tests.helpers.training import ECGFOUNDER, recipe_fields

LENGTHS = (1000, 2500, 700)  # samples at 100 Hz: one window, three (of 10 s), one that is padded
FEW_LEADS = ("I", "II", "V1")


@pytest.fixture
def folder(tmp_path):
    """36 records of three lengths, every fourth of three leads only; folds 1 to 10."""
    rows = []
    for index in range(36):
        rows.append(
            {"file": f"ecg/{index:02d}", "patient": f"p{index}", "fold": index % 10 + 1, "sex": "mf"[index // 10 % 2]}
        )
    folder = write_folder(tmp_path / "own", rows)
    for index, row in enumerate(rows):
        leads = FEW_LEADS if index % 4 == 0 else STANDARD_LEADS
        signal = noise(seed=index, num_samples=LENGTHS[index % 3])[: len(leads)]
        write_record(folder / row["file"], signal, leads=leads)
    return folder


def recipe(data_dir, tmp_path, **changes):
    fields = recipe_fields(data_dir, tmp_path / "run", tmp_path / "cache", **({"tasks": ["sex"]} | changes))
    return Recipe(**fields)


def prepared(recipe):
    source = find_source(DatasetOptions(recipe.data_dir, cache_dir=recipe.cache_dir))
    tasks = dataset_tasks(source.features, recipe.tasks)
    extractor = starting_model(recipe.part(ModelSource), tasks).extractor
    return read_data(source, recipe.part(Selection), extractor, tasks)


def test_each_kind_of_folder_is_told_by_what_lies_in_it(simulated, folder, tmp_path):
    release = write_release(tmp_path / "mimic")
    parquet = write_parquet(simulated, tmp_path / "parquet", ["100hz"])
    cache = str(tmp_path / "cache")
    found = {
        kind: find_source(DatasetOptions(str(path), sampling_rate=100, cache_dir=cache))
        for kind, path in {"ptbxl": simulated, "mimic": release, "own": folder, "parquet": parquet}.items()
    }
    assert found["ptbxl"].name == "simulated records in the layout of PTB-XL"
    assert found["mimic"].name == "MIMIC-IV-ECG"
    assert {kind for kind, source in found.items() if source.files} == {"parquet"}
    for kind, task in {"ptbxl": "rhythm", "mimic": "arrhythmia", "own": "sex", "parquet": "rhythm"}.items():
        assert task in found[kind].features
        train = found[kind].read(["train"])["train"]
        assert {"ecg_id", "patient_id", "signal", task} <= set(train.column_names)
    rows = [found[kind].read(["train"])["train"].remove_columns("signal")[:20] for kind in ("ptbxl", "parquet")]
    assert rows[0] == rows[1]


def test_further_options_reach_the_builder(tmp_path):
    release, tables = write_release(tmp_path / "mimic"), write_mimic_iv(tmp_path / "iv")
    options = {"mimic_iv_dir": str(tables)}
    source = find_source(DatasetOptions(str(release), builder_options=options, cache_dir=str(tmp_path / "cache")))
    assert any(age is not None for age in source.read(["train"])["train"]["age"])
    with pytest.raises(DatasetError, match="dataset_options: MIMICIVECG has no option 'mimic_folder'"):
        find_source(DatasetOptions(str(release), builder_options={"mimic_folder": "x"}))


def test_a_folder_without_a_dataset_is_refused_with_what_could_lie_there(tmp_path):
    with pytest.raises(DatasetError, match=r"holds neither ptbxl_database\.csv .*dataset\.yaml .*nor Parquet"):
        find_source(DatasetOptions(str(tmp_path)))
    with pytest.raises(DatasetError, match="there is no folder"):
        find_source(DatasetOptions(str(tmp_path / "absent")))


def test_a_long_record_is_several_windows_with_its_labels(folder, tmp_path):
    data = prepared(recipe(folder, tmp_path))
    train = data.all_splits["train"]
    ids, counts = np.unique(train.records["ecg_id"][:], return_counts=True)
    expected = {f"ecg/{index:02d}": (1, 3, 1)[index % 3] for index in range(36) if index % 10 < 8}
    assert dict(zip(ids, counts, strict=True)) == expected
    sexes = {ecg_id: set() for ecg_id in ids}
    for ecg_id, sex in zip(train.records["ecg_id"][:], train.labels["sex"], strict=True):
        sexes[ecg_id].add(float(sex))
    assert all(len(each) == 1 for each in sexes.values())
    assert data.num_records()["train"] == len(expected)


def test_masks_tell_missing_leads_and_padding(folder, tmp_path):
    train = prepared(recipe(folder, tmp_path)).all_splits["train"]
    assert train.lacks == {"lead_mask", "input_mask"}
    inputs = {record["ecg_id"]: train.model_inputs(row) for row, record in enumerate(train.records)}
    few, short = inputs["ecg/00"], inputs["ecg/02"]
    assert few["lead_mask"].tolist() == [
        lead in ("I", "II", "III", "aVR", "aVL", "aVF", "V1") for lead in STANDARD_LEADS
    ]
    assert few["input_mask"].all()
    assert short["lead_mask"].all()
    assert short["input_mask"].tolist() == [sample < 700 for sample in range(1000)]


def test_whole_records_need_no_masks(simulated, tmp_path):
    data = prepared(recipe(simulated, tmp_path, tasks=["superdiagnostic"]))
    assert data.all_splits["test"].lacks == set()
    assert set(data.all_splits["test"].model_inputs(0)) == {"input_values"}


def test_a_run_on_ones_own_records_scores_records_not_windows(folder, tmp_path):
    experts = {"cnn": {"config": ECGFOUNDER}}
    metrics = run_recipe(recipe(folder, tmp_path, experts=experts, lead_sets=["8 leads", "lead II"]))
    predictions = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert sorted(predictions["ecg_id"]) == [f"ecg/{index:02d}" for index in range(36) if index % 10 >= 8]
    assert metrics["test"]["sex"]["num_records"] == 3
    by_lead_set = json.loads((tmp_path / "run" / "lead_sets.json").read_text())
    assert set(by_lead_set) == {"8 leads", "lead II"}
    card = (tmp_path / "run" / "README.md").read_text()
    for leads in ("12 leads", "lead II"):
        assert f"| {leads} | sex | macro AUROC" in card


def test_the_test_fold_on_fewer_leads_is_that_of_such_records(simulated, tmp_path):
    data = prepared(recipe(simulated, tmp_path, tasks=["superdiagnostic"]))
    whole, derived, single = data.splits["test"], data.test_on("8 leads"), data.test_on("lead II")
    assert derived.lacks == set()
    np.testing.assert_allclose(
        derived.model_inputs(0)["input_values"], whole.model_inputs(0)["input_values"], atol=0.05
    )
    assert single.model_inputs(0)["lead_mask"].tolist() == [lead == "II" for lead in STANDARD_LEADS]
    assert single.records["ecg_id"][:] == whole.records["ecg_id"][:]


def test_windows_are_averaged_in_the_order_of_the_records():
    ids = ["b", "b", "a", "c", "c", "c"]
    rows, (means,) = mean_over_windows(ids, {"task": np.array([[1.0], [3.0], [5.0], [0.0], [3.0], [6.0]])})
    assert rows.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(means["task"], [[2.0], [5.0], [3.0]])


def test_a_fraction_and_permuted_labels_change_training_alone(simulated, tmp_path):
    whole = prepared(recipe(simulated, tmp_path, tasks=["superdiagnostic"]))
    part = prepared(recipe(simulated, tmp_path, tasks=["superdiagnostic"], train_fraction=0.25))
    assert part.num_train == pytest.approx(whole.num_train / 4, abs=3)
    assert len(part.splits["test"]) == len(whole.splits["test"])
    mixed = prepared(recipe(simulated, tmp_path, tasks=["superdiagnostic"], permute_labels=True))
    for split in ("train", "validation"):
        np.testing.assert_array_equal(
            mixed.labels[split]["superdiagnostic"].sum(axis=0), whole.labels[split]["superdiagnostic"].sum(axis=0)
        )
        assert not np.array_equal(mixed.labels[split]["superdiagnostic"], whole.labels[split]["superdiagnostic"])
    np.testing.assert_array_equal(mixed.labels["test"]["superdiagnostic"], whole.labels["test"]["superdiagnostic"])


def test_loading_prepares_once(simulated, tmp_path):
    settings = recipe(simulated, tmp_path, tasks=["superdiagnostic"])
    data = prepared(settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
    load_splits(data.source, data.extractor, data.tasks)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
