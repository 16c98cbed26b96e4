"""What a run predicted, read back; and what becomes of files that are missing, damaged or do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.cli import main
from modeling_enecg.runs.run import read_run
from tests.helpers.reports import TASKS, change_json, changed_copy, predictions, train_run
from tests.helpers.training import read_json

pytestmark = pytest.mark.xdist_group("run_predictions")  # its runs are shared


@pytest.fixture(scope="module")
def trained(tmp_path_factory, simulated, training_cache) -> Path:
    """The folder of a run with a lead set, not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "own"
    return train_run(simulated, folder, cache_dir=str(training_cache), lead_sets=["lead I"])


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy to change at will."""
    return changed_copy(trained, tmp_path / "run", lambda frame: frame)


@pytest.fixture
def refused(capsys):
    """A function that checks that a report on a folder fails in one line, and returns the line."""

    def refused(folder: Path) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["report", str(folder), "--num_resamples", "5"])
        message = str(caught.value.code)
        assert message.startswith("enecg report: ")
        assert len(message.splitlines()) == 1
        assert str(folder) in message
        assert capsys.readouterr().out == ""
        assert not (folder / "report").exists()
        return message

    return refused


def test_a_run_is_read_as_it_predicted(trained):
    run = read_run(trained)
    assert (run.name, [task.name for task in run.tasks]) == ("own", TASKS)
    for split, predicted in run.splits.items():
        frame = predictions(trained, split)
        assert len(predicted) == len(frame) > 0
        assert list(predicted.records) == ["ecg_id", "patient_id", "sex", "age", "device", "site"]
        assert set(predicted.records["sex"]) == {"female", "male"}
        assert predicted.targets["sex"].tolist() == frame["sex.target"].tolist()
        assert predicted.outputs["age"][:, 0].tolist() == frame["age.age.predicted"].tolist()
        assert predicted.targets["superdiagnostic"].shape == (len(frame), 5)
    assert list(run.lead_sets) == ["12 leads", "lead I"]
    assert run.experts == {}
    assert run.task("age").unit == "years"
    with pytest.raises(ValueError, match="has no task 'form'; it has superdiagnostic, sex, age"):
        run.task("form")


def test_a_run_without_lead_sets_needs_no_metrics(run):
    (run / "lead_sets.json").unlink()
    (run / "metrics.json").unlink()
    assert read_run(run).lead_sets == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "is not the folder of a run that ended: it has no config.json"),
        ("run_info.json", "is not the folder of a run that ended: it has no run_info.json"),
        ("predictions.parquet", "has no predictions.parquet; it stays where a run was made"),
        ("metrics.json", "is not the folder of a run that ended: it has no metrics.json"),
    ],
)
def test_a_missing_file_is_named(refused, run, name, message):
    (run / name).unlink()
    assert message in refused(run)


def test_a_missing_folder_is_named(refused, tmp_path):
    assert "There is no folder" in refused(tmp_path / "absent")


@pytest.mark.parametrize("name", ["config.json", "run_info.json", "lead_sets.json", "metrics.json", "experts.json"])
@pytest.mark.parametrize(("content", "message"), [('{"tasks": [', "is not JSON"), ("[]", "must hold a mapping")])
def test_a_damaged_description_is_named(refused, run, name, content, message):
    (run / name).write_text(content)
    line = refused(run)
    assert f"{run / name} {message}" in line


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_damaged_predictions_are_named(refused, run, cut):
    path = run / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    assert f"{path} cannot be read as Parquet" in refused(run)


def test_a_description_without_a_field_is_named(refused, run):
    info = read_json(run / "run_info.json")
    del info["stages"]
    (run / "run_info.json").write_text(json.dumps(info))
    assert "'stages'" in refused(run)


@pytest.mark.parametrize("name", ["lead_sets.json", "experts.json"])
def test_scores_of_other_tasks_are_named(refused, run, name):
    (run / name).write_text(json.dumps({"lead I": {"sex": {}}} if name == "lead_sets.json" else {"sex": {}}))
    assert f"{run / name} lacks the task 'superdiagnostic'" in refused(run)


def test_predictions_of_other_tasks_are_named(refused, run):
    tasks = read_json(run / "config.json")["tasks"]
    change_json(run / "config.json", tasks=[tasks[2] | {"name": "rr_interval"}])
    (run / "lead_sets.json").unlink()
    line = refused(run)
    assert "predictions.parquet has no column 'rr_interval.rr_interval.target'" in line
    assert "does not fit the tasks in config.json" in line


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("split", "train", "column 'split' has no 'test'; a report needs test records"),
        ("ecg_id", 7, "column 'ecg_id' holds 7 more than once among the validation records"),
        (
            "superdiagnostic.MI.target",
            0.5,
            "column 'superdiagnostic.MI.target' holds 0.5; expected whole numbers from 0 to 1",
        ),
        ("sex.target", 2, "column 'sex.target' holds 2; expected whole numbers from 0 to 1"),
        ("age.age.target", np.inf, "column 'age.age.target' holds inf; expected finite numbers"),
        ("sex.male.predicted", 1.5, "column 'sex.male.predicted': probabilities must lie in [0, 1]"),
        ("sex.male.predicted", "high", "column 'sex.male.predicted' is of type"),
        ("age.age.predicted", np.nan, "column 'age.age.predicted': predictions must be finite"),
        ("age", -1.0, "column 'age': ages must not be negative"),
        ("age", "old", "column 'age'"),
        ("age", np.inf, "column 'age'"),
        ("patient_id", None, None),
    ],
)
def test_values_that_cannot_be_are_named_with_their_column(refused, trained, tmp_path, column, values, message):
    if values is None:
        run = changed_copy(trained, tmp_path / "run", lambda frame: frame.drop(columns=column))
        message = f"has no column {column!r}"
    else:
        run = changed_copy(trained, tmp_path / "run", lambda frame: frame.assign(**{column: values}))
    line = refused(run)
    assert "predictions.parquet" in line
    assert message in line


def test_a_missing_target_is_left_out(trained, tmp_path):
    def forget(frame):
        frame.loc[frame.index[::2], "age.age.target"] = np.nan
        return frame

    run = read_run(changed_copy(trained, tmp_path / "run", forget))
    targets = np.concatenate([run.splits[split].targets["age"] for split in ("validation", "test")])
    assert np.isnan(targets).sum() == -(-len(targets) // 2)
