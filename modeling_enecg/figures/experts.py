"""Figures of an ensemble: what the gates give each expert, and what the ensemble loses without each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..evaluation.metrics import MAIN_METRICS, metric_title
from .saving import Paths, save_figure
from .style import (
    BLUE,
    GREY,
    ORANGE,
    STYLE,
    add_heading,
    add_legend,
    draw_interval,
    end_with_arrows,
    number,
    report_figure,
)

_LIGHT_GREY = "#d9d9d9"
_CELL_WIDTH, _CELL_HEIGHT, _LETTER_WIDTH = 0.8, 0.22, 0.075  # inches


@rc_context(STYLE)
def plot_gate_weights(weights: Mapping[str, ArrayLike], path: Paths, expert_names: Sequence[str]) -> Figure:
    """Draw how much each task's gate gives each expert, over the records.

    Args:
        weights (`Mapping[str, ArrayLike]`): By task, the gate's weights, of shape `(num_records, num_experts)`; those
            of a record sum to 1.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        expert_names (`Sequence[str]`): The name of each column.

    Returns:
        `Figure` of one panel per task.

    Raises:
        ValueError: if there is no task, weights have no record or not one column per expert, or the file's format is
            unknown.
    """
    if not weights:
        raise ValueError("There are no gate weights to draw; weights must hold at least one task.")
    num_experts = len(expert_names)
    figure = report_figure(7, 0.9 + len(weights) * (0.4 + 0.26 * num_experts))
    panels = figure.subplots(len(weights), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (task, values) in zip(panels, weights.items(), strict=True):
        axes.axvline(1 / num_experts, color=GREY, linestyle="--", linewidth=1, label="equal share")
        _draw_spread(axes, _check_weights(task, values, num_experts))
        axes.set_title(task)
        axes.set_yticks(range(num_experts), expert_names)
        axes.set(xlim=(-0.02, 1.02), ylim=(num_experts - 0.4, -0.6))
    panels[-1].set_xlabel("gate weight")
    add_legend(figure, panels[0])
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_gate_weights_by_class(table: Mapping[str, Any], path: Paths, title: str) -> Figure:
    """Draw how much a task's gate gives each expert on average: over all records, and over those of each class.

    Args:
        table (`Mapping[str, Any]`): What `gate_weights_by_class` returns.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` with a row per class, in the table's order, and a column per expert: the higher the weight the darker,
        up to three times an equal share; grey for a class without a record.

    Raises:
        ValueError: if the file's format is unknown.
    """
    rows = [("all records", table["all_records"]), *table["per_label"].items()]
    experts = list(table["all_records"]["weights"])
    names = [f"{label} ({row['num_records']})" for label, row in rows]
    means = np.array([[number(row["weights"][expert]) for expert in experts] for _, row in rows])
    tops = np.r_[0, np.arange(1, len(rows)) + 0.4]  # the first row set apart
    name_width = _LETTER_WIDTH * max(map(len, experts))
    is_slanted, at_bottom = name_width > _CELL_WIDTH, len(rows) > 20

    width = 0.4 + _LETTER_WIDTH * max(map(len, names)) + _CELL_WIDTH * len(experts)
    slant_height = name_width / 2 * (1 + at_bottom) if is_slanted else 0
    figure = report_figure(max(width, 5), 1 + slant_height + _CELL_HEIGHT * (tops[-1] + 1))
    add_heading(figure, title)
    figure.supxlabel("mean gate weight (number of records in brackets)", size=9)
    axes = figure.subplots()
    _draw_cells(axes, tops[:1], means[:1])
    if len(rows) > 1:
        _draw_cells(axes, tops[1:], means[1:])
    axes.set_ylim(tops[-1] + 1, 0)
    axes.set_yticks(tops + 0.5, names)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_xticks(np.arange(len(experts)) + 0.5, experts)
    axes.tick_params(length=0, labeltop=True, labelbottom=at_bottom)
    for tick in axes.xaxis.get_major_ticks() if is_slanted else ():
        tick.label1.set(rotation=30, rotation_mode="anchor", ha="right")
        tick.label2.set(rotation=30, rotation_mode="anchor", ha="left")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_leave_one_out(differences: Mapping[str, Mapping[str, Any]], path: Paths) -> Figure:
    """Draw how a task's main score changes when an expert is left out, the most needed expert on top.

    The score is macro AUROC, or R² for a regression; both are better when higher. Panels of the same score have the
    same scale. Grey and hollow are intervals that include 0.

    Args:
        differences (`Mapping[str, Mapping]`): By task, what `leave_one_expert_out` returns.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.

    Returns:
        `Figure` of one panel per task.

    Raises:
        ValueError: if there is no task, or the file's format is unknown.
    """
    if not differences:
        raise ValueError("There is no difference to draw; differences must hold at least one task.")
    num_rows = [len(by_expert) for by_expert in differences.values()]
    figure = report_figure(7, 0.9 + sum(0.6 + 0.26 * rows for rows in num_rows))
    panels = figure.subplots(len(differences), 1, squeeze=False, height_ratios=[1 + rows for rows in num_rows])[:, 0]
    first_of_score: dict[str, Axes] = {}
    for axes, (task, by_expert) in zip(panels, differences.items(), strict=True):
        changes = next(iter(by_expert.values()))
        score = next(metric for metric in MAIN_METRICS if metric in changes)
        if score in first_of_score:
            axes.sharex(first_of_score[score])
        first_of_score.setdefault(score, axes)
        _draw_changes(axes, {expert: each[score] for expert, each in by_expert.items()})
        axes.set_title(f"{task}: {metric_title(score)}")
    panels[-1].set_xlabel("change of the score without the expert")
    for axes in panels:
        end_with_arrows(axes)
    add_legend(figure, *panels)
    save_figure(figure, path)
    return figure


def _check_weights(task: str, values: ArrayLike, num_experts: int) -> np.ndarray:
    weights = np.asarray(values, dtype=float)
    if weights.ndim != 2 or not len(weights) or weights.shape[1] != num_experts:
        raise ValueError(
            f"Gate weights must be (num_records, {num_experts}) and not empty; {task!r} has {weights.shape}."
        )
    return weights


def _draw_spread(axes: Axes, weights: np.ndarray) -> None:
    rows = np.arange(weights.shape[1])
    low, first, median, third, high = np.quantile(weights, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    axes.hlines(rows, low, high, color=BLUE, linewidth=1.2, label="5 to 95 % of records")
    axes.hlines(rows, first, third, color=BLUE, linewidth=6, label="middle half")
    axes.plot(median, rows, "o", color="white", markeredgecolor=BLUE, markersize=6, label="median")


def _draw_cells(axes: Axes, tops: np.ndarray, means: np.ndarray) -> None:
    """Draw rows of a heat map that follow each other, each from its top downwards, with their numbers."""
    num_experts = means.shape[1]
    darkest = min(1, 3 / num_experts)  # not the highest weight: rare classes would fade all others
    colors = colormaps["Blues"].with_extremes(bad=_LIGHT_GREY)
    edges = np.r_[tops, tops[-1] + 1]
    axes.pcolormesh(
        np.arange(num_experts + 1), edges, means, cmap=colors, vmin=0, vmax=darkest, edgecolors="white", linewidth=1
    )
    for (row, column), mean in np.ndenumerate(means):
        text = "–" if np.isnan(mean) else f"{mean:.2f}"
        color = "white" if mean > 0.6 * darkest else "black"
        axes.text(column + 0.5, float(tops[row]) + 0.5, text, ha="center", va="center", size=8, color=color)


def _draw_changes(axes: Axes, changes: Mapping[str, Mapping[str, float | None]]) -> None:
    """Draw each expert's interval, the lowest change on top and undefined ones at the bottom."""
    experts = sorted(changes, key=lambda expert: np.nan_to_num(number(changes[expert]["point"]), nan=np.inf))
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1, zorder=1)
    for y, expert in enumerate(experts):
        lower, upper = (number(changes[expert][key]) for key in ("lower", "upper"))
        if upper < 0:
            draw_interval(axes, y, changes[expert], BLUE, "worse without the expert")
        elif lower > 0:
            draw_interval(axes, y, changes[expert], ORANGE, "better without it")
        else:
            draw_interval(axes, y, changes[expert], GREY, "interval includes 0", is_hollow=True)
    axes.set_yticks(range(len(experts)), experts)
    axes.set_ylim(len(experts) - 0.4, -0.6)
