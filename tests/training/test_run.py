"""The whole road through `train.py`: from records to a model and its report, also after kills and on two processes."""

import ast
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from huggingface_hub import ModelCard
from PIL import Image
from sklearn.metrics import roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg import ECGFeatureExtractor, EnECGFeatureExtractor, EnECGModel
from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.ptbxl.labels import TASK_LABELS, task_labels
from modeling_enecg.evaluation.calibration import calibrated_outputs
from modeling_enecg.evaluation.thresholds import LEAST_POSITIVES, f1_thresholds
from modeling_enecg.runs.processes import ProcessesError
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from tests.helpers.processes import ROOT, free_port
from tests.helpers.training import (
    ECGFOUNDER,
    STMEM,
    assert_interval,
    linked_copy,
    near,
    read_json,
    recipe_fields,
    train,
    train_and_kill,
    write_recipe,
)

# Both stages are random: dropout in the first, dropout and stochastic depth (their defaults) in the second.
STAGES = {
    "linear_probing": {"num_train_epochs": 8, "global_batch_size": 16, "dropout": 0.1},
    "post_training": {"num_train_epochs": 3, "global_batch_size": 16},
}
SUPERCLASSES = TASK_LABELS["superdiagnostic"]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory, simulated, training_cache) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    return write_recipe(
        folder / "tiny.yaml", recipe_fields(simulated, folder / "run", training_cache, stages=STAGES, num_resamples=50)
    )


@pytest.fixture(scope="module")
def finished(recipe_file) -> Path:
    """The folder of a run that nothing disturbed, not to be changed."""
    status, output = train(recipe_file)
    assert status == 0, output
    return recipe_file.with_name("run")


@pytest.fixture
def follow(tmp_path, simulated, training_cache, monkeypatch):
    """A function that runs a recipe with some fields changed in this process; it returns the run's folder."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it

    def follow(**changes) -> Path:
        fields = recipe_fields(simulated, tmp_path / "run", training_cache) | changes
        run_recipe(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))
        return Path(fields["output_dir"])

    return follow


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def labelled_records(data_dir, folds):
    """The records of some folds that have a diagnostic superclass, from the release's own table."""
    table = pd.read_csv(data_dir / "ptbxl_database.csv")
    return [row.ecg_id for row in table[table["strat_fold"].isin(folds)].itertuples() if superclasses(row.scp_codes)]


def superclasses(scp_codes):
    return task_labels(ast.literal_eval(scp_codes), "superdiagnostic")


def damage(data_dir, ecg_id):
    path = data_dir / f"records100/00000/{ecg_id:05d}_lr.dat"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:1000])


def test_metrics_have_point_and_interval_of_every_score(finished):
    metrics = read_json(finished / "metrics.json")
    assert list(metrics) == ["validation", "test"]
    for by_task in metrics.values():
        assert list(by_task) == ["superdiagnostic"]
        scores = by_task["superdiagnostic"]
        assert set(scores) == {"num_records", "resampled_by", "macro_auroc", "macro_auprc", "per_label", "undefined"}
        for metric in ("macro_auroc", "macro_auprc"):
            assert_interval(scores[metric])
            assert 0 <= scores[metric]["point"] <= 1
        assert tuple(scores["per_label"]) == SUPERCLASSES
        for label in scores["per_label"].values():
            assert set(label) == {"num_positives", "few_positives", "auroc", "auprc"}
            assert_interval(label["auroc"])


def test_metrics_recompute_from_the_predictions(finished):
    predictions, metrics = pd.read_parquet(finished / "predictions.parquet"), read_json(finished / "metrics.json")
    for split, rows in predictions.groupby("split"):
        aurocs = {
            label: roc_auc_score(rows[f"superdiagnostic.{label}.target"], rows[f"superdiagnostic.{label}.predicted"])
            for label in SUPERCLASSES
        }
        scores = metrics[split]["superdiagnostic"]
        assert scores["macro_auroc"]["point"] == pytest.approx(np.mean(list(aurocs.values())), abs=1e-12)
        assert {name: values["auroc"]["point"] for name, values in scores["per_label"].items()} == pytest.approx(
            aurocs
        )


def test_predictions_hold_every_labelled_record_once_with_its_labels(finished, simulated):
    predictions = pd.read_parquet(finished / "predictions.parquet")
    database = pd.read_csv(simulated / "ptbxl_database.csv").set_index("ecg_id")
    for split, fold in (("validation", 9), ("test", 10)):
        rows = predictions[predictions["split"] == split]
        assert sorted(rows["ecg_id"]) == labelled_records(simulated, [fold])
        assert read_json(finished / "metrics.json")[split]["superdiagnostic"]["num_records"] == len(rows)
    for row in predictions.to_dict("records"):
        record = database.loc[row["ecg_id"]]
        assert row["patient_id"] == record["patient_id"]
        labels = [label for label in SUPERCLASSES if row[f"superdiagnostic.{label}.target"] == 1]
        assert labels == superclasses(record["scp_codes"])


def test_the_model_loads_and_repeats_its_predictions_on_raw_records(finished, simulated):
    model, extractor = AutoModel.from_pretrained(finished), AutoFeatureExtractor.from_pretrained(finished)
    assert isinstance(model, EnECGModel)
    assert isinstance(extractor, ECGFeatureExtractor)
    for row in pd.read_parquet(finished / "predictions.parquet").iloc[[0, -1]].to_dict("records"):
        record = wfdb.rdrecord(str(simulated / f"records100/00000/{row['ecg_id']:05d}_lr"))
        inputs = extractor(record.p_signal.T, record.fs, record.sig_name, return_tensors="pt")
        with torch.inference_mode():
            outputs = model.probabilities(model(**inputs).logits)["superdiagnostic"][0].tolist()
        assert outputs == pytest.approx(
            [row[f"superdiagnostic.{label}.predicted"] for label in SUPERCLASSES], abs=1e-5
        )


def test_the_model_is_that_of_the_best_epoch(finished):
    history = read_json(finished / "post_training" / "history.json")
    by_epoch = {round(e["epoch"]): e["eval_macro_auroc"] for e in history["log"] if "eval_macro_auroc" in e}
    assert list(by_epoch) == [1, 2, 3]
    assert by_epoch[history["best_epoch"]] == max(by_epoch.values()) == history["best_score"]
    validation = read_json(finished / "metrics.json")["validation"]["superdiagnostic"]
    assert validation["macro_auroc"]["point"] == pytest.approx(max(by_epoch.values()), abs=1e-12)


def test_thresholds_in_the_saved_config_are_those_of_the_validation_fold(finished):
    frame = pd.read_parquet(finished / "predictions.parquet").query("split == 'validation'")
    targets, outputs = (
        frame[[f"superdiagnostic.{label}.{kind}" for label in SUPERCLASSES]].to_numpy()
        for kind in ("target", "predicted")
    )
    task = AutoModel.from_pretrained(finished).tasks["superdiagnostic"]
    assert task.calibration is not None
    wanted = f1_thresholds(targets, calibrated_outputs(task, outputs), LEAST_POSITIVES)
    assert task.thresholds == pytest.approx(wanted, abs=1e-12)
    assert set(task.thresholds) != {0.5}


def test_stochastic_depth_and_dropout_are_noted_in_the_saved_config(finished):
    config = read_json(finished / "config.json")
    assert config["experts"]["ecgfounder"]["drop_path_rate"] == 0.5
    assert config["head_dropout"] == 0.05
    assert read_json(finished / "linear_probing" / "config.json")["head_dropout"] == 0.1


def test_the_card_repeats_the_metrics(finished):
    card, metrics = ModelCard.load(finished / "README.md"), read_json(finished / "metrics.json")
    metric_types = {"roc_auc": "macro_auroc", "average_precision": "macro_auprc"}
    results = {(r.dataset_split, metric_types[r.metric_type]): r.metric_value for r in card.data.eval_results}
    points = {
        (split, metric): round(metrics[split]["superdiagnostic"][metric]["point"], 6)
        for split in metrics
        for metric in metric_types.values()
    }
    assert results == points
    for split, by_task in metrics.items():
        scores = by_task["superdiagnostic"]["macro_auroc"]
        row = [line for line in card.text.splitlines() if line.startswith(f"| {split} |") and "macro AUROC" in line]
        assert [cell.strip() for cell in row[0].split("|")[4:7]] == [f"{value:.3f}" for value in scores.values()]
    assert "simulated" in card.data.eval_results[0].dataset_name
    assert "not a medical device" in card.text


def test_the_card_shows_every_figure(finished):
    card = (finished / "README.md").read_text()
    figures = sorted((finished / "figures").iterdir())
    assert [path.name for path in figures] == ["per_label_superdiagnostic.png", "training_curves.png"]
    for path in figures:
        assert f"](figures/{path.name})" in card
        with Image.open(path) as image:
            assert min(image.size) > 100


def test_tensorboard_logs_hold_every_epoch_of_every_stage(finished):
    for stage, settings in STAGES.items():
        events = EventAccumulator(str(finished / "logs" / stage))
        events.Reload()
        for tag in ("train/loss", "eval/loss", "eval/macro_auroc"):
            assert len(events.Scalars(tag)) == settings["num_train_epochs"], (stage, tag)


def test_run_info_says_how_the_run_was_made(finished, simulated):
    info = read_json(finished / "run_info.json")
    folds = {"train": range(1, 9), "validation": [9], "test": [10]}
    assert info["dataset"]["num_records"] == {
        split: len(labelled_records(simulated, numbers)) for split, numbers in folds.items()
    }
    assert "simulated" in info["dataset"]["name"]
    assert "not a result" in info["dataset"]["note"]
    assert info["num_processes"] == 1
    assert info["versions"]["torch"] == torch.__version__
    assert not {"data_dir", "output_dir", "cache_dir"} & set(info["recipe"])
    assert {stage: info["stages"][stage]["num_epochs"] for stage in STAGES} == {
        "linear_probing": 8,
        "post_training": 3,
    }
    heads = 16 * len(SUPERCLASSES) + len(SUPERCLASSES)
    assert info["stages"]["linear_probing"]["num_trainable"] == heads
    assert info["stages"]["post_training"]["num_trainable"] == info["num_parameters"]


def test_checkpoints_are_cleared_away(finished):
    assert not list(finished.rglob("checkpoint*"))
    assert not [path for path in finished.rglob("*") if path.name.startswith(".")]


def test_a_complete_run_is_left_as_it_is(finished, recipe_file):
    before = contents(finished)
    metrics = run_recipe(load_recipe(recipe_file, ["--num_proc", "1"]))
    assert metrics == read_json(finished / "metrics.json")
    assert contents(finished) == before


@pytest.mark.parametrize("override", [("--seed", "7"), ("--stages.post_training.drop_path_rate", "0.1")])
def test_a_folder_with_a_run_of_another_recipe_is_refused(finished, recipe_file, override):
    before = contents(finished)
    with pytest.raises(RecipeError, match=override[0].strip("-").split(".")[0]):
        run_recipe(load_recipe(recipe_file, override))
    assert contents(finished) == before


def test_a_folder_with_other_files_is_refused(follow, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RecipeError, match="holds other files"):
        follow()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_killed_run_goes_on_to_the_same_result(finished, recipe_file, tmp_path):
    """Killed in the second stage, once the checkpoint of an epoch is whole; the next start takes up from there."""
    folder, epochs_done = tmp_path / "run", 3
    train_and_kill(folder, "post_training", 30, recipe_file, "--output_dir", str(folder))
    probe = folder / "linear_probing" / "model.safetensors"
    probed_at = probe.stat().st_mtime_ns

    status, output = train(recipe_file, "--output_dir", str(folder))
    assert status == 0, output
    for name in ("metrics.json", "model.safetensors", "linear_probing/model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "predictions.parquet"), pd.read_parquet(finished / "predictions.parquet")
    )
    assert probe.stat().st_mtime_ns == probed_at, "the finished stage was done again"
    epochs = [float(part.split("'")[0]) for part in output.split("'epoch': '")[1:]]
    assert epochs
    assert epochs[0] >= epochs_done, "finished epochs were done again"


def test_a_killed_run_may_be_moved(follow, tmp_path, simulated, training_cache):
    """The checkpoint of the best epoch, an early one, is found in the new place, even if no epoch is left to do."""
    stages = {"fine_tuning": {"num_train_epochs": 4, "global_batch_size": 16, "learning_rate": 0.01}}
    changes = {"stages": stages, "standardize_features": False}
    whole = follow(**changes, output_dir=str(tmp_path / "whole"))
    best = read_json(whole / "fine_tuning" / "history.json")["best_epoch"]
    assert best < 3, "choose a learning rate at which an early epoch scores best"

    folder, moved = tmp_path / "before", tmp_path / "after"
    config = write_recipe(tmp_path / "tiny.yaml", recipe_fields(simulated, folder, training_cache, **changes))
    train_and_kill(folder, "fine_tuning", 40, config)
    folder.rename(moved)

    follow(**changes, output_dir=str(moved))
    assert read_json(moved / "metrics.json") == near(read_json(whole / "metrics.json"))


def test_predictions_that_are_gone_are_made_again(finished, recipe_file, tmp_path, one_thread):
    folder = linked_copy(finished, tmp_path / "run")
    (folder / "predictions.parquet").unlink()
    run_recipe(load_recipe(recipe_file, ["--output_dir", str(folder)]))
    made, before = (pd.read_parquet(each / "predictions.parquet") for each in (folder, finished))
    pd.testing.assert_frame_equal(made, before)


def test_two_processes_under_accelerate_score_as_one(finished, recipe_file, tmp_path):
    command = (
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", free_port()),
    )
    status, output = train(
        *(recipe_file, "--output_dir", str(tmp_path / "run"), "--num_processes", "2"),
        launcher=(sys.executable, "-m", *command),
    )
    assert status == 0, output
    assert read_json(tmp_path / "run" / "run_info.json")["num_processes"] == 2
    ours, theirs = (read_json(folder / "metrics.json") for folder in (tmp_path / "run", finished))
    assert ours == near(theirs, abs=1e-6)
    frames = [pd.read_parquet(folder / "predictions.parquet") for folder in (tmp_path / "run", finished)]
    pd.testing.assert_frame_equal(*frames, rtol=0, atol=1e-5)


def test_fewer_processes_than_asked_for_are_refused(follow, tmp_path):
    with pytest.raises(ProcessesError, match="Asked for 2 processes, but running as 1"):
        follow(num_processes=2)
    assert not (tmp_path / "run").exists()


def test_a_launcher_that_starts_fewer_processes_than_asked_is_noticed(recipe_file, tmp_path):
    """`accelerate launch --cpu --num_processes 2` starts one process, without a word."""
    status, output = train(
        *(recipe_file, "--output_dir", str(tmp_path / "run")),
        launcher=(sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"),
    )
    assert status != 0
    assert "enecg train: Asked for 2 processes, but running as 1." in output
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_training_fold_is_lowered_to_it(follow):
    folder = follow(stages={"fine_tuning": {"num_train_epochs": 1}})  # of 256 records by default
    log = read_json(folder / "fine_tuning" / "history.json")["log"]
    assert max(entry["step"] for entry in log) == 1


def test_a_batch_that_accumulation_does_not_divide_is_refused(follow):
    with pytest.raises(RecipeError, match=r"stages.fine_tuning.global_batch_size: 16 records cannot be"):
        follow(stages={"fine_tuning": {"global_batch_size": 16, "gradient_accumulation_steps": 3}})


def test_a_refused_recipe_can_be_corrected_in_the_same_folder(follow):
    """Advice can be followed: nothing was computed yet that would contradict."""
    with pytest.raises(RecipeError, match="cannot be shared"):
        follow(stages={"fine_tuning": {"global_batch_size": 16, "gradient_accumulation_steps": 3}})
    folder = follow(stages={"fine_tuning": {"num_train_epochs": 1, "global_batch_size": 16}})
    assert (folder / "metrics.json").exists()


def test_a_damaged_record_ends_in_one_line_and_leaves_no_result(simulated, tmp_path):
    data_dir = linked_copy(simulated, tmp_path / "ptbxl")
    damage(data_dir, 5)
    config = write_recipe(tmp_path / "tiny.yaml", recipe_fields(data_dir, tmp_path / "run", tmp_path / "cache"))
    status, output = train(config)
    assert status == 1
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("enecg train: ")
    assert "5" in last
    assert "00005_lr.dat" in last
    left = {path.name for path in (tmp_path / "run").rglob("*")} if (tmp_path / "run").exists() else set()
    assert not left & {"metrics.json", "model.safetensors", "README.md", "predictions.parquet"}


def test_damaged_records_are_skipped_on_request(follow, simulated, tmp_path):
    data_dir = linked_copy(simulated, tmp_path / "ptbxl")
    (bad, *_), kept = labelled_records(simulated, [10]), labelled_records(simulated, [10])[1:]
    damage(data_dir, bad)
    changes = {"data_dir": str(data_dir), "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(DatasetError, match=f"{bad:05d}_lr.dat"):
        follow(**changes, output_dir=str(tmp_path / "first"))
    folder = follow(**changes, on_error="skip")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert sorted(predictions.loc[predictions["split"] == "test", "ecg_id"]) == kept


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory, simulated, training_cache) -> Path:
    """The run of two experts with different inputs and three tasks, some records of which lack one task's label."""
    folder = tmp_path_factory.mktemp("ensemble")
    experts = {"cnn": {"config": ECGFOUNDER}, "vit": {"config": STMEM | {"sequence_length": 900}}}
    fields = recipe_fields(
        simulated, folder / "run", training_cache, experts=experts, ensemble={"head_hidden_sizes": [8]}
    )
    fields |= {"tasks": ["superdiagnostic", "form", "rhythm"], "class_weights": "balanced"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", "")
        run_recipe(load_recipe(write_recipe(folder / "ensemble.yaml", fields)), "ensemble")
    return folder / "run"


def test_an_ensemble_scores_every_task_on_the_records_that_have_it(ensemble):
    predictions, metrics = pd.read_parquet(ensemble / "predictions.parquet"), read_json(ensemble / "metrics.json")
    num_records = []
    for task in ("superdiagnostic", "form", "rhythm"):
        rows = predictions[predictions["split"] == "test"]
        columns = [f"{task}.{label}" for label in TASK_LABELS[task]]
        rows = rows[rows[f"{columns[0]}.target"].notna()]
        num_records.append(len(rows))
        defined = [column for column in columns if rows[f"{column}.target"].nunique() == 2]
        aurocs = [roc_auc_score(rows[f"{column}.target"], rows[f"{column}.predicted"]) for column in defined]
        scores = metrics["test"][task]
        assert scores["num_records"] == len(rows)
        assert scores["macro_auroc"]["point"] == pytest.approx(np.mean(aurocs), abs=1e-12)
        assert len(scores["undefined"]) == len(columns) - len(defined)
    assert len(set(num_records)) > 1, "no record lacks a task's label"


def test_an_ensemble_keeps_one_extractor_an_expert_and_repeats_its_predictions(ensemble, simulated):
    model, extractor = AutoModel.from_pretrained(ensemble), AutoFeatureExtractor.from_pretrained(ensemble)
    assert isinstance(extractor, EnECGFeatureExtractor)
    row = pd.read_parquet(ensemble / "predictions.parquet").iloc[-1]
    record = wfdb.rdrecord(str(simulated / f"records100/00000/{row['ecg_id']:05d}_lr"))
    inputs = extractor(record.p_signal.T, record.fs, record.sig_name, return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    for task, probabilities in model.probabilities(output.logits).items():
        expected = [row[f"{task}.{label}.predicted"] for label in TASK_LABELS[task]]
        assert probabilities[0].tolist() == pytest.approx(expected, abs=1e-5)
        gate_weights = [row[f"{task}.{expert}.gate_weight"] for expert in ("cnn", "vit")]
        assert sum(gate_weights) == pytest.approx(1, abs=1e-5)
        assert output.gate_weights[task][0].tolist() == pytest.approx(gate_weights, abs=1e-5)


def test_an_ensembles_card_names_experts_tasks_and_gates(ensemble):
    card = (ensemble / "README.md").read_text()
    assert card.count("# ensemble") == 1
    for text in ("cnn: random weights", "vit: random weights", "superdiagnostic, form, rhythm", "gate_weights.png"):
        assert text in card
    assert (ensemble / "figures" / "gate_weights.png").exists()


def test_balanced_class_weights_are_negatives_per_positive_and_saved(ensemble, simulated):
    table = pd.read_csv(simulated / "ptbxl_database.csv")
    labels = [names for codes in table.loc[table["strat_fold"] <= 8, "scp_codes"] if (names := superclasses(codes))]
    counts = [sum(label in names for names in labels) for label in SUPERCLASSES]
    weights = read_json(ensemble / "config.json")["tasks"][0]["class_weights"]
    assert weights == pytest.approx([(len(labels) - count) / count for count in counts])


def test_a_fold_of_one_record_leaves_scores_undefined_and_files_legal(follow, sound_release, tmp_path):
    """Validation and test hold one record each, so that no label has both classes."""
    stages = {"linear_probing": {"num_train_epochs": 1, "global_batch_size": 2}}
    folder = follow(data_dir=str(sound_release), cache_dir=str(tmp_path / "cache"), stages=stages)
    scores = read_json(folder / "metrics.json")["test"]["superdiagnostic"]
    assert scores["num_records"] == 1
    assert scores["macro_auroc"]["point"] is None
    assert set(scores["undefined"]) == set(SUPERCLASSES)
    read_json(folder / "run_info.json")
    assert "undefined" in (folder / "README.md").read_text()


def test_the_smoke_recipe_learns_from_real_records(tmp_path):
    if "PTBXL_DIR" not in os.environ:
        pytest.skip("PTBXL_DIR is not set")
    status, output = train(
        *(ROOT / "configs" / "ptbxl_smoke.yaml", "--data_dir", os.environ["PTBXL_DIR"]),
        *("--output_dir", str(tmp_path / "run"), "--cache_dir", str(tmp_path / "cache"), "--num_resamples", "50"),
        *("--stages.linear_probing.num_train_epochs=3", "--stages.post_training.num_train_epochs=3"),
    )
    assert status == 0, output
    assert read_json(tmp_path / "run" / "metrics.json")["test"]["superdiagnostic"]["macro_auroc"]["point"] > 0.6
