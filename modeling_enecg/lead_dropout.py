"""Which leads several experts lack, and training with leads missing at random, so that a model needs fewer."""

from collections.abc import Iterable, Sequence

import torch

from .leads import STANDARD_LEADS
from .modeling_backbone import ECGBackboneModel, rand_for_records


def lead_columns(lead_names: Sequence[str]) -> list[int]:
    """Return the places of leads among the standard ones."""
    return [STANDARD_LEADS.index(lead) for lead in lead_names]


def expert_lead_mask(lead_mask: torch.Tensor | None, expert: ECGBackboneModel) -> torch.Tensor | None:
    """Pick an expert's leads of a mask over the standard leads; any other mask is over the expert's own."""
    if lead_mask is None or lead_mask.shape[1] != len(STANDARD_LEADS):
        return lead_mask
    return lead_mask[:, lead_columns(expert.config.lead_names)]


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
        lead_mask (`torch.BoolTensor`, *optional*): Which leads there are at all, as `EnECGModel` takes it.
        experts (`Iterable[ECGBackboneModel]`): Who takes the batch; each may take other leads.

    Returns:
        `torch.BoolTensor` of shape `(batch_size, 12)`: True for standard leads that stay.
    """
    of_experts = sorted((lead_columns(expert.config.lead_names) for expert in experts), key=len)
    values = input_values if isinstance(input_values, torch.Tensor) else input_values[0]
    recorded = torch.ones(len(values), len(STANDARD_LEADS), dtype=torch.bool, device=values.device)
    if lead_mask is not None:
        recorded[:, slice(None) if lead_mask.shape == recorded.shape else of_experts[0]] = lead_mask
    drawn = rand_for_records(recorded.shape, values.device).masked_fill(~recorded, -1.0)
    stays = drawn >= rate
    for columns in of_experts:
        has_one = stays[:, columns].any(dim=1, keepdim=True)
        last = torch.tensor(columns, device=values.device)[drawn[:, columns].argmax(dim=1, keepdim=True)]
        stays = stays.scatter(1, last, stays.gather(1, last) | ~has_one)
    return stays & recorded


def masked_gate_values(
    gate_values: torch.Tensor | None, lead_mask: torch.Tensor, gate_leads: Sequence[str] | None
) -> torch.Tensor | None:
    """Set missing leads of what a gate on the signal reads to 0.

    Args:
        gate_values (`torch.Tensor` of shape `(batch_size, num_gate_leads, samples)`, *optional*): The gate's input.
        lead_mask (`torch.BoolTensor` of shape `(batch_size, 12)`): True for standard leads that there are.
        gate_leads (`Sequence[str]`, *optional*): The gate's leads.
    """
    if gate_values is None:
        return None
    stays = lead_mask[:, lead_columns(gate_leads or [])]
    return gate_values * stays[..., None].to(gate_values.dtype)
