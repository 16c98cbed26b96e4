"""The cost of a stage: time, memory, and energy where the device tells it."""

import resource
import sys
import time
from typing import Any

import pynvml
import torch


class CostMeter:
    """Measures from its making on.

    Example:
    ```python
    >>> meter = CostMeter()
    >>> sorted(meter.read())
    ['energy_wh', 'gpu_peak_mb', 'peak_mb', 'seconds']

    ```
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._energy = _gpu_energy_wh()

    def read(self) -> dict[str, Any]:
        """Return the cost so far.

        Returns:
            `dict[str, Any]`: `seconds`; `peak_mb`, this process's largest memory since it began; `gpu_peak_mb`, that
                of the device, None without one; `energy_wh`, that of the device, None where nothing tells it.
        """
        before, now = self._energy, _gpu_energy_wh()
        return {
            "seconds": round(time.monotonic() - self._start, 1),
            "peak_mb": round(peak_memory_mb()),
            "gpu_peak_mb": round(torch.cuda.max_memory_allocated() / 1e6) if torch.cuda.is_available() else None,
            "energy_wh": None if before is None or now is None else round(now - before, 3),
        }


def peak_memory_mb() -> float:
    """Return this process's largest resident memory since it began, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes there, kB elsewhere


def _gpu_energy_wh() -> float | None:
    """Return the energy that the current GPU has used since its driver was loaded, or None."""
    if not torch.cuda.is_available():
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 3.6e6  # mJ
    except pynvml.NVMLError:
        return None
