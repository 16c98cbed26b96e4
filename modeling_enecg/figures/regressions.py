"""Predicted against true numbers, and their differences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from .saving import Paths, save_figure
from .style import BLUE, GREY, ORANGE, STYLE, add_heading, number, report_figure


@rc_context(STYLE)
def plot_agreement(
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    per_output: Mapping[str, Mapping[str, Any]],
    unit: str | None,
    path: Paths,
    title: str,
) -> Figure:
    """Draw predicted against true values, and their differences against their means with the limits of agreement.

    Args:
        columns (`Mapping[str, tuple[np.ndarray, np.ndarray]]`): By output, its true and its predicted values, each
            of shape `(num_records,)`.
        per_output (`Mapping[str, Mapping[str, Any]]`): By output, `bias`, `lower_limit` and `upper_limit` as
            intervals, as `agreement` gives them.
        unit (`str`, *optional*): Of the values.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of two panels per output.

    Raises:
        ValueError: if the file's format is unknown.
    """
    figure = report_figure(9, 0.6 + 3.9 * len(columns))
    add_heading(figure, title)
    panels = figure.subplots(len(columns), 2, squeeze=False)
    suffix = f" ({unit})" if unit else ""
    for (left, right), (output, (truth, predicted)) in zip(panels, columns.items(), strict=True):
        _draw_scatter(left, truth, predicted)
        left.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}", title=output)
        _draw_differences(right, truth, predicted, per_output[output])
        right.set(xlabel=f"mean of both{suffix}", ylabel=f"predicted minus true{suffix}", title="Bland-Altman")
    save_figure(figure, path)
    return figure


def _draw_scatter(axes: Axes, truth: np.ndarray, predicted: np.ndarray) -> None:
    ends = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    axes.plot(truth, predicted, "o", color=BLUE, alpha=_opacity(len(truth)), markeredgewidth=0)


def _draw_differences(
    axes: Axes, truth: np.ndarray, predicted: np.ndarray, statistics: Mapping[str, Mapping[str, float | None]]
) -> None:
    axes.plot(
        (truth + predicted) / 2, predicted - truth, "o", color=BLUE, alpha=_opacity(len(truth)), markeredgewidth=0
    )
    for name, text in (("upper_limit", "upper limit"), ("bias", "bias"), ("lower_limit", "lower limit")):
        point, lower, upper = (number(statistics[name][key]) for key in ("point", "lower", "upper"))
        axes.axhspan(lower, upper, color=ORANGE, alpha=0.15, linewidth=0)
        axes.axhline(point, color=ORANGE, linestyle="-" if name == "bias" else "--", linewidth=1)
        written = axes.annotate(
            f"{text} {point:.3g}",
            (1, point),
            (-2, 2),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            size=8,
        )
        written.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _opacity(num_records: int) -> float:
    return float(np.clip(300 / num_records, 0.15, 0.8))
