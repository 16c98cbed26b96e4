"""`enecg report` on two trained runs: an ensemble with lead sets, and a single expert."""

import base64
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, f1_score

from modeling_enecg import Task
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.evaluation.calibration import calibrated_outputs
from modeling_enecg.evaluation.thresholds import f1_thresholds
from modeling_enecg.figures.probabilities import NUM_CURVES, most_frequent
from modeling_enecg.reports.evaluate import ReportOptions, evaluate_run
from modeling_enecg.runs.run import read_run
from tests.helpers.reports import (
    NUM_RESAMPLES,
    TASKS,
    Page,
    change_json,
    changed_copy,
    only_task,
    predictions,
    shown,
    write_report,
)
from tests.helpers.scores import evaluate
from tests.helpers.training import read_json

SUPERCLASSES = list(TASK_LABELS["superdiagnostic"])
TARGETS = [f"superdiagnostic.{label}.target" for label in SUPERCLASSES]
PREDICTED = [f"superdiagnostic.{label}.predicted" for label in SUPERCLASSES]
QUICK = ReportOptions(num_resamples=5)

pytestmark = pytest.mark.xdist_group("full_report")  # its runs are shared


def calibrated(run: Path, outputs: pd.DataFrame) -> np.ndarray:
    """The findings' probabilities after the model's own calibration."""
    return calibrated_outputs(Task.from_dict(read_json(run / "config.json")["tasks"][0]), outputs.to_numpy(float))


def test_the_page_loads_nothing_and_runs_nothing(page, report):
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "svg"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "style", "background")]
        assert "src" not in attributes or (tag == "img" and attributes["src"].startswith("data:image/png;base64,"))
        assert "href" not in attributes or (tag == "a" and attributes["href"].startswith("#"))
        assert attributes.get("http-equiv") is None
    style = re.search("<style>(.*?)</style>", (report / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_pages_pictures_are_those_beside_the_markdown(page, report):
    embedded = {base64.b64decode(attributes["src"].split(",")[1]) for tag, attributes in page.elements if tag == "img"}
    named = re.findall(r"^!\[.*\]\((.*)\)$", (report / "report.md").read_text(), re.MULTILINE)
    files = sorted(report.glob("figures/*"))
    assert {report / name for name in named} == set(files)
    assert len(named) == len(files) == 2 * 12  # two classifications of five figures, a regression of two
    assert embedded == {file.read_bytes() for file in files}
    assert all(content.startswith(b"\x89PNG") for content in embedded)


def test_every_entry_of_the_contents_leads_to_its_section(page):
    targets = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert set(targets) <= set(sections)
    assert len(targets) == 2 + 2 * (1 + len(TASKS))
    assert len(sections) == len(set(sections))


def test_scores_are_those_of_the_predictions(runs, numbers, page):
    for name, run in runs.items():
        frame = predictions(run, "test")
        for fields in read_json(run / "config.json")["tasks"]:
            task = Task.from_dict(fields)
            single = task.problem_type == "single_label_classification"
            columns = [f"{task.name}.{output}.target" for output in task.output_names]
            targets = frame[f"{task.name}.target"] if single else frame[columns]
            outputs = frame[[f"{task.name}.{output}.predicted" for output in task.output_names]].to_numpy()
            expected = evaluate(task, targets.to_numpy(), outputs, frame["patient_id"], num_resamples=NUM_RESAMPLES)
            scores = numbers[name]["tasks"][task.name]["scores"]
            assert scores == expected
            if task.is_regression:
                row = page.table(name, task.name, "Errors and agreement", "By output")[task.name]
                assert row.cells[4:] == [shown(expected[metric]) for metric in ("mae", "rmse", "r2")]
            else:
                overall = page.table(name, task.name, "Ranking", "Overall")
                assert overall["macro AUROC"].cells[1] == shown(expected["macro_auroc"])
                rows = page.table(name, task.name, "Ranking", "By label")
                for label, values in expected["per_label"].items():
                    assert rows[label].cells[3:] == [shown(values[metric]) for metric in ("auroc", "auprc")]


def test_every_number_of_the_page_is_among_the_numbers(report, page):
    """Counts and scores; percentages, which follow from counts, are left out."""
    known = set()

    def collect(value):
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner)
        elif isinstance(value, int | float):
            known.update(f"{value:{form}}" for form in (".3f", "+.3f", ".4f", ".3g", ",", "g"))
            known.add(f"{abs(value):.3g}")

    collect(read_json(report / "report.json"))
    tables = {place: rows for place, rows in page.tables.items() if len(place) == 4}
    cells = [cell for rows in tables.values() for row in rows[1:] for cell in row.cells[1:]]
    words = [word for cell in cells for text in cell if "%" not in text for word in text.split()]
    values = [word for word in words if re.fullmatch(r"[+-]?[\d.,]+", word)]
    assert len(values) > 1000
    assert not set(values) - known


def test_the_summary_shows_both_runs_side_by_side(page, numbers):
    rows = page.tables["Summary", "Test records, each score with its interval"]
    assert [text for text, _ in rows[0].cells] == ["task", "score", "ensemble", "single"]
    by_score, task = {}, ""
    for row in rows[1:]:
        task = row.cells[0][0] or task
        by_score[task, row.cells[1][0]] = row.cells[2:]
    tasks = [numbers[name]["tasks"] for name in ("ensemble", "single")]
    assert by_score["superdiagnostic", "macro AUROC"] == [
        shown(each["superdiagnostic"]["scores"]["macro_auroc"]) for each in tasks
    ]
    assert by_score["superdiagnostic", "macro F1"] == [
        shown(each["superdiagnostic"]["decisions"]["macro_f1"]) for each in tasks
    ]
    assert by_score["sex", "macro Brier score, calibrated"] == [
        shown(each["sex"]["calibrated"]["macro_brier"], ".4f") for each in tasks
    ]
    assert by_score["age", "MAE"] == [shown(each["age"]["scores"]["mae"]) for each in tasks]
    assert next(row.cells[0] for row in rows if row.cells[0][0] == "age") == ("age", "in years")
    assert "enecg compare tests their differences" in page.text
    assert "different records" not in page.text


def test_runs_on_different_records_are_not_to_be_compared(runs, tmp_path):
    whole = only_task(changed_copy(runs["single"], tmp_path / "whole", lambda frame: frame), "age")
    part = only_task(changed_copy(runs["single"], tmp_path / "part", lambda frame: frame.iloc[:-1]), "age")
    output = write_report(whole, part, output=tmp_path / "report")
    text = (output / "report.md").read_text()
    assert "The runs were tested on different records: their scores cannot be compared." in text
    assert "enecg compare tests" not in text
    assert "# ECG report: whole, part" in text  # of the same name: so by their folders


def test_labels_with_few_positives_are_marked_not_hidden(runs, page):
    counts = predictions(runs["single"], "test")[TARGETS].sum().astype(int).tolist()
    is_few = [count < 10 for count in counts]
    assert any(is_few)
    assert not all(is_few)
    for place in (("Ranking", "By label"), ("Decisions", "By label"), ("Calibration", "By label")):
        rows = page.table("single", "superdiagnostic", *place)
        for label, few in zip(SUPERCLASSES, is_few, strict=True):
            assert rows[label].is_faint == few
            assert rows[label].cells[0][0].endswith("†") == few
    ranked = page.table("single", "superdiagnostic", "Ranking", "By label")
    assert [ranked[label].cells[1][0] for label in SUPERCLASSES] == [str(count) for count in counts]
    assert "Labels with fewer than 10 positives" in page.text


def test_thresholds_come_from_the_validation_fold(runs, tmp_path):
    def turn(split):
        def change(frame):
            rows = frame["split"] == split
            frame.loc[rows, TARGETS] = 1 - frame.loc[rows, TARGETS]
            return frame

        return change

    def decisions(run):
        config = read_json(run / "config.json")
        for task in config["tasks"]:
            task["thresholds"] = None  # as of a model that chose none
        change_json(run / "config.json", tasks=config["tasks"])
        rows = evaluate_run(read_run(run), QUICK)["superdiagnostic"]["decisions"]["per_label"]
        return {key: [row[key] for row in rows.values()] for key in ("threshold", "f1")}

    own = read_json(runs["single"] / "config.json")["tasks"][0]["thresholds"]
    as_given, other_test, other_validation = (
        decisions(changed_copy(runs["single"], tmp_path / name, change))
        for name, change in (
            ("given", lambda frame: frame),
            ("test", turn("test")),
            ("validation", turn("validation")),
        )
    )
    assert as_given["threshold"] == other_test["threshold"] == pytest.approx(own)
    assert as_given["f1"] != other_test["f1"]
    frame = turn("validation")(predictions(runs["single"]))
    rows = frame["split"] == "validation"
    chances = calibrated(runs["single"], frame.loc[rows, PREDICTED])
    assert other_validation["threshold"] == f1_thresholds(frame.loc[rows, TARGETS], chances)
    assert other_validation["threshold"] != as_given["threshold"]


@pytest.mark.parametrize("rate", ["sensitivity", "specificity"])
def test_thresholds_may_be_chosen_for_a_rate_on_the_validation_fold(runs, tmp_path, rate):
    report = write_report(runs["single"], output=tmp_path, options=(f"--{rate}", "0.8"))
    assert f"a {rate} of 80 % at least of its label there" in (report / "report.md").read_text()
    (run,) = read_json(report / "report.json")["runs"].values()
    rows = run["tasks"]["superdiagnostic"]["decisions"]["per_label"]
    frame = predictions(runs["single"], "validation")
    chances = calibrated(runs["single"], frame[PREDICTED])
    for target, values, row in zip(TARGETS, chances.T, rows.values(), strict=True):
        truth = frame[target].to_numpy() == 1
        right = (values >= row["threshold"]) == truth
        assert right[truth == (rate == "sensitivity")].mean() >= 0.8


def test_decisions_are_those_of_the_thresholds(runs, numbers):
    frame = predictions(runs["single"], "test")
    thresholds = read_json(runs["single"] / "config.json")["tasks"][0]["thresholds"]
    rows = numbers["single"]["tasks"]["superdiagnostic"]["decisions"]["per_label"]
    is_yes = calibrated(runs["single"], frame[PREDICTED]) >= thresholds
    for index, (target, row) in enumerate(zip(TARGETS, rows.values(), strict=True)):
        assert row["threshold"] == thresholds[index]
        assert row["f1"]["point"] == pytest.approx(f1_score(frame[target], is_yes[:, index]))


def with_plain_signal(frame: pd.DataFrame) -> pd.DataFrame:
    """Findings' probabilities that are half as sure as they should be, of labels that are frequent enough."""
    noise = np.random.default_rng(0)
    truth = noise.random((len(frame), len(TARGETS))) < [0.4, 0.4, 0.4, 0.4, 0.05]
    frame[TARGETS] = truth.astype(np.float32)
    frame[PREDICTED] = expit(1.2 * truth - 0.2 + noise.normal(size=truth.shape))
    return frame


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_calibration_is_scikit_learns_logistic_regression_on_the_validation_logits(runs, tmp_path, method):
    run = changed_copy(runs["single"], tmp_path / "run", with_plain_signal)
    evaluated = evaluate_run(read_run(run), ReportOptions(calibration=method, num_resamples=5))["superdiagnostic"]
    calibration = evaluated["calibration"]
    splits = [predictions(run, split) for split in ("validation", "test")]
    (truth, logits), (test_truth, test_logits) = (
        (frame[TARGETS].to_numpy(), logit(frame[PREDICTED].to_numpy())) for frame in splits
    )
    peer = {"C": np.inf, "tol": 1e-10, "max_iter": 1000}
    if method == "platt":
        assert calibration["uncalibrated"] == {SUPERCLASSES[4]: "few_positives"}
        peers = [LogisticRegression(**peer).fit(logits[:, [i]], truth[:, i]) for i in range(4)]
        lines = [(fit.coef_[0, 0], fit.intercept_[0]) for fit in peers] + [(1, 0)]
    else:
        pooled = LogisticRegression(fit_intercept=False, **peer).fit(logits.reshape(-1, 1), truth.ravel())
        lines = [(pooled.coef_[0, 0], 0)] * 5
    slopes, intercepts = np.transpose(lines)
    assert list(calibration["slopes"].values()) == pytest.approx(slopes, rel=1e-4)
    assert list(calibration["intercepts"].values()) == pytest.approx(intercepts, abs=1e-4)
    for part, chances in (
        ("as_predicted", expit(test_logits)),
        ("calibrated", expit(slopes * test_logits + intercepts)),
    ):
        scores = [row["brier"]["point"] for row in evaluated[part]["per_label"].values()]
        expected = [brier_score_loss(*label) for label in zip(test_truth.T, chances.T, strict=True)]
        assert scores == pytest.approx(expected, abs=1e-5)


def test_a_page_with_platt_scaling_says_what_was_left_as_it_is(runs, tmp_path):
    run = only_task(changed_copy(runs["single"], tmp_path / "run", with_plain_signal), "superdiagnostic")
    report = write_report(run, output=tmp_path / "report", options=("--calibration", "platt"))
    page = Page(report / "report.html")
    lines = read_json(report / "report.json")["runs"]["single"]["tasks"]["superdiagnostic"]["calibration"]
    rows = page.table("single", "superdiagnostic", "Calibration", "By label")
    slope, intercept = lines["slopes"]["NORM"], lines["intercepts"]["NORM"]
    sign = "−" if intercept < 0 else "+"
    assert rows["NORM"].cells[-1][0] == f"{slope:.3g} · logit {sign} {abs(intercept):.3g}"
    assert rows["STTC"].cells[-1][0] == "as is: too few positives"
    assert "1 of 5 labels are left as they are" in page.text


def test_calibration_curves_are_of_frequent_labels_only():
    def row(count):
        return {"num_positives": count, "few_positives": count < 10}

    many = {"per_label": {f"label {index}": row(100 - index) for index in range(20)} | {"rare": row(3)}}
    assert most_frequent(many) == [f"label {index}" for index in range(NUM_CURVES)]
    assert most_frequent({"per_label": {"a": row(12), "rare": row(3), "b": row(40)}}) == ["a", "b"]
    assert most_frequent({"per_label": {"rare": row(3), "absent": row(0)}}) == ["rare", "absent"]


KINDS = ("target", "predicted")
HOSTILE = ["<script>alert(1)</script>", "a|b\\|c", "![x](http://tracker/x.png)", "two\nlines $x$", "**`R&D`**"]


def test_names_from_a_dataset_are_shown_as_they_are_and_do_nothing(runs, tmp_path):
    def rename(frame):
        for old, new in zip(SUPERCLASSES, HOSTILE, strict=True):
            names = {f"superdiagnostic.{old}.{kind}": f"superdiagnostic.{new}.{kind}" for kind in KINDS}
            frame = frame.rename(columns=names)
        return frame.assign(device="<img src=x onerror=alert(2)>|")

    run = changed_copy(runs["single"], tmp_path / "run", rename)
    task = read_json(run / "config.json")["tasks"][0] | {"labels": HOSTILE}
    change_json(run / "config.json", tasks=[task])
    change_json(run / "run_info.json", name="<b>own</b> [model]")
    report = write_report(run, output=tmp_path / "report")
    page, markdown = Page(report / "report.html"), (report / "report.md").read_text()
    assert not {"script", "b"} & {tag for tag, _ in page.elements}
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.elements if tag == "img")
    rows = page.table("<b>own</b> [model]", "superdiagnostic", "Ranking", "By label")
    assert list(rows)[1:] == HOSTILE
    assert "<img src=x onerror=alert(2)>|" in page.table(
        "<b>own</b> [model]", "superdiagnostic", "Subgroups", "By device"
    )
    assert not re.search(r"<\w", markdown)
    assert len(re.findall(r"(?<!\\)!\[", markdown)) == len(list(report.glob("figures/*")))
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in table.splitlines()}) == 1


def test_published_results_stand_beside_the_whole_fold_only(runs, tmp_path):
    def repeat(frame):
        test = frame[frame["split"] == "test"]
        copies = [test.assign(ecg_id=test["ecg_id"] + 1000 * index) for index in range(45)]
        return pd.concat([frame[frame["split"] != "test"], *copies])

    part, whole = (
        only_task(changed_copy(runs["single"], tmp_path / name, change), "superdiagnostic")
        for name, change in (("part", lambda frame: frame), ("whole", repeat))
    )

    def evaluated(run):
        return evaluate_run(read_run(run), QUICK)["superdiagnostic"]

    assert "these records are simulated" in evaluated(whole)["why_not_published"]
    for run in (part, whole):
        info = read_json(run / "run_info.json")
        change_json(run / "run_info.json", dataset=info["dataset"] | {"name": "PTB-XL"})
    assert "these 48 records are a part of it" in evaluated(part)["why_not_published"]
    assert evaluated(part)["published"] == []
    assert evaluated(whole)["why_not_published"] == ""
    assert len(evaluated(whole)["published"]) > 5
    info = read_json(whole / "run_info.json")
    change_json(whole / "run_info.json", dataset=info["dataset"] | {"tested": ["train", "test"]})  # of an evaluation
    assert "these records are of other folds" in evaluated(whole)["why_not_published"]
    assert evaluated(whole)["published"] == []


def test_a_run_given_twice_is_refused(fail, runs, tmp_path):
    run = runs["single"]
    again = run.parent / "." / "run"
    line = fail("report", run, again, "--output", tmp_path / "report")
    assert "is given twice; give each run once" in line
    assert not (tmp_path / "report").exists()


def test_several_runs_need_a_folder_for_their_report(fail, runs):
    assert "need an --output" in fail("report", *runs.values())


def test_an_impossible_number_of_resamples_is_refused(fail, runs):
    assert "num_resamples must be at least 1; got 0" in fail("report", runs["single"], "--num_resamples", "0")
    assert "sensitivity must be above 0 and at most 1" in fail("report", runs["single"], "--sensitivity", "90")
