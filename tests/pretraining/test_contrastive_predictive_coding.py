import math

import numpy as np
import pytest
import torch

from modeling_enecg import ECGCPCConfig, ECGCPCModel, STMEMConfig, STMEMModel
from modeling_enecg.pretraining import ContrastivePredictiveCoding
from modeling_enecg.pretraining.contrastive_predictive_coding import contrastive_loss, negative_places
from tests.helpers.pretraining import CPC


def tiny_cpc(**changes):
    torch.manual_seed(0)
    fields = {name: value for name, value in CPC.items() if name != "model_type"}
    fields |= {"sequence_length": 200, "conv_kernel": [3, 1], "conv_stride": [2, 1]}
    return ECGCPCModel(ECGCPCConfig(**fields | changes))


def test_the_loss_is_that_of_a_case_by_hand():
    """Three tokens, two predictions one token ahead, and one negative of each."""
    targets = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    predictions = torch.tensor([[[1.0, 2.0], [0.0, 1.0]]])
    draws = torch.tensor([[[0.0], [0.9]]])
    # The first is right with a similarity of 2, and told from token 0 with 1; the second: 1, and token 1 with 1.
    by_hand = math.log(math.e**2 + math.e) - 2 + math.log(2)
    loss = contrastive_loss(predictions, targets, torch.tensor([3]), draws)
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)


def test_the_loss_is_a_sum_over_tokens_and_a_mean_over_records():
    torch.manual_seed(0)
    predictions, targets = torch.randn(2, 6, 4), torch.randn(2, 8, 4)
    draws, lengths = torch.rand(2, 6, 3), torch.tensor([8, 8])
    both = contrastive_loss(predictions, targets, lengths, draws)
    alone = [contrastive_loss(*(each[[row]] for each in (predictions, targets, lengths, draws))) for row in (0, 1)]
    assert both.item() == pytest.approx((alone[0] + alone[1]).item() / 2, rel=1e-6)


def test_nothing_beyond_a_records_end_counts():
    torch.manual_seed(0)
    predictions, targets, draws = torch.randn(1, 6, 4), torch.randn(1, 8, 4), torch.rand(1, 6, 3)
    short = contrastive_loss(predictions[:, :3], targets[:, :5], torch.tensor([5]), draws[:, :3])
    padded = contrastive_loss(predictions, targets, torch.tensor([5]), draws)
    assert padded.item() == pytest.approx(short.item(), rel=1e-6)


def test_negatives_are_all_others_equally_often_and_never_the_positive():
    draws = (torch.arange(60) + 0.5) / 60
    for positive in (0, 3, 6):
        places = negative_places(draws, torch.tensor(positive), torch.tensor(7))
        counts = np.bincount(places.numpy(), minlength=7)
        assert counts.tolist() == [0 if place == positive else 10 for place in range(7)]
    assert negative_places(torch.tensor(1 - 2**-24), torch.tensor(0), torch.tensor(7)) == 6


def test_the_target_is_the_stems_output_some_tokens_ahead():
    """With a prediction of zeros every candidate is as likely: the loss counts tokens and candidates."""
    objective = ContrastivePredictiveCoding(tiny_cpc(), steps_ahead=14, num_negatives=5)
    objective.prediction.weight.data.zero_()
    loss = objective(torch.randn(3, 12, 200))["loss"]
    assert loss.item() == pytest.approx((100 - 14) * math.log(6), rel=1e-5)


def test_the_target_of_a_token_changes_with_what_is_ahead_and_its_prediction_does_not():
    objective = ContrastivePredictiveCoding(tiny_cpc(hidden_dropout=0.0)).eval()
    signal = torch.randn(1, 12, 200)
    changed = signal.clone()
    changed[..., 150:] = 0
    with torch.no_grad():
        (before, _), (after, _) = (objective.backbone.embed(each) for each in (signal, changed))
        first, second = (objective.backbone(each).last_hidden_state for each in (signal, changed))
    assert not torch.equal(before[:, 80:], after[:, 80:])
    torch.testing.assert_close(first[:, :74], second[:, :74])


def test_every_parameter_learns():
    objective = ContrastivePredictiveCoding(tiny_cpc(), num_negatives=8)
    objective(torch.randn(4, 12, 200))["loss"].backward()
    assert [name for name, each in objective.named_parameters() if each.grad is None or not each.grad.any()] == []


def test_what_lies_in_the_padding_does_not_matter():
    objective = ContrastivePredictiveCoding(tiny_cpc(conv_norm="layer", hidden_dropout=0.0), num_negatives=8)
    signal, mask = torch.randn(2, 12, 200), torch.ones(2, 200, dtype=torch.bool)
    mask[0, 120:] = False
    losses = []
    for filler in (0.0, 7.0):
        torch.manual_seed(1)
        losses.append(objective(signal.masked_fill(~mask[:, None], filler), input_mask=mask)["loss"].item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("backbone", "settings", "message"),
    [
        (lambda: tiny_cpc(is_bidirectional=True), {}, "set is_bidirectional to false"),
        (tiny_cpc, {"steps_ahead": 100}, "steps_ahead: 100 leads out of a recording, which has 100 tokens"),
        (
            lambda: STMEMModel(STMEMConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=8)),
            {},
            "is for enecg-ecgcpc; the backbone is enecg-stmem",
        ),
    ],
)
def test_what_cannot_learn_by_it_is_refused(backbone, settings, message):
    with pytest.raises(ValueError, match=message):
        ContrastivePredictiveCoding(backbone(), **settings)
