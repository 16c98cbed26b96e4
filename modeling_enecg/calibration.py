"""The calibration pulse that some electrocardiographs (Philips) put behind the heart's signal, in all leads.

It shows the scale on paper: 1 mV for 0.2 s, with a flat line before and after. It is no heart signal, and must not
reach a model.
"""

import numpy as np

_PULSE_MV = (0.98, 1.02)
_PULSE_S = (0.1, 0.5)
_SHORTEST_LINE_S = 0.04  # before and after the pulse
_LONGEST_S = 2.0  # of lines and pulse together


def without_calibration(signal_mv: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Return a signal up to where a calibration pulse and the flat line before it begin; all of any other signal.

    Args:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): In mV; leads of NaN alone do not count.
        sampling_rate (`float`): Samples per second (Hz).

    Returns:
        `np.ndarray` of shape `(num_leads, num_heart_samples)`: A view of the signal.
    """
    line = max(int(_SHORTEST_LINE_S * sampling_rate), 2)
    last = signal_mv[:, -line:]
    if not ((last == last[:, -1:]) | np.isnan(last)).all():
        return signal_mv
    tail = signal_mv[:, -int(_LONGEST_S * sampling_rate) :]
    starts = {_start(lead, line, sampling_rate) for lead in tail if not np.isnan(lead).all()}
    if not starts or None in starts:
        return signal_mv
    end = signal_mv.shape[1] - tail.shape[1] + max(each for each in starts if each is not None)
    return signal_mv[:, :end]


def _start(lead: np.ndarray, line: int, sampling_rate: float) -> int | None:
    """Return where the line before a pulse begins in a lead that ends with a pulse and a line; else None."""
    edges = np.flatnonzero(np.diff(lead)) + 1  # NaN differs from itself, and is an edge on both sides
    if len(edges) < 2:
        return None
    rise, fall = edges[-2:]
    start = int(edges[-3]) if len(edges) > 2 else 0
    before, pulse, after = lead[rise - 1], lead[rise], lead[fall]
    is_pulse = (
        before == after
        and _PULSE_MV[0] <= pulse - before <= _PULSE_MV[1]
        and _PULSE_S[0] <= (fall - rise) / sampling_rate <= _PULSE_S[1]
        and rise - start >= line
    )
    return start if is_pulse else None
