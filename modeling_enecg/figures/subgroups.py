"""A metric within groups of records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .saving import Paths, save_figure
from .style import (
    BLUE,
    GREY,
    STYLE,
    add_heading,
    add_legend,
    draw_interval,
    end_with_arrows,
    number,
    report_figure,
)


@rc_context(STYLE)
def plot_subgroups(subgroups: Mapping[str, Mapping[str, Any]], metric: str, path: Paths, title: str) -> Figure:
    """Draw a metric of every group with its interval, hollow and grey where it has few records.

    The scale is that of the groups with enough records: others' intervals may leave the figure, which an arrow shows.

    Args:
        subgroups (`Mapping[str, Mapping[str, Any]]`): By what the groups are of, what `score_subgroups` gives; at
            least one.
        metric (`str`): For instance `"macro_auroc"`.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure` of one panel per key of `subgroups`, all on one scale.

    Raises:
        ValueError: if the file's format is unknown.
    """
    num_groups = [len(scored["groups"]) for scored in subgroups.values()]
    figure = report_figure(7, 1 + sum(0.5 + 0.22 * count for count in num_groups))
    add_heading(figure, title)
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
    panels[0].set_xlim(_range_of([row for scored in subgroups.values() for row in scored["groups"].values()], metric))
    for axes in panels:
        end_with_arrows(axes)
    add_legend(figure, *panels)
    save_figure(figure, path)
    return figure


def _range_of(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[float, float]:
    """Return a range that holds every point, and the intervals of the groups with enough records."""
    enough = [row for row in rows if not row["few_records"]] or rows
    values = [number(row[metric]["point"]) for row in rows]
    values += [number(row[metric][end]) for row in enough for end in ("lower", "upper")]
    known = [value for value in values if np.isfinite(value)] or [0.0, 1.0]
    margin = 0.05 * (max(known) - min(known)) or 0.05
    return min(known) - margin, max(known) + margin
