import pytest
import torch

from modeling_enecg import ECGJEPAConfig, ECGJEPAModel
from modeling_enecg.pretraining import JointEmbeddingPrediction
from modeling_enecg.pretraining.joint_embedding_prediction import draw_mask, prediction_loss
from tests.helpers.masks import assert_not_read

NUM_PATCHES, PATCH_SIZE, NUM_LEADS = 20, 5, 3
SIZES = {"predictor_size": 8, "predictor_layers": 2, "predictor_heads": 2}


def tiny_jepa(**changes):
    torch.manual_seed(0)
    fields = {"num_leads": NUM_LEADS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields |= {"intermediate_size": 16, "patch_size": PATCH_SIZE, "sequence_length": NUM_PATCHES * PATCH_SIZE}
    return ECGJEPAModel(ECGJEPAConfig(**fields | changes))


def signals(num_records=2):
    torch.manual_seed(5)
    return torch.randn(num_records, NUM_LEADS, NUM_PATCHES * PATCH_SIZE)


@pytest.fixture
def objective():
    return JointEmbeddingPrediction(tiny_jepa(), **SIZES)


def test_the_loss_is_that_of_a_case_by_hand():
    """Two tokens of two numbers: normalised to 1 and -1, from which a prediction is off by 0.5 and by 3, and 0."""
    targets = torch.tensor([[[[7.0, 3.0], [2.0, 1.0]]]])
    predicted = torch.tensor([[[[1.5, 2.0], [1.0, -1.0]]]])
    counts = torch.ones(1, 1, 2, dtype=torch.bool)
    by_hand = ((0.5**2 / 2 + (3 - 0.5)) / 2 + 0) / 2
    assert prediction_loss(predicted, targets, counts).item() == pytest.approx(by_hand, abs=1e-4)
    counts[..., 0] = False
    assert prediction_loss(predicted, targets, counts).item() == pytest.approx(0, abs=1e-4)


def test_random_masks_take_out_six_to_seven_of_ten_patches():
    torch.manual_seed(0)
    masks = torch.stack([draw_mask(50, "random", (0.6, 0.7)) for _ in range(200)])
    counts = masks.sum(dim=1)
    assert counts.min() == 30
    assert counts.max() == 34
    assert masks.any(dim=0).all()
    assert not masks.all(dim=0).any()


def test_block_masks_are_four_stretches_that_may_overlap():
    torch.manual_seed(0)
    for _ in range(200):
        mask = draw_mask(50, "block", (0.175, 0.225))
        edges = torch.diff(mask.int(), prepend=torch.zeros(1), append=torch.zeros(1))
        starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
        assert 1 <= len(starts) <= 4
        assert (ends - starts).min() >= 8
        assert 8 <= mask.sum() <= 44


def test_a_mask_never_takes_all():
    torch.manual_seed(0)
    assert all(not draw_mask(4, "block", (0.75, 0.75)).all() for _ in range(100))


def test_what_is_taken_out_is_not_seen_and_is_the_same_of_all_leads_and_records(objective):
    given, predictions = [], []
    encode = objective.backbone.encode
    objective.backbone.encode = lambda *arguments: (given.append(arguments[3]), encode(*arguments))[1]
    objective.exit.register_forward_hook(lambda module, arguments, output: predictions.append(output))
    signal = signals()
    torch.manual_seed(3)
    objective(signal)
    (kept,) = given
    is_kept = torch.zeros(NUM_PATCHES, dtype=torch.bool)
    is_kept[kept] = True
    changed = torch.where(is_kept.repeat_interleave(PATCH_SIZE), signal, 5.0)
    torch.manual_seed(3)
    objective(changed)
    torch.testing.assert_close(*predictions)


def test_the_first_patches_are_seen_as_if_the_recording_ended_there(objective):
    model, signal, kept = objective.backbone.eval(), signals(), torch.arange(4)
    seen, _ = model.encode(signal, kept=kept)
    torch.testing.assert_close(seen, model(signal[..., : 4 * PATCH_SIZE]).last_hidden_state)


def test_the_target_starts_as_the_encoder_and_follows_it_ever_slower(objective):
    before = objective.target.norm.weight.clone()
    assert torch.equal(before, objective.backbone.norm.weight)
    with torch.no_grad():
        objective.backbone.norm.weight.add_(1.0)
    objective.after_step(0.0)
    torch.testing.assert_close(objective.target.norm.weight, before + 0.004)
    objective.after_step(0.5)
    torch.testing.assert_close(objective.target.norm.weight, before + 0.004 + 0.002 * 0.996)


def test_every_parameter_learns_but_the_targets(objective):
    objective(signals(4))["loss"].backward()
    still = {name.partition(".")[0] for name, each in objective.named_parameters() if each.grad is None}
    assert still == {"target"}
    assert not objective.target.training


def test_the_target_is_not_dropped_in_training():
    objective = JointEmbeddingPrediction(tiny_jepa(drop_path_rate=0.5), **SIZES)
    objective.train()
    first, second = (objective.target(signals()).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    assert objective.backbone.blocks[1].drop_path_rate == objective.predictor[1].drop_path_rate == 0.5


def test_missing_leads_and_padding_change_nothing(objective):
    signal = signals()
    assert_not_read(objective, signal, missing_leads=[1], num_samples=60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_type": "blocks"}, "mask_type: 'blocks' is not one of block, random"),
        ({"smallest_mask": 0.3, "largest_mask": 0.2}, "0.3 to 0.2 of 20 patches is no mask"),
        ({"smallest_mask": 0.01, "largest_mask": 0.2}, "0.01 to 0.2 of 20 patches is no mask"),
    ],
)
def test_what_is_no_mask_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        JointEmbeddingPrediction(tiny_jepa(), **settings, **SIZES)
