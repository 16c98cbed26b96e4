import pytest
import torch

from modeling_enecg import STMEMConfig, STMEMModel
from modeling_enecg.pretraining import MaskedReconstruction
from modeling_enecg.pretraining.masked_reconstruction import reconstruction_loss
from tests.helpers.masks import assert_not_read

NUM_PATCHES, PATCH_SIZE = 8, 10


def tiny_stmem(**changes):
    torch.manual_seed(0)
    fields = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 4}
    fields |= {"intermediate_size": 16, "patch_size": PATCH_SIZE, "sequence_length": NUM_PATCHES * PATCH_SIZE}
    return STMEMModel(STMEMConfig(**fields | changes))


@pytest.fixture
def objective():
    return MaskedReconstruction(tiny_stmem(), decoder_size=8, decoder_layers=1, decoder_heads=2)


@pytest.fixture
def seen(objective, monkeypatch):
    """What the objective's encoder was given: a list of the kept patches of each call."""
    given = []
    embed = objective.backbone.embeddings.forward

    def embed_and_note(input_values, kept=None):
        given.append(kept)
        return embed(input_values, kept)

    monkeypatch.setattr(objective.backbone.embeddings, "forward", embed_and_note)
    return given


def test_the_loss_is_that_of_a_case_by_hand():
    """One lead of three patches; the last two were taken out, and reconstructed as zeros and as they are."""
    patches = torch.tensor([[[[9.0, 9.0], [1.0, 3.0], [0.0, 2.0]]]])
    reconstructed = torch.tensor([[[[7.0, 7.0], [0.0, 0.0], [0.0, 2.0]]]])
    masked, all_there = torch.tensor([[[1, 2]]]), torch.ones(1, 1, 3, dtype=torch.bool)
    plain = reconstruction_loss(reconstructed, patches, masked, all_there, normalize_patches=False)
    assert plain.item() == pytest.approx((1 + 9) / 2 / 2)
    # Both become -1/√2 and 1/√2: their mean 0, and their variance, over one less than two, 1.
    half = 0.5**0.5
    by_hand = (half**2 + ((0 + half) ** 2 + (2 - half) ** 2) / 2) / 2
    normalised = reconstruction_loss(reconstructed, patches, masked, all_there)
    assert normalised.item() == pytest.approx(by_hand, abs=1e-5)


def test_what_was_not_recorded_does_not_count_in_the_loss():
    patches, reconstructed = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    masked = torch.tensor([0, 2]).expand(2, 3, 2)
    is_patch = torch.ones(2, 3, 4, dtype=torch.bool)
    is_patch[0, 1:] = False
    is_patch[0, 0, 2:] = False
    alone = [
        reconstruction_loss(reconstructed[:1, :1], patches[:1, :1], torch.tensor([[[0]]]), is_patch[:1, :1]),
        reconstruction_loss(reconstructed[1:], patches[1:], masked[1:], is_patch[1:]),
    ]
    together = reconstruction_loss(reconstructed, patches, masked, is_patch)
    assert together.item() == pytest.approx(sum(alone).item() / 2)


def test_a_quarter_of_each_leads_patches_is_seen_and_leads_differ(objective, seen):
    objective(torch.randn(5, 12, NUM_PATCHES * PATCH_SIZE))
    (kept,) = seen
    assert kept.shape == (5, 12, NUM_PATCHES // 4)
    assert all(len(set(lead)) == NUM_PATCHES // 4 for record in kept.tolist() for lead in record)
    assert len({tuple(sorted(lead)) for record in kept.tolist() for lead in record}) > 10
    assert set(kept.flatten().tolist()) == set(range(NUM_PATCHES))


def test_patches_that_are_taken_out_are_not_seen(objective, seen):
    """Whatever stands there, the reconstruction is the same."""
    signal = torch.randn(1, 12, NUM_PATCHES * PATCH_SIZE)
    reconstructions = []
    objective.exit.register_forward_hook(lambda module, given, output: reconstructions.append(output))
    torch.manual_seed(3)
    objective(signal)
    is_kept = torch.zeros(1, 12, NUM_PATCHES, dtype=torch.bool).scatter(2, seen[0], True)
    changed = torch.where(is_kept.repeat_interleave(PATCH_SIZE, dim=2), signal, 5.0)
    torch.manual_seed(3)
    objective(changed)
    torch.testing.assert_close(*reconstructions)


def test_all_patches_seen_give_the_backbones_own_tokens(objective):
    """The encoder is the backbone: its tokens, each normed as in pre-training."""
    signal = torch.randn(2, 12, NUM_PATCHES * PATCH_SIZE)
    everything = torch.arange(NUM_PATCHES).expand(2, 12, -1)
    tokens = objective.encode(signal, everything, torch.ones(2, 12, NUM_PATCHES, dtype=torch.bool))
    expected = objective.backbone.norm(objective.backbone(signal).last_hidden_state)
    torch.testing.assert_close(tokens.flatten(1, 2), expected)


def test_every_parameter_learns_but_the_table_of_positions(objective):
    objective(torch.randn(4, 12, NUM_PATCHES * PATCH_SIZE))["loss"].backward()
    still = [name for name, each in objective.named_parameters() if each.grad is None or not each.grad.any()]
    assert still == ["backbone.embeddings.position_embeddings"]


def test_missing_leads_and_padding_change_nothing(objective):
    signal = torch.randn(2, 12, NUM_PATCHES * PATCH_SIZE)
    assert_not_read(objective, signal, missing_leads=range(3, 9), num_samples=45)


@pytest.mark.parametrize(("ratio", "left"), [(0.95, 0), (0.0, 8)])
def test_a_mask_that_leaves_nothing_or_all_is_refused(ratio, left):
    with pytest.raises(ValueError, match=f"mask_ratio: {ratio} of 8 patches leaves {left} to be seen"):
        MaskedReconstruction(tiny_stmem(), mask_ratio=ratio)
