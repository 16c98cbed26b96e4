"""The curves of a pre-training: its loss, and what was watched of the features."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .saving import Paths, save_figure
from .style import BLUE, GREEN, GREY, ORANGE, STYLE, report_figure


@rc_context(STYLE)
def plot_pretraining(log: Sequence[Mapping[str, Any]], collapse_rank: float, path: Paths) -> Figure:
    """Draw loss, linear probe and effective rank over the epochs; without a probe its panel is left out.

    Args:
        log (`Sequence[Mapping]`): Entries with `epoch`, and some of `loss`, `probe_score` and `effective_rank`.
        collapse_rank (`float`): The rank below which features have collapsed, drawn as a line.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.

    Returns:
        `Figure` of two or three panels.

    Raises:
        ValueError: if the file's format is unknown.
    """
    has_probe = any("probe_score" in entry for entry in log)
    figure = report_figure(7, 6 if has_probe else 4)
    loss, *probe, rank = figure.subplots(3 if has_probe else 2, 1, sharex=True)
    _draw(loss, log, "loss", BLUE, "training loss")
    for axes in probe:
        _draw(axes, log, "probe_score", ORANGE, "linear probe\n(validation)")
    _draw(rank, log, "effective_rank", GREEN, "effective rank")
    rank.axhline(collapse_rank, color=GREY, linestyle="--")
    rank.annotate(
        "collapse", (1, collapse_rank), (0, 2), ("axes fraction", "data"), "offset points", ha="right", color=GREY
    )
    rank.set_ylim(bottom=0)
    rank.set_xlabel("epoch")
    rank.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels([loss, *probe, rank])
    save_figure(figure, path)
    return figure


def _draw(axes: Axes, log: Sequence[Mapping[str, Any]], key: str, color: str, label: str) -> None:
    points = {entry["epoch"]: entry[key] for entry in log if key in entry}
    axes.plot(list(points), list(points.values()), "-" if key == "loss" and len(points) > 1 else "o-", color=color)
    axes.set_ylabel(label)


__all__ = ["plot_pretraining"]
