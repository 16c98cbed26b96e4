"""What PTB-XL's tasks are trained on, how exact stored features are, and recipes that build on each other."""

import csv

import datasets
import numpy as np
import pytest
import torch
import yaml
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

BOTH = {"cnn": {"config": ECGFOUNDER}, "vit": {"config": STMEM}}


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


# Recipes that extend others


@pytest.fixture
def load(tmp_path):
    """A function that writes recipes by name, the fields of a small one under the first, and loads the last."""

    def load(*overrides, **recipes):
        first = next(iter(recipes))
        base = recipe_fields(tmp_path / "ptbxl", tmp_path / "run", tmp_path / "cache")
        for name, fields in recipes.items():
            content = base | fields if name == first else fields
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return load_recipe(tmp_path / f"{name}.yaml", overrides)

    return load


def test_an_extending_recipe_says_only_what_differs(load):
    plain = load(base={})
    recipe = load(base={}, child={"extends": "base.yaml", "seed": 7})
    assert recipe == load("--seed", "7", base={})
    assert recipe != plain
    assert load(base={}, child={"extends": "base.yaml"}) == plain


def test_mappings_mix_at_every_depth_and_lists_replace(load):
    child = {
        "extends": "base.yaml",
        "tasks": ["form"],
        "experts": {"ecgfounder": {"config": {"stem_size": 16, "depths": [1, 2]}}, "vit": {"config": STMEM}},
        "stages": {"post_training": {"learning_rate": 1e-4, "lr_scheduler_kwargs": {"min_lr": 1e-6}}},
    }
    base = {"stages": {"post_training": {"num_train_epochs": 3, "lr_scheduler_kwargs": {"num_cycles": 1}}}}
    recipe = load(base=base, child=child)
    assert recipe.tasks == ["form"]
    assert recipe.experts["ecgfounder"] == {"config": ECGFOUNDER | {"stem_size": 16, "depths": [1, 2]}}
    assert recipe.experts["vit"] == {"config": STMEM}
    assert recipe.stages["post_training"] == {
        "num_train_epochs": 3,
        "lr_scheduler_kwargs": {"num_cycles": 1, "min_lr": 1e-6},
        "learning_rate": 1e-4,
    }


def test_null_leaves_an_expert_or_a_stage_of_the_extended_recipe_out(load):
    child = {"extends": "base.yaml", "experts": {"cnn": None}, "stages": {"linear_probing": None}}
    recipe = load(base={"experts": BOTH}, child=child)
    assert recipe.experts == {"vit": {"config": STMEM}}
    assert list(recipe.stages) == ["post_training"]
    with pytest.raises(RecipeError, match=r"^experts: at least one is needed"):
        load(base={"experts": BOTH}, child={"extends": "base.yaml", "experts": {"cnn": None, "vit": None}})


def test_a_chain_of_recipes_is_followed_and_the_last_word_counts(load):
    recipe = load(
        base={"seed": 1, "num_resamples": 10, "confidence": 0.9},
        middle={"extends": "base.yaml", "seed": 2, "num_resamples": 20, "experts": {"vit": None}},
        child={"extends": "middle.yaml", "seed": 3, "experts": {"vit": {"config": STMEM}}},
    )
    assert (recipe.seed, recipe.num_resamples, recipe.confidence) == (3, 20, 0.9)
    assert list(recipe.experts) == ["ecgfounder", "vit"]


def test_overrides_come_last(load):
    recipe = load(
        *("--seed", "9", "--ensemble.top_k", "1", "--experts.vit", "null"),
        base={"seed": 1, "experts": BOTH},
        child={"extends": "base.yaml", "seed": 2, "ensemble": {"gate": "leads", "top_k": 2}},
    )
    assert recipe.seed == 9
    assert recipe.ensemble == {"gate": "leads", "top_k": 1}
    assert list(recipe.experts) == ["cnn"]


@pytest.mark.parametrize(
    "recipes",
    [
        {"base": {"extends": "base.yaml"}},
        {"base": {"extends": "child.yaml"}, "child": {"extends": "base.yaml"}},
        {"base": {"extends": "child.yaml"}, "middle": {"extends": "base.yaml"}, "child": {"extends": "middle.yaml"}},
    ],
    ids=["itself", "two", "three"],
)
def test_recipes_that_extend_each_other_in_a_circle_are_refused(load, recipes):
    with pytest.raises(RecipeError, match=r"extends itself, by way of \w+\.yaml"):
        load(**recipes)


@pytest.mark.parametrize(
    "name",
    ["../base.yaml", "/etc/passwd", "./base.yaml", "inner/base.yaml", ".", "", 5, None, ["base.yaml"]],
    ids=repr,
)
def test_only_a_file_in_the_same_folder_can_be_extended(load, name):
    with pytest.raises(RecipeError, match=r"child\.yaml: extends is the name of a file in the same folder; got "):
        load(base={}, child={"extends": name})


def test_an_absent_or_unreadable_recipe_that_is_extended_is_named(load, tmp_path):
    with pytest.raises(RecipeError, match=r"Cannot read the recipe .*absent\.yaml"):
        load(base={}, child={"extends": "absent.yaml"})
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(RecipeError, match=r"list\.yaml must be a mapping"):
        load(base={}, child={"extends": "list.yaml"})


def test_a_mistake_in_an_extended_recipe_is_found(load):
    with pytest.raises(RecipeError, match=r"Unknown key sampling_rat\. Did you mean sampling_rate\?"):
        load(base={"sampling_rat": 100}, child={"extends": "base.yaml"})


def test_a_recipe_cannot_extend_another_by_an_override(load):
    with pytest.raises(RecipeError, match="Unknown key extends"):
        load("--extends", "base.yaml", base={})


# How experts become one


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("gat", "Did you mean gate?"),
        ("topk", "Did you mean top_k?"),
        ("gate_lead", "Did you mean gate_leads?"),
        ("load_balance_weight", "Did you mean load_balancing_weight?"),
    ],
)
def test_an_unknown_key_of_the_ensemble_is_refused_with_the_nearest_one(load, key, suggestion):
    with pytest.raises(RecipeError) as error:
        load(base={"ensemble": {key: 1}})
    assert str(error.value) == f"Unknown key ensemble.{key}. {suggestion}"


@pytest.mark.parametrize("key", ["experts", "tasks", "expert_order", "head_dropout", "expert_references", "quux"])
def test_what_has_another_place_is_not_of_the_ensemble(load, key):
    with pytest.raises(RecipeError, match=rf"^Unknown key ensemble\.{key}\."):
        load(base={"ensemble": {key: 1}})


@pytest.mark.parametrize(
    ("ensemble", "message"),
    [
        ({"gate": "lead"}, "gate must be one of features, leads, encoder, uniform; got 'lead'"),
        ({"gate": "leads", "top_k": 5}, "top_k must be from 1 to the number of experts, 2; got 5"),
        ({"top_k": 1}, "top_k needs a gate that decides before the experts run"),
        ({"gate": "leads", "gate_leads": ["X"]}, "there is no lead 'X'"),
        ({"gate": "leads", "gate_sequence_length": "long"}, "gate_sequence_length"),
    ],
)
def test_an_illegal_ensemble_ends_in_one_line(load, ensemble, message):
    recipe = load(base={"experts": BOTH, "ensemble": ensemble})
    with pytest.raises(RecipeError, match=f"(?s)^experts: .*{message}"):
        tiny_model(recipe)


def test_the_ensembles_fields_reach_the_model_and_its_extractor(load):
    ensemble = {"gate": "encoder", "gate_leads": ["V1", "II"], "gate_sequence_length": 500, "top_k": 1}
    recipe = load(base={"experts": BOTH, "ensemble": ensemble | {"head_hidden_sizes": [4]}})
    start = tiny_start(recipe)
    model = start.model
    for key, value in ensemble.items():
        assert getattr(model.config, key) == value
    assert [model.task_heads("superdiagnostic")[0].layers[1].out_features, model.config.top_k] == [4, 1]
    gate = start.extractor.gate_extractor()
    assert (gate.lead_names, gate.sequence_length) == (["V1", "II"], 500)


@pytest.mark.parametrize("fields", [{}, {"ensemble": {"gate": "leads"}, "experts": {}}], ids=["experts", "ensemble"])
def test_a_trained_model_together_with_experts_or_an_ensemble_is_refused(load, fields):
    with pytest.raises(RecipeError, match=r"^model: a trained model has its experts and gates"):
        load(base={"model": "runs/trained"} | fields)
    assert load(base={"model": "runs/trained", "experts": {}}).model == "runs/trained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weights": {"form": 1.0}}, "loss_weights: 'form' is not one of superdiagnostic"),
        (
            {"loss_weights": {"superdiagnostic": 0}},
            r"loss_weights\.superdiagnostic: expected a positive number, got 0",
        ),
        ({"loss_weights": {"superdiagnostic": "big"}}, r"loss_weights\.superdiagnostic: .* got 'big'"),
        ({"feature_dtype": "float8"}, "feature_dtype: 'float8' is not one of float32, float16"),
        ({"save_experts": "values"}, r"save_experts: 'values' is not one of value, reference\. Did you mean value\?"),
    ],
)
def test_an_illegal_weight_or_choice_is_refused(load, changes, message):
    with pytest.raises(RecipeError, match=f"^{message}"):
        load(base=changes)


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
