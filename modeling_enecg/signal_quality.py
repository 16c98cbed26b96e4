"""Whether a recording is fit to be read by a model: a verdict, with the reasons by lead.

Noise is told by two published signal-quality indices: the share of the QRS band in the power (pSQI) and the kurtosis
of the samples (kSQI), as in Li, Mark, Clifford, "Robust heart rate estimation from multiple asynchronous noisy
sources", Physiol. Meas. 29 (2008), with the limits of Zhao, Zhang, "SQI quality evaluation mechanism of single-lead
ECG signal", Front. Physiol. 9:727 (2018), loosened so that real recordings pass; `docs/quality.md` has the false
alarms. Reversed limb electrodes are told by the sign of lead I against V6 and by a flat limb lead, after Kors, van
Herpen, "Accurate automatic detection of electrode interchange in the electrocardiogram", Am. J. Cardiol. 88 (2001).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import welch

from .leads import STANDARD_LEADS, is_standard_lead, standard_lead_names

OK, DOUBTFUL, UNUSABLE = "ok", "doubtful", "unusable"

SHORTEST_S, SHORT_S = 2.0, 5.0  # below which a recording is unusable, or doubtful
FLAT_MV = 0.02  # of a lead's range, but for its largest and smallest percent
OFFSET_MV = 10.0  # of a lead's median: an electrode is off
SMALL_MV, LARGE_MV = 0.1, 15.0  # of the largest lead's range, beyond which the unit is doubtful
QRS_BAND, SIGNAL_BAND = (5.0, 15.0), (5.0, 40.0)
NOISE_QRS_SHARE, NOISE_KURTOSIS = 0.4, 4.0  # a noisy lead lies below both
MAINS_SHARE = 0.3  # of the power above 1 Hz, within 1 Hz of 50 or 60 Hz
CLIPPED_RUN_S, CLIPPED_RUNS = 0.016, 3  # so long at the very extreme, so often
EINTHOVEN_SHARE = 0.2  # of the limb leads' deviation that I + III - II may have
REVERSED_CORRELATION = -0.6  # of I and V6


@dataclass(frozen=True)
class SignalQuality:
    """A verdict on a recording.

    Attributes:
        verdict (`str`): `"ok"`; `"doubtful"`, where something may mislead a model; or `"unusable"`.
        reasons (`list[str]`): Those that concern the whole recording, in words.
        leads (`dict[str, list[str]]`): By lead, what is wrong with it, in words; leads without fault are left out.
    """

    verdict: str
    reasons: list[str] = field(default_factory=list)
    leads: dict[str, list[str]] = field(default_factory=dict)

    def with_doubt(self, reason: str) -> "SignalQuality":
        """Return a verdict that is doubtful at least, with one reason more."""
        return SignalQuality(DOUBTFUL if self.verdict == OK else self.verdict, [*self.reasons, reason], self.leads)

    def __str__(self) -> str:
        by_fault: dict[str, list[str]] = {}
        for lead, faults in self.leads.items():
            for fault in faults:
                by_fault.setdefault(fault, []).append(lead)
        return "; ".join([*self.reasons, *(f"{', '.join(leads)}: {fault}" for fault, leads in by_fault.items())])


def assess_quality(signal_mv: np.ndarray, sampling_rate: float, lead_names: Sequence[str]) -> SignalQuality:
    """Judge a recording.

    A lead that is flat, off or noise tells nothing. Where no more than half of the leads tell something, or the
    recording lasts less than 2 s, it is unusable.

    Args:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): Amplitudes in mV; NaN where a sample is missing.
        sampling_rate (`float`): Samples per second (Hz).
        lead_names (`Sequence[str]`): The name of each row; others than the standard leads are not judged.

    Raises:
        ValueError: if names and rows differ in number, or no row is a standard lead, or two are the same.

    Example:
    ```python
    >>> quality = assess_quality(np.zeros((12, 5000)), 500, STANDARD_LEADS)
    >>> quality.verdict, quality.leads["V1"]
    ('unusable', ['flat'])

    ```
    """
    rows = _standard_leads(np.asarray(signal_mv, dtype=np.float64), lead_names)
    leads = {name: row[~np.isnan(row)] for name, row in rows.items()}
    duration = max((len(samples) for samples in leads.values()), default=0) / sampling_rate
    if duration < SHORTEST_S:
        return SignalQuality(UNUSABLE, [f"lasts {duration:.1f} s only"])
    silent = {name: fault for name, samples in leads.items() if (fault := _silence(samples, sampling_rate))}
    alive = {name: samples for name, samples in leads.items() if name not in silent}
    faults = {name: [fault] for name, fault in silent.items()}
    for name, samples in alive.items():
        if found := _blemishes(samples, sampling_rate):
            faults[name] = found
    at_once = {name: rows[name] for name in alive}
    reasons = [*_of_duration(duration), *_of_scale(alive), *_of_limb_leads(at_once, silent, sampling_rate)]
    if 2 * len(alive) <= len(leads):
        return SignalQuality(UNUSABLE, [f"{len(silent)} of {len(leads)} leads tell nothing", *reasons], faults)
    return SignalQuality(DOUBTFUL if reasons or faults else OK, reasons, faults)


def _standard_leads(signal: np.ndarray, lead_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the row of each standard lead, by its standard name."""
    if len(lead_names) != len(signal):
        raise ValueError(f"Got {len(lead_names)} lead names for a signal of {len(signal)} rows; need one name a row.")
    rows = [row for row, name in enumerate(lead_names) if is_standard_lead(name)]
    if not rows:
        raise ValueError(f"None of the leads {', '.join(lead_names)} is a standard one; name them if they are.")
    names = standard_lead_names([lead_names[row] for row in rows])
    by_name = {name: signal[row] for name, row in zip(names, rows, strict=True)}
    return {name: by_name[name] for name in STANDARD_LEADS if name in by_name}


def _silence(samples: np.ndarray, sampling_rate: float) -> str | None:
    """Return why a lead tells nothing, or None."""
    if len(samples) < SHORTEST_S * sampling_rate:
        return "missing"
    low, high = np.percentile(samples, (1, 99))
    if high - low < FLAT_MV:
        return "flat"
    if abs(np.median(samples)) > OFFSET_MV:
        return "off"
    if _kurtosis(samples) < NOISE_KURTOSIS and _qrs_share(samples, sampling_rate) < NOISE_QRS_SHARE:
        return "noise"
    return None


def _blemishes(samples: np.ndarray, sampling_rate: float) -> list[str]:
    """Return what may mislead in a lead that tells something."""
    return [
        *(["clipped"] if _is_clipped(samples, sampling_rate) else []),
        *(["50 or 60 Hz hum"] if _mains_share(samples, sampling_rate) > MAINS_SHARE else []),
    ]


def _of_duration(duration: float) -> list[str]:
    return [f"lasts {duration:.1f} s only"] if duration < SHORT_S else []


def _of_scale(leads: dict[str, np.ndarray]) -> list[str]:
    ranges = [np.ptp(np.percentile(samples, (0.5, 99.5))) for samples in leads.values()]
    largest = max(ranges, default=1.0)
    if largest < SMALL_MV:
        return [f"amplitudes of at most {largest:.3f} mV: is the unit right?"]
    return [f"amplitudes of {largest:.0f} mV: is the unit right?"] if largest > LARGE_MV else []


def _of_limb_leads(rows: dict[str, np.ndarray], silent: dict[str, str], sampling_rate: float) -> list[str]:
    """Return what the limb leads say of their electrodes, by samples of the same time."""
    reasons = []
    together = _together(rows, ("I", "II", "III"), sampling_rate)
    if together is not None:
        first, second, third = together
        if (first + third - second).std() > EINTHOVEN_SHARE * together.std(axis=1).max():
            reasons.append("limb leads contradict each other (I + III is not II)")
    together = _together(rows, ("I", "V6"), sampling_rate)
    if together is not None:
        is_reversed = np.corrcoef(together)[0, 1] < REVERSED_CORRELATION
        if is_reversed and _skewness(together[0]) < 0 < _skewness(together[1]):
            reasons.append("arm electrodes may be reversed (I against V6)")
    flat_limbs = [name for name in ("I", "II", "III") if silent.get(name) == "flat"]
    if len(flat_limbs) == 1 and len(silent) <= 2:
        reasons.append(f"an electrode of an arm and that of the right leg may be reversed ({flat_limbs[0]} is flat)")
    return reasons


def _together(rows: dict[str, np.ndarray], names: Sequence[str], sampling_rate: float) -> np.ndarray | None:
    """Return the samples at which all of some leads were recorded, or None of too few."""
    if not rows.keys() >= set(names):
        return None
    samples = np.stack([rows[name] for name in names])
    samples = samples[:, ~np.isnan(samples).any(axis=0)]
    return samples if samples.shape[1] >= SHORTEST_S * sampling_rate else None


def _kurtosis(samples: np.ndarray) -> float:
    centred = samples - samples.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def _skewness(samples: np.ndarray) -> float:
    centred = samples - np.median(samples)
    return float((centred**3).mean())


def _power(samples: np.ndarray, sampling_rate: float) -> tuple[np.ndarray, np.ndarray]:
    return welch(samples, sampling_rate, nperseg=min(len(samples), round(2 * sampling_rate)))


def _qrs_share(samples: np.ndarray, sampling_rate: float) -> float:
    """Return the share of the QRS band in the power of the band of the ECG (pSQI)."""
    frequencies, power = _power(samples, sampling_rate)
    within = [power[(frequencies >= low) & (frequencies <= high)].sum() for low, high in (QRS_BAND, SIGNAL_BAND)]
    return float(within[0] / within[1]) if within[1] > 0 else 0.0


def _mains_share(samples: np.ndarray, sampling_rate: float) -> float:
    frequencies, power = _power(samples, sampling_rate)
    shares = [power[abs(frequencies - mains) <= 1].sum() for mains in (50, 60) if mains + 1 < sampling_rate / 2]
    total = power[frequencies > 1].sum()
    return float(max(shares, default=0.0) / total) if total > 0 else 0.0


def _is_clipped(samples: np.ndarray, sampling_rate: float) -> bool:
    """Whether the signal stays at its very largest or smallest value again and again."""
    length = max(3, round(CLIPPED_RUN_S * sampling_rate))
    for extreme in (samples.max(), samples.min()):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], (samples == extreme).astype(int), [0]])))
        runs = edges[1::2] - edges[::2]
        if np.count_nonzero(runs >= length) >= CLIPPED_RUNS:
            return True
    return False


__all__ = ["DOUBTFUL", "OK", "UNUSABLE", "SignalQuality", "assess_quality"]
