import numpy as np
import pytest
import torch

from modeling_enecg import EnECGModel
from modeling_enecg.lead_dropout import masked_gate_values, random_lead_mask
from modeling_enecg.training.arguments import LinearProbingArguments
from modeling_enecg.training.lora import LoraHeadArguments, LoraHeadTrainer
from modeling_enecg.training.trainers import LinearProbingTrainer
from tests.helpers.tiny_models import TASKS


@pytest.fixture
def ensemble(tiny_experts):
    torch.manual_seed(0)
    return EnECGModel.from_experts(tiny_experts, TASKS, gate="leads", gate_leads=["V1", "II"], gate_sequence_length=8)


def draw(rate, model, batch_size=4000, **given):
    torch.manual_seed(0)
    values = torch.zeros(batch_size, 12, 150)
    return random_lead_mask(rate, values, given.get("lead_mask"), model.backbones.values())


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_leads_are_missing_at_the_rate_and_one_stays(ensemble, rate):
    stays = draw(rate, ensemble)
    assert stays.shape == (4000, 12)
    assert stays.any(dim=1).all()
    all_missing = rate**12  # of which one is given back
    assert stays.float().mean().item() == pytest.approx(1 - rate + all_missing / 12, abs=0.01)


def test_a_lead_that_was_not_recorded_does_not_come_back(ensemble):
    lead_mask = torch.zeros(4000, 12, dtype=torch.bool)
    lead_mask[:, [1, 7]] = True
    stays = draw(0.9, ensemble, lead_mask=lead_mask)
    assert not (stays & ~lead_mask).any()
    assert stays.any(dim=1).all()


def test_an_expert_of_one_lead_keeps_it(ensemble):
    ensemble.backbones["ecgfounder"].config.num_leads = 1
    assert draw(0.5, ensemble)[:, 0].all()


def test_a_gate_does_not_see_the_missing_leads():
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, 1] = False
    values = masked_gate_values(torch.ones(2, 2, 5), mask, ["V1", "II"])
    np.testing.assert_array_equal(values[:, :, 0], [[1, 1], [1, 0]])


def test_training_misses_leads_and_prediction_does_not(ensemble, inputs):
    gate_values = torch.randn(4, 2, 8)
    ensemble.set_lead_dropout(0.5)
    ensemble.freeze_experts()
    eval_logits = [ensemble.eval()(inputs, gate_values=gate_values).logits["sex"] for _ in range(2)]
    torch.testing.assert_close(*eval_logits, rtol=0, atol=0)
    train_logits = [ensemble.train()(inputs, gate_values=gate_values).logits["sex"] for _ in range(2)]
    assert not torch.equal(*train_logits)


@pytest.mark.parametrize(
    ("trainer", "arguments"), [(LinearProbingTrainer, LinearProbingArguments), (LoraHeadTrainer, LoraHeadArguments)]
)
def test_features_are_not_stored_where_leads_go_missing(trainer, arguments, tmp_path):
    for rate in (0.0, 0.5):
        settings = arguments(output_dir=str(tmp_path), lead_dropout=rate, use_cpu=True)
        assert trainer.freezes_experts(settings)
        assert trainer.repeats_features(settings) == (rate == 0)


def test_an_illegal_rate_is_refused(ensemble):
    with pytest.raises(ValueError, match=r"lead_dropout must be in \[0, 1\)"):
        ensemble.set_lead_dropout(1.0)
