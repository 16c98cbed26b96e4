"""The style that figures share, headings and legends that fit, and how an interval is drawn."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .saving import new_figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#999999"
COLORS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")

_DPI = 300  # of a PNG in print
_LETTERS_AN_INCH = 11  # of a bold heading
_LETTER_WIDTH, _SYMBOL_WIDTH = 0.07, 0.6  # inches of a legend
_INTERVAL = "interval"  # the id of the lines that arrows may end

STYLE: Any = {  # Matplotlib's type of this is a literal of every setting it has
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "text.parse_math": False,  # labels come from datasets; a $ in one is a $
}


def report_figure(width: float, height: float) -> Figure:
    """Make a figure of a size in inches that gives its panels the room their texts need."""
    figure = new_figure(width, height, _DPI)
    figure.set_layout_engine("constrained")
    return figure


def add_heading(figure: Figure, *lines: str, **style: Any) -> None:
    """Write lines above all panels, each broken where the figure ends."""
    letters = int(_LETTERS_AN_INCH * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, letters) for line in lines if line)
    figure.suptitle(text, **({"weight": "bold", "size": 10} | style))


def add_legend(figure: Figure, *panels: Axes) -> None:
    """Write a legend of all panels below them, each label once, in as many columns as fit."""
    handles, labels = legend_entries(*panels)
    if labels:
        entry = _SYMBOL_WIDTH + _LETTER_WIDTH * max(map(len, labels))
        columns = int(np.clip(figure.get_figwidth() // entry, 1, len(labels)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def legend_entries(*panels: Axes) -> tuple[list[Artist], list[str]]:
    """Return handles and labels for a legend of all panels, each label once."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return list(entries.values()), list(entries)


def number(value: float | None) -> float:
    """Return a number, nan for None."""
    return np.nan if value is None else float(value)


def draw_interval(
    axes: Axes, y: float, interval: Mapping[str, Any], color: str, label: str, is_hollow: bool = False
) -> None:
    """Draw `point`, `lower` and `upper` as a dot on a line, the dot alone without one, or the word undefined."""
    point = number(interval["point"])
    if np.isnan(point):
        axes.text(0.02, y, "undefined", transform=axes.get_yaxis_transform(), va="center", color=GREY, style="italic")
        return
    draw_span(axes, y, interval, color)
    face = "white" if is_hollow else color
    axes.plot(point, y, "o", markersize=5, color=color, markerfacecolor=face, label=label)


def draw_span(axes: Axes, y: float, interval: Mapping[str, Any], color: str, linewidth: float = 1.5) -> None:
    """Draw the line from `lower` to `upper`, if there is one."""
    lower, upper = (number(interval[key]) for key in ("lower", "upper"))
    if np.isfinite([lower, upper]).all():
        axes.hlines(y, lower, upper, color=color, linewidth=linewidth, gid=_INTERVAL)


def end_with_arrows(axes: Axes) -> None:
    """Mark the intervals that leave the axes with an arrow at their edge; call it once the limits are set."""
    left, right = axes.get_xlim()
    for lines in axes.collections:
        if not isinstance(lines, LineCollection) or lines.get_gid() != _INTERVAL:
            continue
        color = lines.get_color()
        for (start, y), (end, _) in lines.get_segments():
            for is_outside, edge, marker in ((start < left, left, "<"), (end > right, right, ">")):
                if is_outside:
                    axes.plot(edge, y, marker, color=color, markersize=5, clip_on=False, zorder=5)
