"""The standard 12-lead print: 25 mm/s and 10 mm/mV on millimetre paper.

The figure has one coordinate system, millimetres from its lower left corner, so that lengths in it are lengths on
paper: the print is at true size wherever the figure's resolution is honoured.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from ..ecg_file import channel_name
from ..leads import STANDARD_LEADS
from .saving import new_figure, save_figure
from .style import BLUE, ORANGE

MM_PER_INCH = 25.4
MM_PER_SECOND = 25.0
MM_PER_MV = 10.0
SHOWN_SECONDS = 10.0

TWELVE_LEAD_ROWS = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
    ("II",),
)

# Lengths in millimetres. The paper's are whole large boxes, so that traces start and rest on thick lines.
_MARGIN = 10
_CALIBRATION_WIDTH = 15
_PAPER_WIDTH = _CALIBRATION_WIDTH + 250 + 5
_ROW_HEIGHT = 35
_BASELINE_HEIGHT = 15
_HEADING_HEIGHT, _LINE_HEIGHT = 7, 5

_PIXELS_PER_MM = 10
_PAPER, _THIN_LINE, _THICK_LINE = "#fff8f7", "#f9d9d6", "#efaaa4"
_INK, _FAINT_INK = "#111111", "#666666"
_WASH = LinearSegmentedColormap.from_list(
    "wash",
    [(0, to_rgba(BLUE, 0.75)), (0.5, to_rgba(BLUE, 0.0)), (0.5, to_rgba(ORANGE, 0.0)), (1, to_rgba(ORANGE, 0.75))],
)


def plot_ecg(
    signal_mv: ArrayLike,
    sampling_rate: float,
    lead_names: Sequence[str],
    path: str | Path | None = None,
    title: str | None = None,
    findings: Sequence[tuple[str, float] | str] = (),
    wash: ArrayLike | None = None,
) -> Figure:
    """Draw an ECG as it is printed on paper.

    Twelve leads make three rows of four columns of 2.5 s, one column's time following the other's, above a rhythm
    strip of lead II. Fewer leads make one row each, in the order given. Of a long record the first 10 s are drawn; a
    shorter one is drawn whole, its columns being a quarter of it. Each lead is drawn about its median, and nan is a
    gap.

    Args:
        signal_mv (`ArrayLike` of shape `(num_leads, num_samples)`): The signal in mV.
        sampling_rate (`float`): Samples a second, in Hz.
        lead_names (`Sequence[str]`): The name of each row of the signal; standard leads are known by
            their aliases.
        path (`str` or `Path`, *optional*): A `.png`, `.svg` or `.pdf` file to write.
        title (`str`, *optional*): A heading.
        findings (`Sequence[tuple[str, float] | str]`, *optional*, defaults to none): Lines to put under the title,
            ready made or as a label and its probability.
        wash (`ArrayLike` of shape `(num_leads, num_samples)`, *optional*): Colour behind the leads, from -1 (blue) to
            1 (orange); 0 and nan are none.

    Returns:
        `Figure`: 290 mm wide, fit for A4 paper; it belongs to no window and to no `pyplot` state.

    Raises:
        ValueError: if the signal is not 2-D or is empty, the sampling rate is not positive, lead names and rows differ
            in number, a lead name is repeated, the wash has another shape than the signal, or the file's format is
            unknown.
    """
    leads = _check_leads(signal_mv, sampling_rate, lead_names)
    washes = {} if wash is None else _check_wash(wash, np.shape(signal_mv), sampling_rate, lead_names)
    rows = TWELVE_LEAD_ROWS if set(leads) == set(STANDARD_LEADS) else [(name,) for name in leads]
    heading = textwrap.wrap(title or "", width=80)
    lines = [line for finding in findings for line in textwrap.wrap(_finding_text(finding), width=115)]
    paper_height = _ROW_HEIGHT * len(rows)
    header_height = _HEADING_HEIGHT * len(heading) + _LINE_HEIGHT * len(lines) + 3

    top = _MARGIN + paper_height
    figure, axes = _millimetre_axes(_PAPER_WIDTH + 2 * _MARGIN, top + header_height + _MARGIN / 2)
    _draw_grid(axes, paper_height)
    _draw_header(axes, top + header_height, heading, lines)
    _draw_footer(axes, sampling_rate)
    for i, row in enumerate(rows):
        baseline = top - _ROW_HEIGHT * (i + 1) + _BASELINE_HEIGHT
        if washes:
            _draw_wash(axes, baseline, [washes[name] for name in row], sampling_rate)
        _draw_row(axes, baseline, [(name, leads[name]) for name in row], sampling_rate)
    if path is not None:
        save_figure(figure, path)
    return figure


def _check_leads(signal_mv: ArrayLike, sampling_rate: float, lead_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return what is shown of each lead, about its median, by standard name."""
    signal = np.asarray(signal_mv, dtype=float)
    if signal.ndim != 2 or not signal.size or len(signal) != len(lead_names):
        raise ValueError(
            f"Got a signal of shape {signal.shape} and {len(lead_names)} lead names; "
            "the signal must be (num_leads, num_samples), not empty, with one name a row."
        )
    if not 0 < sampling_rate < np.inf:
        raise ValueError(f"sampling_rate must be positive, in Hz; got {sampling_rate}.")
    shown = signal[:, : round(SHOWN_SECONDS * sampling_rate)]
    centred = [lead - np.median(lead[np.isfinite(lead)]) if np.isfinite(lead).any() else lead for lead in shown]
    names = [channel_name(name) for name in lead_names]
    if len(set(names)) < len(names):
        raise ValueError(f"Leads are given twice in {', '.join(lead_names)}.")
    return dict(zip(names, centred, strict=True))


def _check_wash(
    wash: ArrayLike, shape: tuple[int, ...], sampling_rate: float, lead_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return what is shown of the wash of each lead, by standard name."""
    values = np.asarray(wash, dtype=float)
    if values.shape != shape:
        raise ValueError(f"The wash has the shape {values.shape}; expected that of the signal, {shape}.")
    shown = np.nan_to_num(values[:, : round(SHOWN_SECONDS * sampling_rate)]).clip(-1, 1)
    return dict(zip(map(channel_name, lead_names), shown, strict=True))


def _finding_text(finding: tuple[str, float] | str) -> str:
    if isinstance(finding, str):
        return finding
    label, probability = finding
    return f"{probability:.2f}  {label}"


def _millimetre_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and axes that fill it, whose unit is the millimetre."""
    figure = new_figure(width / MM_PER_INCH, height / MM_PER_INCH, dpi=_PIXELS_PER_MM * MM_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _draw_grid(axes: Axes, height: int) -> None:
    left, bottom, right, top = _MARGIN, _MARGIN, _MARGIN + _PAPER_WIDTH, _MARGIN + height
    axes.fill_between([left, right], bottom, top, color=_PAPER, linewidth=0)
    for step, color, width in ((1, _THIN_LINE, 0.25), (5, _THICK_LINE, 0.5)):
        axes.vlines(np.arange(left, right + 1, step), bottom, top, color=color, linewidth=width)
        axes.hlines(np.arange(bottom, top + 1, step), left, right, color=color, linewidth=width)


def _draw_header(axes: Axes, top: float, heading: Sequence[str], lines: Sequence[str]) -> None:
    styled = [(text, 12, "bold", _HEADING_HEIGHT) for text in heading]
    styled += [(text, 9, "normal", _LINE_HEIGHT) for text in lines]
    for text, size, weight, height in styled:
        axes.text(_MARGIN, top, text, va="top", size=size, weight=weight, color=_INK, parse_math=False)
        top -= height


def _draw_footer(axes: Axes, sampling_rate: float) -> None:
    scale = f"{MM_PER_SECOND:g} mm/s · {MM_PER_MV:g} mm/mV · {sampling_rate:g} Hz"
    axes.text(_MARGIN, _MARGIN / 2, scale, va="center", size=8, color=_INK)
    notice = "Research use only, not a medical device"
    axes.text(_MARGIN + _PAPER_WIDTH, _MARGIN / 2, notice, va="center", ha="right", size=7, color=_FAINT_INK)


def _draw_wash(axes: Axes, baseline: float, washes: Sequence[np.ndarray], sampling_rate: float) -> None:
    """Draw the colour behind a row; its columns follow each other as those of the leads do."""
    mm_per_sample = MM_PER_SECOND / sampling_rate
    for column, wash in enumerate(washes):
        first, end = (len(wash) * i // len(washes) for i in (column, column + 1))
        x = _MARGIN + _CALIBRATION_WIDTH + np.arange(first, end + 1) * mm_per_sample
        y = [baseline - _BASELINE_HEIGHT, baseline - _BASELINE_HEIGHT + _ROW_HEIGHT]
        axes.pcolormesh(x, y, wash[None, first:end], cmap=_WASH, vmin=-1, vmax=1, linewidth=0, rasterized=True)


def _draw_row(axes: Axes, baseline: float, leads: Sequence[tuple[str, np.ndarray]], sampling_rate: float) -> None:
    """Draw leads one after the other on a baseline, each for its share of the time."""
    _draw_calibration(axes, baseline)
    mm_per_sample = MM_PER_SECOND / sampling_rate
    for column, (name, lead) in enumerate(leads):
        first, end = (len(lead) * i // len(leads) for i in (column, column + 1))
        x = _MARGIN + _CALIBRATION_WIDTH + np.arange(first, end + 1) * mm_per_sample
        axes.plot(x[:-1], baseline + lead[first:end] * MM_PER_MV, color=_INK, linewidth=0.7)
        if column:
            axes.vlines(x[0], baseline - 5, baseline + 5, color=_FAINT_INK, linewidth=0.5)
        label = axes.text(x[0] + 1, baseline + 12, name, size=9, weight="bold", color=_INK)
        label.set_path_effects([withStroke(linewidth=2, foreground=_PAPER)])


def _draw_calibration(axes: Axes, baseline: float) -> None:
    """Draw a pulse of 1 mV and 200 ms."""
    x = _MARGIN + np.array([2, 5, 5, 10, 10, 13])
    axes.plot(x, baseline + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0]), color=_INK, linewidth=0.7)
