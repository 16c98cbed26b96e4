"""An ECG as it is printed: millimetre paper at true size, any layout, speed and gain, and a median beat per lead.

The figure has one coordinate system, millimetres from its lower left corner, so that lengths in it are lengths on
paper: the print is at true size wherever the figure's resolution is honoured.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..ecg_file import channel_name
from ..evaluation.median_beat import MedianBeat
from .beat_marks import BeatMarks
from .paper import INVERTED, Paper
from .paper_rows import CALIBRATION_WIDTH, FAINT_INK, INK, LARGE_BOX, PAPER, Row, draw_row, make_strip, stack
from .saving import new_figure, save_figure

MM_PER_INCH = 25.4

# Lengths in millimetres. The paper's are whole large boxes, so that traces start and rest on thick lines.
_MARGIN = 10
_PAPER_WIDTH = CALIBRATION_WIDTH + 250 + 5
_HEADING_HEIGHT, _LINE_HEIGHT = 7.0, 4.25
_BEAT_GAP = 3.0
_PULSE_S = 0.2
_LETTERS_A_LINE = 125

_PIXELS_PER_MM = 10
_THIN_LINE, _THICK_LINE = "#f9d9d6", "#efaaa4"

Leads = dict[str, np.ndarray]  # by standard name


def plot_ecg(
    signal_mv: ArrayLike,
    sampling_rate: float,
    lead_names: Sequence[str],
    path: str | Path | None = None,
    title: str | None = None,
    lines: Sequence[str] = (),
    paper: Paper | None = None,
    beat: MedianBeat | None = None,
    wash: ArrayLike | None = None,
    marks: BeatMarks | None = None,
) -> Figure:
    """Draw an ECG as it is printed on paper.

    The paper's layout says which lead lies where; columns of a row follow each other in time. Of a recording longer
    than the paper its beginning is drawn, as the line below it says; a shorter one is drawn whole, its columns being
    equal shares of it. Each lead is drawn about its median, and nan is a gap. Rows are as far apart as what they hold
    needs; where a lead leaves its baseline by more than 60 mm the pen stops there, and a note says how far it goes.

    Args:
        signal_mv (`ArrayLike` of shape `(num_leads, num_samples)`): The signal in mV.
        sampling_rate (`float`): Samples per second, in Hz.
        lead_names (`Sequence[str]`): The name of each row of the signal; standard leads are known by
            their aliases.
        path (`str` or `Path`, *optional*): A `.png`, `.svg` or `.pdf` file to write.
        title (`str`, *optional*): A heading.
        lines (`Sequence[str]`, *optional*, defaults to none): Lines to put under the title.
        paper ([`Paper`], *optional*): Layout, speed and gain; by default rows of four columns above a rhythm strip, at
            25 mm/s and 10 mm/mV.
        beat ([`MedianBeat`], *optional*): The median beat of these leads, to be drawn below them with a line at its R
            peak.
        wash (`ArrayLike` of shape `(num_leads, num_samples)`, *optional*): Colour behind the leads, from -1 (blue) to
            1 (orange); 0 and nan are none.
        marks ([`BeatMarks`], *optional*): What else is marked in the median beat.

    Returns:
        `Figure`: 290 mm wide and as high as its leads need; it belongs to no window and to no `pyplot` state.

    Raises:
        ValueError: if the signal is not 2-D or is empty, the sampling rate is not positive, lead names and rows differ
            in number, a lead name is repeated, the wash or the median beat does not fit the signal, or the file's
            format is unknown.
    """
    paper = paper or Paper()
    leads = _check_leads(signal_mv, sampling_rate, lead_names, paper)
    washes = {} if wash is None else _check_wash(wash, np.shape(signal_mv), sampling_rate, lead_names, paper)
    rows = _rows_of_leads(leads, washes, sampling_rate, paper)
    if beat is not None:
        rows += _rows_of_beats(beat, list(leads), paper, marks or BeatMarks())
    heading = textwrap.wrap(title or "", width=80)
    wrapped = [part for line in lines for part in textwrap.wrap(line, width=_LETTERS_A_LINE)]
    header_height = _HEADING_HEIGHT * len(heading) + _LINE_HEIGHT * len(wrapped) + 3
    baselines, paper_height = stack(rows)

    top = _MARGIN + paper_height
    figure, axes = _millimetre_axes(_PAPER_WIDTH + 2 * _MARGIN, top + header_height + _MARGIN / 2)
    _draw_grid(axes, paper_height)
    _draw_header(axes, top + header_height, heading, wrapped)
    _draw_footer(axes, sampling_rate, np.shape(signal_mv)[1] / sampling_rate, paper)
    for row, baseline in zip(rows, baselines, strict=True):
        draw_row(axes, row, _MARGIN + CALIBRATION_WIDTH, top - baseline)
    if path is not None:
        save_figure(figure, path)
    return figure


def _check_leads(signal_mv: ArrayLike, sampling_rate: float, lead_names: Sequence[str], paper: Paper) -> Leads:
    """Return what is shown of each lead, about its median, by standard name."""
    signal = np.asarray(signal_mv, dtype=float)
    if signal.ndim != 2 or not signal.size or len(signal) != len(lead_names):
        raise ValueError(
            f"Got a signal of shape {signal.shape} and {len(lead_names)} lead names; "
            "the signal must be (num_leads, num_samples), not empty, with one name a row."
        )
    if not 0 < sampling_rate < np.inf:
        raise ValueError(f"sampling_rate must be positive, in Hz; got {sampling_rate}.")
    shown = signal[:, : round(paper.shown_seconds * sampling_rate)]
    centred = [lead - np.median(lead[np.isfinite(lead)]) if np.isfinite(lead).any() else lead for lead in shown]
    names = [channel_name(name) for name in lead_names]
    if len(set(names)) < len(names):
        raise ValueError(f"Leads are given twice in {', '.join(lead_names)}.")
    return dict(zip(names, centred, strict=True))


def _check_wash(
    wash: ArrayLike, shape: tuple[int, ...], sampling_rate: float, lead_names: Sequence[str], paper: Paper
) -> Leads:
    """Return what is shown of the wash of each lead, by standard name."""
    values = np.asarray(wash, dtype=float)
    if values.shape != shape:
        raise ValueError(f"The wash has the shape {values.shape}; expected that of the signal, {shape}.")
    shown = np.nan_to_num(values[:, : round(paper.shown_seconds * sampling_rate)]).clip(-1, 1)
    return dict(zip(map(channel_name, lead_names), shown, strict=True))


def _rows_of_leads(leads: Leads, washes: Leads, sampling_rate: float, paper: Paper) -> list[Row]:
    """Return the rows of the layout, each lead cut to its share of the time."""
    pitch = paper.mm_per_second / sampling_rate
    rows = []
    for names in paper.rows(list(leads)):
        strips = []
        for column, shown_as in enumerate(names):
            name = shown_as.removeprefix(INVERTED)
            first, end = (len(leads[name]) * place // len(names) for place in (column, column + 1))
            lead = leads[name][first:end] * (-1 if shown_as != name else 1)
            wash = washes[name][first:end] if washes else None
            title = shown_as.replace(INVERTED, "−") if shown_as != name else name
            strips.append(make_strip(title, lead, first * pitch, pitch, paper.mm_per_mv, wash))
        rows.append(Row(strips, pulse_mm=(_PULSE_S * paper.mm_per_second, paper.mm_per_mv)))
    return rows


def _rows_of_beats(beat: MedianBeat, names: Sequence[str], paper: Paper, marks: BeatMarks) -> list[Row]:
    """Return the median beats side by side, in as many rows as they need, in the order of the leads given."""
    if len(beat.signal_mv) != len(names):
        raise ValueError(f"The median beat has {len(beat.signal_mv)} leads; expected {len(names)}, as the signal has.")
    pitch = paper.mm_per_second / beat.sampling_rate
    step = beat.signal_mv.shape[1] * pitch + _BEAT_GAP
    per_row = min(int(paper.shown_seconds * paper.mm_per_second // step), len(names))
    r_peak, width = beat.r_peak * pitch, beat.signal_mv.shape[1] * pitch
    edges, dots = (
        [place for place in (r_peak + each * paper.mm_per_second for each in seconds) if 0 <= place <= width]
        for seconds in (marks.edges_s, marks.peaks_s)
    )
    caption = f"Median beat of {beat.num_used} of the {beat.num_found} whole beats; "
    caption += "orange line: R peak as measured, the largest deflection of all leads"
    caption += f"; {marks.caption}" if marks.caption else ""
    rows = []
    for first in range(0, len(names), per_row):
        strips = [
            make_strip(name, lead, column * step, pitch, paper.mm_per_mv, marks=[r_peak, *edges], dots=dots)
            for column, (name, lead) in enumerate(
                zip(names[first : first + per_row], beat.signal_mv[first : first + per_row], strict=True)
            )
        ]
        rows.append(Row(strips, caption="" if first else caption))
    return rows


def _millimetre_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and axes that fill it, whose unit is the millimetre."""
    figure = new_figure(width / MM_PER_INCH, height / MM_PER_INCH, dpi=_PIXELS_PER_MM * MM_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _draw_grid(axes: Axes, height: int) -> None:
    left, bottom, right, top = _MARGIN, _MARGIN, _MARGIN + _PAPER_WIDTH, _MARGIN + height
    axes.fill_between([left, right], bottom, top, color=PAPER, linewidth=0)
    for step, color, width in ((1, _THIN_LINE, 0.25), (LARGE_BOX, _THICK_LINE, 0.5)):
        axes.vlines(np.arange(left, right + 1, step), bottom, top, color=color, linewidth=width)
        axes.hlines(np.arange(bottom, top + 1, step), left, right, color=color, linewidth=width)


def _draw_header(axes: Axes, top: float, heading: Sequence[str], lines: Sequence[str]) -> None:
    styled = [(text, 12, "bold", _HEADING_HEIGHT) for text in heading]
    styled += [(text, 9, "normal", _LINE_HEIGHT) for text in lines]
    for text, size, weight, height in styled:
        axes.text(_MARGIN, top, text, va="top", size=size, weight=weight, color=INK, parse_math=False)
        top -= height


def _draw_footer(axes: Axes, sampling_rate: float, seconds: float, paper: Paper) -> None:
    scale = f"{paper.mm_per_second:g} mm/s · {paper.mm_per_mv:g} mm/mV · {sampling_rate:g} Hz"
    if round(seconds * sampling_rate) > round(paper.shown_seconds * sampling_rate):
        scale += f" · the first {paper.shown_seconds:g} s of {seconds:.1f} s"
    axes.text(_MARGIN, _MARGIN / 2, scale, va="center", size=8, color=INK)
    notice = "Research use only, not a medical device"
    axes.text(_MARGIN + _PAPER_WIDTH, _MARGIN / 2, notice, va="center", ha="right", size=7, color=FAINT_INK)


__all__ = ["plot_ecg"]
