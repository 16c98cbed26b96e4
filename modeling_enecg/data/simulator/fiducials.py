"""Where the waves of a simulated beat begin, peak and end."""

from collections.abc import Mapping

import numpy as np

from .ecg import Wave

BOUND = 2.5  # standard deviations from its peak, where a Gaussian kernel has 4 % of its height
KERNELS = {"P": ("P",), "QRS": ("septal", "main", "basal", "terminal"), "T": ("T rise", "T fall")}


def true_fiducials(waves: Mapping[str, Wave]) -> dict[str, float]:
    """Return onset, peak and end of each wave of a beat, in seconds from the simulator's R peak.

    A wave begins 2.5 standard deviations before the peak of its first kernel, as the simulator's PR interval does, and
    ends as long after that of its last one; it peaks where its dipole is largest.

    Args:
        waves (`Mapping[str, Wave]`): As [`Simulated`] has them.

    Returns:
        `dict[str, float]`: `"P onset"`, `"P peak"`, `"P end"`, and the same of QRS and T; none of a wave that is not
            there.
    """
    found = {}
    for name, parts in KERNELS.items():
        kernels = [waves[part] for part in parts if part in waves]
        if kernels:
            found[f"{name} onset"] = min(each.time - BOUND * each.width for each in kernels)
            found[f"{name} peak"] = _peak(kernels)
            found[f"{name} end"] = max(each.time + BOUND * each.width for each in kernels)
    return found


def _peak(kernels: list[Wave]) -> float:
    times = np.arange(min(each.time for each in kernels), max(each.time for each in kernels) + 1e-3, 1e-3)
    dipole = sum(np.outer(each.vector, np.exp(-0.5 * ((times - each.time) / each.width) ** 2)) for each in kernels)
    return float(times[np.linalg.norm(dipole, axis=0).argmax()])


__all__ = ["true_fiducials"]
