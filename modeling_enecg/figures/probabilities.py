"""Curves of the most frequent labels: ROC, precision and recall, calibration and net benefit."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.curves import Band, net_benefit, precision_recall_curve, roc_curve
from .saving import Paths, save_figure
from .style import BLUE, COLORS, GREY, ORANGE, STYLE, add_heading, add_legend, report_figure

NUM_CURVES = 12  # labels of which a figure shows a panel each
NUM_LINES = 7  # labels whose lines share a panel: the palette's last colour is too light for a line

_MOST_COLUMNS = 4
_LETTERS_A_PANEL = 22
_THRESHOLDS = np.linspace(0.005, 0.995, 199)

Records = tuple[np.ndarray, np.ndarray]  # of one label, what is positive and the probabilities


@rc_context(STYLE)
def plot_ranking_curves(
    labels: Mapping[str, Records], path: Paths, title: str, bands: Mapping[str, tuple[Band, Band]] | None = None
) -> Figure:
    """Draw the ROC curve and the curve of precision over recall of some labels.

    Args:
        labels (`Mapping[str, tuple[np.ndarray, np.ndarray]]`): By what the legend says of a label, which records are
            positive and their probabilities, each of shape `(num_records,)`; both classes must be there. `NUM_LINES`
            at most.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.
        bands (`Mapping[str, tuple[Band, Band]]`, *optional*): By what the legend says of a label, how far its two
            curves vary; labels may be missing.

    Returns:
        `Figure` of two panels; dotted is the precision of chance, each label's prevalence.

    Raises:
        ValueError: if there is no label or there are too many, or the file's format is unknown.
    """
    if not 0 < len(labels) <= NUM_LINES:
        raise ValueError(f"The curves of 1 to {NUM_LINES} labels can be told apart; got {len(labels)}.")
    figure = report_figure(7.2, 4.1 + 0.16 * len(labels))
    add_heading(figure, title)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="chance")
    for color, (label, (is_positive, probabilities)) in zip(COLORS, labels.items(), strict=False):
        left.plot(*roc_curve(is_positive, probabilities), color=color, label=label)
        right.step(*precision_recall_curve(is_positive, probabilities), where="pre", color=color)
        right.axhline(np.mean(is_positive), color=color, linestyle=":", linewidth=1)
        if bands and label in bands:
            for axes, band, step in ((left, bands[label][0], None), (right, bands[label][1], "pre")):
                axes.fill_between(*band, color=color, alpha=0.12, linewidth=0, step=step)
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    right.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", title="Precision and recall")
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    add_legend(figure, left)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_calibration(before: Mapping[str, Any], after: Mapping[str, Any] | None, path: Paths, title: str) -> Figure:
    """Draw observed against predicted frequency, without and with calibration, of the most frequent labels.

    Args:
        before (`Mapping[str, Any]`): What `calibration_scores` gives of the probabilities as predicted.
        after (`Mapping[str, Any]`, *optional*): What it gives of the calibrated ones; None where nothing is.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of one panel per label, `NUM_CURVES` at most; both axes of a panel end where its points do.

    Raises:
        ValueError: if the file's format is unknown.
    """
    labels = most_frequent(before)
    figure, panels = _panels(len(labels), title)
    for axes, label in zip(panels, labels, strict=True):
        _draw_curve(axes, before["per_label"][label]["curve"], ORANGE, "as predicted", "o-")
        if after is not None:
            _draw_curve(axes, after["per_label"][label]["curve"], BLUE, "calibrated", "s-")
        end = max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, zorder=1, label="perfect calibration")
        axes.set(xlim=(0, min(end, 1.03)), ylim=(0, min(end, 1.03)), aspect="equal")
        _name_panel(axes, label, before["per_label"][label])
    _name_axes(panels, "predicted frequency", "observed frequency")
    add_legend(figure, *panels)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_decision_curves(
    before: Mapping[str, Records], after: Mapping[str, Records] | None, path: Paths, title: str
) -> Figure:
    """Draw the net benefit of acting on a label's probability over the probability from which one acts.

    Args:
        before (`Mapping[str, tuple[np.ndarray, np.ndarray]]`): By label, which records are positive and their
            probabilities as predicted, each of shape `(num_records,)`. `NUM_CURVES` at most.
        after (`Mapping[str, tuple[np.ndarray, np.ndarray]]`, *optional*): The same with calibrated probabilities.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of one panel per label. A model is of use at a threshold where its line lies above those of acting on
        everybody and on nobody.

    Raises:
        ValueError: if the file's format is unknown.
    """
    figure, panels = _panels(len(before), title)
    for axes, (label, (is_positive, probabilities)) in zip(panels, before.items(), strict=True):
        everybody = net_benefit(is_positive, np.ones(len(is_positive)), _THRESHOLDS)
        axes.plot(_THRESHOLDS, everybody, color=GREY, linestyle="--", linewidth=1, label="act on everybody")
        axes.axhline(0, color="#444444", linewidth=1, label="act on nobody")
        own = net_benefit(is_positive, probabilities, _THRESHOLDS)
        axes.plot(_THRESHOLDS, own, color=ORANGE, label="as predicted")
        if after is not None:
            axes.plot(_THRESHOLDS, net_benefit(*after[label], _THRESHOLDS), color=BLUE, label="calibrated")
        prevalence, num_positives = float(np.mean(is_positive)), int(np.sum(is_positive))
        axes.set(xlim=(0, 1), ylim=(-0.25 * max(prevalence, 0.02), 1.1 * max(prevalence, 0.02)))
        axes.set_title(_panel_title(label, num_positives))
    _name_axes(panels, "threshold probability", "net benefit")
    add_legend(figure, *panels)
    save_figure(figure, path)
    return figure


def most_frequent(scores: Mapping[str, Any]) -> list[str]:
    """Return the labels with the most positives, `NUM_CURVES` at most, in their own order.

    Labels with few positives, whose curves would show chance, are among them only if all labels are such.
    """
    rows = scores["per_label"]
    enough = [label for label, row in rows.items() if not row["few_positives"]]
    chosen = sorted(enough or rows, key=lambda label: -rows[label]["num_positives"])[:NUM_CURVES]
    return [label for label in rows if label in chosen]


def _draw_curve(axes: Axes, curve: Sequence[Mapping[str, float]], color: str, label: str, style: str) -> None:
    predicted, observed, lower, upper = (
        np.array([point[key] for point in curve]) for key in ("predicted", "observed", "lower", "upper")
    )
    axes.vlines(predicted, lower, upper, color=color, linewidth=1, alpha=0.5)
    axes.plot(predicted, observed, style, color=color, linewidth=1, markersize=3.5, label=label)


def _panels(num_panels: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, at most four side by side."""
    num_rows = math.ceil(num_panels / _MOST_COLUMNS)
    num_columns = math.ceil(num_panels / num_rows)
    figure = report_figure(max(0.6 + 2.35 * num_columns, 4.5), 0.9 + 2.3 * num_rows)
    add_heading(figure, title)
    panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel().tolist()
    for axes in panels[num_panels:]:
        axes.remove()
    return figure, panels[:num_panels]


def _panel_title(label: str, num_positives: int) -> str:
    return textwrap.fill(f"{label} ({num_positives})", _LETTERS_A_PANEL)


def _name_panel(axes: Axes, label: str, row: Mapping[str, Any]) -> None:
    axes.set_title(_panel_title(label, row["num_positives"]), color=GREY if row["few_positives"] else "black")


def _name_axes(panels: Sequence[Axes], x: str, y: str) -> None:
    """Name the horizontal axis of the lowest panel of each column, and the vertical one of the first of each row."""
    lowest = {_place(axes)[1]: axes for axes in panels}  # panels come row by row
    for axes in lowest.values():
        axes.set_xlabel(x)
    for axes in panels:
        if _place(axes)[1] == 0:
            axes.set_ylabel(y)


def _place(axes: Axes) -> tuple[int, int]:
    """Return a panel's row and column."""
    spec = axes.get_subplotspec()
    return (0, 0) if spec is None else (spec.rowspan.start, spec.colspan.start)
