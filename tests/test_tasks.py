"""What PTB-XL's tasks are trained on, how exact stored features are, and experts saved by reference."""

import csv

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modeling_enecg import BACKBONES, ECGFeatureExtractor, EnECGModel, Task
from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.prepared import FeatureRecords
from modeling_enecg.data.preparing import load_splits
from modeling_enecg.data.ptbxl.labels import TASK_LABELS, TASK_NAMES
from modeling_enecg.data.ptbxl.ptbxl import RR_FEATURES
from modeling_enecg.data.targets import balanced_class_weights, dataset_tasks, read_targets, target_statistics
from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from modeling_enecg.training.feature_store import Precision, stored_features
from modeling_enecg.training.run import prepare
from tests.helpers.training import (
    BOTH,
    ECGFOUNDER,
    STMEM,
    ptbxl_tasks,
    recipe_fields,
    recipe_source,
    tiny_model,
    tiny_recipe,
    tiny_start,
    write_recipe,
)

NAN = float("nan")
PTBXL_TASKS = (*TASK_NAMES, "age", "sex", "rr_interval")


def ptbxl_targets(records, name):
    return read_targets(records, ptbxl_tasks([name])[0])


def change_database(release, changes):
    """Change fields of `ptbxl_database.csv`, by `ecg_id`."""
    path = release / "ptbxl_database.csv"
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.update(changes.get(int(row["ecg_id"]), {}))
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# Targets


@pytest.fixture
def rows(release, build):
    """Records 1 to 8, 11 and 12 of the training fold, with some fields unknown or withheld."""
    changes = {
        1: {"age": "300"},
        2: {"age": "89"},
        3: {"age": ""},
        4: {"sex": ""},
        5: {"scp_codes": "{'AFIB': 0.0}"},
        6: {"scp_codes": "{'IMI': 100.0, 'LVH': 50.0, 'SR': 0.0}"},
    }
    change_database(release, changes)
    rows = build(release).as_dataset()["train"]
    assert rows["ecg_id"][:] == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    return rows


def test_a_label_tasks_targets_are_0_and_1_and_nan_without_any_statement(rows):
    targets = ptbxl_targets(rows, "superdiagnostic")
    assert targets.dtype == np.float32
    assert targets.shape == (10, 5)
    assert TASK_LABELS["superdiagnostic"] == ("CD", "HYP", "MI", "NORM", "STTC")
    np.testing.assert_array_equal(targets[0], [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(targets[1], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(targets[4], [NAN] * 5)  # a rhythm alone says nothing of a diagnosis
    np.testing.assert_array_equal(targets[5], [0, 1, 1, 0, 0])
    rhythms = ptbxl_targets(rows, "rhythm")
    assert rhythms[4].sum() == rhythms[4, TASK_LABELS["rhythm"].index("AFIB")] == 1


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_label_tasks_targets_are_the_records_own_labels(rows, name):
    targets = ptbxl_targets(rows, name)
    assert targets.shape == (10, len(TASK_LABELS[name]))
    for row, values in zip(rows, targets, strict=True):
        expected = [float(index in row[name]) for index in range(len(TASK_LABELS[name]))]
        np.testing.assert_array_equal(values, expected if row[name] else [NAN] * len(expected))


def test_an_age_is_in_years_and_not_known_over_89(rows):
    ages = ptbxl_targets(rows, "age")
    assert ages.dtype == np.float32
    np.testing.assert_array_equal(ages, [NAN, 89, NAN, 34, 35, 36, 37, 38, 41, 42])


def test_a_sex_is_0_or_1_in_the_tasks_order(rows):
    np.testing.assert_array_equal(ptbxl_targets(rows, "sex"), [1, 0, 1, NAN, 1, 0, 1, 0, 1, 0])
    assert rows.features["sex"].names == ptbxl_tasks(["sex"])[0].labels == ["male", "female"]


FEATURES = datasets.Features(
    {
        "ecg_id": datasets.Value("string"),
        "signal": datasets.Value("binary"),
        "findings": datasets.List(datasets.ClassLabel(names=["AF", "LBBB"])),
        "device": datasets.ClassLabel(names=["a", "b", "c"]),
        "lvef": datasets.Value("float64"),
        "note": datasets.Value("string"),
    }
)


def test_a_columns_type_says_what_kind_of_task_it_is():
    findings, device, lvef = dataset_tasks(FEATURES, ["findings", "device", "lvef"], {"lvef": 2.0})
    assert (findings.problem_type, findings.labels) == ("multi_label_classification", ["AF", "LBBB"])
    assert (device.problem_type, device.labels) == ("single_label_classification", ["a", "b", "c"])
    assert (lvef.problem_type, lvef.labels, lvef.loss_weight, lvef.unit) == ("regression", [], 2.0, None)


@pytest.mark.parametrize("name", ["note", "ecg_id", "signal", "finding"])
def test_what_holds_no_labels_is_refused_with_what_there_is(name):
    with pytest.raises(DatasetError, match=f"no labels '{name}'; there are findings, device, lvef"):
        dataset_tasks(FEATURES, ["device", name])


def test_none_is_not_known_and_an_empty_list_is_none_of_the_labels():
    rows = {
        "findings": [[1], [], None],
        "device": [2, None, 0],
        "lvef": [None, 55.0, 40.0],
    }
    columns = datasets.Features({name: FEATURES[name] for name in rows})
    records = datasets.Dataset.from_dict(rows, features=columns)
    targets = {task.name: read_targets(records, task) for task in dataset_tasks(columns, list(rows))}
    np.testing.assert_array_equal(targets["findings"], [[0, 1], [0, 0], [NAN, NAN]])
    np.testing.assert_array_equal(targets["device"], [2, NAN, 0])
    np.testing.assert_array_equal(targets["lvef"], [NAN, 55, 40])


def test_an_interval_that_could_not_be_measured_is_nan():
    features = datasets.Features({"rr_interval": RR_FEATURES["rr_interval"]})
    records = datasets.Dataset.from_dict({"rr_interval": [812.5, None, 640.0]}, features=features)
    targets = ptbxl_targets(records, "rr_interval")
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [812.5, NAN, 640.0])


def test_measured_intervals_become_targets(release, build):
    rows = build(release, rr_interval=True).as_dataset()["train"]
    expected = [NAN if value is None else value for value in rows["rr_interval"]]
    np.testing.assert_allclose(ptbxl_targets(rows, "rr_interval"), expected, rtol=1e-6)


def test_every_task_has_its_type_labels_unit_and_weight():
    tasks = {task.name: task for task in ptbxl_tasks(PTBXL_TASKS, {"age": 0.25, "form": 3})}
    assert tuple(tasks) == PTBXL_TASKS
    for name in TASK_NAMES:
        assert tasks[name].problem_type == "multi_label_classification"
        assert tuple(tasks[name].labels) == TASK_LABELS[name]
    assert tasks["sex"].problem_type == "single_label_classification"
    assert [(tasks[name].problem_type, tasks[name].unit) for name in ("age", "rr_interval")] == [
        ("regression", "years"),
        ("regression", "ms"),
    ]
    weights = {name: task.loss_weight for name, task in tasks.items()}
    assert weights == dict.fromkeys(PTBXL_TASKS, 1.0) | {"age": 0.25, "form": 3.0}


# Statistics and weights


def test_statistics_are_of_the_known_targets():
    targets = np.array([20, NAN, 30, 70, NAN], dtype=np.float32)
    mean, deviation = target_statistics(targets)
    assert mean == pytest.approx([40])
    assert deviation == pytest.approx([np.std([20, 30, 70])])


def test_every_target_has_its_own_statistics():
    targets = np.array([[1, 10], [3, NAN], [NAN, 30]], dtype=np.float32)
    mean, deviation = target_statistics(targets)
    assert mean == pytest.approx([2, 20])
    assert deviation == pytest.approx([1, 10])


@pytest.mark.parametrize("targets", [[NAN, NAN, NAN], [NAN, 61.0, NAN], [[1.0, NAN], [2.0, 5.0]]])
def test_fewer_than_two_known_targets_are_refused(targets):
    known = int(np.sum(~np.isnan(np.reshape(targets, (len(targets), -1))), axis=0).min())
    with pytest.raises(ValueError, match=f"at least two known targets in the training fold; got {known}$"):
        target_statistics(np.array(targets, dtype=np.float32))


@pytest.mark.parametrize("value", [63.0, 833.3333, 0.1])
def test_targets_that_are_all_the_same_are_refused(value):
    with pytest.raises(ValueError, match=r"all targets of the training fold are equal"):
        target_statistics(np.full(30, value, dtype=np.float32))


def test_the_refusal_of_equal_targets_says_which_value_they_have():
    """Also where the first record's is not known."""
    with pytest.raises(ValueError, match=r"are equal \(\[63\.0\]\)"):
        target_statistics(np.array([NAN, 63, 63], dtype=np.float32))


def test_balanced_weights_by_hand():
    sex = Task("sex", "single_label_classification", ["male", "female"])
    assert balanced_class_weights(sex, np.array([0, 0, 0, 1, NAN])) == pytest.approx([2 / 3, 2])
    assert balanced_class_weights(sex, np.array([0, 0, NAN, NAN])) == pytest.approx([0.5, 1])
    form = Task("form", "multi_label_classification", ["a", "b", "c"])
    targets = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [NAN, NAN, NAN], [0, 0, 0]])
    assert balanced_class_weights(form, targets) == pytest.approx([1 / 3, 3, 1])


PROBE = {"linear_probing": {"num_train_epochs": 1, "global_batch_size": 2, "disable_tqdm": True}}


@pytest.fixture
def follow(tmp_path, sound_release, monkeypatch):
    """A function that starts a small recipe with some fields changed on 12 records; it gives the run's state."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it

    def follow(function=lambda recipe: prepare(recipe, Run(tmp_path / "run")), **changes):
        fields = recipe_fields(sound_release, tmp_path / "run", tmp_path / "cache", stages=PROBE) | changes
        return function(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))

    return follow


def test_a_run_standardises_by_the_training_fold_and_weighs_the_losses(follow):
    run = follow(tasks=["age", "sex", "superdiagnostic"], loss_weights={"age": 0.5}, class_weights="balanced")
    age, sex, _ = run.model.tasks.values()
    ages = [31, 32, 33, 34, 35, 36, 37, 38, 41, 42]  # of the records in folds 1 to 8
    assert age.target_mean == pytest.approx([np.mean(ages)])
    assert age.target_std == pytest.approx([np.std(ages)])
    assert (age.loss_weight, sex.loss_weight) == (0.5, 1.0)
    assert sex.class_weights == pytest.approx([1, 1])
    assert run.model.config.get_tasks() == list(run.model.tasks.values())


@pytest.mark.parametrize(
    ("ages", "message"),
    [
        (dict.fromkeys(range(1, 13), "50"), "tasks: age: all targets of the training fold are equal"),
        (dict.fromkeys(range(1, 9), "300") | {11: "300"}, "tasks: age: .* at least two known targets.*; got 1"),
    ],
    ids=["equal", "withheld"],
)
def test_ages_that_teach_nothing_end_in_one_line(follow, release, ages, message):
    change_database(release, {ecg_id: {"age": age} for ecg_id, age in ages.items()})
    with pytest.raises(RecipeError, match=f"^{message}"):
        follow(data_dir=str(release), tasks=["superdiagnostic", "age"])


# The precision of stored features


@pytest.fixture(scope="module")
def few_records(sound_release, tmp_path_factory):
    """A recipe of two experts and its training fold of ten records."""
    recipe = tiny_recipe(sound_release, tmp_path_factory.mktemp("precision"), experts=BOTH)
    extractor = tiny_start(recipe).extractor
    return recipe, load_splits(recipe_source(recipe), extractor, ptbxl_tasks(recipe.tasks))["train"]


@pytest.fixture
def stored(few_records, tmp_path):
    """A function that gives the features at a precision, and the files in the store."""
    recipe, split = few_records
    model = tiny_model(recipe)

    def stored(**precision):
        return stored_features(model, split, tmp_path, Precision(**precision)), set(tmp_path.glob("*.npy"))

    return stored


def test_float16_takes_half_the_space_and_is_as_exact_as_half_precision(stored):
    exact, before = stored()
    half, after = stored(dtype="float16")
    for name, values in exact.items():
        assert (values.dtype, half[name].dtype) == (np.float32, np.float16)
        assert half[name].nbytes == values.nbytes / 2
        np.testing.assert_array_equal(half[name], values.astype(np.float16))
        np.testing.assert_allclose(half[name], values, rtol=2**-10, atol=2**-24)
        assert not np.array_equal(half[name], values)
    sizes = [sum(path.stat().st_size - 128 for path in paths) for paths in (before, after - before)]  # less headers
    assert sizes[1] == sizes[0] / 2


def test_bfloat16_differs_a_little_and_is_kept_as_float32(stored):
    exact, fast = stored()[0], stored(bf16=True)[0]
    for name, values in exact.items():
        assert fast[name].dtype == np.float32
        assert 1e-6 < np.linalg.norm(fast[name] - values) / np.linalg.norm(values) < 0.05, name


def test_every_precision_has_files_of_its_own(stored):
    counts = [
        len(stored(**precision)[1])
        for precision in ({}, {"dtype": "float16"}, {"bf16": True}, {"bf16": True, "dtype": "float16"}, {})
    ]
    assert counts == [2, 4, 6, 8, 8]


def test_heads_get_float32_whatever_is_stored(stored, few_records):
    features, _ = stored(dtype="float16")
    records = FeatureRecords(features, few_records[1])
    for name, values in records[3]["expert_features"].items():
        assert values.dtype == torch.float32
        np.testing.assert_array_equal(values, features[name][3])


def test_a_recipe_may_keep_features_in_half_precision(follow, tmp_path):
    run = follow(feature_dtype="float16", feature_bf16=True)
    features = run.dataset("linear_probing", "train").features
    assert {values.dtype for values in features.values()} == {np.dtype(np.float16)}


# Experts by reference

EPOCH = PROBE["linear_probing"]


@pytest.fixture
def folders(tmp_path):
    """Two experts, each in a folder, as a recipe names them."""
    torch.manual_seed(0)
    sources = {}
    for name, config in (("cnn", ECGFOUNDER), ("vit", STMEM)):
        fields = dict(config)
        model_class = BACKBONES[fields.pop("model_type")]
        expert = model_class(model_class.config_class(**fields))
        expert.save_pretrained(tmp_path / name)
        ECGFeatureExtractor(**expert.config.feature_extractor_settings()).save_pretrained(tmp_path / name)
        sources[name] = {"path": str(tmp_path / name)}
    return sources


@pytest.mark.parametrize(
    ("experts", "stages"),
    [
        ({"cnn": {"config": ECGFOUNDER}}, {}),
        ({"vit": {"config": STMEM}}, {}),
        ({}, {"fine_tuning": EPOCH}),
        ({}, {"linear_probing": EPOCH, "post_training": EPOCH}),
        ({}, {"post_training": EPOCH, "linear_probing": EPOCH}),
        ({}, {"lora_heads": EPOCH | {"lora_experts": True}}),
    ],
    ids=["random cnn", "random vit", "fine-tuned", "post-trained", "post-trained before", "LoRA inside"],
)
def test_experts_that_are_random_or_trained_cannot_be_saved_by_reference(follow, folders, tmp_path, experts, stages):
    """It is refused before anything is computed or written."""
    with pytest.raises(RecipeError, match=r"^save_experts: only experts that have a path and stay frozen"):
        follow(run_recipe, experts=folders | experts, stages=stages or PROBE, save_experts="reference")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache" / "features").exists()


def test_a_run_may_save_frozen_experts_by_reference(follow, folders, tmp_path):
    ensemble = {"gate": "leads", "gate_hidden_size": 4, "head_hidden_sizes": [4]}
    follow(run_recipe, experts=folders, ensemble=ensemble, save_experts="reference")
    loaded, info = EnECGModel.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert not info["missing_keys"]
    references = loaded.config.expert_references
    assert {name: each["path"] for name, each in references.items()} == {
        name: source["path"] for name, source in folders.items()
    }
    for name, source in folders.items():
        original = BACKBONES[loaded.backbones[name].config.model_type].from_pretrained(source["path"]).state_dict()
        for key, tensor in loaded.backbones[name].state_dict().items():
            assert torch.equal(tensor, original[key])
    assert not [name for name in load_file(tmp_path / "run" / "model.safetensors") if name.startswith("experts.")]
