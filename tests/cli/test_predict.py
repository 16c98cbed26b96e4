import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from PIL import Image
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg.data.ptbxl.labels import describe
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.runs import shipped
from tests.helpers.ecg_folder import write_record
from tests.helpers.prediction import FINDINGS, by_label, write_leads, write_recordings
from tests.helpers.training import tiny_ecgfounder

COMMAND = Path(sys.executable).with_name("enecg")


@pytest.fixture(scope="module")
def record(simulated):
    return simulated / "records500" / "00000" / "00007_hr"


def test_predict_prints_every_label_with_its_meaning(run, calibrated_model, record):
    lines = run("predict", calibrated_model, record).splitlines()
    leads = ", ".join(STANDARD_LEADS)
    assert lines[:3] == [str(record), "  10.0 s at 500 Hz; quality: ok", f"  leads used: {leads}"]
    tasks = json.loads(run("predict", calibrated_model, record, "--json"))[0]["tasks"]
    shown = lines[lines.index("  superdiagnostic") + 1 :][: len(FINDINGS)]
    for line, found in zip(shown, tasks["superdiagnostic"], strict=True):
        assert f"  {found['label']} " in line
        assert line.endswith(describe(found["label"]))
    age = tasks["age"][0]
    assert f"{age['value']:.3f} years ({age['lower']:.3f} to {age['upper']:.3f})  age" in "\n".join(lines)
    assert "gate: first 0.50, second 0.50" in "\n".join(lines)


def test_predict_json_holds_probabilities_of_all_labels(run, calibrated_model, record):
    (result,) = json.loads(run("predict", calibrated_model, record, "--json"))
    assert result["record"] == str(record)
    tasks = result["tasks"]
    assert list(tasks) == ["superdiagnostic", "sex", "age"]
    assert {each["label"] for each in tasks["superdiagnostic"]} == set(FINDINGS)
    scores = [each["score"] for each in tasks["superdiagnostic"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    for key in ("score", "raw_score"):
        assert sum(each[key] for each in tasks["sex"]) == pytest.approx(1)
    assert tasks["age"][0]["unit"] == "years"
    for weights in result["gate_weights"].values():
        assert sum(weights.values()) == pytest.approx(1)


@torch.inference_mode()
def test_predict_gives_what_the_model_gives(run, calibrated_model, record):
    content = wfdb.rdrecord(str(record))
    model, extractor = (
        AutoModel.from_pretrained(calibrated_model),
        AutoFeatureExtractor.from_pretrained(calibrated_model),
    )
    inputs = extractor(content.p_signal.T, content.fs, content.sig_name, return_tensors="pt")
    logits = model(**inputs).logits
    tasks = json.loads(run("predict", calibrated_model, record, "--json"))[0]["tasks"]
    raw = {each["label"]: each["raw_score"] for each in tasks["superdiagnostic"]}
    wanted = dict(zip(FINDINGS, logits["superdiagnostic"][0].sigmoid().tolist(), strict=True))
    assert raw == pytest.approx(wanted, abs=1e-6)
    assert tasks["age"][0]["value"] == pytest.approx(logits["age"].item(), abs=1e-4)


def test_predict_takes_several_records_under_any_of_their_names(run, calibrated_model, record, simulated):
    other = simulated / "records100" / "00000" / "00008_lr"
    results = json.loads(run("predict", calibrated_model, record, f"{record}.hea", f"{record}.dat", other, "--json"))
    assert [result["record"] for result in results] == [str(record), f"{record}.hea", f"{record}.dat", str(other)]
    assert results[0]["tasks"] == results[1]["tasks"] == results[2]["tasks"] != results[3]["tasks"]


def test_predict_knows_leads_by_name(run, calibrated_model, record, tmp_path):
    content = wfdb.rdrecord(str(record), physical=False)
    order = [5, 0, 11, 1, 6, 7, 8, 9, 10, 2, 3, 4]
    wfdb.wrsamp(
        *("shuffled", content.fs, content.units, [content.sig_name[lead] for lead in order]),
        d_signal=content.d_signal[:, order],
        fmt=content.fmt,
        adc_gain=content.adc_gain,
        baseline=content.baseline,
        write_dir=str(tmp_path),
    )
    results = json.loads(run("predict", calibrated_model, record, tmp_path / "shuffled", "--json"))
    for key in ("raw_score", "value"):
        shuffled, plain = (by_label(result["tasks"], key) for result in results)
        assert shuffled == pytest.approx(plain, abs=1e-5)


def test_predict_draws_the_record(run, calibrated_model, record, tmp_path):
    run("predict", calibrated_model, record, "--plot", tmp_path / "ecg.png")
    with Image.open(tmp_path / "ecg.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
        assert len(set(image.convert("L").get_flattened_data())) > 10


def broken_record(tmp_path, record, kind):
    for ending in (".hea", ".dat"):
        shutil.copy(f"{record}{ending}", tmp_path)
    path = tmp_path / record.name
    signal = path.with_suffix(".dat")
    if kind == "missing":
        return tmp_path / "absent"
    if kind == "truncated":
        signal.write_bytes(signal.read_bytes()[:1000])
    elif kind == "nan":
        signal_mv = read_ecg(record).signal_mv
        signal_mv[:, 100:140] = np.nan
        write_record(tmp_path / "gap", signal_mv, 500)
        return tmp_path / "gap"
    elif kind == "header":
        path.with_suffix(".hea").write_text("no header at all\n")
    return path


@pytest.mark.parametrize("kept", [["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"], ["II"]])
def test_predict_takes_fewer_leads(run, calibrated_model, record, tmp_path, kept):
    path = write_leads(tmp_path / "few", record, kept)
    few, whole = json.loads(run("predict", calibrated_model, path, record, "--json"))
    values, wanted = (by_label(result["tasks"], "raw_score") for result in (few, whole))
    assert np.isfinite(list(values.values())).all()
    assert few["lead_names"] == few["used_leads"] == kept
    assert few["missing_leads"] == ([] if len(kept) == 8 else [lead for lead in STANDARD_LEADS if lead != "II"])
    assert (values == pytest.approx(wanted, abs=1e-3)) == (len(kept) == 8)


@pytest.mark.parametrize(
    ("lead", "worth"),
    [
        ("I", "measured on lead I: macro AUROC 0.720; on 12 leads: macro AUROC 0.910"),
        ("V5", "never measured on these leads; on 12 leads: macro AUROC 0.910"),
    ],
)
def test_predict_says_what_few_leads_are_worth(run, calibrated_model, record, tmp_path, lead, worth):
    lines = run("predict", calibrated_model, write_leads(tmp_path / "one", record, [lead])).splitlines()
    missing = ", ".join(name for name in STANDARD_LEADS if name != lead)
    assert f"  leads used: {lead}; missing: {missing}" in lines
    assert f"    {worth}" in lines
    assert lines.count("    never measured on these leads") == 2, "of the other tasks nothing is known"
    assert "measured" not in run("predict", calibrated_model, record)
    few, whole = json.loads(run("predict", calibrated_model, tmp_path / "one", record, "--json"))
    assert few["worth_on_these_leads"]["superdiagnostic"] == worth
    assert set(whole["worth_on_these_leads"].values()) == {None}


@pytest.mark.parametrize(("name", "reason"), [("noise", "noise"), ("below/flat_chest", "V5, V6: flat")])
def test_predict_does_not_score_what_is_no_ecg_unless_forced(run, calibrated_model, simulated, tmp_path, name, reason):
    path = write_recordings(tmp_path, simulated) / name
    lines = run("predict", calibrated_model, path).splitlines()
    assert "quality: unusable (" in lines[1]
    assert reason in lines[1]
    assert lines[2:] == ["  Not scored: the signal is unusable. --force scores it all the same."]
    forced = run("predict", calibrated_model, path, "--force").splitlines()
    assert forced[1] == lines[1]
    assert "  superdiagnostic" in forced


def test_a_constant_recording_is_unusable_and_cannot_be_forced(run, fail, calibrated_model, tmp_path):
    write_record(tmp_path / "zeros", np.zeros((12, 5000)), 500)
    (result,) = json.loads(run("predict", calibrated_model, tmp_path / "zeros", "--json"))
    assert result["quality"]["verdict"] == "unusable"
    assert result["tasks"] == {"superdiagnostic": [], "sex": [], "age": []}
    assert "every lead is constant" in fail("predict", calibrated_model, tmp_path / "zeros", "--force")


def test_predict_takes_a_shipped_model_by_its_name(run, fail, calibrated_model, record, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "MODELS", tmp_path / "models")
    assert "no folder small, and no shipped model of that name" in fail("predict", "small", record)
    shutil.copytree(calibrated_model, tmp_path / "models" / "small")
    assert run("predict", "small", record) == run("predict", calibrated_model, record)
    monkeypatch.chdir(tmp_path / "models")
    assert "small is a shipped model, and a folder here; write ./small" in fail("predict", "small", record)
    assert run("predict", "./small", record) == run("predict", calibrated_model, record)


def test_predict_averages_the_windows_of_a_long_recording(run, calibrated_model, record, simulated, tmp_path):
    other = record.with_name("00008_hr")
    joined = np.hstack([read_ecg(path).signal_mv for path in (record, other)])
    write_record(tmp_path / "long", joined, 500)
    first, second, long = (
        result["tasks"]["age"][0]["value"]
        for result in json.loads(run("predict", calibrated_model, record, other, tmp_path / "long", "--json"))
    )
    assert long == pytest.approx((first + second) / 2, abs=1e-3)
    assert first != pytest.approx(second, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no WFDB header"),
        ("truncated", "holds at most"),
        ("nan", "Every lead has missing samples in every window"),
        ("header", "a whole number was expected"),
    ],
)
def test_predict_refuses_a_bad_record_by_name(fail, calibrated_model, record, tmp_path, kind, message):
    path = broken_record(tmp_path, record, kind)
    line = fail("predict", calibrated_model, record, path)
    assert message in line
    assert path.name in line


@pytest.fixture
def offline(monkeypatch):
    """No look-up on the Hub, also where the network is there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "kind",
    ["absolute", "relative", "empty", "backbone", "no_extractor", "no_weights", "damaged_weights", "damaged_config"],
)
def test_predict_refuses_what_is_no_enecg_model(fail, calibrated_model, record, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    if kind == "backbone":
        tiny_ecgfounder().save_pretrained(folder)
    elif kind == "empty":
        folder.mkdir()
    elif kind not in ("absolute", "relative"):
        shutil.copytree(calibrated_model, folder)
        name = {"no_extractor": "preprocessor_config.json", "damaged_config": "config.json"}.get(
            kind, "model.safetensors"
        )
        (folder / name).unlink()
        if kind.startswith("damaged"):
            (folder / name).write_text("{damaged")
    line = fail("predict", "no/model" if kind == "relative" else folder, record)
    if kind == "backbone":
        assert "'enecg-ecgfounder', which has no tasks" in line


def test_predict_plots_one_record_only(fail, calibrated_model, record, tmp_path):
    line = fail("predict", calibrated_model, record, record.with_name("00008_hr"), "--plot", tmp_path / "ecg.png")
    assert "--plot draws one record" in line
    assert not (tmp_path / "ecg.png").exists()


def test_predict_refuses_a_picture_format_that_is_none(fail, calibrated_model, record, tmp_path):
    fail("predict", calibrated_model, record, "--plot", tmp_path / "ecg.doc")
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_predicts_and_fails_with_status_1(calibrated_model, record):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for path, status in ((record, 0), (f"{record}_absent", 1)):
        process = subprocess.run(
            [COMMAND, "predict", calibrated_model, path], env=environment, capture_output=True, text=True
        )
        assert process.returncode == status, process.stderr
        if status == 0:
            assert process.stdout.splitlines()[0] == str(record)
            assert "medical device" in process.stderr
        else:
            assert process.stdout == ""
            assert process.stderr.startswith("enecg predict: ")
            assert len(process.stderr.splitlines()) == 1
