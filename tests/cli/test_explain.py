"""`enecg explain`: text, JSON and the picture say the same, and mistakes are told in a line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeling_enecg.explaining.explanation import METHODS
from tests.helpers.figures import has_ink_at_its_edge


@pytest.fixture(scope="module")
def record(simulated) -> Path:
    return simulated / "records100" / "00000" / "00007_lr"


def test_text_names_leads_parts_and_controls_as_json_has_them(run, calibrated_model, record):
    wanted = ["--task", "superdiagnostic", "--label", "MI", "--steps", 8]
    text = run("explain", calibrated_model, record, *wanted)
    found = json.loads(run("explain", calibrated_model, record, *wanted, "--json"))
    assert found["record"] == str(record)
    assert f"superdiagnostic: MI, logit {found['score']:.3f}" in text
    for method in ("integrated_gradients", "occlusion"):
        leads = found[method]["leads"]
        assert len(leads) == 12
        first = f"{leads[0]['lead']} {leads[0]['value']:+.2f} ({leads[0]['share']:.0%})"
        assert f"leads    {first}" in text
        for warning in found[method]["warnings"]:
            assert f"    warning: {warning}" in text
    assert f"8 steps, error {found['completeness_error']:.2%}" in text
    assert text.count("deletion most important first") == 2


@pytest.mark.parametrize("method", METHODS)
def test_the_picture_has_a_wash_of_both_colours(run, calibrated_model, record, tmp_path, method):
    picture = tmp_path / "why.png"
    run("explain", calibrated_model, record, "--task", "age", "--steps", 8, "--plot", picture, "--method", method)
    assert not has_ink_at_its_edge(picture)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (pixels[..., 2] > pixels[..., 0] + 40).mean()
    orange = (pixels[..., 0] > pixels[..., 2] + 100).mean()
    assert blue > 1e-3
    assert orange > 1e-3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--task", "rhythm"], "no task 'rhythm'; there are superdiagnostic, sex, age"),
        (["--task", "superdiagnostic", "--label", "AFIB"], "no label 'AFIB'"),
        (["--task", "age", "--steps", "0"], "num_steps must be 1 or more"),
    ],
)
def test_what_cannot_be_explained_is_told_in_a_line(fail, calibrated_model, record, arguments, reason):
    assert reason in fail("explain", calibrated_model, record, *arguments)
