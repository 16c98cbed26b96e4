"""The base of every objective: a backbone, what is needed beside it to train it, and the loss."""

from typing import Any

import torch
from torch import nn

from ..modeling_backbone import ECGBackboneModel


class Objective(nn.Module):
    """A backbone that learns from recordings alone.

    What a subclass has beside the backbone is thrown away after pre-training. Its `forward` draws random numbers by
    `rand_for_records`, so that several processes do what one does.

    Attributes:
        backbone_class (`type[ECGBackboneModel]`): The backbones that it is for.
        backbone (`ECGBackboneModel`): What is kept.

    Args:
        backbone (`ECGBackboneModel`): The backbone.

    Raises:
        ValueError: if the objective is not for such a backbone.
    """

    backbone_class: type[ECGBackboneModel]

    def __init__(self, backbone: ECGBackboneModel):
        super().__init__()
        if not isinstance(backbone, self.backbone_class):
            raise ValueError(
                f"is for {self.backbone_class.config_class.model_type}; the backbone is {backbone.config.model_type}."
            )
        self.backbone: Any = backbone

    def forward(
        self,
        input_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        input_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the `loss` of a batch; arguments as a backbone's."""
        raise NotImplementedError

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Let the backbone compute its blocks again in the backward pass, as transformers' models do."""
        self.backbone.activation_checkpointing_enable(**options)

    def after_step(self, progress: float) -> None:
        """Do what follows each step of the optimizer.

        Args:
            progress (`float`): The share of all steps that were done before this one, from 0 to below 1.
        """


__all__ = ["Objective"]
