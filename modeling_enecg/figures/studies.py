"""Figures of a study: rows compared, lines over an axis, training curves; all from plain numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .saving import Paths, save_figure
from .style import (
    BLUE,
    COLORS,
    GREY,
    ORANGE,
    STYLE,
    add_heading,
    add_legend,
    draw_interval,
    number,
    report_figure,
)

CHANCE = {"macro_auroc": (0.5, "chance"), "r2": (0.0, "predicting the mean")}
MEASURED, CONTROL, PUBLISHED = "measured here", "control", "published"

_PANELS_A_LINE = 3
_NARROWEST = 8  # inches

Interval = Mapping[str, Any]  # `point`, `lower` and `upper`


@dataclass(frozen=True)
class Bar:
    """A row's value on one task.

    Attributes:
        row (`str`): The row's name.
        interval (`Mapping[str, Any]`): `point`, `lower` and `upper`.
        kind (`str`): Whether it was measured, is a control, or published.
    """

    row: str
    interval: Interval
    kind: str = MEASURED


@dataclass(frozen=True)
class Curve:
    """The last stage of a run.

    Attributes:
        name (`str`): The row that the run belongs to.
        losses, validation_losses, scores (`Mapping[float, float]`): By epoch.
        best (`tuple[float, float]`, *optional*): The epoch that is kept, and its score.
    """

    name: str
    losses: Mapping[float, float] = field(default_factory=dict)
    validation_losses: Mapping[float, float] = field(default_factory=dict)
    scores: Mapping[float, float] = field(default_factory=dict)
    best: tuple[float, float] | None = None


@rc_context(STYLE)
def plot_rows(tasks: Mapping[str, Sequence[Bar]], metric: str, heading: Sequence[str], path: Paths) -> Figure:
    """Draw one metric of every row of a study as a dot with its error bar.

    Args:
        tasks (`Mapping[str, Sequence[Bar]]`): By task, its rows; controls are grey, published values hollow.
        metric (`str`): Its name; some have a line at what chance gives.
        heading (`Sequence[str]`): The title and what is below it.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.

    Returns:
        `Figure` of one panel per task; rows in order of appearance.
    """
    names = list(dict.fromkeys(bar.row for bars in tasks.values() for bar in bars))
    panels, figure = _panels(tasks, 1.2 + 0.24 * len(names), 2.2 + 0.055 * max(map(len, names)), heading)
    for index, (axes, (task, bars)) in enumerate(zip(panels, tasks.items(), strict=True)):
        _draw_chance(axes.axvline, metric)
        for bar in bars:
            _draw_bar(axes, names.index(bar.row), bar)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_title(task)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelleft=index % _PANELS_A_LINE == 0)
    add_legend(figure, *panels)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_lines(
    tasks: Mapping[str, Mapping[str, Mapping[float, Interval]]],
    over: str,
    metric: str,
    heading: Sequence[str],
    path: Paths,
) -> Figure:
    """Draw one metric of a study over the numbers of one of its axes.

    Args:
        tasks (`Mapping[str, Mapping[str, Mapping[float, Mapping]]]`): By task and line, the interval at each number.
        over (`str`): The axis's name.
        metric (`str`): Its name; some have a line at what chance gives.
        heading (`Sequence[str]`): The title and what is below it.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.

    Returns:
        `Figure` of one panel per task, and one line per line.
    """
    panels, figure = _panels(tasks, 3, 3.2, heading)
    numbers = sorted({x for lines in tasks.values() for points in lines.values() for x in points})
    for axes, (task, lines) in zip(panels, tasks.items(), strict=True):
        _draw_chance(axes.axhline, metric)
        for color, (name, points) in zip(COLORS, lines.items(), strict=False):
            ordered = dict(sorted(points.items()))
            lower, upper = ([number(bar[end]) for bar in ordered.values()] for end in ("lower", "upper"))
            axes.vlines(list(ordered), lower, upper, color=color, linewidth=1.5)
            axes.plot(list(ordered), [bar["point"] for bar in ordered.values()], "o-", color=color, label=name)
        axes.set_title(task)
        axes.set_xlabel(over)
        axes.set_xticks(numbers, [f"{x:g}" for x in numbers])
    add_legend(figure, *panels)
    save_figure(figure, path)
    return figure


@rc_context(STYLE)
def plot_stage_curves(tasks: Mapping[str, Sequence[Curve]], heading: Sequence[str], path: Paths) -> Figure:
    """Draw losses and validation scores of runs over the epochs of a stage, the epoch that is kept starred.

    Args:
        tasks (`Mapping[str, Sequence[Curve]]`): By task, its runs; those of one name share a colour.
        heading (`Sequence[str]`): The title and what is below it.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.

    Returns:
        `Figure` of two rows of panels, one column per task.
    """
    names = list(dict.fromkeys(curve.name for curves in tasks.values() for curve in curves))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    figure = report_figure(max(_NARROWEST, 2 + 4 * len(tasks)), 6.4)
    add_heading(figure, *heading, weight="normal", size=9)
    panels = figure.subplots(2, len(tasks), sharex="col", squeeze=False)
    for (losses, scores), (task, curves) in zip(panels.T, tasks.items(), strict=True):
        for curve in curves:
            _draw_curve(losses, scores, curve, colors[curve.name])
        losses.set_title(task)
        scores.set_xlabel("epoch")
        scores.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0, 0].set_ylabel("loss (validation dashed)")
    panels[1, 0].set_ylabel("validation score")
    add_legend(figure, *panels.flat)
    save_figure(figure, path)
    return figure


def _panels(
    tasks: Mapping[str, Any], height: float, width: float, heading: Sequence[str]
) -> tuple[list[Axes], Figure]:
    """Return one panel per task, at most three side by side, and their figure; `width` and `height` in inches."""
    across = min(len(tasks), _PANELS_A_LINE)
    down = -(-len(tasks) // across)
    figure = report_figure(max(_NARROWEST, 1.2 + width * across), 1.3 + height * down)
    add_heading(figure, *heading, weight="normal", size=9)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    return list(grid.flat[: len(tasks)]), figure


def _draw_chance(draw: Callable[..., Any], metric: str) -> None:
    if metric in CHANCE:
        value, label = CHANCE[metric]
        draw(value, color=GREY, linestyle="--", linewidth=1, label=label)


def _draw_bar(axes: Axes, y: int, bar: Bar) -> None:
    if bar.kind == PUBLISHED:
        value = bar.interval["point"]
        axes.plot(value, y, "D", markersize=5, color=ORANGE, markerfacecolor="white", label=PUBLISHED)
    else:
        draw_interval(axes, y, bar.interval, GREY if bar.kind == CONTROL else BLUE, bar.kind)


def _draw_curve(losses: Axes, scores: Axes, curve: Curve, color: str) -> None:
    losses.plot(list(curve.losses), list(curve.losses.values()), color=color, label=curve.name)
    losses.plot(list(curve.validation_losses), list(curve.validation_losses.values()), "--", color=color)
    scores.plot(list(curve.scores), list(curve.scores.values()), color=color, label=curve.name)
    if curve.best is not None:
        scores.plot(*curve.best, "*", color=color, markersize=13, markeredgecolor="white", label="epoch that is kept")
