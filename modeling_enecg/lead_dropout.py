"""Training with leads missing at random, so that a model gets along with fewer."""

from collections.abc import Iterable, Sequence

import torch

from .leads import STANDARD_LEADS
from .modeling_backbone import ECGBackboneModel, rand_for_records


def random_lead_mask(
    rate: float,
    input_values: torch.Tensor | Sequence[torch.Tensor],
    lead_mask: torch.Tensor | None,
    experts: Iterable[ECGBackboneModel],
) -> torch.Tensor:
    """Draw which leads of each record of a batch count as recorded; every expert keeps one at least.

    Args:
        rate (`float`): Probability of a lead to be missing, in [0, 1).
        input_values (`torch.Tensor` of shape `(batch_size, num_leads, samples)`, or a list of them): The batch.
        lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`, *optional*): Which leads there are at all.
        experts (`Iterable[ECGBackboneModel]`): Who takes the batch; each may take fewer leads, from the first on.

    Returns:
        `torch.BoolTensor` of shape `(batch_size, num_leads)`: True for leads that stay.
    """
    num_leads = [expert.config.num_leads for expert in experts]
    values = input_values if isinstance(input_values, torch.Tensor) else input_values[0]
    if lead_mask is None:
        lead_mask = torch.ones(len(values), max(num_leads), dtype=torch.bool, device=values.device)
    drawn = rand_for_records(lead_mask.shape, values.device).masked_fill(~lead_mask, -1.0)
    last = drawn[:, : min(num_leads)].argmax(dim=1, keepdim=True)
    return (drawn >= rate).scatter(1, last, True) & lead_mask


def masked_gate_values(
    gate_values: torch.Tensor | None, lead_mask: torch.Tensor, gate_leads: Sequence[str] | None
) -> torch.Tensor | None:
    """Set missing leads of what a gate on the signal reads to 0.

    Args:
        gate_values (`torch.Tensor` of shape `(batch_size, num_gate_leads, samples)`, *optional*): The gate's input.
        lead_mask (`torch.BoolTensor` of shape `(batch_size, num_leads)`): True for leads that there are.
        gate_leads (`Sequence[str]`, *optional*): The gate's leads; those beyond `num_leads` stay.
    """
    if gate_values is None:
        return None
    padded = torch.nn.functional.pad(lead_mask, (0, len(STANDARD_LEADS) - lead_mask.shape[1]), value=True)
    stays = padded[:, [STANDARD_LEADS.index(lead) for lead in gate_leads or []]]
    return gate_values * stays[..., None].to(gate_values.dtype)
