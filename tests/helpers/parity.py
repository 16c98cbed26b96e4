"""Our tensors beside upstream's."""

import torch


def assert_near(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Compare absolutely."""
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)
