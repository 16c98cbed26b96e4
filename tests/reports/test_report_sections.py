"""What a report on two trained runs says of groups, agreement, leads, experts and cost."""

import json

import numpy as np
import pytest

from modeling_enecg.cli import main
from modeling_enecg.evaluation.subgroups import GROUPS
from tests.helpers.reports import (
    LEAD_SETS,
    TASKS,
    Page,
    changed_copy,
    only_task,
    predictions,
    shown,
    write_report,
)
from tests.helpers.training import read_json

pytestmark = pytest.mark.xdist_group("full_report")  # its runs are shared


def test_subgroups_count_every_record_once(runs, numbers, page):
    frame = predictions(runs["ensemble"], "test")
    for task in TASKS:
        evaluated = numbers["ensemble"]["tasks"][task]
        assert set(evaluated["subgroups"]) == set(GROUPS) - ({"sex"} if task == "sex" else set())
        for column, scored in evaluated["subgroups"].items():
            rows = page.table("ensemble", task, "Subgroups", f"By {GROUPS[column]}")
            counts = {name: row["num_records"] for name, row in scored["groups"].items()}
            assert sum(counts.values()) == evaluated["scores"]["num_records"] == len(frame)
            assert {name: int(rows[name].cells[1][0]) for name in counts} == counts
            assert {name: rows[name].is_faint for name in counts} == {
                name: count < 30 for name, count in counts.items()
            }
    by_sex = numbers["ensemble"]["tasks"]["age"]["subgroups"]["sex"]["groups"]
    assert {name: row["num_records"] for name, row in by_sex.items()} == frame["sex"].value_counts().to_dict()
    own_error = (frame["age.age.predicted"] - frame["age.age.target"]).abs()
    assert by_sex["female"]["mae"]["point"] == pytest.approx(own_error[frame["sex"] == "female"].mean())
    devices = numbers["ensemble"]["tasks"]["age"]["subgroups"]["device"]["groups"]
    assert set(devices) == {" ".join(name.split()) for name in frame["device"]}


def test_a_run_that_kept_no_groups_says_so(runs, tmp_path):
    run = changed_copy(runs["single"], tmp_path / "run", lambda frame: frame.drop(columns=["device", "site"]))
    page = Page(write_report(only_task(run, "age"), output=tmp_path / "report") / "report.html")
    assert "No subgroups by device, site: the run's predictions do not hold them." in page.text
    assert ("single", "age", "Subgroups", "By sex") in page.tables
    assert ("single", "age", "Subgroups", "By device") not in page.tables


def test_records_can_be_drawn_instead_of_patients_and_the_page_says_so(runs, report, page, tmp_path):
    run = only_task(changed_copy(runs["single"], tmp_path / "run", lambda frame: frame), "age")
    other = write_report(run, output=tmp_path / "report", options=("--resample", "record"))
    by_record, by_patient = (
        read_json(folder / "report.json")["runs"]["single"]["tasks"]["age"]["scores"] for folder in (other, report)
    )
    assert (by_record["resampled_by"], by_patient["resampled_by"]) == ("record", "patient")
    assert by_record["mae"]["point"] == by_patient["mae"]["point"]
    assert by_record["mae"]["lower"] != by_patient["mae"]["lower"]
    text = Page(other / "report.html").text
    assert "records were drawn one by one, which makes intervals too narrow" in text
    assert "Intervals: records resampled." in text
    assert "patients with all their records were drawn" in page.text
    assert "Intervals: patients resampled." in page.text


def test_agreement_is_bland_and_altmans(runs, numbers, page):
    frame = predictions(runs["single"], "test")
    difference = frame["age.age.predicted"] - frame["age.age.target"]
    statistics = numbers["single"]["tasks"]["age"]["agreement"]["per_output"]["age"]
    limits = difference.mean() + np.array([-1.96, 1.96]) * difference.std()
    assert statistics["bias"]["point"] == pytest.approx(difference.mean())
    assert [statistics[key]["point"] for key in ("lower_limit", "upper_limit")] == pytest.approx(limits, rel=1e-4)
    table = page.table("single", "age", "Errors and agreement", "By output")
    assert table[""].cells[1] == ("bias (years)", "")
    assert table["age"].cells[1] == shown(statistics["bias"])


@pytest.mark.parametrize("task", TASKS)
def test_fewer_leads_stand_below_all_of_them_with_the_runs_own_intervals(runs, page, numbers, task):
    own = read_json(runs["ensemble"] / "metrics.json")["test"]
    by_lead_set = {"12 leads": own} | read_json(runs["ensemble"] / "lead_sets.json")
    rows = page.table("ensemble", task, "Fewer leads", "By recorded leads")
    metrics = ("mae", "rmse", "r2") if task == "age" else ("macro_auroc", "macro_auprc")
    assert list(rows) == ["", "12 leads", *LEAD_SETS]
    for name, scores in by_lead_set.items():
        assert rows[name].cells[2:] == [shown(scores[task][metric]) for metric in metrics]
    assert "Intervals are those that the run computed itself: 95 % of 50 resamples." in page.text
    assert numbers["ensemble"]["tasks"][task]["lead_sets"]["lead I"] == by_lead_set["lead I"][task]
    assert ("single", task, "Fewer leads", "By recorded leads") not in page.tables


@pytest.mark.parametrize("task", TASKS)
def test_experts_stand_with_their_weight_and_what_leaving_them_out_changes(runs, page, task):
    inside = read_json(runs["ensemble"] / "experts.json")[task]
    rows = page.table("ensemble", task, "Experts", "By expert")
    frame = predictions(runs["ensemble"], "test")
    metrics = ("mae", "rmse", "r2") if task == "age" else ("macro_auroc", "macro_auprc")
    for expert in ("first", "second"):
        weight = frame[f"{task}.{expert}.gate_weight"].mean()
        changes = [shown(inside["leave_one_out"][expert][metric], "+.3f") for metric in metrics]
        assert rows[expert].cells[1:] == [(f"{weight:.3f}", ""), *changes]
    assert ("single", task, "Experts", "By expert") not in page.tables


def test_experts_that_cannot_be_left_out_have_their_weight_only(runs, tmp_path):
    run = only_task(changed_copy(runs["ensemble"], tmp_path / "run", lambda frame: frame), "age")
    inside = read_json(run / "experts.json")
    del inside["age"]["leave_one_out"]
    (run / "experts.json").write_text(json.dumps(inside))
    page = Page(write_report(run, output=tmp_path / "report") / "report.html")
    rows = page.table("ensemble", "age", "Experts", "By expert")
    assert [text for text, _ in rows[""].cells] == ["expert", "mean gate weight"]
    assert "was not computed" in page.text


def test_cost_is_shown_by_stage(runs, page, numbers):
    info = read_json(runs["ensemble"] / "run_info.json")
    rows = page.table("ensemble", "Cost by stage")
    assert list(rows) == ["", "linear probing", "fine tuning"]
    for stage, cost in info["stages"].items():
        share = f"{100 * cost['num_trainable'] / info['num_parameters']:.2f} % of all"
        gpu = [
            "not measured" if cost[key] is None else f"{cost[key]:,} {unit}"
            for key, unit in (("gpu_peak_mb", "MB"), ("energy_wh", "Wh"))
        ]
        assert rows[stage.replace("_", " ")].cells[1:] == [
            (str(cost["num_epochs"]), ""),
            (f"{cost['num_trainable']:,}", share),
            (f"{cost['seconds']:.1f} s", ""),
            (f"{cost['peak_mb']:,} MB", ""),
            *((text, "") for text in gpu),
        ]
    assert numbers["ensemble"]["stages"] == info["stages"]
    card = (runs["ensemble"] / "README.md").read_text()
    cells = [text for cell in rows["fine tuning"].cells for text in cell if text]
    line = next(line for line in card.splitlines() if line.startswith("| fine tuning |"))
    assert [cell for cell in cells if f" {cell.removesuffix(' of all')} " not in line] == []


def test_what_a_run_says_of_its_data_stands_first(runs, page, report):
    note = read_json(runs["single"] / "run_info.json")["dataset"]["note"]
    assert note
    assert page.text.index("not a medical device") < page.text.index(note) < page.text.index("Summary")
    assert (report / "report.md").read_text().index(f"> {note}") > 0


def test_the_report_of_one_run_goes_into_its_folder(runs, tmp_path, capsys):
    run = only_task(changed_copy(runs["single"], tmp_path / "run", lambda frame: frame), "age")
    main(["report", str(run), "--num_resamples", "5"])
    assert capsys.readouterr().out == f"{run / 'report' / 'report.html'}\n"
    assert sorted(path.name for path in (run / "report").iterdir()) == [
        *("figures", "report.html", "report.json", "report.md", "report.tex")
    ]
