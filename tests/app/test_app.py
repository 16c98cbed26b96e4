"""The demo page's functions. `make test-app` runs these tests."""

import io
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gradio", reason="gradio is not installed here; `make test-app` runs these tests")

import app
from modeling_enecg import Task
from modeling_enecg.decisions import findings
from modeling_enecg.findings import Findings
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord
from modeling_enecg.signal_quality import SignalQuality
from tests.helpers.demo_page import wait_until


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> Path:
    """Where uploads lie before and while they are read."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def upload(uploads, record):
    """A function that lays files into a folder each, as Gradio does; default: the record's, changed by name."""

    def upload(**changes: bytes | None) -> list[str]:
        files = {file.name: file.read_bytes() for file in (record.with_suffix(".hea"), record.with_suffix(".dat"))}
        files |= {name.replace("__", "."): content for name, content in changes.items()}
        paths = []
        for name, content in files.items():
            if content is not None:
                path = uploads / f"hash of {name}" / name
                path.parent.mkdir()
                path.write_bytes(content)
                paths.append(str(path))
        return paths

    return upload


HEADER, SIGNAL = "00001_hr__hea", "00001_hr__dat"


def test_an_upload_is_read_and_removed(upload, uploads, record):
    name, read = app.read_upload(upload())
    assert name == "00001_hr"
    assert read.lead_names == read_ecg(record).lead_names
    assert (read.signal_mv == read_ecg(record).signal_mv).all()
    assert list(uploads.iterdir()) == []


def change_header(record, old, new):
    return {HEADER: record.with_suffix(".hea").read_bytes().replace(old, new)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({HEADER: b"\0 no header"}, "00001_hr.hea: the WFDB header is damaged: number of signals is &#x27;no&#x27;"),
        ({HEADER: None}, "00001_hr.dat: is of no known format: no signature of one, and no WFDB header beside it."),
        ({SIGNAL: None}, "00001_hr.hea: the header names the signal file 00001_hr.dat, which is not there."),
        ({SIGNAL: b"short"}, "00001_hr.hea: declares 12 channels of 5000 samples, but holds at most 2 samples"),
        ({"other__hea": b""}, "expected the files of one recording"),
        ({HEADER: None, SIGNAL: None, "<b>__txt": b"rubbish"}, "_b_.txt: holds no table of numbers."),
        ({f"{number}__dat": b"" for number in range(3)}, "Got 5 files of 0.1 MB; a recording has at most 4 files"),
        ({SIGNAL: bytes(21 * 2**20)}, "Got 2 files of 21.0 MB; a recording has at most 4 files of 20 MB together"),
    ],
    ids=["rubbish", "no_header", "no_signal", "truncated", "two_records", "text", "many", "large"],
)
def test_a_bad_upload_gives_one_line_and_is_removed(predictor, upload, uploads, changes, message):
    html = app.respond(predictor, app.read_upload, upload(**changes))
    assert message in html
    assert html.startswith('<p class="ecg-error" role="alert">')
    assert len(html.splitlines()) == 1
    assert str(uploads) not in html
    assert "Traceback" not in html
    assert list(uploads.iterdir()) == []


@pytest.mark.parametrize("name", [b"../secret.dat", b"/etc/hostname"])
def test_a_header_cannot_name_a_file_elsewhere(predictor, upload, uploads, record, name):
    (uploads / "secret.dat").write_bytes(record.with_suffix(".dat").read_bytes())
    paths = upload(**change_header(record, b"00001_hr.dat", name))
    html = app.respond(predictor, app.read_upload, paths)
    assert "only files in the header&#x27;s own folder are read" in html


def test_files_of_other_formats_are_read(upload):
    file = io.BytesIO()
    signal = np.random.default_rng(0).normal(size=(2, 5000))
    np.savez(file, signal=signal, sampling_rate=500, unit="mV", lead_names=["I", "II"])
    name, read = app.read_upload(upload(**{HEADER: None, SIGNAL: None, "mine__npz": file.getvalue()}))
    assert (name, read.sampling_rate) == ("mine", 500)
    np.testing.assert_allclose(read.signal_mv[:2], signal)


def test_a_recording_of_more_than_an_hour_is_refused(predictor, uploads):
    header, samples = uploads / "long.hea", uploads / "long.dat"
    header.write_text("long 1 10 40000\nlong.dat 16 1000/mV 16 0 0 0 0 I\n")
    samples.write_bytes(bytes(2 * 40_000))
    html = app.respond(predictor, app.read_upload, [str(header), str(samples)])
    assert "Got 40000 samples at 10 Hz; a recording has at most an hour." in html


def test_what_nobody_foresaw_is_one_line_too(predictor, caplog):
    def read(source):
        raise ZeroDivisionError("a detail for the log")

    html = app.respond(predictor, read, None)
    assert "This recording cannot be read." in html
    assert "a detail" not in html
    assert "a detail for the log" in caplog.text


@pytest.mark.parametrize("name", app.SIMULATED)
def test_every_simulated_recording_gives_a_result(predictor, name):
    html = app.respond(predictor, app.simulate, name)
    assert f"<h2>Simulated: {name}</h2>" in html
    assert "12 leads, 10.0 s at 500 Hz" in html
    assert "data:image/svg+xml;base64," in html


def findings_of(task: Task, logits: torch.Tensor) -> Findings:
    found, quality = {task.name: findings(task, logits)}, SignalQuality("ok")
    return Findings(found, quality, STANDARD_LEADS, [], {}, {task.name: {"only": 1.0}})


def test_labels_are_sorted_escaped_and_folded():
    labels = [f"<{number}>" for number in range(10)]
    task = Task("a", "multi_label_classification", labels)
    html = app.task_html(task, findings_of(task, torch.linspace(-2, 2, 10)))
    assert html.index("&lt;9&gt;") < html.index("&lt;2&gt;") < html.index("<details>") < html.index("&lt;1&gt;")
    assert "2 less probable" in html


def test_a_label_that_is_present_is_never_folded_away():
    """Also where its threshold is so low that many others are more probable."""
    task = Task("a", "multi_label_classification", [f"<{number}>" for number in range(10)], thresholds=[0.1] + [1] * 9)
    html = app.task_html(task, findings_of(task, torch.linspace(-2, 2, 10)))
    assert html.index("&lt;0&gt;") < html.index("&lt;9&gt;") < html.index("<details>")
    assert '<td class="ecg-cell">0.119 of 0.100</td><td class="ecg-cell">present</td>' in html


def test_a_single_expert_has_no_weights_to_show():
    task = Task("age", "regression", unit="years", conformal={"coverage": 0.9, "half_widths": [7.5]})
    html = app.task_html(task, findings_of(task, torch.tensor([61.26])))
    assert "Weight" not in html
    assert "61.3</span> years <small>53.8 to 68.8</small>" in html


def test_what_is_no_ecg_is_shown_with_the_reason_and_not_scored(predictor):
    flat = ECGRecord(np.zeros((12, 5000)), 500, list(STANDARD_LEADS))
    html = app.respond(predictor, lambda source: ("flat", flat), None)
    assert "Signal quality: <b>unusable</b> (12 of 12 leads tell nothing; I, II, III" in html
    assert "Not scored: the signal is unusable." in html
    assert "<section" not in html


def test_the_leads_that_were_used_are_shown_and_what_they_are_worth(predictor):
    name, record = app.simulate("atrial fibrillation")
    one = ECGRecord(record.signal_mv[:1], record.sampling_rate, ["I"])
    html = app.respond(predictor, lambda source: (name, one), None)
    assert "<p>Leads used: I</p><p>Missing: II, III, aVR" in html
    assert html.count("<p>never measured on these leads</p>") == 2
    assert "Signal quality: <b>ok</b>" in app.respond(predictor, app.simulate, "atrial fibrillation")


def test_how_unlike_the_known_records_a_recording_is_is_shown():
    task = Task("age", "regression", unit="years")
    found = findings_of(task, torch.tensor([61.26]))
    record = app.simulate("atrial fibrillation")[1]
    assert "ovelty" not in app.result_html("a", record, found, {"age": task})
    found.novelty = {"distance": 3.216, "rank": 0.995}
    html = app.result_html("a", record, found, {"age": task})
    assert "<p>Novelty: distance 3.22, further than 99.5% of the validation records</p>" in html


def test_what_no_page_reads_is_removed_when_it_is_old(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("old/upload.dat", "broken off", "new"):
        (tmp_path / name).write_bytes(b"signal")
    for name in ("old", "broken off"):
        os.utime(tmp_path / name, (0, 0))
    threading.Thread(target=app.remove_unread, args=(tmp_path,), daemon=True).start()
    wait_until(lambda: [path.name for path in tmp_path.iterdir()] == ["new"])


@pytest.fixture
def launched(monkeypatch) -> dict:
    """What the page is launched with, in place of launching it."""
    settings: dict = {}
    monkeypatch.setattr(app.gr.Blocks, "launch", lambda page, **given: settings.update(given))
    monkeypatch.setattr(app.signal, "signal", lambda *handler: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    for name in ("SPACE_ID", "ENECG_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return settings


@pytest.mark.parametrize("is_space", [False, True])
def test_the_page_is_open_to_this_machine_only_but_on_a_space(launched, monkeypatch, model_dir, is_space):
    monkeypatch.setattr(sys, "argv", ["app.py"] if is_space else ["app.py", "--model", str(model_dir)])
    if is_space:
        monkeypatch.setenv("SPACE_ID", "someone/enecg")
        monkeypatch.setenv("ENECG_MODEL", str(model_dir))
    app.main()
    assert launched["server_name"] == ("0.0.0.0" if is_space else "127.0.0.1")
    assert launched["share"] is launched["run_history"] is False
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--model", "tall"], "no shipped model of that name"), (["--model", "/absent"], "no folder /absent")],
)
def test_a_missing_model_is_told_in_a_line(launched, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert message in f"{caught.value.code} {capsys.readouterr().err}"
    assert launched == {}
