"""A wash of colour for an ECG on paper where an explanation says that the model looked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from .beat_marks import BeatMarks
from .paper import Paper

_SMOOTHED_S = 0.04  # one small box of paper
_FULL_COLOUR = 99.0  # the percentile of the magnitudes that has it


@dataclass(frozen=True, eq=False)
class Explained:
    """What each moment of each lead adds to an output.

    Attributes:
        lead_names (`Sequence[str]`): The leads that were explained.
        cells (`np.ndarray` of shape `(num_leads, num_cells)`): Their values.
        cell_seconds (`float`): How long a cell is; the first begins with the signal.
        marks ([`BeatMarks`], *optional*): Where the parts of a beat meet.
    """

    lead_names: Sequence[str]
    cells: np.ndarray
    cell_seconds: float
    marks: BeatMarks | None = None


def wash_of(
    explained: Explained, lead_names: Sequence[str], num_samples: int, sampling_rate: float, paper: Paper
) -> np.ndarray:
    """Return the colour of each sample: above 0, orange, where it speaks for the output, below, blue, where against.

    The cells are smoothed over 40 ms; the strongest percent of what is drawn has the full colour, 1 or -1 or beyond.

    Args:
        explained ([`Explained`]): The explanation.
        lead_names (`Sequence[str]`): The leads that are drawn; those that were not explained have no colour.
        num_samples (`int`): How long they are.
        sampling_rate (`float`): In Hz.
        paper ([`Paper`]): Says how much of them is drawn.

    Returns:
        `np.ndarray` of shape `(num_leads, num_samples)`
    """
    rows = dict(zip(explained.lead_names, explained.cells, strict=True))
    nothing = np.zeros(explained.cells.shape[1])
    cells = np.stack([np.nan_to_num(rows.get(name, nothing)) for name in lead_names])
    smooth = uniform_filter1d(cells, max(round(_SMOOTHED_S / explained.cell_seconds), 1), axis=1)
    drawn = np.abs(smooth[:, : round(paper.shown_seconds / explained.cell_seconds)])
    full = np.percentile(drawn[drawn > 0], _FULL_COLOUR) if (drawn > 0).any() else 1.0
    columns = (np.arange(num_samples) / sampling_rate / explained.cell_seconds).astype(int)
    wash: np.ndarray = smooth[:, columns.clip(max=smooth.shape[1] - 1)] / full
    return wash


__all__ = ["Explained", "wash_of"]
