"""What the page shows of an explanation: the numbers of `enecg explain`, and the warnings."""

import re

import pytest

from modeling_enecg.demo import Recording, simulate
from modeling_enecg.explaining import explain


def test_an_explanation_shows_the_picture_and_every_number_and_warning(demo):
    recording = simulate("atrial fibrillation")
    predictor, output = demo.predictor, demo.findings(recording).output
    html = demo.explanation(recording, output)
    found = explain(predictor.model, predictor.extractor, recording.record, *demo.outputs[output])
    text = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert f"Why {found.label}?" in text
    assert f"logit {found.score:.3f}" in text
    assert f"error {found.completeness_error:.2%}" in text
    assert "data:image/svg+xml;base64," in html
    for each in found.attributions.values():
        for values, shares in ((each.by_lead, each.lead_shares), (each.by_segment, each.segment_shares)):
            for name, value in values.items():
                assert f"{name} {value:+.2f} {shares[name]:.0%}" in text
        assert f"{abs(each.deletion.area_difference):.2f} " in text
        assert f"Rank correlation with random weights: {each.random_weights_correlation:.2f}" in text
        assert all(f"Warning: {warning}" in text for warning in each.warnings)
    assert any(each.warnings for each in found.attributions.values())


@pytest.mark.parametrize("recording", [None, Recording("a", None, "unread")])
def test_a_recording_that_is_not_at_hand_is_told(demo, recording):
    assert "no longer at hand" in demo.explanation(recording, "age")
