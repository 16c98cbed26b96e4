"""Reports and comparisons of made-up predictions: what is drawn, written and left out."""

import re

import pandas as pd
import pytest

from modeling_enecg.evaluation import bootstrap
from modeling_enecg.reports import ComparisonOptions, ReportOptions, compare_runs, write_full_report
from tests.helpers.made_runs import AGE, FINDINGS, SEX, make_run
from tests.helpers.reports import Page
from tests.helpers.training import read_json

QUICK = ReportOptions(num_resamples=20)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made") / "own", [FINDINGS, SEX, AGE])


@pytest.fixture(scope="module")
def page(run):
    return Page(write_full_report([run], run / "report", QUICK))


def tasks_of(report):
    (numbers,) = read_json(report / "report.json")["runs"].values()
    return numbers["tasks"]


def test_a_report_draws_once_for_all_tasks_of_the_same_records(run, tmp_path, monkeypatch):
    draws, draw = [], bootstrap.draw_resamples
    monkeypatch.setattr(bootstrap, "draw_resamples", lambda *arguments: draws.append(arguments) or draw(*arguments))
    write_full_report([run], tmp_path / "report", QUICK)
    assert len(draws) == 1
    part = make_run(tmp_path / "part", [FINDINGS, SEX], gaps=True)
    draws.clear()
    write_full_report([part], tmp_path / "other", QUICK)
    assert sorted(arguments[0] for arguments in draws) == [80, 120]


def test_figures_are_written_in_the_formats_that_are_asked_for(run, tmp_path):
    options = ReportOptions(num_resamples=5, figure_formats=("svg", "pdf"))
    write_full_report([run], tmp_path, options)
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {name.rsplit(".", 1)[0] for name in files}
    assert files == {f"{stem}.{ending}" for stem in stems for ending in ("png", "svg", "pdf")}
    assert {f"1_findings_{kind}" for kind in ("per_label", "ranking", "calibration", "net_benefit")} <= stems
    with pytest.raises(ValueError, match="figure_formats must be one of png, svg, pdf; got 'gif'"):
        ReportOptions(figure_formats=("gif",))


def test_latex_tables_have_every_number_of_the_page_and_no_sign_that_latex_takes_for_its_own(run, page):
    text = (run / "report/report.tex").read_text()
    tables = re.findall(r"\\begin\{longtable\}.*?\\end\{longtable\}", text, re.DOTALL)
    assert len(tables) == len(page.tables)
    assert r"HYP\_\&\_LVH" in text
    assert text.isascii()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for table, rows in zip(tables, page.tables.values(), strict=True):
        body = table.split("\\endfoot\n")[1].removesuffix("\\end{longtable}")
        lines = [line for line in body.split("\n") if line.strip()]
        assert len(lines) == len(rows) - 1
        for line, row in zip(lines, rows[1:], strict=True):
            cells = line.removesuffix(r" \\").split(" & ")
            assert len(cells) == len(row.cells)
            numbers = [re.findall(r"\d+\.\d+", " ".join(cell)) for cell in row.cells]
            assert [re.findall(r"\d+\.\d+", cell) for cell in cells] == numbers
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == len(tables)


def test_the_measured_coverage_stands_beside_the_wanted_one(run, page):
    numbers = tasks_of(run / "report")
    rows = page.table("own", "age", "Errors and agreement", "Prediction intervals")
    covered = numbers["age"]["conformal"]["per_output"]["age"]["covered"]
    assert rows["age"].cells[2][0] == f"{covered['point']:.3f}"
    assert covered["point"] == pytest.approx(0.9, abs=0.1)
    rows = page.table("own", "findings", "Prediction sets", "By label")
    for label, row in numbers["findings"]["conformal"]["per_label"].items():
        assert rows[label].cells[3][0] == f"{row['covered_positives']['point']:.3f}"
    assert "coverage" in page.table("own", "sex", "Prediction sets", "Measured")


def test_a_report_without_validation_records_says_what_was_done(tmp_path):
    run = make_run(tmp_path / "elsewhere", [FINDINGS, AGE], validation=False)
    text = Page(write_full_report([run], tmp_path / "report", QUICK)).text
    assert "Nothing was calibrated" in text
    assert "Thresholds are the model's own, as there are no validation records to choose others by." in text
    assert "validation fold" not in text
    assert "fitted on" not in text
    assert "Prediction sets" not in text


def test_a_calibration_that_the_model_brought_along_is_the_one_that_is_shown(tmp_path):
    own = FINDINGS.with_fields(calibration={"method": "temperature", "temperature": 2.0})
    run = make_run(tmp_path / "own", [own])
    text = Page(write_full_report([run], tmp_path / "report", QUICK)).text
    assert "A temperature of 2, the model's own" in text
    found = tasks_of(tmp_path / "report")["findings"]
    assert found["calibration"]["is_own"]
    assert found["decisions"]["per_label"]["CD"]["threshold"] == 0.3


def test_a_run_of_one_task_compares_with_one_of_several_on_the_tasks_own_records(tmp_path):
    several = make_run(tmp_path / "several", [FINDINGS, SEX], seed=2, gaps=True)  # holds records without findings
    alone = make_run(tmp_path / "alone", [FINDINGS], seed=1, gaps=True)
    frame = pd.read_parquet(alone / "predictions.parquet")
    frame[frame["findings.MI.target"].notna()].to_parquet(alone / "predictions.parquet", index=False)
    for pair in ((several, alone), (alone, several)):
        result = compare_runs(*pair, ComparisonOptions(num_resamples=50)).results["findings"]
        assert result["num_records"] == 80


def test_records_that_only_one_run_has_labels_of_are_named(tmp_path):
    first, second = (make_run(tmp_path / name, [AGE], gaps=gaps) for name, gaps in (("a", False), ("b", True)))
    with pytest.raises(
        ValueError, match=r"40 records \(0, 3, 6, 9, 12, …\) are in the first only, none in the second"
    ):
        compare_runs(first, second, ComparisonOptions(num_resamples=5))
