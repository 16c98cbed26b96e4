"""`enecg evaluate`: a saved model on labelled records of any dataset."""

import numpy as np
import pandas as pd
import pytest

from modeling_enecg import EnECGModel, Task
from modeling_enecg.cli import main
from tests.helpers.ecg_folder import write_folder
from tests.helpers.reports import simulated_records, train_run
from tests.helpers.training import near, read_json

pytestmark = pytest.mark.xdist_group("external_evaluation")  # its run is shared

LABELS = ["CD", "HYP", "MI", "NORM", "STTC"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    return train_run(simulated_records(folder), folder / "trained", lead_sets=["lead I"])


def evaluate(model, dataset, output, *options):
    main(["evaluate", *map(str, (model, "--dataset", dataset, "--output", output, *options))])
    return pd.read_parquet(output / "predictions.parquet")


def scores(output, task):
    (run,) = read_json(output / "report" / "report.json")["runs"].values()
    return run["tasks"][task]


def own_records(folder, **columns):
    """40 records of noise in a folder with a table: half of them for validation, half for the test."""
    rows = [
        {"file": f"ecg/{index:02d}", "patient": f"p{index}", "fold": ("validation", "test")[index % 2]}
        | {name: values[index % len(values)] for name, values in columns.items()}
        for index in range(40)
    ]
    return write_folder(folder, rows, labels=list(columns))


def test_on_the_runs_own_test_fold_its_scores_come_again(run, tmp_path):
    found = evaluate(run, run.parents[1] / "ptbxl", tmp_path / "out", "--cache_dir", run.parents[1] / "cache")
    trained = pd.read_parquet(run / "predictions.parquet")
    # The run leaves out records without any label; an evaluation does not.
    found = trained[["ecg_id", "split"]].merge(found, on=["ecg_id", "split"])
    columns = [column for column in trained if column.endswith((".target", ".predicted"))]
    pd.testing.assert_frame_equal(found[columns], trained[columns], atol=1e-4, check_dtype=False)
    own = read_json(run / "metrics.json")["test"]
    for task, metric in (("superdiagnostic", "macro_auroc"), ("sex", "macro_auroc"), ("age", "mae")):
        ours = scores(tmp_path / "out", task)["scores"]
        assert ours[metric]["point"] == near(own[task][metric]["point"], rel=1e-4)
    assert (
        scores(tmp_path / "out", "superdiagnostic")["decisions"]["per_label"]["MI"]["threshold"]
        == (read_json(run / "config.json")["tasks"][0]["thresholds"][LABELS.index("MI")])
    )


def test_labels_are_matched_by_name_and_not_by_order(run, tmp_path):
    """The dataset sorts its labels, lacks some of the model's, and has one more."""
    data_dir = own_records(
        tmp_path / "own", superdiagnostic=["STTC;CD", "zzz", "none", "CD"], sex=["female", "male", "other", ""]
    )
    found = evaluate(run, data_dir, tmp_path / "out", "--split", "test", "--split", "validation")
    assert set(found["split"]) == {"test"}
    assert read_json(tmp_path / "out/run_info.json")["dataset"]["tested"] == ["test", "validation"]
    assert len(found) == 40
    number = found["ecg_id"].str[-2:].astype(int)
    assert [column for column in found if column.startswith("superdiagnostic.") and column.endswith(".target")] == [
        f"superdiagnostic.{label}.target" for label in LABELS if label in ("CD", "STTC")
    ]
    for label, expected in {"CD": number % 4 % 3 == 0, "STTC": number % 4 == 0}.items():
        assert found[f"superdiagnostic.{label}.target"].tolist() == expected.astype(float).tolist()
    order = next(task for task in read_json(run / "config.json")["tasks"] if task["name"] == "sex")["labels"]
    expected = [
        order.index(name) if name in order else np.nan for name in np.array(["female", "male", "", ""])[number % 4]
    ]
    np.testing.assert_array_equal(found["sex.target"], expected)
    assert [task["name"] for task in read_json(tmp_path / "out/config.json")["tasks"]] == ["superdiagnostic", "sex"]


def test_a_label_that_the_dataset_lacks_is_left_out_with_its_threshold_and_named(run, tmp_path, caplog):
    data_dir = own_records(tmp_path / "own", superdiagnostic=["STTC;CD", "zzz", "none", "CD"])
    evaluate(run, data_dir, tmp_path / "out")
    (task,) = read_json(tmp_path / "out/config.json")["tasks"]
    own = read_json(run / "config.json")["tasks"][0]
    assert task["labels"] == ["CD", "STTC"]
    assert task["thresholds"] == [own["thresholds"][LABELS.index(label)] for label in ("CD", "STTC")]
    note = read_json(tmp_path / "out/run_info.json")["dataset"]["note"]
    for sentence in (
        "Not evaluated, as own has no such columns: age, sex.",
        "superdiagnostic: not known of the records, and left out: HYP, MI, NORM.",
        "superdiagnostic: labels that the model does not know: zzz.",
    ):
        assert sentence in note
        assert sentence in caplog.text
    assert set(scores(tmp_path / "out", "superdiagnostic")["decisions"]["per_label"]) <= {"CD", "STTC"}


def test_what_a_run_measured_and_the_rate_that_it_read_travel_with_its_tasks(run):
    metrics, lead_sets = read_json(run / "metrics.json")["test"], read_json(run / "lead_sets.json")
    for task in EnECGModel.from_pretrained(run).tasks.values():
        assert task.trained_sampling_rate == 100
        assert task.measured.keys() == {"12 leads", "lead I"}
        metric = "mae" if task.is_regression else "macro_auroc"
        assert task.measured["12 leads"][metric] == metrics[task.name][metric]["point"]
        assert task.measured["lead I"][metric] == lead_sets["lead I"][task.name][metric]["point"]


def test_without_validation_records_nothing_is_calibrated_and_thresholds_are_the_models(run, tmp_path):
    data_dir = own_records(tmp_path / "own", superdiagnostic=["CD;HYP", "MI;NORM", "none"])
    evaluate(run, data_dir, tmp_path / "out", "--split", "test", "--split", "validation")
    found = scores(tmp_path / "out", "superdiagnostic")
    own = next(task for task in read_json(run / "config.json")["tasks"] if task["name"] == "superdiagnostic")
    assert found["conformal"] is None
    assert found["calibration"]["is_own"]
    assert found["calibration"]["method"] == own["calibration"]["method"]
    for label, row in found["decisions"]["per_label"].items():
        assert row["threshold"] == own["thresholds"][LABELS.index(label)]
    text = (tmp_path / "out/report/report.md").read_text()
    assert "There are no validation records here: thresholds" in text
    assert "Thresholds are the model's own, as there are no validation records to choose others by." in text
    assert "the model's own, which its training chose on its validation records" in text
    for claim in ("validation fold", "test fold", "of other folds", "fitted on validation records"):
        assert claim not in text


def test_evaluations_compare_like_runs(run, tmp_path, capsys):
    other = tmp_path / "other"
    model = EnECGModel.from_pretrained(run)
    for parameter in model.parameters():
        parameter.data *= 0.9
    model.save_pretrained(other)
    (other / "preprocessor_config.json").write_bytes((run / "preprocessor_config.json").read_bytes())
    data_dir = own_records(tmp_path / "own", superdiagnostic=["CD;HYP", "MI;NORM", "none"])
    for name, folder in (("a", run), ("b", other)):
        evaluate(folder, data_dir, tmp_path / name)
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--num_resamples", "20"])
    assert "| superdiagnostic | macro AUROC |" in capsys.readouterr().out


def with_age_of(run, folder, outputs):
    """The run's model, whose task age has these outputs."""
    model = EnECGModel.from_pretrained(run)
    model.remove_task("age")
    model.add_task(Task("age", "regression", outputs), like="sex")
    model.save_pretrained(folder)
    return folder


def test_a_regression_whose_one_output_has_a_name_is_evaluated(run, tmp_path):
    model = with_age_of(run, tmp_path / "model", ["years"])
    found = evaluate(model, own_records(tmp_path / "data", age=[40.5, 61.0]), tmp_path / "out")
    assert set(found["age.years.target"]) == {40.5, 61.0}
    assert scores(tmp_path / "out", "age")["scores"]["mae"]["point"] > 0


def test_a_regression_of_several_outputs_is_refused(fail, run, tmp_path):
    model = with_age_of(run, tmp_path / "model", ["years", "months"])
    data = own_records(tmp_path / "data", age=[40.5, 61.0])
    line = fail("evaluate", model, "--dataset", data, "--output", tmp_path / "out")
    assert "'age' has the outputs years, months; a column holds one" in line


def test_a_mistake_is_refused_in_one_line(fail, run, tmp_path):
    none = own_records(tmp_path / "none", weather=["wet", "dry"])
    assert "has none of the model's tasks" in fail("evaluate", run, "--dataset", none, "--output", tmp_path / "a")
    words = own_records(tmp_path / "words", age=["old", "young"])
    line = fail("evaluate", run, "--dataset", words, "--output", tmp_path / "b")
    assert "column 'age' is a single label classification; the model's task of that name is a regression" in line
    others = own_records(tmp_path / "others", sex=["f", "m"])
    line = fail("evaluate", run, "--dataset", others, "--output", tmp_path / "c")
    assert "has the labels f, m; the model knows" in line
    line = fail("evaluate", run, "--dataset", none, "--output", run)
    assert "holds other files" in line
    good = own_records(tmp_path / "good", sex=["female", "male"])
    assert "has no split train" in fail(
        "evaluate", run, "--dataset", good, "--output", tmp_path / "d", "--split", "train"
    )
