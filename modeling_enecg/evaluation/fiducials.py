"""Onsets, peaks and ends of P, QRS and T in the median beat, as `neurokit2` delineates them.

NeuroKit (Makowski et al. 2021, doi 10.3758/s13428-020-01516-y, MIT licence) finds them by the wavelet transform of
Martínez et al. 2004, doi 10.1109/TBME.2003.821031, in one lead at a time.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..recording import ECGRecord
from .median_beat import MedianBeat, median_beat

FIDUCIALS = ("P onset", "P peak", "P end", "QRS onset", "QRS end", "T peak", "T end")
NOT_INSTALLED = "that needs the package neurokit2 (pip install neurokit2)"

_BEFORE_S, _AFTER_S = 0.42, 0.6  # longer than the beat that is drawn, for long PR and QT intervals
_KEYS = {
    "P onset": "ECG_P_Onsets",
    "P peak": "ECG_P_Peaks",
    "P end": "ECG_P_Offsets",
    "QRS onset": "ECG_R_Onsets",
    "QRS end": "ECG_R_Offsets",
    "T peak": "ECG_T_Peaks",
    "T end": "ECG_T_Offsets",
}
_CALCULATED = {"III", "aVR", "aVL", "aVF"}  # of I and II
_QRS_ONSET_QUANTILE = 0.75  # leads without a Q wave have an earlier dip taken for it
_SHORTEST_S = 5.0  # of one signal; NeuroKit refuses less than 4 s
_REPEATS = 3
_LONGEST_QRS_S = 0.25
_EDGE_S = 0.006  # over which the beat's ends are measured, to be brought together
_LEAST_AMPLITUDE = 0.05  # mV
_LEAST_CORRELATION = 0.9


@dataclass(frozen=True)
class Delineation:
    """Where the waves of a recording's beats are.

    Attributes:
        seconds (`dict[str, float]`): Of each of `FIDUCIALS` that was found, when it is, from the R peak.
        why_not (`str`): Why nothing was looked for; empty where it was.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    why_not: str = ""

    def span(self, first: str, last: str) -> tuple[float, float] | None:
        """Return from when to when something is, None where one of both was not found."""
        return (self.seconds[first], self.seconds[last]) if {first, last} <= self.seconds.keys() else None


def delineate(record: ECGRecord, beats: np.ndarray) -> Delineation:
    """Delineate the median beat of a recording.

    NeuroKit delineates each lead's median beat; the median over the leads counts, of the QRS onset the upper
    quartile. At least half of the leads must show a mark. A wave is told as a whole or not at all: where one of its
    marks was not found, they are not in order, or the median beats of every other beat do not agree in it (their
    correlation over all leads is below 0.9), it is left out. So f waves are seldom taken for P. Nothing is told where
    the beat is steepest outside QRS or that lasts longer than 250 ms, since the R peak is then none.

    Args:
        record ([`ECGRecord`]): The recording, its leads in standard spelling.
        beats (`np.ndarray` of shape `(num_beats,)`): When the R peaks are, in seconds, ascending.

    Returns:
        [`Delineation`]: Nothing where there is no median beat, or `neurokit2` is not installed.
    """
    try:
        import neurokit2
    except ModuleNotFoundError as error:
        if error.name != "neurokit2":
            raise
        return Delineation(why_not=NOT_INSTALLED)
    leads, rate = _own_leads(record), record.sampling_rate
    beat = median_beat(leads, rate, beats, _BEFORE_S, _AFTER_S)
    if beat is None:
        return Delineation()
    halves = [median_beat(leads, rate, each, _BEFORE_S, _AFTER_S) for each in (beats[::2], beats[1::2])]
    shown = beat.signal_mv[np.ptp(beat.signal_mv, axis=1) >= _LEAST_AMPLITUDE]
    if not len(shown):
        return Delineation()
    marks = _agreed(_marks_of_leads(neurokit2, shown, beat), len(leads))
    if not _has_qrs(marks, beat):
        return Delineation()
    return Delineation({name: marks[name] for wave in _waves(marks, halves) for name in wave})


def _own_leads(record: ECGRecord) -> np.ndarray:
    """Return the leads without a gap that are not calculated from others."""
    whole = {
        name: lead for name, lead in zip(record.lead_names, record.signal_mv, strict=True) if np.isfinite(lead).all()
    }
    skipped = _CALCULATED if {"I", "II"} <= whole.keys() else set()
    rows = [lead for name, lead in whole.items() if name not in skipped]
    return np.stack(rows) if rows else np.full((1, record.signal_mv.shape[1]), np.nan)


def _marks_of_leads(neurokit2: Any, leads: np.ndarray, beat: MedianBeat) -> list[dict[str, float]]:
    """Return the marks of each lead's beat, in seconds from the R peak.

    All are delineated as one signal, each repeated, of which the beat in the middle counts.
    """
    edge, length = max(round(_EDGE_S * beat.sampling_rate), 1), leads.shape[1]
    starts, ends = leads[:, :edge].mean(axis=1), leads[:, -edge:].mean(axis=1)
    joining = leads - np.linspace(starts, ends, length, axis=1)
    repeats = max(_REPEATS, int(np.ceil(_SHORTEST_S * beat.sampling_rate / leads.size)))
    peaks = beat.r_peak + length * np.arange(repeats * len(leads))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means of nothing, where a mark is missing
        _, found = neurokit2.ecg_delineate(
            np.repeat(joining, repeats, axis=0).ravel(), peaks, beat.sampling_rate, method="dwt"
        )
    marks: list[dict[str, float]] = [{} for _ in leads]
    for name, key in _KEYS.items():
        places = np.asarray(found[key], float)  # not always one per beat, so that each is counted where it lies
        for place in places[np.isfinite(places)]:
            number, within = divmod(place, length)
            lead, repeat = divmod(int(number), repeats)
            if repeat == repeats // 2:
                marks[lead].setdefault(name, float(within - beat.r_peak) / beat.sampling_rate)
    return marks


def _agreed(found: Sequence[Mapping[str, float]], num_leads: int) -> dict[str, float]:
    """Return each mark that half of the leads show, from all that do."""
    agreed = {}
    for name in FIDUCIALS:
        seconds = [marks[name] for marks in found if name in marks]
        if 2 * len(seconds) >= num_leads:
            agreed[name] = float(np.quantile(seconds, _QRS_ONSET_QUANTILE if name == "QRS onset" else 0.5))
    return agreed


def _has_qrs(marks: Mapping[str, float], beat: MedianBeat) -> bool:
    """Whether QRS has its marks about the R peak, is no longer than a QRS, and is where the beat is steepest."""
    if not {"QRS onset", "QRS end"} <= marks.keys() or not marks["QRS onset"] < 0 < marks["QRS end"]:
        return False
    if marks["QRS end"] - marks["QRS onset"] > _LONGEST_QRS_S:
        return False
    slopes = np.square(np.diff(beat.signal_mv, axis=1)).sum(axis=0)
    steepest = (int(slopes.argmax()) + 0.5 - beat.r_peak) / beat.sampling_rate
    return bool(marks["QRS onset"] <= steepest <= marks["QRS end"])


def _waves(marks: Mapping[str, float], halves: Sequence[MedianBeat | None]) -> list[tuple[str, ...]]:
    """Return the marks of each wave that is there as a whole."""
    p, qrs, t = FIDUCIALS[:3], FIDUCIALS[3:5], FIDUCIALS[5:]
    wanted = {qrs: qrs, p: (*p, "QRS onset"), t: ("QRS end", *t)}  # with the neighbour that it must not meet
    return [
        wave
        for wave, names in wanted.items()
        if set(names) <= marks.keys()
        and all(marks[one] <= marks[other] for one, other in pairwise(names))
        and _agree(halves, marks[wave[0] if wave != t else "QRS end"], marks[wave[-1]])
    ]


def _agree(halves: Sequence[MedianBeat | None], start: float, end: float) -> bool:
    """Whether two median beats have the same shape from `start` to `end`, in seconds from the R peak."""
    parts = []
    for beat in halves:
        if beat is None:
            return False
        first, last = (beat.r_peak + round(seconds * beat.sampling_rate) for seconds in (start, end))
        part = beat.signal_mv[:, max(first, 0) : last + 1]
        parts.append(part - part.mean(axis=1, keepdims=True))
    width = min(part.shape[1] for part in parts)
    one, other = (part[:, -width:].ravel() for part in parts)
    length = np.linalg.norm(one) * np.linalg.norm(other)
    return bool(length > 0 and one @ other >= _LEAST_CORRELATION * length)


__all__ = ["FIDUCIALS", "Delineation", "delineate"]
