"""What a run refuses: in one line, before anything is written, so that it can be corrected in the same folder."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from modeling_enecg.training import RecipeError
from tests.conftest import describe_record, write_record
from tests.helpers.training import BOTH, SMALL_HEADS, follow, read_json, recipe_fields, write_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

SPLIT_OF_FOLD = {9: "validation", 10: "test"} | dict.fromkeys(range(1, 9), "train")


@pytest.fixture(scope="module")
def few_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("few_cache")


@pytest.fixture
def refused(sound_release, few_cache, tmp_path):
    """A function that returns what a recipe on twelve records is refused with; it must be in one line."""

    def refused(**changes) -> str:
        fields = recipe_fields(sound_release, tmp_path / "run", few_cache) | {
            "experts": BOTH,
            "ensemble": SMALL_HEADS,
            "stages": {"lora_heads": {"num_train_epochs": 1, "global_batch_size": 2}},
        }
        with pytest.raises(RecipeError) as error:
            follow(write_recipe(tmp_path / "recipe.yaml", fields | changes))
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists(), "the recipe could not be corrected in the same folder"
        return str(error.value)

    return refused


def stage(**settings):
    return {"stages": {"lora_heads": {"num_train_epochs": 1, "global_batch_size": 2} | settings}}


@pytest.mark.parametrize(
    ("task", "split"), [("age", "train"), ("age", "validation"), ("age", "test"), ("sex", "train"), ("sex", "test")]
)
def test_a_task_without_any_label_in_a_split_is_refused_by_name(refused, release, tmp_path, task, split):
    """Other tasks have labels there, so the split is not empty."""
    with open(release / "ptbxl_database.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if SPLIT_OF_FOLD[int(row["strat_fold"])] == split:
            row[task] = ""
    with open(release / "ptbxl_database.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    error = refused(data_dir=str(release), cache_dir=str(tmp_path / "cache"), tasks=["superdiagnostic", task])
    assert task in error
    assert split in error or (split == "train" and "training fold" in error)


def test_a_task_whose_training_labels_are_all_the_same_is_refused(refused, release, tmp_path):
    table = pd.read_csv(release / "ptbxl_database.csv")
    table.loc[table["strat_fold"] <= 8, "sex"] = 1
    table.to_csv(release / "ptbxl_database.csv", index=False)
    error = refused(data_dir=str(release), cache_dir=str(tmp_path / "cache"), tasks=["superdiagnostic", "sex"])
    assert "tasks: sex: all training records with labels have the same ones" in error


def test_an_interval_that_no_record_of_a_split_has_is_refused(refused, release, tmp_path):
    """Nothing can be measured on a record with a single beat."""
    for ecg_id in range(1, 13):
        fold = describe_record(ecg_id)["strat_fold"]
        for rate, end in ((100, "lr"), (500, "hr")):
            beats = np.zeros((12, 10 * rate))
            beats[:, 5 * rate] = 1000
            if fold != 10:
                beats[:, rate // 2 :: int((0.7 + 0.02 * ecg_id) * rate)] = 1000
            write_record(release / f"records{rate}" / "00000" / f"{ecg_id:05d}_{end}", beats.astype("<i2"), rate)
    error = refused(data_dir=str(release), cache_dir=str(tmp_path / "cache"), tasks=["superdiagnostic", "rr_interval"])
    assert "rr_interval" in error
    assert "test" in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": {"cnn": BOTH["cnn"]}, "ensemble": {}} | stage(), "stages.lora_heads: .*these heads are linear"),
        (stage(final_layers="lora", use_dora=True), "stages.lora_heads: DoRA cannot rescale a layer of zeros"),
        (
            {"experts": {"cnn": BOTH["cnn"]}} | stage(lora_experts=True),
            "stages.lora_heads: .*none of cnn has attention",
        ),
        (stage(lora_rank=0), "stages.lora_heads.lora_rank: expected a number of at least 1, got 0"),
        (stage(final_layers="all"), "stages.lora_heads: final_layers must be one of whole, lora, frozen; got 'all'"),
        ({"save_experts": "reference"}, "save_experts: only experts that have a path"),
        ({"ensemble": {"gate": "encoder", "top_k": 3}}, "top_k must be from 1 to the number of experts, 2; got 3"),
    ],
    ids=["linear_heads", "dora", "attention", "rank", "final_layers", "reference", "top_k"],
)
def test_settings_that_lora_cannot_follow_are_refused(refused, changes, message):
    error = refused(**changes)
    assert re.search(message, error), error


def broken_expert(expert_paths, folder, fault):
    path = Path(shutil.copytree(expert_paths["vit"]["path"], folder / "vit"))
    if fault == "size":
        config = read_json(path / "config.json")
        (path / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    elif fault == "lacking":
        tensors = load_file(path / "model.safetensors")
        del tensors["blocks.0.attention.qkv.weight"]
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    else:
        shutil.rmtree(path)
    return path


@pytest.mark.parametrize("fault", ["size", "lacking", "absent"])
def test_an_expert_whose_checkpoint_does_not_fit_is_refused_by_name(refused, expert_paths, tmp_path, fault):
    path = broken_expert(expert_paths, tmp_path, fault)
    error = refused(experts={"cnn": BOTH["cnn"], "vit": {"path": str(path)}})
    assert error.startswith("experts")
    assert str(path) in error


def test_a_trained_models_task_with_other_outputs_is_refused(refused, trained, tmp_path):
    folder = Path(shutil.copytree(trained, tmp_path / "other"))
    config = read_json(folder / "config.json")
    config["tasks"][0]["labels"] = ["A", "B", "C", "D", "E"]
    (folder / "config.json").write_text(json.dumps(config))
    error = refused(experts={}, ensemble={}, model=str(folder))
    assert error.startswith("model: ")
    assert "'superdiagnostic' has the outputs A, B, C, D, E; the data have CD, HYP, MI, NORM, STTC" in error


@pytest.mark.parametrize("final_layers", ["lora", "frozen"])
def test_a_new_task_of_a_trained_model_needs_whole_final_layers(refused, trained, final_layers):
    """Others start at random, and are in neither the base nor the adapter."""
    changes = stage(final_layers=final_layers)
    error = refused(experts={}, ensemble={}, model=str(trained), tasks=["superdiagnostic", "sex"], **changes)
    assert "final_layers" in error
    assert "sex" in error


@pytest.mark.parametrize("fault", ["absent", "backbone", "extractor"])
def test_what_is_no_trained_model_is_refused(refused, trained, expert_paths, tmp_path, fault):
    path = {"absent": tmp_path / "nothing", "backbone": Path(expert_paths["vit"]["path"])}.get(fault)
    if path is None:
        path = Path(shutil.copytree(trained, tmp_path / "model"))
        (path / "preprocessor_config.json").write_text("{")
    error = refused(experts={}, ensemble={}, model=str(path))
    assert error.startswith("model: ")
    assert str(path) in error
