"""Figures that need no display, and the files they become."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..runs.files import new_file

Paths = str | Path | Sequence[str | Path]  # a file, or several of one figure in different formats


def new_figure(width: float, height: float, dpi: float) -> Figure:
    """Make a figure of a size in inches that needs no display and that `pyplot` does not know of."""
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Paths) -> None:
    """Write a figure at its own resolution, each file wholly or not at all, in the format that its suffix names.

    Args:
        figure (`Figure`): The figure.
        path (`str`, `Path` or a sequence of them): The files: `.png`, `.svg` or `.pdf`, for instance.

    Raises:
        ValueError: if Matplotlib does not know the format.
    """
    for each in [path] if isinstance(path, str | Path) else path:
        with new_file(each) as aside:
            figure.savefig(aside, dpi="figure", metadata=_METADATA.get(Path(each).suffix))


# Without the date, so that equal figures are equal files.
_METADATA = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
