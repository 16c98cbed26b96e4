"""Figures of a report: calibration curves, agreement of measured and predicted values, subgroups, differences."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .paper_ecg import save_figure
from .style import BLUE, GREY, ORANGE, STYLE, draw_interval, legend_entries, number, report_figure

NUM_CURVES = 12  # calibration curves that a figure shows

_MOST_COLUMNS = 4
_MEAN_PLACE = -1.6  # of the mean's bar, set apart from the labels' below it, which start at 0


@rc_context(STYLE)
def plot_calibration(before: Mapping[str, Any], after: Mapping[str, Any], path: str | Path, title: str) -> Figure:
    """Draw observed against predicted frequency, without and with calibration, of the most frequent labels.

    Args:
        before (`Mapping[str, Any]`): What `calibration_scores` gives of the probabilities as predicted.
        after (`Mapping[str, Any]`): What it gives of the calibrated ones.
        path (`str` or `Path`): The file to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of one panel a label, `NUM_CURVES` at most; both axes of a panel end where its points do.

    Raises:
        ValueError: if the file's format is unknown.
    """
    labels = most_frequent(before)
    num_rows = math.ceil(len(labels) / _MOST_COLUMNS)
    num_columns = math.ceil(len(labels) / num_rows)
    figure = report_figure(0.6 + 2.35 * num_columns, 0.9 + 2.3 * num_rows)
    figure.suptitle(title, weight="bold")
    panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, label in zip(panels, labels, strict=False):
        row = before["per_label"][label]
        _draw_curve(axes, row["curve"], ORANGE, "as predicted", "o-")
        _draw_curve(axes, after["per_label"][label]["curve"], BLUE, "calibrated", "s-")
        end = max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, zorder=1, label="perfect calibration")
        axes.set(xlim=(0, min(end, 1.03)), ylim=(0, min(end, 1.03)), aspect="equal")
        axes.set_title(f"{label} ({row['num_positives']})", color=GREY if row["few_positives"] else "black")
    for axes in panels[len(labels) :]:
        axes.set_visible(False)
    for axes in panels[len(labels) - num_columns : len(labels)]:  # the lowest of each column
        axes.set_xlabel("predicted frequency")
    for axes in panels[::num_columns]:
        axes.set_ylabel("observed frequency")
    figure.legend(*legend_entries(*panels[: len(labels)]), loc="outside lower center", ncols=3)
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


@rc_context(STYLE)
def plot_agreement(
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    per_output: Mapping[str, Mapping[str, Any]],
    unit: str | None,
    path: str | Path,
    title: str,
) -> Figure:
    """Draw predicted against true values, and their differences against their means with the limits of agreement.

    Args:
        columns (`Mapping[str, tuple[np.ndarray, np.ndarray]]`): By output, its true and its predicted values, each
            of shape `(num_records,)`.
        per_output (`Mapping[str, Mapping[str, Any]]`): By output, `bias`, `lower_limit` and `upper_limit` as
            intervals, as `agreement` gives them.
        unit (`str`, *optional*): Of the values.
        path (`str` or `Path`): The file to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of two panels an output.

    Raises:
        ValueError: if the file's format is unknown.
    """
    figure = report_figure(9, 0.6 + 3.9 * len(columns))
    figure.suptitle(title, weight="bold")
    panels = figure.subplots(len(columns), 2, squeeze=False)
    suffix = f" ({unit})" if unit else ""
    for (left, right), (output, (truth, predicted)) in zip(panels, columns.items(), strict=True):
        _draw_scatter(left, truth, predicted)
        left.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}", title=output)
        _draw_differences(right, truth, predicted, per_output[output])
        right.set(xlabel=f"mean of both{suffix}", ylabel=f"predicted minus true{suffix}", title="Bland-Altman")
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_subgroups(subgroups: Mapping[str, Mapping[str, Any]], metric: str, path: str | Path, title: str) -> Figure:
    """Draw a metric of every group with its interval, hollow and grey where it has few records.

    Args:
        subgroups (`Mapping[str, Mapping[str, Any]]`): By what the groups are of, what `score_subgroups` gives; at
            least one.
        metric (`str`): For instance `"macro_auroc"`.
        path (`str` or `Path`): The file to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of one panel a key of `subgroups`, all on one scale.

    Raises:
        ValueError: if the file's format is unknown.
    """
    num_groups = [len(scored["groups"]) for scored in subgroups.values()]
    figure = report_figure(7, 1 + sum(0.5 + 0.22 * count for count in num_groups))
    figure.suptitle(title, weight="bold")
    heights = [1 + count for count in num_groups]
    panels = figure.subplots(len(subgroups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, scored) in zip(panels, subgroups.items(), strict=True):
        for y, row in enumerate(scored["groups"].values()):
            few = row["few_records"]
            label = "few records" if few else "score and its interval"
            draw_interval(axes, y, row[metric], GREY if few else BLUE, label, is_hollow=few)
        names = [f"{group} ({row['num_records']})" for group, row in scored["groups"].items()]
        axes.set_yticks(range(len(names)), names)
        axes.set(ylim=(len(names) - 0.4, -0.6), title=name)
    figure.legend(*legend_entries(*panels), loc="outside lower center", ncols=2)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_differences(
    rows: Mapping[str, Mapping[str, Any]],
    overall: Mapping[str, float | None],
    different: Collection[str],
    axis_label: str,
    path: str | Path,
    title: str,
) -> Figure:
    """Draw how two models differ on each label as a bar with its interval, below their overall difference.

    The scale is that of the labels with enough positives: others' intervals may leave the figure.

    Args:
        rows (`Mapping[str, Mapping[str, Any]]`): By label, from top to bottom, the difference as `point`, `lower` and
            `upper`, None where undefined, and `few_positives` if that is known.
        overall (`Mapping[str, float | None]`): The difference of the means, as `point`, `lower` and `upper`.
        different (`Collection[str]`): The labels to colour and star.
        axis_label (`str`): What a bar's length is.
        path (`str` or `Path`): The file to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure`, as high as the labels need.

    Raises:
        ValueError: if there is no label, or the file's format is unknown.
    """
    if not rows:
        raise ValueError("There is no difference to draw; rows must hold at least one label.")
    figure = report_figure(8, 2.3 + 0.21 * len(rows))
    figure.suptitle(title, weight="bold")
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
    figure.legend(*legend_entries(axes), loc="outside lower center", ncols=4)
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


def _draw_curve(axes: Axes, curve: Sequence[Mapping[str, float]], color: str, label: str, style: str) -> None:
    predicted, observed, lower, upper = (
        np.array([point[key] for point in curve]) for key in ("predicted", "observed", "lower", "upper")
    )
    axes.vlines(predicted, lower, upper, color=color, linewidth=1, alpha=0.5)
    axes.plot(predicted, observed, style, color=color, linewidth=1, markersize=3.5, label=label)


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
        axes.annotate(
            f"{text} {point:.3g}",
            (1, point),
            (-2, 2),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            size=8,
        )


def _opacity(num_records: int) -> float:
    return float(np.clip(300 / num_records, 0.15, 0.8))


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
    point, lower, upper = (number(interval[key]) for key in ("point", "lower", "upper"))
    if np.isnan(point):
        axes.text(0, y, " undefined", va="center", color=GREY, style="italic", size=8)
        return
    axes.barh(y, point, height=0.7, facecolor="white" if is_hollow else color, edgecolor=color, alpha=0.8, label=label)
    axes.hlines(y, lower, upper, color=GREY if is_hollow else "#222222", linewidth=1)
    if is_starred:
        end = upper if np.isfinite(upper) else point
        axes.annotate("★", (max(end, point, 0), y), (4, 0), textcoords="offset points", va="center", size=7)
