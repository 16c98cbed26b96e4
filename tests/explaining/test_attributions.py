"""Integrated gradients and occlusion: they add up, and find the one lead that a model reads."""

import copy

import numpy as np
import pytest
import torch

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.explaining.gradients import integrated_gradients
from modeling_enecg.explaining.occlusion import occlude
from modeling_enecg.explaining.scored_record import CELL_S, ScoredRecord
from modeling_enecg.explaining.segments import SEGMENTS
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.pipeline_ecg import nested_inputs
from tests.helpers.explaining import beats, scored, tiny_model
from tests.helpers.inputs import with_random_weights
from tests.helpers.tiny_models import AGE, RHYTHM, SEX
from tests.helpers.training import ECGFOUNDER, tiny_ecgfounder

# Which periods TimesNet folds by jumps along the path; the others' outputs are continuous.
COMPLETE_WITHIN = {model_type: 0.25 if model_type == "enecg-timesnet" else 0.06 for model_type in BACKBONES}


def change(record: ScoredRecord) -> float:
    """By how much the output differs from that of the baseline."""
    score, flat = record.scores([np.zeros_like(record.is_seen), record.is_seen])
    return float(score - flat)


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_gradients_of_every_backbone_add_up_to_the_output(model_type):
    model = tiny_model(model_type)
    record = scored(model, beats(max(model.feature_extractor().window_seconds(), 0.3)))
    cells = integrated_gradients(record, 128)
    assert cells.shape == (12, record.num_columns)
    assert cells.sum() == pytest.approx(change(record), rel=COMPLETE_WITHIN[model_type], abs=1e-5)
    assert np.abs(cells).sum() > 1e-3


@pytest.fixture(scope="module")
def ensemble() -> EnECGModel:
    """Two experts of different leads, rates and lengths under a gate on the signal, and a task of each type."""
    torch.manual_seed(0)
    small = BACKBONES["enecg-xresnet1d"].config_class(
        sampling_rate=50, sequence_length=250, stem_sizes=[8, 8, 16], inner_sizes=[4, 6], depths=[1, 1]
    )
    experts = {"first": tiny_ecgfounder(), "second": BACKBONES["enecg-xresnet1d"](small)}
    gate = {"gate": "leads", "gate_leads": ["II"], "gate_sampling_rate": 50, "gate_sequence_length": 500}
    model = EnECGModel.from_experts(
        {name: with_random_weights(expert) for name, expert in experts.items()}, [RHYTHM, SEX, AGE], **gate
    )
    with torch.no_grad():
        for parameter in model.gates.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("task", ["rhythm", "sex", "age"])
def test_gradients_of_an_ensemble_add_up_through_its_experts_and_its_gate(ensemble, task):
    record = scored(ensemble, beats(10), task)
    assert set(record.views[0]) == {"input_values_0", "input_values_1", "gate_values"}
    assert integrated_gradients(record, 128).sum() == pytest.approx(change(record), rel=0.06, abs=1e-4)


def test_an_expert_that_a_sparse_gate_leaves_out_has_no_part(ensemble):
    config = copy.deepcopy(ensemble.config)
    config.top_k = 1
    sparse = EnECGModel(config).eval()
    sparse.load_state_dict(ensemble.state_dict())
    record = scored(sparse, beats(10))
    chosen = sparse(**nested_inputs(record.windows[0])).gate_weights["rhythm"][0].argmax().item()
    left_out = list(sparse.backbones.values())[1 - chosen]
    left_out.register_forward_pre_hook(lambda *_: pytest.fail("the expert was computed"))
    flat = {name: record.baselines[0][name] for name in record.baselines[0]}
    assert sparse(**nested_inputs({**record.windows[0], **flat})).gate_weights["rhythm"][0].argmax() == chosen
    cells = integrated_gradients(record, 128)
    assert cells.sum() == pytest.approx(change(record), rel=0.06, abs=1e-4)
    assert np.abs(cells).sum() > 1e-3


def test_the_output_of_a_regression_is_in_its_own_unit(ensemble):
    record = scored(ensemble, beats(10), "age")
    (score,) = record.scores([np.zeros_like(record.is_seen)])
    assert score == pytest.approx(record.all_logits()[0], abs=1e-4)
    assert 20 < score < 100


def test_a_longer_recording_is_explained_by_the_sum_over_its_windows(ensemble):
    record = scored(ensemble, beats(26))
    assert len(record.windows) == 3
    cells = integrated_gradients(record, 128)
    assert cells.shape == (12, 2600)
    assert cells.sum() == pytest.approx(change(record), rel=0.03, abs=1e-4)
    for part in np.split(np.abs(cells).sum(axis=0), 26)[:24]:
        assert part.sum() > 0


def reading_only(lead: str) -> EnECGModel:
    """A model to which one lead matters."""
    expert = with_random_weights(tiny_ecgfounder())
    first = next(module for module in expert.modules() if isinstance(module, torch.nn.Conv1d))
    with torch.no_grad():
        first.weight[:, [row for row, name in enumerate(STANDARD_LEADS) if name != lead]] = 0
    return EnECGModel.from_experts({"expert": expert}, [RHYTHM])


def test_both_methods_find_the_one_lead_that_a_model_reads():
    record = scored(reading_only("V3"), beats(10))
    row = record.lead_names.index("V3")
    found = occlude(record, np.zeros(record.num_columns, dtype=int))
    for by_lead in (integrated_gradients(record, 16).sum(axis=1), found.by_lead):
        assert np.flatnonzero(np.abs(by_lead) > 1e-6).tolist() == [row]


@torch.inference_mode()
def test_occlusion_is_the_fall_of_the_output_when_a_lead_is_flat():
    model, recording = tiny_model("enecg-ecgfounder"), beats(0.3)
    record = scored(model, recording)
    inputs = model.feature_extractor()(recording.signal_mv, 500, return_tensors="pt")
    score = model(**inputs).logits["rhythm"][0, 0].item()
    inputs["input_values"][0, 6] = float(np.median(inputs["input_values"][0, 6].numpy()))
    without = model(**inputs).logits["rhythm"][0, 0].item()
    found = occlude(record, np.zeros(record.num_columns, dtype=int))
    assert found.by_lead[6] == pytest.approx(score - without, abs=1e-5)
    np.testing.assert_allclose(found.by_both[:, 0], found.by_lead, atol=1e-5)  # all moments are of one segment


def test_occlusion_by_segment_flattens_it_in_all_leads():
    record = scored(tiny_model("enecg-hubertecg"), beats(1.5))
    segments = np.repeat([0, 1, 2], 50)
    found = occlude(record, segments)
    assert found.by_segment.shape == (len(SEGMENTS),)
    score, without = record.scores([np.zeros_like(record.is_seen), record.is_seen & (segments == 1)])
    assert found.by_segment[1] == pytest.approx(score - without, abs=1e-6)
    assert found.by_segment[3] == pytest.approx(0, abs=1e-6)
    cells = found.cells(record, segments)
    assert cells.sum() == pytest.approx(found.by_both.sum(), abs=1e-6)


def test_missing_leads_have_no_row_and_padding_no_share():
    record = scored(tiny_model("enecg-hubertecg"), beats(1.0, leads=STANDARD_LEADS[:8]))
    assert record.lead_names == list(STANDARD_LEADS[:8])
    assert record.is_seen.shape == (8, 100)
    cells = integrated_gradients(record, 64)
    assert cells.sum() == pytest.approx(change(record), rel=0.05, abs=1e-5)


def test_a_model_that_takes_the_middle_of_a_recording_is_explained_there():
    model = tiny_model("enecg-xresnet1d")  # 1.5 s
    record = scored(model, beats(2.1))
    seen = np.flatnonzero(record.is_seen.all(axis=0)) * CELL_S
    assert seen.min() == pytest.approx(0.3, abs=0.02)
    assert seen.max() == pytest.approx(1.8, abs=0.02)
    assert not integrated_gradients(record, 2)[:, :29].any()


def test_what_is_marked_lies_where_the_signal_deviates_from_its_baseline(ensemble):
    recording = beats(10)
    signal = np.full_like(recording.signal_mv, 0.0)
    signal[:, 2500:2600] = recording.signal_mv[:, 100:200] * 3
    recording.signal_mv[:] = signal
    model = EnECGModel.from_experts({"expert": with_random_weights(tiny_ecgfounder())}, [RHYTHM])
    assert model.config.experts["expert"]["sampling_rate"] == ECGFOUNDER["sampling_rate"]
    magnitudes = np.abs(integrated_gradients(scored(model, recording), 16)).sum(axis=0)
    assert magnitudes[490:530].sum() > 0.8 * magnitudes.sum()
