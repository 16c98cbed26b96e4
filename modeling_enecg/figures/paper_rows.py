"""Rows of leads on ECG paper: what lies in them, how far it reaches, and how it is drawn.

Everything is in millimetres of paper. A row is as far from the one above it as what they hold needs, so that no trace
meets another or a lead's name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.patheffects import withStroke

from .style import BLUE, ORANGE

LARGE_BOX = 5  # mm
CALIBRATION_WIDTH = 15
FARTHEST = 60.0  # from its baseline, where the pen stops
PAPER, INK, FAINT_INK = "#fff8f7", "#111111", "#666666"

_LEAST_PITCH = 15  # between baselines
_GAP = 1.0  # between what lies above each other
_NAME_WIDTH, _NAME_HEIGHT, _LEAST_NAME_PLACE = 9.5, 3.5, 6.0
_NOTE_WIDTH, _NOTE_HEIGHT = 15.0, 3.0
_WASH = LinearSegmentedColormap.from_list(
    "wash",
    [(0, to_rgba(BLUE, 0.75)), (0.5, to_rgba(BLUE, 0.0)), (0.5, to_rgba(ORANGE, 0.0)), (1, to_rgba(ORANGE, 0.75))],
)


@dataclass(frozen=True)
class Extent:
    """The room that something takes: from `left` to `right` on the row, `up` and `down` from its baseline."""

    left: float
    right: float
    up: float
    down: float


@dataclass(frozen=True, eq=False)
class Note:
    """Words above (`is_above`) or below a trace, `y` from the baseline, that say what the pen did not draw."""

    x: float
    y: float
    text: str
    is_above: bool


@dataclass(frozen=True, eq=False)
class Strip:
    """A lead's trace for some time.

    Attributes:
        name (`str`): The lead's.
        left (`float`): Where it begins, from where time begins.
        y (`np.ndarray` of shape `(num_samples,)`): From the baseline upwards, no farther than `FARTHEST`.
        pitch (`float`): Millimetres per sample.
        wash (`np.ndarray` of shape `(num_samples,)`, *optional*): Colour behind it, from -1 to 1.
        marks (`Sequence[float]`): Where vertical lines are drawn, from its beginning; the first one is the R peak.
        dots (`Sequence[float]`): Where dots are drawn on the trace, from its beginning.
        name_y (`float`): The name's lower edge, from the baseline.
        notes (`list[Note]`): What the pen did not draw.
    """

    name: str
    left: float
    y: np.ndarray
    pitch: float
    wash: np.ndarray | None
    marks: Sequence[float]
    dots: Sequence[float]
    name_y: float
    notes: list[Note]

    @property
    def x(self) -> np.ndarray:
        """Where each sample is."""
        return self.left + np.arange(len(self.y)) * self.pitch

    @property
    def extent(self) -> Extent:
        """The room that trace, name and notes take."""
        highest, lowest = _reach(self.y)
        up = max(highest, self.name_y + _NAME_HEIGHT, *(note.y + _NOTE_HEIGHT for note in self.notes if note.is_above))
        down = max(0.0, -lowest, *(_NOTE_HEIGHT - note.y for note in self.notes if not note.is_above))
        right = self.left + max(len(self.y) * self.pitch, _NAME_WIDTH)
        return Extent(self.left, right, up, down)


@dataclass(frozen=True, eq=False)
class Row:
    """Strips on one baseline, with a calibration pulse of a width and height before them, or a caption above."""

    strips: list[Strip]
    pulse_mm: tuple[float, float] | None = None
    caption: str = ""
    extents: list[Extent] = field(init=False)

    def __post_init__(self) -> None:
        extents = [strip.extent for strip in self.strips]
        if self.pulse_mm is not None:
            extents.append(Extent(-CALIBRATION_WIDTH, 0, self.pulse_mm[1], 0))
        if self.caption:
            extents.append(Extent(-CALIBRATION_WIDTH, 1e3, self.caption_y + _NAME_HEIGHT, 0))
        object.__setattr__(self, "extents", extents)

    @property
    def caption_y(self) -> float:
        """The caption's lower edge, from the baseline."""
        return max(strip.extent.up for strip in self.strips) + _GAP


def make_strip(
    name: str,
    lead_mv: np.ndarray,
    left: float,
    pitch: float,
    mm_per_mv: float,
    wash: np.ndarray | None = None,
    marks: Sequence[float] = (),
    dots: Sequence[float] = (),
) -> Strip:
    """Return a lead's trace with its name above what it holds there, and a note where the pen stops."""
    y = lead_mv * mm_per_mv
    limited = y.clip(-FARTHEST, FARTHEST)
    beginning = limited[: math.ceil(_NAME_WIDTH / pitch)]
    name_y = max(_LEAST_NAME_PLACE, _reach(beginning)[0] + _GAP)
    width = len(y) * pitch
    notes = []
    for is_above, sign in ((True, 1.0), (False, -1.0)):
        height = _reach(sign * y)[0]
        if height > FARTHEST:
            place = int(np.nanargmax(sign * y)) * pitch
            x = left + float(np.clip(place, min(_NAME_WIDTH, width), max(width - _NOTE_WIDTH, _NAME_WIDTH)))
            text = f"{'▲' if is_above else '▼'} {sign * height / mm_per_mv:+.3g} mV".replace("-", "−")
            notes.append(Note(x, sign * (FARTHEST + _GAP), text, is_above))
    return Strip(name, left, limited, pitch, wash, marks, dots, name_y, notes)


def stack(rows: Sequence[Row]) -> tuple[list[float], int]:
    """Return each row's baseline, from the paper's upper edge downwards, and the paper's height, in large boxes."""
    baselines: list[float] = []
    for index, row in enumerate(rows):
        needed = [max(extent.up for extent in row.extents) + _GAP]
        for earlier, baseline in zip(rows[:index], baselines, strict=True):
            needed += [
                baseline + above.down + _GAP + below.up
                for above in earlier.extents
                for below in row.extents
                if above.left < below.right and below.left < above.right
            ]
        if baselines:
            needed.append(baselines[-1] + _LEAST_PITCH)
        baselines.append(_large_boxes(max(needed)))
    bottoms = [
        baseline + max(extent.down for extent in row.extents) for row, baseline in zip(rows, baselines, strict=True)
    ]
    return baselines, _large_boxes(max(*bottoms, baselines[-1] + LARGE_BOX) + _GAP)


def draw_row(axes: Axes, row: Row, left: float, baseline: float) -> None:
    """Draw a row whose time begins at `left`, on a baseline."""
    for strip in row.strips:
        if strip.wash is not None:
            _draw_wash(axes, strip, left, baseline)
    if row.pulse_mm is not None:
        _draw_pulse(axes, *row.pulse_mm, left - CALIBRATION_WIDTH, baseline)
    for index, strip in enumerate(row.strips):
        _draw_strip(axes, strip, left, baseline, has_border=index > 0 and not strip.marks)
    if row.caption:
        x = left - CALIBRATION_WIDTH + 2
        text = axes.text(x, baseline + row.caption_y, row.caption, size=7, color=INK, parse_math=False)
        text.set_path_effects([withStroke(linewidth=2, foreground=PAPER)])


def _draw_strip(axes: Axes, strip: Strip, left: float, baseline: float, has_border: bool) -> None:
    extent = strip.extent
    if has_border:
        axes.vlines(left + strip.left, baseline - 5, baseline + 5, color=FAINT_INK, linewidth=0.5)
    for index, mark in enumerate(strip.marks):
        color, dashes, width = (ORANGE, "-", 0.6) if index == 0 else (FAINT_INK, ":", 0.6)
        x = left + strip.left + mark
        top = min(_reach(strip.y)[0] + _GAP, strip.name_y - _GAP / 2)
        axes.vlines(x, baseline - max(extent.down, 2), baseline + top, color=color, linestyle=dashes, linewidth=width)
    axes.plot(left + strip.x, baseline + strip.y, color=INK, linewidth=0.7)
    for dot in strip.dots:
        y = strip.y[min(round(dot / strip.pitch), len(strip.y) - 1)]
        axes.plot(left + strip.left + dot, baseline + y, "o", markersize=2.2, color=ORANGE, markeredgewidth=0)
    words = [
        axes.text(
            left + strip.left + 1,
            baseline + strip.name_y,
            strip.name,
            size=9,
            weight="bold",
            color=INK,
            parse_math=False,
        )
    ]
    for note in strip.notes:
        side = "bottom" if note.is_above else "top"
        words.append(axes.text(left + note.x, baseline + note.y, note.text, size=7, va=side, color=ORANGE))
    for text in words:
        text.set_path_effects([withStroke(linewidth=2, foreground=PAPER)])


def _draw_pulse(axes: Axes, width: float, height: float, left: float, baseline: float) -> None:
    """Draw a calibration pulse in the middle of its room."""
    start = (CALIBRATION_WIDTH - width) / 2
    x = left + np.array([0.4 * start, start, start, start + width, start + width, CALIBRATION_WIDTH - 0.4 * start])
    axes.plot(x, baseline + height * np.array([0, 0, 1, 1, 0, 0]), color=INK, linewidth=0.7)


def _draw_wash(axes: Axes, strip: Strip, left: float, baseline: float) -> None:
    """Draw the colour behind a strip, as high as the room that it takes."""
    assert strip.wash is not None
    x = left + strip.left + np.arange(len(strip.y) + 1) * strip.pitch
    y = [baseline - max(strip.extent.down, LARGE_BOX), baseline + strip.extent.up]
    axes.pcolormesh(x, y, strip.wash[None], cmap=_WASH, vmin=-1, vmax=1, linewidth=0, rasterized=True)


def _reach(y: np.ndarray) -> tuple[float, float]:
    """Return the highest and the lowest place, 0 where nothing was recorded."""
    known = y[np.isfinite(y)]
    return (float(known.max()), float(known.min())) if known.size else (0.0, 0.0)


def _large_boxes(length: float) -> int:
    return LARGE_BOX * math.ceil(length / LARGE_BOX)


__all__ = [
    "CALIBRATION_WIDTH",
    "FAINT_INK",
    "FARTHEST",
    "INK",
    "LARGE_BOX",
    "PAPER",
    "Row",
    "draw_row",
    "make_strip",
    "stack",
]
