"""An ECG on paper with a wash of colour where an explanation says that the model looked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter1d

from .paper_ecg import SHOWN_SECONDS, plot_ecg

_SMOOTHED_S = 0.04  # one small box of paper
_FULL_COLOUR = 99.0  # the percentile of the magnitudes that has it


def plot_explained_ecg(
    signal_mv: np.ndarray,
    sampling_rate: float,
    lead_names: Sequence[str],
    cells: np.ndarray,
    cell_seconds: float,
    path: str | Path | None = None,
    title: str | None = None,
    lines: Sequence[str] = (),
) -> Figure:
    """Draw an ECG as `plot_ecg` does, orange where it speaks for the explained output and blue where against it.

    The cells are smoothed over 40 ms; the strongest percent of what is drawn has the full colour.

    Args:
        signal_mv (`np.ndarray` of shape `(num_leads, num_samples)`): The signal in mV.
        sampling_rate (`float`): In Hz.
        lead_names (`Sequence[str]`): The name of each row of the signal.
        cells (`np.ndarray` of shape `(num_leads, num_cells)`): What each moment of each lead adds; nan for a lead that
            was not explained.
        cell_seconds (`float`): How long a cell is; the first begins with the signal.
        path (`str` or `Path`, *optional*): A `.png`, `.svg` or `.pdf` file to write.
        title (`str`, *optional*): A heading.
        lines (`Sequence[str]`, *optional*): Lines to put under the title.

    Returns:
        `Figure`: As of `plot_ecg`.

    Raises:
        ValueError: as `plot_ecg` does.
    """
    smooth = uniform_filter1d(np.nan_to_num(cells), max(round(_SMOOTHED_S / cell_seconds), 1), axis=1)
    drawn = np.abs(smooth[:, : round(SHOWN_SECONDS / cell_seconds)])
    full = np.percentile(drawn[drawn > 0], _FULL_COLOUR) if (drawn > 0).any() else 1.0
    columns = (np.arange(signal_mv.shape[1]) / sampling_rate / cell_seconds).astype(int).clip(max=cells.shape[1] - 1)
    return plot_ecg(signal_mv, sampling_rate, lead_names, path, title, lines, wash=smooth[:, columns] / full)


__all__ = ["plot_explained_ecg"]
