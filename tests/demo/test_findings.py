"""What the page shows of a recording, and of several."""

import base64
import csv
import io
import re

import numpy as np
import pytest
import torch

from modeling_enecg import Task
from modeling_enecg.decisions import findings
from modeling_enecg.demo import Demo, Recording, simulate
from modeling_enecg.demo.cards import result_html, task_html
from modeling_enecg.demo.neighbours import Neighbours
from modeling_enecg.demo.uploads import SIMULATED
from modeling_enecg.findings import Findings
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction import Predictor
from modeling_enecg.prediction.embedder import Embedder
from modeling_enecg.prediction.embeddings import embed_files
from modeling_enecg.recording import ECGRecord
from modeling_enecg.signal_quality import SignalQuality
from tests.helpers.demo_page import save_demo_model

AFIB = "atrial fibrillation"
FLAT = Recording("flat", ECGRecord(np.zeros((12, 5000)), 500, list(STANDARD_LEADS)))


def text_of(html: str) -> str:
    """What is to be read, without the picture and the table to download."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize("name", SIMULATED)
def test_every_simulated_recording_gives_a_result(demo, name):
    html, output = demo.findings(simulate(name))
    assert f"<h2>Simulated: {name}</h2>" in html
    assert "12 leads, 10.0 s at 500 Hz" in html
    assert "data:image/svg+xml;base64," in html
    assert output in demo.outputs


def test_the_strongest_finding_is_explained_first(demo):
    found = demo.predictor(simulate(AFIB).record)
    best = max(found["rhythm"], key=lambda each: (each["present"], each["score"]))
    assert demo.findings(simulate(AFIB)).output == f"rhythm: {best['label']}"
    assert demo.outputs["age"] == ("age", "age")


def findings_of(task: Task, logits: torch.Tensor) -> Findings:
    found, quality = {task.name: findings(task, logits)}, SignalQuality("ok")
    return Findings(found, quality, STANDARD_LEADS, [], {}, {task.name: {"only": 1.0}})


def test_labels_are_sorted_escaped_and_folded():
    labels = [f"<{number}>" for number in range(10)]
    task = Task("a", "multi_label_classification", labels)
    html = task_html(task, findings_of(task, torch.linspace(-2, 2, 10)))
    assert html.index("&lt;9&gt;") < html.index("&lt;2&gt;") < html.index("<details>") < html.index("&lt;1&gt;")
    assert "2 less probable" in html


def test_a_label_that_is_present_is_never_folded_away():
    """Also where its threshold is so low that many others are more probable."""
    task = Task("a", "multi_label_classification", [f"<{number}>" for number in range(10)], thresholds=[0.1] + [1] * 9)
    html = task_html(task, findings_of(task, torch.linspace(-2, 2, 10)))
    assert html.index("&lt;0&gt;") < html.index("&lt;9&gt;") < html.index("<details>")
    assert '<td class="ecg-cell">0.119 of 0.100</td><td class="ecg-cell">present</td>' in html


def test_a_single_expert_has_no_weights_to_show():
    task = Task("age", "regression", unit="years", conformal={"coverage": 0.9, "half_widths": [7.5]})
    html = task_html(task, findings_of(task, torch.tensor([61.26])))
    assert "Weight" not in html
    assert "61.3</span> years <small>53.8 to 68.8</small>" in html


def test_what_is_no_ecg_is_shown_with_the_reason_and_neither_scored_nor_explained(demo):
    html, output = demo.findings(FLAT)
    assert "Signal quality: <b>unusable</b> (12 of 12 leads tell nothing; I, II, III" in html
    assert "Not scored: the signal is unusable." in html
    assert "<section" not in html
    assert output is None


def test_what_could_not_be_read_is_an_escaped_line(demo):
    html, output = demo.findings(Recording("a", None, "<b> is no ECG."))
    assert html == '<p class="ecg-error" role="alert">&lt;b&gt; is no ECG.</p>'
    assert output is None


def test_the_leads_that_were_used_are_shown_and_what_they_are_worth(demo):
    name, record, _ = simulate(AFIB)
    one = ECGRecord(record.signal_mv[:1], record.sampling_rate, ["I"])
    html = demo.findings(Recording(name, one)).html
    assert "<p>Leads used: I</p><p>Missing: II, III, aVR" in html
    assert html.count("<p>never measured on these leads</p>") == 2
    assert "Signal quality: <b>ok</b>" in demo.findings(simulate(AFIB)).html


def test_how_unlike_the_known_records_a_recording_is_is_shown():
    task = Task("age", "regression", unit="years")
    found = findings_of(task, torch.tensor([61.26]))
    record = simulate(AFIB).record
    assert "ovelty" not in result_html("a", record, found, {"age": task})
    found.novelty = {"distance": 3.216, "rank": 0.995}
    html = result_html("a", record, found, {"age": task})
    assert "<p>Novelty: distance 3.22, further than 99.5% of the validation records</p>" in html


def test_several_recordings_make_a_table_to_download_with_what_went_wrong(demo):
    unread = Recording("broken", None, "broken.hea: is damaged.")
    html = demo.table([simulate(AFIB), unread, FLAT])
    text = text_of(html)
    found = demo.predictor(simulate(AFIB).record)
    assert "3 recordings Recording Quality rhythm age" in text
    assert f"{found['age'][0]['value']:.1f} years" in text
    assert "broken unusable broken.hea: is damaged." in text
    assert "flat unusable 12 of 12 leads tell nothing" in text
    (content,) = re.findall(r'download="findings.csv" href="data:text/csv;charset=utf-8;base64,([^"]*)"', html)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(content).decode())))
    assert [row["quality"] for row in rows] == ["ok", "unusable", "unusable"]
    for each in found["rhythm"]:
        assert float(rows[0][f"rhythm.{each['label']}.probability"]) == pytest.approx(each["score"])
        assert rows[0][f"rhythm.{each['label']}.present"] == str(each["present"])
    assert rows[1]["age.age.predicted"] == ""


def test_the_most_similar_records_of_a_table_are_shown_without_the_folder_that_they_lie_in(
    demo, model_dir, simulated, record, tmp_path
):
    folder = simulated / "records500" / "00000"
    table = embed_files(Embedder(model_dir), [folder], tmp_path / "features.parquet")
    similar = Demo(demo.predictor, Neighbours(demo.predictor, table))
    html = similar.findings(Recording("a", read_ecg(record))).html
    assert re.search(r"Most similar of \d+ records 00001_hr 1.000 ", text_of(html))
    assert html.count("<tr>", html.index("neighbours")) == 5
    assert str(simulated) not in html
    other = save_demo_model(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="made by another model"):
        Neighbours(Predictor(other), table)
