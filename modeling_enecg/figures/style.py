"""What the figures of a report share: their style, and how they draw an interval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .paper_ecg import new_figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#999999"

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
    figure = new_figure(width, height, dpi=150)
    figure.set_layout_engine("constrained")
    return figure


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
    axes: Axes, y: int, interval: Mapping[str, float | None], color: str, label: str, is_hollow: bool = False
) -> None:
    """Draw `point`, `lower` and `upper` as a dot on a line, or the word undefined."""
    point, lower, upper = (number(interval[key]) for key in ("point", "lower", "upper"))
    if np.isnan(point):
        axes.text(0.02, y, "undefined", transform=axes.get_yaxis_transform(), va="center", color=GREY, style="italic")
        return
    axes.hlines(y, lower, upper, color=color, linewidth=1.5)
    face = "white" if is_hollow else color
    axes.plot(point, y, "o", markersize=5, color=color, markerfacecolor=face, label=label)
