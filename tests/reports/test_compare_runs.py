"""`enecg compare` on two trained runs, and on made-up ones of the 71 SCP statements."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.special import expit
from sklearn.metrics import average_precision_score, mean_absolute_error, roc_auc_score

from modeling_enecg.cli import main
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.evaluation.bootstrap import draw_resamples
from modeling_enecg.evaluation.comparison import CORRECTIONS
from modeling_enecg.figures.labels import plot_differences
from modeling_enecg.figures.style import BLUE
from modeling_enecg.reports.compare import (
    ComparisonOptions,
    RunComparison,
    compare_runs,
    comparison_csv,
    comparison_markdown,
    write_comparison,
)
from tests.helpers.reports import TASKS, Page, change_json, changed_copy, predictions, train_run
from tests.helpers.training import read_json

SUPERCLASSES = list(TASK_LABELS["superdiagnostic"])
STATEMENTS = list(TASK_LABELS["all"])
RARE = STATEMENTS[5]
SETTINGS = ComparisonOptions(correction="none", num_resamples=60, seed=5, confidence=0.8)

pytestmark = pytest.mark.xdist_group("compare_runs")  # its runs are shared


@pytest.fixture(scope="module")
def runs(tmp_path_factory, simulated, training_cache) -> tuple[Path, Path]:
    """The folders of two runs that differ in their seed, not to be changed."""
    folder = tmp_path_factory.mktemp("pair")
    return tuple(
        train_run(simulated, folder / name, seed=seed, cache_dir=str(training_cache))
        for seed, name in enumerate(("one", "other"), start=1)
    )


@pytest.fixture(scope="module")
def statements(runs, tmp_path_factory) -> tuple[Path, Path]:
    """Two made-up runs of 71 labels; the first is better at every fourth of them, and one is rare."""
    folder = tmp_path_factory.mktemp("statements")
    better = np.where(np.arange(len(STATEMENTS)) % 4 == 0, 2.0, 0.0)
    return tuple(
        made_up(runs[0], folder / name, 1 + gain, seed)
        for seed, (name, gain) in enumerate({"a": better, "b": 0}.items())
    )


def made_up(run: Path, folder: Path, strength: np.ndarray, seed: int) -> Path:
    """A run on 300 records, three of a patient, whose predictions know as much of the labels as the strength says."""
    truth = np.random.default_rng(9).random((300, len(STATEMENTS))) < np.where(np.array(STATEMENTS) == RARE, 0.02, 0.2)
    chances = expit(strength * truth + np.random.default_rng(seed).normal(size=truth.shape))
    columns = {"split": "test", "ecg_id": np.arange(300), "patient_id": np.arange(300) // 3}
    columns |= {f"all.{label}.target": truth[:, index] * 1.0 for index, label in enumerate(STATEMENTS)}
    columns |= {f"all.{label}.predicted": chances[:, index] for index, label in enumerate(STATEMENTS)}
    test = pd.DataFrame(columns)
    changed_copy(run, folder, lambda _: pd.concat([test, test.assign(split="validation")]))
    task = {"name": "all", "problem_type": "multi_label_classification", "labels": STATEMENTS}
    change_json(folder / "config.json", tasks=[task])
    change_json(folder / "run_info.json", name=folder.name)
    return folder


@pytest.fixture(scope="module")
def compared(statements) -> RunComparison:
    return compare_runs(*statements, ComparisonOptions(metric="auroc", num_resamples=3000))


@pytest.fixture
def compare(capsys) -> Callable[..., str]:
    """A function that runs the command and returns what it prints."""

    def compare(*arguments: object) -> str:
        main(["compare", *map(str, arguments)])
        return capsys.readouterr().out

    return compare


@pytest.fixture
def refused(fail) -> Callable[..., str]:
    """A function that compares two runs, checks that they are refused in one line, and returns the line."""
    return lambda *arguments: fail("compare", *arguments, "--num_resamples", "5")


def score_labels(score, truth, outputs):
    """Each label's score, nan where the records have one class only."""
    return np.array(
        [score(*label) if len(set(label[0])) > 1 else np.nan for label in zip(truth.T, outputs.T, strict=True)]
    )


def interval(samples):
    return np.nanquantile(samples, [0.1, 0.9])


def p_value(samples):
    tail = min(sum(samples <= 0), sum(samples >= 0))
    return min(1, 2 * (1 + tail) / (1 + len(samples)))


@pytest.mark.parametrize("task", ["superdiagnostic", "sex"])
def test_differences_are_scikit_learns_on_the_same_resamples(runs, task):
    first, second = (predictions(run, "test") for run in runs)
    labels = SUPERCLASSES if task == "superdiagnostic" else ["male", "female"]
    truth = (
        first[[f"{task}.{label}.target" for label in labels]].to_numpy()
        if task == "superdiagnostic"
        else np.eye(2)[first["sex.target"].astype(int)]
    )
    outputs = [frame[[f"{task}.{label}.predicted" for label in labels]].to_numpy() for frame in (first, second)]
    resamples = draw_resamples(len(first), 60, 5, first["patient_id"]).records
    result = compare_runs(*runs, SETTINGS).results[task]
    for name, score in (("auroc", roc_auc_score), ("auprc", average_precision_score)):
        ours, theirs = (score_labels(score, truth, each) for each in outputs)
        samples = np.array(
            [np.subtract(*(score_labels(score, truth[rows], each[rows]) for each in outputs)) for rows in resamples]
        )
        overall = result[f"macro_{name}"]
        assert overall["first"] == pytest.approx(np.nanmean(ours), abs=1e-12)
        assert overall["second"] == pytest.approx(np.nanmean(theirs), abs=1e-12)
        assert overall["point"] == pytest.approx(np.nanmean(ours) - np.nanmean(theirs), abs=1e-12)
        assert [overall["lower"], overall["upper"]] == pytest.approx(interval(np.nanmean(samples, axis=1)), abs=1e-12)
        for index, label in enumerate(labels):
            row = result["per_label"][label][name]
            if "no_interval" in row:
                patients = [first["patient_id"][truth[:, index] == value].nunique() for value in (0, 1)]
                assert min(patients) < 5
                assert row["lower"] is row["upper"] is row["p_value"] is None
                continue
            changes = samples[~np.isnan(samples[:, index]), index]
            assert row["point"] == pytest.approx(ours[index] - theirs[index], abs=1e-12)
            assert [row["lower"], row["upper"]] == pytest.approx(interval(changes), abs=1e-12)
            assert row["p_value"] == pytest.approx(p_value(np.round(changes, 12)))


def test_differences_of_a_regression_are_those_of_its_errors(runs):
    first, second = (predictions(run, "test") for run in runs)
    result = compare_runs(*runs, SETTINGS).results["age"]["mae"]
    errors = [mean_absolute_error(frame["age.age.target"], frame["age.age.predicted"]) for frame in (first, second)]
    assert [result["first"], result["second"]] == pytest.approx(errors)
    changes = np.subtract(*((frame["age.age.predicted"] - frame["age.age.target"]).abs() for frame in (first, second)))
    resamples = draw_resamples(len(first), 60, 5, first["patient_id"]).records
    assert [result["lower"], result["upper"]] == pytest.approx(interval([changes[rows].mean() for rows in resamples]))


def test_runs_the_other_way_round_have_differences_of_the_other_sign(runs):
    ahead, behind = (compare_runs(*pair, SETTINGS) for pair in (runs, runs[::-1]))
    assert ahead.names == behind.names[::-1]
    pairs = [
        (ahead.results[task][metric], behind.results[task][metric])
        for task in TASKS
        for metric in ahead.results[task]
        if metric.startswith("macro_") or metric in ("mae", "rmse", "r2")
    ]
    pairs += [
        (ahead.results[task]["per_label"][label]["auroc"], behind.results[task]["per_label"][label]["auroc"])
        for task, labels in (("superdiagnostic", SUPERCLASSES), ("sex", ["male", "female"]))
        for label in labels
    ]
    assert any(ours["point"] for ours, _ in pairs)
    for ours, theirs in pairs:
        assert ours["point"] == -theirs["point"]
        assert (ours["first"], ours["p_value"]) == (theirs["second"], theirs["p_value"])
        if "no_interval" not in ours:
            assert [ours["lower"], ours["upper"]] == pytest.approx([-theirs["upper"], -theirs["lower"]], abs=1e-12)


def by_hand(p_values: list[float], correction: str) -> list[float]:
    """Adjusted p-values, step by step as textbooks have them."""
    number, order = len(p_values), np.argsort(p_values)
    adjusted = dict(enumerate(p_values))
    if correction == "bonferroni":
        return [min(1, number * value) for value in p_values]
    if correction == "holm":
        highest = 0.0
        for rank, index in enumerate(order):
            highest = max(highest, min(1, (number - rank) * p_values[index]))
            adjusted[index] = highest
    elif correction == "benjamini-hochberg":
        lowest = 1.0
        for rank, index in reversed(list(enumerate(order, start=1))):
            lowest = min(lowest, p_values[index] * number / rank)
            adjusted[index] = lowest
    return list(adjusted.values())


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_p_values_are_corrected_over_the_labels_of_a_metric(statements, correction):
    compared = compare_runs(*statements, ComparisonOptions(correction=correction, num_resamples=300))
    rows = compared.results["all"]["per_label"].values()
    for metric in ("auroc", "auprc"):
        given, adjusted = ([row[metric][key] for row in rows] for key in ("p_value", "adjusted_p_value"))
        assert len(set(given)) > 10
        assert adjusted == pytest.approx(by_hand(given, correction))
    text = comparison_markdown(compared)
    is_corrected = correction != "none"
    assert (f"are corrected over the labels of one metric ({correction})" in text) == is_corrected
    assert ("are not corrected for the number of labels" in text) == (not is_corrected)
    assert ("Different after correction: " in text) == is_corrected


@pytest.mark.parametrize(("options", "correction"), [([], "holm"), (["--correction", "fdr"], "benjamini-hochberg")])
def test_the_correction_can_be_chosen(compare, runs, options, correction):
    assert f"one metric ({correction})" in compare(*runs, "--task", "sex", "--num_resamples", 20, *options)


def differences(compared: RunComparison) -> dict[str, dict]:
    rows = compared.results["all"]["per_label"]
    return {label: {"few_positives": row["few_positives"], **row["auroc"]} for label, row in rows.items()}


def test_the_figure_has_a_bar_a_label(compared, tmp_path):
    rows, overall = differences(compared), compared.results["all"]["macro_auroc"]
    different = STATEMENTS[::4]
    figure = plot_differences(rows, overall, different, "AUROC", tmp_path / "bars.png", "all")
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(bars) == 1 + 71
    assert [bar.get_width() for bar in bars] == pytest.approx(
        [overall["point"], *(row["point"] for row in rows.values())]
    )
    assert [tick.get_text().removesuffix(" †") for tick in axes.get_yticklabels()] == ["mean", *STATEMENTS]
    blue = [label for label, bar in zip(STATEMENTS, bars[1:], strict=True) if to_hex(bar.get_facecolor()) == BLUE]
    assert blue == different
    assert [text.get_text() for text in axes.texts].count("★") == len(different)
    low, high = axes.get_xlim()
    assert all(low < bar.get_x() + bar.get_width() < high for bar in bars)


def test_labels_without_a_difference_are_written_as_undefined(compared, tmp_path):
    rows = differences(compared)
    rows[STATEMENTS[0]] |= dict.fromkeys(("point", "lower", "upper"))
    figure = plot_differences(rows, compared.results["all"]["macro_auroc"], [], "AUROC", tmp_path / "bars.png", "all")
    assert len(figure.axes[0].patches) == 71
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["undefined"]


def test_labels_that_differ_are_starred_and_rare_ones_never(compared, tmp_path):
    text = write_comparison(compared, tmp_path).with_suffix(".md").read_text()
    rows = differences(compared)
    assert rows[RARE]["few_positives"]
    lines = {
        line.split(" |")[0].removeprefix("| ").split(" (")[0]: line for line in text.splitlines() if line[:2] == "| "
    }
    is_different = {label: row["adjusted_p_value"] < 0.05 and not row["few_positives"] for label, row in rows.items()}
    starred = {label for label in STATEMENTS if label + " †" not in lines and "★" in lines[label]}
    assert starred == {label for label, different in is_different.items() if different}
    assert starred
    assert starred <= set(STATEMENTS[::4])
    assert "★" not in lines[f"{RARE} †"]
    counts = f"{len(starred)} of 71 labels; {len(starred)} higher in a, 0 in b"
    assert f"Different after correction: {counts}." in text


def test_a_rare_label_is_not_starred_however_small_its_p_value(statements, tmp_path):
    def know(frame):
        return frame.assign(**{f"all.{RARE}.predicted": frame[f"all.{RARE}.target"]})

    first = changed_copy(statements[0], tmp_path / "first", know)
    compared = compare_runs(
        first, statements[1], ComparisonOptions(metric="auroc", correction="none", num_resamples=300)
    )
    assert compared.results["all"]["per_label"][RARE]["auroc"]["adjusted_p_value"] < 0.05
    lines = write_comparison(compared, tmp_path / "output").with_suffix(".md").read_text().splitlines()
    assert not [line for line in lines if line.startswith(f"| {RARE} †") and "★" in line]


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", "+x", "-x"])
def test_a_label_is_no_formula_of_a_spreadsheet(compared, name):
    per_label = compared.results["all"]["per_label"]
    renamed = {name if label == RARE else label: scores for label, scores in per_label.items()}
    other = replace(compared, results={"all": compared.results["all"] | {"per_label": renamed}})
    labels = {row["label"] for row in csv.DictReader(comparison_csv(other).splitlines())}
    assert f"'{name}" in labels
    assert name not in labels


def test_tables_hold_every_difference_sorted(compared, tmp_path):
    text = write_comparison(compared, tmp_path).with_suffix(".md").read_text()
    with open(tmp_path / "comparison.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1 + 71
    assert rows[0]["label"] == ""
    assert float(rows[0]["point"]) == compared.results["all"]["macro_auroc"]["point"]
    known = differences(compared)
    assert {row["label"]: float(row["lower"]) for row in rows[1:]} == {
        label: row["lower"] for label, row in known.items()
    }
    points = [float(row["point"]) for row in rows[1:]]
    assert points == sorted(points, reverse=True)
    label = rows[1]["label"]
    assert f"| {known[label]['first']:.3f} | {known[label]['second']:.3f} | {points[0]:+.3f} (" in text
    numbers = json.loads((tmp_path / "comparison.json").read_text())
    assert (numbers["first"], numbers["second"]) == ("a", "b")
    assert numbers["tasks"]["all"] == compared.results["all"]


def test_the_page_has_a_row_for_every_label_and_holds_its_pictures(compared, tmp_path):
    page = Page(write_comparison(compared, tmp_path))
    rows = page.table("all: AUROC by label", "By label")
    assert len(rows) == 1 + 71
    for label, row in differences(compared).items():
        assert rows[label].cells[-2][0] == f"{row['point']:+.3f}"
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")


def test_pictures_of_the_markdown_are_there(compared, tmp_path):
    text = write_comparison(compared, tmp_path).with_suffix(".md").read_text()
    named = re.findall(r"^!\[.*\]\((.*)\)$", text, re.MULTILINE)
    assert named == ["figures/all_auroc.png"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["all_auroc.png"]
    with Image.open(tmp_path / named[0]) as image:
        assert image.height > 71 * 25


def test_without_an_output_the_tables_are_printed(compare, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = compare(*runs, "--num_resamples", 20)
    assert output.startswith("# one and other compared\n")
    assert "not a medical device" in output
    assert "Differences are one minus other." in output
    assert "| age | MAE, lower is better |" in output
    assert "![" not in output
    assert list(tmp_path.iterdir()) == []


def test_one_task_and_one_metric_can_be_chosen(compare, runs, tmp_path):
    compare(*runs, "--task", "sex", "--metric", "auprc", "--num_resamples", 20, "--output", tmp_path)
    with open(tmp_path / "comparison.csv", newline="") as stream:
        rows = [(row["task"], row["metric"], row["label"]) for row in csv.DictReader(stream)]
    assert [row[:2] for row in rows] == [("sex", "auprc")] * 3
    assert {row[2] for row in rows} == {"", "male", "female"}


def test_only_tasks_that_have_the_metric_are_compared(compare, runs):
    output = compare(*runs, "--metric", "mae", "--num_resamples", 20)
    assert "| age | MAE" in output
    assert "AUROC" not in output


def test_runs_on_different_records_are_refused_with_their_names(refused, runs, tmp_path):
    ids = predictions(runs[1], "test")["ecg_id"].tolist()
    part = changed_copy(runs[1], tmp_path / "part", lambda frame: frame[frame["ecg_id"] != ids[3]])
    line = refused(runs[0], part)
    assert f"{runs[0]} and {part} cannot be compared." in line
    assert f"1 records ({ids[3]}) are in the first only, none in the second only" in line


def test_runs_on_different_labels_of_a_record_are_refused(refused, runs, tmp_path):
    def turn(frame):
        frame.loc[frame["ecg_id"] == ids[2], "sex.target"] = 1 - frame.loc[frame["ecg_id"] == ids[2], "sex.target"]
        return frame

    ids = predictions(runs[1], "test")["ecg_id"].tolist()
    line = refused(runs[0], changed_copy(runs[1], tmp_path / "turned", turn))
    assert f"Task 'sex': both must be scored on the same targets; those of 1 records ({ids[2]}) differ" in line


def test_what_cannot_be_compared_is_refused(refused, runs, statements, tmp_path):
    assert "is given twice" in refused(runs[0], runs[0])
    assert "have no task in common" in refused(runs[0], statements[0])
    assert "has no task 'form'; it has superdiagnostic, sex, age" in refused(*runs, "--task", "form")
    assert "No compared task has the metric 'r2'" in refused(*runs, "--task", "sex", "--metric", "r2")
    other = changed_copy(statements[1], tmp_path / "other", lambda frame: frame)
    task = read_json(other / "config.json")["tasks"][0]
    change_json(other / "config.json", tasks=[task | {"labels": STATEMENTS[::-1]}])
    assert "runs compare on the same labels in equal order" in refused(statements[0], other)
    assert "There is no folder" in refused(runs[0], tmp_path / "absent")


def test_a_task_without_test_labels_is_refused(refused, runs, tmp_path):
    pair = [
        changed_copy(run, tmp_path / name, lambda frame: frame.assign(**{"sex.target": np.nan}))
        for run, name in zip(runs, ("a", "b"), strict=True)
    ]
    assert "No test record has a label of the task 'sex'; choose another task" in refused(*pair)
