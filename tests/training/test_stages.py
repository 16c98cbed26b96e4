"""What a run makes of its stages: the best one is kept, and nothing diverges, stops or changes in silence."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from modeling_enecg.heads import statistics_of
from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from modeling_enecg.training.training import best_stage
from tests.helpers.ecg_folder import noise, write_folder, write_record
from tests.helpers.processes import ROOT
from tests.helpers.training import read_json, recipe_fields, write_recipe

PROBE = {"num_train_epochs": 2, "global_batch_size": 16}
GOOD = {"num_train_epochs": 6, "global_batch_size": 16, "learning_rate": 1e-2}
RUINOUS = {"num_train_epochs": 2, "global_batch_size": 16, "learning_rate": 0.5, "lr_scheduler_type": "constant"}
RUINOUS["lr_scheduler_kwargs"] = {}


@pytest.fixture
def follow(tmp_path, simulated, training_cache, monkeypatch):
    """A function that runs a recipe with some fields changed in this process; it returns the run."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it

    def follow(name="run", **changes) -> Run:
        fields = recipe_fields(simulated, tmp_path / name, training_cache) | changes
        run_recipe(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))
        return Run(tmp_path / name)

    return follow


@pytest.fixture
def silent_folder(tmp_path):
    """30 records of one's own; nobody in validation and test has the finding."""
    rows = []
    for index in range(30):
        fold = index % 10 + 1
        label = "AFIB" if index % 3 == 0 and fold < 9 else "none"
        rows.append({"file": f"ecg/{index:02d}", "patient": f"p{index}", "fold": fold, "diagnosis": label})
    folder = write_folder(tmp_path / "own", rows, labels={"diagnosis": "multi_label"})
    for index, row in enumerate(rows):
        write_record(folder / row["file"], noise(seed=index, num_samples=1000))
    return folder


def test_a_stage_that_ends_worse_than_the_one_before_it_is_not_the_result(follow):
    run = follow(stages={"fine_tuning": GOOD, "post_training": RUINOUS})
    stages = run.info.stages
    assert stages["post_training"].best_score < stages["fine_tuning"].best_score
    assert run.info.kept_stage == "fine_tuning"
    kept, good, ruined = (
        load_file(folder / "model.safetensors")
        for folder in (run.folder, run.stage("fine_tuning"), run.stage("post_training"))
    )
    assert all((kept[name] == good[name]).all() for name in good)
    assert any((kept[name] != ruined[name]).any() for name in ruined)
    assert run.config["experts"]["ecgfounder"]["drop_path_rate"] == 0
    score = run.metrics["validation"]["superdiagnostic"]["macro_auroc"]["point"]
    assert score == pytest.approx(stages["fine_tuning"].best_score, abs=1e-9)
    assert "The model is that of fine tuning, the best stage on validation" in run.card.read_text()


def test_of_equally_good_stages_the_first_is_the_best_and_losses_decide_without_scores():
    def history(score, loss):
        return {"best_score": score, "best_loss": loss}

    assert best_stage({"a": history(0.7, 1.0), "b": history(0.7, 0.5)}) == "a"
    assert best_stage({"a": history(0.7, 1.0), "b": history(0.8, 2.0)}) == "b"
    assert best_stage({"a": history(None, 1.0), "b": history(None, 0.5)}) == "b"


def test_a_validation_fold_without_positives_is_decided_by_its_loss_and_says_so(follow, silent_folder, tmp_path):
    stages = {"fine_tuning": {"num_train_epochs": 4, "global_batch_size": 8, "early_stopping_patience": 4}}
    run = follow(data_dir=str(silent_folder), cache_dir=str(tmp_path / "cache"), tasks=["diagnosis"], stages=stages)
    history, stage = run.history("fine_tuning"), run.info.stages["fine_tuning"]
    losses = {round(each["epoch"]): each["eval_loss"] for each in history["log"] if "eval_loss" in each}
    assert (stage.chosen_by, stage.best_score) == ("loss", None)
    assert losses[stage.best_epoch] == min(losses.values()) == stage.best_loss
    card = run.card.read_text()
    assert "The best epoch of fine tuning is that of the lowest validation loss." in card
    assert "Validation (3 records) is too small to choose anything by for diagnosis" in card


def test_a_training_that_diverges_is_named_with_stage_epoch_and_what_to_try(follow):
    stages = {"fine_tuning": RUINOUS | {"learning_rate": 1e30, "max_grad_norm": 0}}
    expected = (
        r"^stages.fine_tuning: the training diverged in epoch 1: the .* not finite. Lower learning_rate \(1e\+30\)"
    )
    with pytest.raises(RecipeError, match=expected):
        follow(stages=stages)


def test_settings_of_the_report_may_change_without_training_again(follow):
    first = follow(stages={"linear_probing": PROBE}, num_resamples=5)
    weights = (first.folder / "model.safetensors").read_bytes()
    trained_at = (first.stage("linear_probing") / "history.json").stat().st_mtime_ns
    again = follow(stages={"linear_probing": PROBE}, num_resamples=50, confidence=0.5, lead_sets=["lead I"])
    assert (again.folder / "model.safetensors").read_bytes() == weights
    assert (first.stage("linear_probing") / "history.json").stat().st_mtime_ns == trained_at
    assert (again.info.num_resamples, again.info.confidence) == (50, 0.5)
    assert list(read_json(again.folder / "lead_sets.json")) == ["lead I"]
    wide, narrow = (run.metrics["test"]["superdiagnostic"]["macro_auroc"] for run in (first, again))
    assert wide["point"] == narrow["point"]


def test_a_report_that_was_killed_is_made_again(follow, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    stages = {"linear_probing": PROBE}
    follow(stages=stages, num_resamples=5, lead_sets=["lead I"])
    with monkeypatch.context() as patch:
        patch.setattr("modeling_enecg.training.run.write_report", killed)
        with pytest.raises(KeyboardInterrupt):
            follow(stages=stages, num_resamples=50)
    again = follow(stages=stages, num_resamples=50)
    assert again.info.num_resamples == 50
    assert again.lead_sets == {}


def test_a_later_stage_may_have_another_precision_and_the_card_says_so(follow):
    tuning = {"num_train_epochs": 1, "global_batch_size": 16, "bf16": True}
    run = follow(stages={"linear_probing": PROBE, "fine_tuning": tuning})
    assert {name: stage.precision for name, stage in run.info.stages.items()} == {
        "linear_probing": "fp32",
        "fine_tuning": "bf16",
    }
    assert "Forward passes of fine tuning ran under bf16 autocast." in run.card.read_text()


def test_precision_of_the_launcher_is_that_of_the_recipe_and_stands_in_its_description(follow, monkeypatch):
    tuning = {"num_train_epochs": 1, "global_batch_size": 16}
    asked = follow("asked", stages={"fine_tuning": tuning | {"bf16": True}})
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # what `accelerate launch --mixed_precision bf16` sets
    launched = follow("launched", stages={"fine_tuning": tuning})
    assert launched.info.stages["fine_tuning"].precision == "bf16"
    assert launched.metrics == asked.metrics
    said = [
        run.card.read_text().count("autocast, by `accelerate launch --mixed_precision bf16`.")
        for run in (launched, asked)
    ]
    assert said == [1, 0]


def test_adapting_a_trained_model_says_what_it_brought(follow):
    stages = {"linear_probing": PROBE}
    base = follow("base", stages=stages, ensemble={"head_hidden_sizes": [8]})
    adapting = {"num_train_epochs": 2, "global_batch_size": 16, "metric_for_best_model": "loss"}
    changes = {"experts": {}, "model": str(base.folder), "stages": {"lora_heads": adapting}}
    run = follow("adapted", **changes)
    before, stage = base.info.stages["linear_probing"], run.info.stages["lora_heads"]
    assert stage.start_score == pytest.approx(before.best_score, abs=1e-6)
    assert stage.start_loss == pytest.approx(before.best_loss, abs=1e-6)
    assert stage.chosen_by == "loss"
    assert "On validation, before lora heads: score" in run.card.read_text()


def test_a_feature_that_hardly_varies_is_not_blown_up():
    mean, variance = np.array([1.0, 0.0, 0.5]), np.array([0.09, 1e-8, 0.0])
    few, many = (statistics_of(mean, variance, number)[1] for number in (10, 100_000))
    scale = np.sqrt((mean**2 + variance).mean())
    assert min(few) >= np.sqrt(0.5 * variance.mean())
    assert min(many) == pytest.approx(0.1 * scale)
    assert many[0] == pytest.approx(0.3, rel=1e-3)
    assert statistics_of(np.zeros(2), np.zeros(2), 5)[1].tolist() == [1, 1]


def test_few_records_of_several_hospitals_train_without_diverging(tmp_path, monkeypatch):
    """The recipe for one's own data as it is shipped, on 66 records of several devices and lengths."""
    if "ENECG_CASES_DIR" not in os.environ:
        pytest.skip("ENECG_CASES_DIR is not set")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    settings = {
        "data_dir": Path(os.environ["ENECG_CASES_DIR"]).parent / "challenge-66",
        "output_dir": tmp_path / "run",
    }
    settings |= {"cache_dir": tmp_path / "cache", "num_resamples": 5, "tasks": "[superdiagnostic,sex,age]"}
    settings["stages.post_training.num_train_epochs"] = 4
    overrides = [f"--{key}={value}" for key, value in settings.items()]
    run_recipe(load_recipe(ROOT / "configs" / "own_data.yaml", overrides))
    run = Run(tmp_path / "run")
    for stage in run.info.stages:
        losses = [each[key] for each in run.history(stage)["log"] for key in ("loss", "eval_loss") if key in each]
        assert max(losses) < 10, "about 3 before any step"
    assert run.info.stages[str(run.info.kept_stage)].best_score > 0.33
