"""Figures of a study: rows compared, lines over an axis, training curves."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..figures.paper_ecg import save_figure
from ..figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    STYLE,
    draw_interval,
    legend_entries,
    number,
    report_figure,
)
from ..reports.published import PublishedResult
from .results import COST, RunResult, StudyResults, shown_task
from .study import Study, leading_number
from .tables import METRIC_NAMES, measured_on, published_beside, published_row, spread_name

# With those of every figure, Okabe and Ito's eight.
COLORS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
CHANCE = {"macro_auroc": (0.5, "chance"), "r2": (0.0, "predicting the mean")}
_PANELS_A_LINE = 3
_NARROWEST = 8  # inches
_LETTERS_AN_INCH = 14  # of a heading


def draw_figures(study: Study, results: StudyResults, folder: Path) -> list[Path]:
    """Draw a study's figures into a folder: one of each metric, or the training curves.

    Args:
        study (`Study`): What was run; its `figure` says what to draw.
        results (`StudyResults`): What came out.
        folder (`Path`): Where to write.

    Returns:
        `list[Path]`: The files.
    """
    if study.figure == "curves":
        paths = [folder / "curves.png"]
        plot_curves(study, results, paths[0])
        return paths
    summary = results.summary()
    shown = summary[summary["task"] != COST]
    paths = []
    for metric in dict.fromkeys(shown["metric"]):
        rows = shown[shown["metric"] == metric]
        paths.append(folder / f"{metric}.png")
        if study.figure == "lines":
            plot_lines(study, results, rows, paths[-1])
        else:
            plot_comparison(study, results, rows, paths[-1])
    return paths


@rc_context(STYLE)
def plot_comparison(study: Study, results: StudyResults, rows: pd.DataFrame, path: Path) -> Figure:
    """Draw one metric of every row of a study as a dot with its error bar, one panel a task.

    Args:
        study (`Study`): Its controls are grey, its published values hollow.
        results (`StudyResults`): Say on what it was measured.
        rows (`pd.DataFrame`): Of the summary, those of one metric.
        path (`Path`): The file to write.

    Returns:
        `Figure` of one panel a task.
    """
    published = published_beside(study, rows)
    names = [*dict.fromkeys(rows["row"]), *dict.fromkeys(published_row(each) for each in published)]
    tasks = list(dict.fromkeys(rows["task"]))
    panels, figure = _panels(tasks, 1.2 + 0.24 * len(names), wide=2.2 + 0.055 * max(map(len, names)))
    for axes, task in zip(panels, tasks, strict=True):
        _draw_chance(axes.axvline, str(rows["metric"].iloc[0]))
        for _, row in rows[rows["task"] == task].iterrows():
            color = GREY if row["row"] in study.controls else BLUE
            label = "control" if row["row"] in study.controls else "measured here"
            draw_interval(axes, names.index(row["row"]), _interval(row), color, label)
        _draw_published(axes, names, [each for each in published if each.task == task])
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_title(task)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    for index, axes in enumerate(panels):
        axes.tick_params(labelleft=index % _PANELS_A_LINE == 0)
    _finish(figure, study, results, rows, panels, path)
    return figure


@rc_context(STYLE)
def plot_lines(study: Study, results: StudyResults, rows: pd.DataFrame, path: Path) -> Figure:
    """Draw one metric of a study over the numbers of one of its axes, one panel a task and one line a row.

    Args:
        study (`Study`): Its `over` names the axis.
        results (`StudyResults`): Say which options each row has.
        rows (`pd.DataFrame`): Of the summary, those of one metric.
        path (`Path`): The file to write.

    Returns:
        `Figure` of one panel a task.
    """
    over = str(study.over)
    options = {result.run.row: result.run.options for result in results.runs if over in result.run.options}
    rows = rows[rows["row"].isin(options.keys())].assign(
        line=lambda frame: [_line_name(study, options[row]) for row in frame["row"]],
        x=lambda frame: [leading_number(options[row][over]) for row in frame["row"]],
    )
    tasks = list(dict.fromkeys(rows["task"]))
    panels, figure = _panels(tasks, 3, wide=3.2)
    for axes, task in zip(panels, tasks, strict=True):
        _draw_chance(axes.axhline, str(rows["metric"].iloc[0]))
        for color, (line, points) in zip(COLORS, rows[rows["task"] == task].groupby("line", sort=False), strict=False):
            _draw_line(axes, points.sort_values("x"), color, str(line))
        axes.set_title(task)
        axes.set_xlabel(over)
        axes.set_xticks(sorted(set(rows["x"])), [f"{x:g}" for x in sorted(set(rows["x"]))])
    _finish(figure, study, results, rows, panels, path)
    return figure


@rc_context(STYLE)
def plot_curves(study: Study, results: StudyResults, path: Path) -> Figure:
    """Draw losses and validation scores of each run's last stage over its epochs, the epoch that is kept starred.

    Args:
        study (`Study`): What was run.
        results (`StudyResults`): What came out.
        path (`Path`): The file to write.

    Returns:
        `Figure` of two rows of panels, one column a task.
    """
    tasks = list(dict.fromkeys(shown_task(result.run) for result in results.runs))
    names = list(dict.fromkeys(result.run.row for result in results.runs))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    figure = report_figure(max(_NARROWEST, 2 + 4 * len(tasks)), 6.4)
    panels = figure.subplots(2, len(tasks), sharex="col", squeeze=False)
    for result in results.runs:
        losses, scores = panels[:, tasks.index(shown_task(result.run))]
        _draw_run(losses, scores, result, colors[result.run.row])
    for (losses, scores), task in zip(panels.T, tasks, strict=True):
        losses.set_title(task)
        scores.set_xlabel("epoch")
        scores.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0, 0].set_ylabel("loss (validation dashed)")
    panels[1, 0].set_ylabel("validation score")
    _write_heading(figure, study, results, "The last stage of each run, one line a seed")
    figure.legend(*legend_entries(*panels.flat), loc="outside lower center", ncols=3)
    save_figure(figure, path)
    return figure


def _panels(tasks: Sequence[str], height: float, wide: float) -> tuple[list[Axes], Figure]:
    """Return one panel a task, at most three side by side, and their figure; `wide` and `height` in inches."""
    across = min(len(tasks), _PANELS_A_LINE)
    down = -(-len(tasks) // across)
    figure = report_figure(max(_NARROWEST, 1.2 + wide * across), 1.3 + height * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    return list(grid.flat[: len(tasks)]), figure


def _finish(
    figure: Figure, study: Study, results: StudyResults, rows: pd.DataFrame, panels: Sequence[Axes], path: Path
) -> None:
    metric = METRIC_NAMES[str(rows["metric"].iloc[0])]
    _write_heading(figure, study, results, f"{metric} on the test fold; bars: {spread_name(results, rows)}")
    figure.legend(*legend_entries(*panels), loc="outside lower center", ncols=4)
    save_figure(figure, path)


def _write_heading(figure: Figure, study: Study, results: StudyResults, remark: str) -> None:
    """Write the title, what is shown, and on what it was measured."""
    letters = int(_LETTERS_AN_INCH * figure.get_figwidth())
    lines = [study.title, remark, *measured_on(results)]
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in lines), size=9)


def _draw_chance(draw: Any, metric: str) -> None:
    if metric in CHANCE:
        value, label = CHANCE[metric]
        draw(value, color=GREY, linestyle="--", linewidth=1, label=label)


def _interval(row: pd.Series) -> dict[str, float]:
    """Return a row's mean and what its bar spans: a deviation over seeds, or the interval of a single run.

    With rare labels a single score may lie outside its interval.
    """
    mean, lower, upper = (number(row[key]) for key in ("mean", "lower", "upper"))
    if row["num_seeds"] > 1:
        lower, upper = mean - number(row["sd"]), mean + number(row["sd"])
    return {"point": mean, "lower": lower, "upper": upper}


def _draw_published(axes: Axes, names: Sequence[str], published: Sequence[PublishedResult]) -> None:
    for each in published:
        y = names.index(published_row(each))
        axes.plot(each.value, y, "D", markersize=5, color=ORANGE, markerfacecolor="white", label="published")


def _line_name(study: Study, options: Mapping[str, str]) -> str:
    """Return what tells a line from others: the options but for the task and the axis that it runs over."""
    others = [option for axis, option in options.items() if axis not in (study.over, "task")]
    return ", ".join(others) or study.title


def _draw_line(axes: Axes, points: pd.DataFrame, color: str, label: str) -> None:
    bars = [_interval(row) for _, row in points.iterrows()]
    axes.vlines(
        points["x"], [bar["lower"] for bar in bars], [bar["upper"] for bar in bars], color=color, linewidth=1.5
    )
    axes.plot(points["x"], points["mean"], "o-", color=color, label=label)


def _draw_run(losses: Axes, scores: Axes, result: RunResult, color: str) -> None:
    log, name = result.history["log"], result.run.row
    losses.plot(*_series(log, "loss"), color=color, label=name)
    losses.plot(*_series(log, "eval_loss"), "--", color=color)
    epochs, values = _series(log, "eval_score")
    scores.plot(epochs, values, color=color, label=name)
    best = result.history["best_epoch"]
    if best is not None:
        score = result.history["best_score"]
        scores.plot(best, score, "*", color=color, markersize=13, markeredgecolor="white", label="epoch that is kept")


def _series(log: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return epochs and a logged value; the best model, evaluated again at the end, does not count."""
    points: dict[float, float] = {}
    for entry in log:
        if key in entry:
            points.setdefault(entry["epoch"], entry[key])
    return list(points), list(points.values())
