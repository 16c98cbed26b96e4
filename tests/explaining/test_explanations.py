"""Whole explanations: what they say, and the controls that they have to pass."""

import json

import numpy as np
import pytest
import torch

from modeling_enecg import EnECGModel
from modeling_enecg.data.beats import find_beats
from modeling_enecg.evaluation.fiducials import Delineation
from modeling_enecg.explaining import explain
from modeling_enecg.explaining.controls import (
    FRACTIONS,
    deletion,
    rank_correlation,
    reference_deletions,
    with_random_weights,
)
from modeling_enecg.explaining.gradients import integrated_gradients
from modeling_enecg.explaining.segments import SEGMENTS, parts_of, segment_of
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord
from tests.helpers.explaining import BEAT_S, beats, scored
from tests.helpers.inputs import with_random_weights as shaken
from tests.helpers.tiny_models import AGE, RHYTHM, SEX
from tests.helpers.training import tiny_ecgfounder

pytestmark = pytest.mark.xdist_group("explanations")  # one of them is shared


@pytest.fixture(scope="module")
def model() -> EnECGModel:
    torch.manual_seed(0)
    return EnECGModel.from_experts({"expert": shaken(tiny_ecgfounder())}, [RHYTHM, SEX, AGE])


@pytest.fixture(scope="module")
def explanation(model):
    return explain(model, model.feature_extractor(), beats(10), "rhythm", "SR", num_steps=32)


def test_both_methods_tell_leads_and_segments_with_shares_that_sum_to_one(explanation):
    assert explanation.label == "SR"
    assert list(explanation.attributions) == ["integrated_gradients", "occlusion"]
    for each in explanation.attributions.values():
        assert list(each.by_lead) == list(STANDARD_LEADS)
        assert list(each.by_segment) == list(SEGMENTS)
        assert sum(each.lead_shares.values()) == pytest.approx(1)
        assert sum(each.segment_shares.values()) == pytest.approx(1)


def test_the_parts_of_integrated_gradients_add_up_with_the_error_that_is_stated(explanation):
    change = explanation.score - explanation.baseline_score
    by = explanation.attributions["integrated_gradients"]
    assert sum(by.by_lead.values()) == pytest.approx(sum(by.by_segment.values()))
    error = abs(sum(by.by_lead.values()) - change) / abs(change)
    assert explanation.completeness_error == pytest.approx(error, abs=1e-6)
    assert error < 0.05


def test_json_holds_every_number_and_ranks_leads_by_their_share(explanation):
    content = json.loads(json.dumps(explanation.to_dict()))
    leads = content["integrated_gradients"]["leads"]
    assert [each["share"] for each in leads] == sorted((each["share"] for each in leads), reverse=True)
    assert len(content["occlusion"]["deletion"]["scores"]) == len(FRACTIONS)
    assert content["num_steps"] == 32
    assert "median" in content["baseline"]


def test_without_a_label_the_most_probable_one_is_explained(model):
    found = explain(model, model.feature_extractor(), beats(10), "rhythm", num_steps=1)
    logits = scored(model, beats(10)).all_logits()
    assert found.label == RHYTHM["labels"][int(logits.argmax())]
    assert found.probability == pytest.approx(1 / (1 + np.exp(-logits.max())), abs=1e-5)


def test_a_regression_is_explained_in_its_unit(model):
    found = explain(model, model.feature_extractor(), beats(10), "age", num_steps=8)
    assert (found.label, found.unit, found.probability) == ("age", "years", None)


def test_a_deletion_curve_goes_from_the_output_to_that_of_the_baseline(explanation):
    for each in explanation.attributions.values():
        curve = each.deletion
        for scores in (curve.scores, curve.random_scores):
            assert scores[0] == pytest.approx(explanation.score, abs=1e-5)
            assert scores[-1] == pytest.approx(explanation.baseline_score, abs=1e-5)


def test_removing_what_matters_first_beats_random_and_last_does_not(model):
    record = scored(model, beats(10))
    cells = integrated_gradients(record, 16)
    references = reference_deletions(record, np.abs(cells))
    best, worst = deletion(record, cells, references), deletion(record, -cells, references)
    assert best.beats_random
    assert best.area_difference > 0
    assert not worst.beats_random
    assert worst.area_difference < 0


def test_an_explanation_of_a_model_that_ignores_the_recording_is_warned_of():
    model = EnECGModel.from_experts({"expert": tiny_ecgfounder()}, [RHYTHM])
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.zero_()
    found = explain(model, model.feature_extractor(), beats(10), "rhythm", num_steps=2)
    for each in found.attributions.values():
        assert not each.deletion.beats_random
        assert any("no more than removing parts at random" in warning for warning in each.warnings)
        assert each.random_weights_correlation is None
        assert any("was not compared" in warning for warning in each.warnings)


def test_an_untrained_model_that_marks_the_same_places_is_warned_of(model):
    untrained = with_random_weights(model)
    found = explain(untrained, model.feature_extractor(), beats(10), "rhythm", num_steps=2)
    for each in found.attributions.values():
        assert each.random_weights_correlation == pytest.approx(1)
        assert any("random weights marks much the same" in warning for warning in each.warnings)


def test_random_weights_leave_the_model_and_torch_as_they_were(model):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    untrained = with_random_weights(model)
    assert torch.rand(1) == expected
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert not any(
        torch.equal(each, before[name]) for name, each in untrained.named_parameters() if name.endswith("conv.weight")
    )


def test_equal_ranks_correlate_fully_and_constants_not_at_all():
    values = np.array([[0.1, -2.0], [3.0, 0.4]])
    assert rank_correlation(values, 7 * values) == pytest.approx(1)
    assert rank_correlation(values, np.zeros((2, 2))) is None


def test_beats_are_found_where_the_r_peaks_are():
    found = find_beats(beats(10))
    assert len(found) >= 10  # XQRS may miss the first while it learns
    nearest = np.abs(found[:, None] - np.arange(BEAT_S / 2, 10.1, BEAT_S)).min(axis=1)
    assert nearest.max() <= 0.005


def test_segments_are_windows_about_the_r_peaks():
    times = np.arange(0.005, 2, 0.01)
    segments = segment_of(times, [1.0])
    names = np.array(SEGMENTS)[segments]
    for name, start, end in (("P", 0.75, 0.94), ("QRS", 0.94, 1.06), ("ST-T", 1.06, 1.4)):
        of_name = times[names == name]
        assert of_name.min() == pytest.approx(start + 0.005, abs=1e-6)
        assert of_name.max() == pytest.approx(end - 0.005, abs=1e-6)
    early = segment_of(times, [1.0, 1.3])
    assert np.array(SEGMENTS)[early][int(1.1 / 0.01)] == "P"  # of the second beat, in the first one's ST-T
    assert np.array(SEGMENTS)[early][int(1.3 / 0.01)] == "QRS"


def test_delineated_waves_take_the_place_of_the_windows():
    seconds = {"P onset": -0.3, "P peak": -0.25, "P end": -0.2, "QRS onset": -0.08, "QRS end": 0.09}
    parts = parts_of(Delineation(seconds))
    assert parts.delineated == ["P", "QRS"]
    assert str(parts) == "P, QRS as delineated; ST-T as windows about the R peak, not delineated"
    names = np.array(SEGMENTS)[segment_of(np.array([0.72, 0.85, 0.93, 1.08, 1.2, 1.45]), [1.0], parts)]
    assert names.tolist() == ["P", "rest", "QRS", "QRS", "ST-T", "rest"]
    whole = parts_of(Delineation(seconds | {"T peak": 0.3, "T end": 0.36}))
    assert whole.spans_s["ST-T"] == (0.09, 0.36)
    assert str(whole) == "P, QRS, ST-T as delineated"
    none = parts_of(Delineation(why_not="that needs neurokit2"))
    assert str(none) == "P, QRS, ST-T as windows about the R peak, not delineated"
    assert none.why_not == "that needs neurokit2"


def test_the_explanation_tells_which_parts_were_delineated(explanation):
    told = explanation.to_dict()
    assert told["segment_windows_s"] == {name: list(span) for name, span in explanation.parts.spans_s.items()}
    assert told["segments_delineated"] == list(explanation.parts.delineated)
    times = (np.arange(len(explanation.segments)) + 0.5) * 0.01
    assert (explanation.segments == segment_of(times, explanation.beats, explanation.parts)).all()


def test_a_recording_without_beats_is_all_rest(model):
    slow = np.tile(np.sin(np.arange(5000) / 1500), (12, 1))
    recording = ECGRecord(slow, 500, list(STANDARD_LEADS))
    found = explain(model, model.feature_extractor(), recording, "rhythm", num_steps=1, force=True)
    assert set(found.segments) == {SEGMENTS.index("rest")}
    doubt, no_beats = found.warnings
    assert doubt.startswith("The recording is doubtful: ")
    assert no_beats == "No beat was found, so that all is called rest."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "rythm"}, "no task 'rythm'; there are rhythm, sex, age"),
        ({"label": "VT"}, "no label 'VT'; there are AFIB, SR, PACE"),
        ({"num_steps": 0}, "num_steps must be 1 or more"),
        ({"recording": ECGRecord(np.zeros((12, 5000)), 500, list(STANDARD_LEADS))}, "unusable"),
    ],
)
def test_what_cannot_be_explained_is_refused(model, changes, reason):
    arguments = {"recording": beats(10), "task": "rhythm", "label": None} | changes
    with pytest.raises(ValueError, match=reason):
        explain(model, model.feature_extractor(), **arguments)
