"""A map of records by their features, coloured by label."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .saving import Paths, save_figure
from .style import COLORS, GREY, STYLE, add_heading, add_legend, report_figure

_SHOWN_LABELS = len(COLORS) - 1
OTHERS, NO_LABEL = "others", "no label"


@rc_context(STYLE)
def plot_map(places: np.ndarray, labels: Sequence[str | None] | None, path: Paths, title: str) -> Figure:
    """Draw a dot per record, in the colour of its label.

    The most frequent labels have a colour each, the others are grey.

    Args:
        places (`np.ndarray` of shape `(num_records, 2)`): As `map_in_2d` gives them.
        labels (`Sequence[str]`, *optional*): Each record's label, None where it has none; by default there are none.
        path (`str`, `Path` or a sequence of them): The files to write, `.png` for instance.
        title (`str`): A heading.

    Returns:
        `Figure`: One panel.

    Raises:
        ValueError: if labels and records differ in number, or the file's format is unknown.
    """
    if labels is not None and len(labels) != len(places):
        raise ValueError(f"Got {len(labels)} labels for {len(places)} records.")
    figure = report_figure(6.5, 6.5)
    add_heading(figure, title)
    axes = figure.subplots()
    groups = [("", COLORS[0], np.ones(len(places), bool))] if labels is None else _groups(labels)
    for name, color, is_member in groups:
        label = f"{name} ({np.count_nonzero(is_member)})" if name else None
        x, y = places[is_member].T
        axes.scatter(x, y, s=12, color=color, alpha=0.75, linewidths=0, label=label)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE: near is similar; distances between groups mean nothing")
    axes.set_aspect("equal", adjustable="datalim")
    if labels is not None:
        add_legend(figure, axes)
    save_figure(figure, path)
    return figure


def _groups(labels: Sequence[str | None]) -> list[tuple[str, str, np.ndarray]]:
    """Return each drawn group's name, colour and members, the grey ones first, which lie below."""
    names = np.array([NO_LABEL if label is None else label for label in labels], dtype=object)
    counts = Counter(name for name in names if name != NO_LABEL)
    shown = [name for name, _ in counts.most_common(_SHOWN_LABELS)]
    colored = [(name, color, names == name) for name, color in zip(shown, COLORS, strict=False)]
    grey = [(OTHERS, GREY, ~np.isin(names, [*shown, NO_LABEL])), (NO_LABEL, "#d9d9d9", names == NO_LABEL)]
    return [*(each for each in grey if each[2].any()), *colored]
