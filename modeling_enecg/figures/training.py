"""Training curves of a run: losses, validation scores and learning rate over all stages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .saving import Paths, save_figure
from .style import BLUE, GREEN, GREY, ORANGE, STYLE, legend_entries, number, report_figure

_LETTER_WIDTH = 0.018  # of a bold letter, as a share of the width of the training curves

LOWEST_SCORE = -1.05

Log = Sequence[Mapping[str, Any]]


@rc_context(STYLE)
def plot_training_curves(history: Mapping[str, Log], path: Paths) -> Figure:
    """Draw losses, validation scores and learning rate over the epochs of all stages, one stage after the other.

    The best epoch of each stage, by validation score and the earliest of equals, is starred. Missing values and
    stages without an epoch are left out, and what lies below -1: an R² may start anywhere.

    Args:
        history (`Mapping[str, Sequence[Mapping]]`): By stage name, in order, the stage's `trainer.state.log_history`:
            entries with `epoch`, counted from the stage's start, and some of `loss`, `learning_rate`, `eval_loss`,
            `eval_macro_auroc`, `eval_macro_auprc`, `eval_r2` and their mean over the tasks, `eval_score`.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.

    Returns:
        `Figure` of three panels.

    Raises:
        ValueError: if the file's format is unknown.
    """
    figure = report_figure(8, 8)
    panels = list(figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2)))
    losses, scores, rates = panels
    stages = {name: log for name, log in history.items() if _num_epochs(log)}
    bounds = np.cumsum([0.0, *map(_num_epochs, stages.values())])
    for start, log in zip(bounds, stages.values(), strict=False):
        _draw_series(losses, start, log, "loss", BLUE, "train")
        _draw_series(losses, start, log, "eval_loss", ORANGE, "validation")
        _draw_series(scores, start, log, "eval_macro_auroc", BLUE, "macro AUROC")
        _draw_series(scores, start, log, "eval_macro_auprc", ORANGE, "macro AUPRC")
        _draw_series(scores, start, log, "eval_r2", GREEN, "R²")
        if _points(log, "eval_r2") and _points(log, "eval_macro_auroc"):
            _draw_series(scores, start, log, "eval_score", GREY, "mean of AUROC and R²")
        _draw_star(scores, start, log, "eval_score")
        _draw_series(rates, start, log, "learning_rate", GREEN, "learning rate")
    _mark_stages(panels, list(stages), bounds)
    losses.set_ylabel("loss")
    scores.set_ylabel("validation score")
    scores.set_ylim(bottom=max(scores.get_ylim()[0], LOWEST_SCORE))
    rates.set_ylabel("learning rate")
    _scale_by_powers(rates)
    rates.set_xlabel("epoch")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(panels)
    for axes in (losses, scores):
        axes.legend(*legend_entries(axes), loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)
    return figure


def _scale_by_powers(axes: Axes) -> None:
    """Scale the height by powers of ten, with plain numbers at the ticks: more of them where there are few powers."""
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _num_epochs(log: Log) -> float:
    return max((entry["epoch"] for entry in log if "epoch" in entry), default=0.0)


def _points(log: Log, key: str) -> dict[float, float]:
    """Return a logged value by epoch.

    The first entry of an epoch counts: the best model, evaluated again after training, is logged at the last epoch.
    """
    points: dict[float, float] = {}
    for entry in log:
        if "epoch" in entry and np.isfinite(number(entry.get(key))):
            points.setdefault(entry["epoch"], entry[key])
    return points


def _draw_series(axes: Axes, start: float, log: Log, key: str, color: str, label: str) -> None:
    """Draw a logged value over the epochs of a stage that starts at `start`."""
    if points := _points(log, key):
        style = "o-" if key.startswith("eval_") or len(points) == 1 else "-"
        axes.plot([start + epoch for epoch in points], list(points.values()), style, color=color, label=label)


def _draw_star(axes: Axes, start: float, log: Log, key: str) -> None:
    """Star the highest value of a stage, the first of equals."""
    if points := _points(log, key):
        epoch, score = max(points.items(), key=lambda point: point[1])
        axes.plot(start + epoch, score, "*", markersize=13, color=BLUE, markeredgecolor="white", label="best epoch")
        text = axes.annotate(
            f"{score:.3f}", (start + epoch, score), (0, 8), textcoords="offset points", ha="center", size=8
        )
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _mark_stages(panels: Sequence[Axes], names: Sequence[str], bounds: np.ndarray) -> None:
    """Draw a line between stages and write each one's name above the first panel, slanted where space is short."""
    end = bounds[-1] or 1.0
    crowded = any(_LETTER_WIDTH * len(name) * end > width for name, width in zip(names, np.diff(bounds), strict=True))
    for axes in panels:
        axes.set_xlim(-0.02 * end, 1.02 * end)
        for bound in bounds[1:-1]:
            axes.axvline(bound, color=GREY, linewidth=1, zorder=1)
    for name, start in zip(names, bounds, strict=False):
        text = panels[0].text(start, 1.03, name, transform=panels[0].get_xaxis_transform(), weight="bold")
        text.set(rotation=60 if crowded else 0, rotation_mode="anchor")
