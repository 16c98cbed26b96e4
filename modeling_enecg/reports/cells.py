"""How a report's tables show scores and labels."""

from collections.abc import Mapping
from typing import Any

from ..data.ptbxl.labels import describe
from ..evaluation.intervals import MIN_UNITS, NO_INTERVAL
from ..evaluation.metrics import METRICS, MIN_POSITIVES, metric_title
from .page import Cell, Row, Table

MARK = " †"  # behind what rests on too few positives or records


def interval_cell(value: Mapping[str, Any], form: str = ".3f") -> Cell:
    """Return a score with its interval, or why it has none, as numbers of a form such as `"+.3f"`."""
    if value["point"] is None:
        return Cell("undefined")
    if value["lower"] is None or value["upper"] is None:
        reason = value.get(NO_INTERVAL)
        return Cell(f"{value['point']:{form}}", f"no interval: {reason}" if reason else "interval undefined")
    return Cell(f"{value['point']:{form}}", f"{value['lower']:{form}} to {value['upper']:{form}}")


def label_cell(label: str, is_faint: bool) -> Cell:
    """Return a label, marked where it is faint, with what it means."""
    meaning = describe(label)
    return Cell(label + (MARK if is_faint else ""), "" if meaning == label else meaning)


def overall_table(scores: Mapping[str, Any]) -> Table:
    """Return a table of the metrics among some scores that are single numbers of a task, in the order of `METRICS`."""
    keys = [key for metric in METRICS.values() for key in (metric.key, f"macro_{metric.name}") if key in scores]
    rows = [Row([Cell(metric_title(key)), interval_cell(scores[key])]) for key in dict.fromkeys(keys)]
    return Table("Overall", ["score", "value"], rows)


def few_positives_text() -> str:
    """Return the sentence that says what the mark behind a label means."""
    return (
        f"Labels with fewer than {MIN_POSITIVES} positives among the test records are marked{MARK} and faint: their "
        "scores say little, though macro means count every label that is defined."
    )


def no_interval_text() -> str:
    """Return the sentences that say when a score has no interval."""
    return (
        "Shares of records have Wilson's interval where no patient repeats, and where all decisions are right or all "
        f"wrong. What rests on fewer than {MIN_UNITS} patients, or fewer than {MIN_UNITS} with the label or "
        "without it, has no interval: resampling cannot tell how it varies."
    )
