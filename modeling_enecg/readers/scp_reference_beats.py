"""Reference beats of SCP-ECG: one averaged beat was subtracted at every QRS complex that resembles it."""

import struct
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError

_DESCRIPTION = struct.Struct("<HHH")  # the beat's length in ms, its fiducial point, and how many complexes there are
_COMPLEX = np.dtype([("kind", "<u2"), ("begin", "<u4"), ("fiducial", "<u4"), ("end", "<u4")])
_REFERENCE = 0  # the kind of complexes that the beat was subtracted from
_MOST_OVERLAP = 4  # how many times as many samples as there are may have been subtracted from


class Subtraction(NamedTuple):
    """Where a reference beat was subtracted; samples are counted from 1.

    Attributes:
        length_ms (`int`): The beat's length.
        fiducial (`int`): The sample of the beat that is put on the fiducial points of complexes.
        zones (`np.ndarray`): Each complex's `begin`, `fiducial` and `end` in the rhythm.
    """

    length_ms: int
    fiducial: int
    zones: np.ndarray


def read_subtraction(section: bytes) -> Subtraction | None:
    """Return where a beat was subtracted by section 4; None where it was nowhere.

    Args:
        section (`bytes`): The section without its header.

    Raises:
        ECGFileError: if it is cut short.
    """
    if len(section) < _DESCRIPTION.size:
        raise ECGFileError(f"has a section 4 of {len(section)} bytes: cut short.")
    length_ms, fiducial, num_complexes = _DESCRIPTION.unpack_from(section)
    if len(section) < _DESCRIPTION.size + num_complexes * _COMPLEX.itemsize:
        raise ECGFileError(f"declares {num_complexes} QRS complexes in section 4, and holds fewer: cut short.")
    complexes = np.frombuffer(section, _COMPLEX, num_complexes, _DESCRIPTION.size)
    zones = complexes[complexes["kind"] == _REFERENCE]
    return Subtraction(length_ms, fiducial, zones) if len(zones) else None


def add_beat(residual: np.ndarray, first: int, beat: np.ndarray, subtraction: Subtraction) -> np.ndarray:
    """Return a lead with the beat added where it was subtracted, as far as the beat and the lead reach.

    Args:
        residual (`np.ndarray` of shape `(num_samples,)`): What is stored of the lead.
        first (`int`): The number of its first sample in the rhythm.
        beat (`np.ndarray` of shape `(beat_length,)`): The lead's reference beat, in the same counts.
        subtraction (`Subtraction`): From `read_subtraction`.

    Raises:
        ECGFileError: if the complexes overlap beyond reason.
    """
    begin, fiducial, end = (subtraction.zones[name].astype(np.int64) for name in ("begin", "fiducial", "end"))
    beat_begin = fiducial - subtraction.fiducial + 1
    begin = np.maximum(np.maximum(begin, first), beat_begin)
    end = np.minimum(np.minimum(end, first + len(residual) - 1), beat_begin + len(beat) - 1)
    lengths = np.maximum(end - begin + 1, 0)
    total = int(lengths.sum())
    if total > _MOST_OVERLAP * len(residual):
        raise ECGFileError(f"had a reference beat subtracted from {total} of {len(residual)} samples: damaged.")
    numbers = np.repeat(begin - np.cumsum(lengths) + lengths, lengths) + np.arange(total)
    samples = residual.astype(np.result_type(beat, np.int64))
    np.add.at(samples, numbers - first, beat[numbers - np.repeat(beat_begin, lengths)])
    return samples
