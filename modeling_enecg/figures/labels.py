"""Scores of every label, and how two models differ on each."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.metrics import MIN_POSITIVES
from .saving import Paths, save_figure
from .style import (
    BLUE,
    GREY,
    ORANGE,
    STYLE,
    add_heading,
    add_legend,
    draw_interval,
    draw_span,
    end_with_arrows,
    number,
    report_figure,
)

_MEAN_PLACE = -1.6  # of the mean's bar, set apart from the labels' below it, which start at 0


@rc_context(STYLE)
def plot_per_label(scores: Mapping[str, Mapping[str, Any]], path: Paths, title: str) -> Figure:
    """Draw AUROC and AUPRC of every label with their intervals, the best AUROC on top.

    Args:
        scores (`Mapping[str, Mapping]`): By label, `auroc` and `auprc`, each a mapping of `point`, `lower` and `upper`
            (`float`, or `None` where undefined), and `num_positives` (`int`).
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of two panels, as high as the labels need.

    Raises:
        ValueError: if there is no label, or the file's format is unknown.
    """
    if not scores:
        raise ValueError("There is no label to draw; scores must hold at least one.")
    labels = sorted(scores, key=lambda label: np.nan_to_num(number(scores[label]["auroc"]["point"]), nan=-1))
    figure = report_figure(9, 1.8 + 0.22 * len(labels))
    add_heading(figure, title)
    left, right = figure.subplots(1, 2, sharey=True)
    left.axvline(0.5, color=GREY, linestyle="--", linewidth=1, label="chance")
    for axes, score, color in ((left, "auroc", BLUE), (right, "auprc", ORANGE)):
        for y, label in enumerate(labels):
            few = scores[label]["num_positives"] < MIN_POSITIVES
            _draw_score(axes, y, scores[label][score], color, few)
        axes.set_title(score.upper())
        axes.tick_params(labeltop=len(labels) > 20)
    right.set_xlim(-0.02, 1.02)
    left.set_yticks(range(len(labels)), [f"{label} ({scores[label]['num_positives']})" for label in labels])
    left.set(ylim=(-0.6, len(labels) - 0.4), ylabel="label (number of positives)")
    for axes in (left, right):
        end_with_arrows(axes)
    add_legend(figure, left)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_differences(
    rows: Mapping[str, Mapping[str, Any]],
    overall: Mapping[str, float | None],
    different: Collection[str],
    axis_label: str,
    path: Paths,
    title: str,
) -> Figure:
    """Draw how two models differ on each label as a bar with its interval, below their overall difference.

    The scale is that of the labels with enough positives: others' intervals may leave the figure, as arrows show.

    Args:
        rows (`Mapping[str, Mapping[str, Any]]`): By label, from top to bottom, the difference as `point`, `lower` and
            `upper`, None where undefined, and `few_positives` if that is known.
        overall (`Mapping[str, float | None]`): The difference of the means, as `point`, `lower` and `upper`.
        different (`Collection[str]`): The labels to colour and star.
        axis_label (`str`): What a bar's length is.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure`, as high as the labels need.

    Raises:
        ValueError: if there is no label, or the file's format is unknown.
    """
    if not rows:
        raise ValueError("There is no difference to draw; rows must hold at least one label.")
    figure = report_figure(8, 2.3 + 0.21 * len(rows))
    add_heading(figure, title)
    axes = figure.subplots()
    _draw_bar(axes, _MEAN_PLACE, overall, "mean", ORANGE)
    for y, (label, row) in enumerate(rows.items()):
        if label in different:
            _draw_bar(axes, y, row, "different (★)", BLUE, is_starred=True)
        elif row.get("few_positives"):
            _draw_bar(axes, y, row, "few positives (†)", GREY, is_hollow=True)
        else:
            _draw_bar(axes, y, row, "no difference shown", GREY)
    names = [f"{label} †" if row.get("few_positives") else label for label, row in rows.items()]
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_yticks([_MEAN_PLACE, *range(len(rows))], ["mean", *names])
    axes.set(xlim=_difference_range(rows, overall), ylim=(len(rows) - 0.3, _MEAN_PLACE - 0.8), xlabel=axis_label)
    axes.tick_params(axis="x", labeltop=len(rows) > 20)
    axes.grid(axis="y", visible=False)
    end_with_arrows(axes)
    add_legend(figure, axes)
    save_figure(figure, path)
    return figure


def _difference_range(
    rows: Mapping[str, Mapping[str, Any]], overall: Mapping[str, float | None]
) -> tuple[float, float]:
    """Return a range that holds every bar, and the intervals of those with enough positives."""
    whole = [overall, *(row for row in rows.values() if not row.get("few_positives"))]
    ends = [number(row[key]) for row in whole for key in ("lower", "upper")]
    ends += [number(row["point"]) for row in rows.values()]
    low, high = np.nanmin([0.0, *ends]), np.nanmax([0.0, *ends])
    margin = 0.05 * (high - low) or 0.01
    return float(low - margin), float(high + margin)


def _draw_score(axes: Axes, y: int, interval: Mapping[str, float | None], color: str, few: bool) -> None:
    """Draw a score and its interval, in grey and hollow where few positives make it uncertain."""
    label = f"fewer than {MIN_POSITIVES} positives" if few else "score and its interval"
    draw_interval(axes, y, interval, GREY if few else color, label, is_hollow=few)


def _draw_bar(
    axes: Axes,
    y: float,
    interval: Mapping[str, Any],
    label: str,
    color: str,
    is_hollow: bool = False,
    is_starred: bool = False,
) -> None:
    """Draw a difference as a bar from 0 with its interval, or the word undefined."""
    point, upper = number(interval["point"]), number(interval["upper"])
    if np.isnan(point):
        axes.text(0, y, " undefined", va="center", color=GREY, style="italic", size=8)
        return
    axes.barh(y, point, height=0.7, facecolor="white" if is_hollow else color, edgecolor=color, alpha=0.8, label=label)
    draw_span(axes, y, interval, GREY if is_hollow else "#222222", linewidth=1)
    if is_starred:
        end = upper if np.isfinite(upper) else point
        axes.annotate("★", (max(end, point, 0), y), (4, 0), textcoords="offset points", va="center", size=7)
