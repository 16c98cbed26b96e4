"""Cross-validation: who predicts whom, what the final model takes from it, and a whole run."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModel

from modeling_enecg import Task
from modeling_enecg.evaluation.task_fields import fitted_fields
from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from modeling_enecg.training.cross_validation import Folds, final_schedule, parts
from tests.helpers.training import read_json, recipe_fields, write_recipe

pytestmark = pytest.mark.xdist_group("cross_validation")  # its runs are shared

TASKS = [Task("finding", "multi_label_classification", ["rare", "common"]), Task("age", "regression")]
STAGES = {
    "linear_probing": {"num_train_epochs": 2, "global_batch_size": 16},
    "fine_tuning": {"num_train_epochs": 2, "global_batch_size": 16},
}


@pytest.fixture(scope="module")
def divided():
    """60 records of 45 patients in 5 folds, twice."""
    rng = np.random.default_rng(0)
    labels = {"finding": (rng.random((60, 2)) < [0.2, 0.6]).astype(np.float32), "age": rng.normal(60, 15, 60)}
    patients = [f"p{index % 45}" for index in range(60)]
    return labels, np.array(patients), list(parts(Folds(folds=5, repeats=2), TASKS, labels, patients))


def test_every_record_is_predicted_once_per_repeat_by_none_that_saw_it(divided):
    _, patients, rounds = divided
    assert [(each.repeat, each.fold) for each in rounds] == [(r, f) for r in (1, 2) for f in (1, 2, 3, 4, 5)]
    for repeat in (1, 2):
        tested = np.concatenate([each.rows["test"] for each in rounds if each.repeat == repeat])
        assert sorted(tested) == list(range(60))
    for each in rounds:
        assert sorted(np.concatenate(list(each.rows.values()))) == list(range(60))
        of_roles = [set(patients[rows]) for rows in each.rows.values()]
        assert not of_roles[0] & of_roles[1]
        assert not of_roles[0] & of_roles[2]
        assert not of_roles[1] & of_roles[2]
    assert not np.array_equal(rounds[0].rows["test"], rounds[5].rows["test"]), "a repeat divides anew"


def test_every_label_is_spread_over_the_folds(divided):
    labels, _, rounds = divided
    for index in (0, 1):
        counts = [labels["finding"][each.rows["test"], index].sum() for each in rounds[:5]]
        assert max(counts) - min(counts) <= 3
        assert min(counts) > 0


def test_the_final_model_trains_the_median_of_epochs_up_to_the_stage_that_is_best_on_average():
    def outcome(probe, epochs, tuned, more):
        return {
            "linear_probing": {"best_score": probe, "best_loss": 1.0, "best_epoch": epochs},
            "fine_tuning": {"best_score": tuned, "best_loss": 1.0, "best_epoch": more},
        }

    rounds = [outcome(0.7, 3, 0.8, 2), outcome(0.7, 9, 0.9, 4), outcome(0.7, 5, 0.6, 11)]
    assert final_schedule(rounds) == {"linear_probing": 5, "fine_tuning": 4}
    assert final_schedule([outcome(0.9, 3, 0.8, 2), outcome(0.7, 5, 0.7, 2)]) == {"linear_probing": 4}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory, simulated, training_cache) -> Path:
    folder = tmp_path_factory.mktemp("cross_validation")
    changes = {"stages": STAGES, "folds": 3, "repeats": 2, "num_resamples": 5}
    return write_recipe(folder / "recipe.yaml", recipe_fields(simulated, folder / "run", training_cache) | changes)


@pytest.fixture(scope="module")
def finished(recipe_file) -> Run:
    """A cross-validated run, not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
        run_recipe(load_recipe(recipe_file))
    return Run(recipe_file.with_name("run"))


def test_validation_is_out_of_fold_and_the_test_records_stay_apart(finished, simulated):
    predictions = pd.read_parquet(finished.folder / "predictions.parquet")
    table = pd.read_csv(simulated / "ptbxl_database.csv").set_index("ecg_id")
    folds = {split: set(table.loc[rows["ecg_id"], "strat_fold"]) for split, rows in predictions.groupby("split")}
    assert folds == {"validation": set(range(1, 10)), "test": {10}}
    assert predictions["ecg_id"].is_unique
    counts = finished.info.dataset.num_records
    assert counts == {
        split: int((predictions["split"] == old).sum()) for split, old in (("train", "validation"), ("test", "test"))
    }


def test_the_card_says_how_the_model_and_its_scores_were_made(finished):
    info, card = finished.info.cross_validation, finished.card.read_text()
    scores = info.scores["superdiagnostic"]
    assert (info.folds, info.repeats) == (scores["num_folds"], scores["num_repeats"]) == (3, 2)
    shown, auroc = finished.metrics["validation"]["superdiagnostic"], scores["macro_auroc"]
    assert scores["num_records"] == shown["num_records"]
    other = 2 * auroc["point"] - shown["macro_auroc"]["point"]  # the mean is over two repeats
    assert np.std([other, shown["macro_auroc"]["point"]], ddof=1) == pytest.approx(auroc["repeat_sd"])
    assert "What is called validation is out of fold: in each of 3 folds" in card
    assert "The table shows the first of 2 divisions; their mean: macro_auroc of superdiagnostic" in card
    for stage, epochs in info.epochs.items():
        assert finished.info.stages[stage].num_epochs == epochs


def test_a_record_decides_once_however_often_it_was_predicted(finished):
    predicted, task = finished.splits["validation"], finished.task("superdiagnostic")
    patients = predicted.records["patient_id"]
    fitted = fitted_fields(task, predicted.targets[task.name], predicted.outputs[task.name], patients)
    assert fitted["thresholds"] == pytest.approx(task.thresholds, rel=1e-6)
    assert {name: pytest.approx(value, rel=1e-6) for name, value in fitted["calibration"].items()} == task.calibration


def test_the_model_has_thresholds_and_the_rounds_leave_no_models(finished):
    assert AutoModel.from_pretrained(finished.folder).tasks["superdiagnostic"].thresholds is not None
    rounds = sorted((finished.folder / "cross_validation").iterdir())
    assert [each.name for each in rounds] == [f"repeat_{r}_fold_{f}" for r in (1, 2) for f in (1, 2, 3)]
    left = {path.name for each in rounds for path in each.rglob("*") if path.is_file()}
    assert left == {"history.json", "predictions.parquet"}


def test_a_cross_validated_run_that_was_killed_goes_on_to_the_same_result(
    finished, recipe_file, tmp_path, monkeypatch
):
    """Killed in the third round, with two done."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    for path in folder.iterdir():
        if path.name in (*STAGES, "logs", "figures"):
            shutil.rmtree(path)
        elif path.is_file() and path.name != "recipe.yaml":
            path.unlink()
    _, killed_after_its_end, *others = sorted((folder / "cross_validation").iterdir())
    (killed_after_its_end / "model.safetensors").touch()
    for each in others:
        shutil.rmtree(each)
    run_recipe(load_recipe(recipe_file, ["--output_dir", str(folder)]))
    assert read_json(folder / "metrics.json") == read_json(finished.folder / "metrics.json")
    assert not list((folder / "cross_validation").rglob("model.safetensors"))


def test_more_folds_than_patients_are_refused(tmp_path, sound_release, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    fields = recipe_fields(sound_release, tmp_path / "run", tmp_path / "cache") | {"stages": STAGES, "folds": 12}
    fields["stages"] = {"linear_probing": {"num_train_epochs": 1, "global_batch_size": 2}}
    with pytest.raises(RecipeError, match=r"^folds: 12 folds need as many patients; there are 11"):
        run_recipe(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))
