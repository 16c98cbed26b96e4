"""Masks of missing leads and of padding."""

import copy

import torch

from modeling_enecg import BACKBONES
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.inputs import with_random_weights

LEAD_SETS = {
    "eight": ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"],
    "limb": ["I", "II", "III", "aVR", "aVL", "aVF"],
    "one": ["II"],
}


def tiny_model(configs, name, **changes):
    config = copy.deepcopy(configs[f"enecg-{name}"])
    for field, value in changes.items():
        setattr(config, field, value)
    torch.manual_seed(0)
    return with_random_weights(BACKBONES[config.model_type](config))


def mask_of(*lead_sets):
    """Return a lead mask with a row for each set of lead names."""
    return torch.tensor([[name in leads for name in STANDARD_LEADS] for leads in lead_sets])


def padding(model, *lengths):
    """Return an input mask with a row for each number of recorded samples."""
    return torch.arange(model.config.sequence_length) < torch.tensor(lengths)[:, None]


def mixed_masks(model):
    """Return masks of four records: whole, with fewer leads, shorter, and both."""
    whole, half = model.config.sequence_length, model.config.sequence_length // 2
    leads = mask_of(STANDARD_LEADS, LEAD_SETS["eight"], STANDARD_LEADS, LEAD_SETS["limb"])
    return {"lead_mask": leads, "input_mask": padding(model, whole, whole, half, half)}


def assert_not_read(objective, signal, missing_leads, num_samples):
    """The loss is the same whatever stands in leads that the first record lacks, and after the second's end."""
    lead_mask = torch.ones(signal.shape[:2], dtype=torch.bool)
    input_mask = torch.ones(2, signal.shape[2], dtype=torch.bool)
    lead_mask[0, list(missing_leads)] = False
    input_mask[1, num_samples:] = False
    losses = []
    for filler in (0.0, float("nan")):
        torch.manual_seed(1)
        filled = signal.masked_fill(~(lead_mask[:, :, None] & input_mask[:, None]), filler)
        losses.append(objective(filled, lead_mask, input_mask)["loss"].item())
    assert losses[0] == losses[1]
