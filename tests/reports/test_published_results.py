import csv
from importlib.resources import files

import pytest

from modeling_enecg.data.ptbxl.labels import TASK_NAMES
from modeling_enecg.reports.published import FILE, published_results

MODES = {"supervised", "fine-tuned", "linear probe", "frozen with attentive head"}
EVERY_RESULT = [result for task in TASK_NAMES for result in published_results(task)]


def of(task, model, mode, note=""):
    (result,) = (row for row in published_results(task) if (row.model, row.mode, row.note) == (model, mode, note))
    return result


@pytest.mark.parametrize(
    ("task", "model", "mode", "value"),
    [
        ("all", "inception1d", "supervised", 0.925),
        ("diagnostic", "ECG-CPC", "fine-tuned", 0.951),
        ("subdiagnostic", "ECGFounder", "linear probe", 0.945),
        ("superdiagnostic", "S4", "supervised", 0.932),
        ("form", "Wavelet+NN", "supervised", 0.757),
        ("rhythm", "HuBERT-ECG", "frozen with attentive head", 0.917),
        ("rhythm", "ECG-FM", "linear probe", 0.865),
    ],
)
def test_results_are_those_that_the_sources_print(task, model, mode, value):
    assert of(task, model, mode).value == value


@pytest.mark.parametrize(
    ("task", "model", "mode", "first", "rerun"),
    [
        ("all", "ST-MEM", "fine-tuned", 0.908, 0.933),
        ("subdiagnostic", "ST-MEM", "fine-tuned", 0.916, 0.937),
        ("subdiagnostic", "ECGFM-KED", "linear probe", 0.734, 0.867),
        ("all", "ECG-CPC", "linear probe", 0.904, 0.874),
    ],
)
def test_what_a_rerun_found_otherwise_stands_beside_with_its_own_source(task, model, mode, first, rerun):
    results = of(task, model, mode), of(task, model, mode, "independent rerun")
    assert [result.value for result in results] == [first, rerun]
    assert results[0].source != results[1].source


def test_intervals_and_pretraining_data_are_given_where_they_are_known():
    xresnet, founder = of("all", "xresnet1d101", "supervised"), of("all", "ECGFounder", "fine-tuned")
    assert (xresnet.lower, xresnet.upper, xresnet.pretraining_data) == (0.918, 0.932, "none")
    assert (founder.lower, founder.upper, founder.pretraining_data) == (0.9, 0.937, None)
    assert (of("form", "S4", "supervised").lower, of("form", "S4", "supervised").pretraining_data) == (None, "none")
    assert "PTB-XL" in of("rhythm", "ECG-JEPA", "linear probe").pretraining_data


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_tasks_results_start_with_the_best(task):
    values = [result.value for result in published_results(task)]
    assert values == sorted(values, reverse=True)
    assert len(values) == 31 + {"all": 2, "subdiagnostic": 3}.get(task, 0)
    assert published_results(task, "macro_auprc") == []


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_result_is_sound(task):
    for result in published_results(task):
        assert result.mode in MODES
        assert 0.5 < result.value < 1
        assert (result.lower is None) == (result.upper is None)
        assert result.lower is None or result.lower < result.value < result.upper
        assert result.model
        assert result.source.startswith("https://")
        assert (result.pretraining_data == "none") == (result.mode == "supervised")


def test_every_row_of_the_file_is_given_once():
    text = (files("modeling_enecg.reports") / FILE).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(EVERY_RESULT)
    assert len({(row["task"], row["model"], row["mode"], row["metric"], row["source"]) for row in rows}) == len(rows)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match=r"must be one of all, diagnostic.*got 'super'"):
        published_results("super")
