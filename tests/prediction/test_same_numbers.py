"""One recording, asked for in every way there is: raw score, probability, threshold and decision are the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from transformers import pipeline

from modeling_enecg.cli import main
from modeling_enecg.findings import Findings
from tests.helpers.prediction import FINDINGS, by_label

pytestmark = pytest.mark.xdist_group("same_numbers")  # its findings are shared

KEYS = ("raw_score", "score", "threshold", "present")


@pytest.fixture(scope="module")
def record(simulated) -> Path:
    return simulated / "records500/00000/00007_hr"


@pytest.fixture(scope="module")
def found(calibrated_model, record) -> Findings:
    """What the pipeline finds."""
    return pipeline("ecg-classification", model=str(calibrated_model))(str(record))


def test_calibration_and_thresholds_have_a_say(found):
    """Otherwise what follows would prove little."""
    raw, score, present = (by_label(found, key) for key in ("raw_score", "score", "present"))
    assert all(abs(raw[name] - score[name]) > 1e-3 for name in raw)
    assert len({value for name, value in present.items() if name.startswith("superdiagnostic")}) == 2
    assert any(present[name] != (raw[name] >= 0.5) for name in raw)


def test_json_has_the_findings(found, run, calibrated_model, record):
    (printed,) = json.loads(run("predict", calibrated_model, record, "--json"))
    for key in KEYS:
        assert by_label(printed["tasks"], key) == pytest.approx(by_label(found, key), abs=1e-6)
    assert printed["tasks"]["age"][0] == pytest.approx(found["age"][0], abs=1e-3)
    assert printed["quality"] == {"verdict": "ok", "reasons": [], "leads": {}}


LINE = re.compile(r" {4}(present|-) +(\d\.\d{3})(?: of (\d\.\d{3}))? \(raw (\d\.\d{3})\) +(\w+)\b")


def test_text_has_the_findings(found, run, calibrated_model, record):
    lines = [
        match.groups() for line in run("predict", calibrated_model, record).splitlines() if (match := LINE.match(line))
    ]
    shown = [
        ("present" if each["present"] else "-", each["score"], each["threshold"], each["raw_score"], each["label"])
        for task in ("superdiagnostic", "sex")
        for each in found[task]
    ]
    assert len(lines) == len(FINDINGS) + 2
    for line, wanted in zip(lines, shown, strict=True):
        numbers = [None if text is None else float(text) for text in line[1:4]]
        assert (line[0], line[4]) == (wanted[0], wanted[4])
        assert numbers == pytest.approx(list(wanted[1:4]), abs=6e-4)


def test_a_table_has_the_findings(found, calibrated_model, record, tmp_path):
    main(["predict", str(calibrated_model), str(record), "--output", str(tmp_path / "all.parquet")])
    row = pd.read_parquet(tmp_path / "all.parquet").iloc[0]
    for key, column in (("raw_score", "predicted"), ("score", "probability"), ("present", "present")):
        stored = {name: row[f"{name}.{column}"] for name in by_label(found, key)}
        assert stored == pytest.approx(by_label(found, key), abs=1e-6)


ELSEWHERE = """
import json, sys
sys.modules["modeling_enecg"] = None  # importing the package is an error from here on
from transformers import pipeline

found = pipeline("ecg-classification", model=sys.argv[1], trust_remote_code=True)(sys.argv[2])
print(json.dumps(found.to_dict()))
"""


def test_the_code_that_travels_with_the_model_has_the_findings(found, calibrated_model, record, tmp_path):
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, calibrated_model, record],
        env=os.environ | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    elsewhere = json.loads(done.stdout.splitlines()[-1])
    for key in KEYS:
        assert by_label(elsewhere["tasks"], key) == pytest.approx(by_label(found, key), abs=1e-6)
    assert elsewhere["quality"]["verdict"] == "ok"
    assert elsewhere["used_leads"] == found.used_leads
