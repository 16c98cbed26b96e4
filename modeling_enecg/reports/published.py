"""Published results on PTB-XL's six label tasks, to stand beside one's own.

`published_results.csv` holds one result a row, all on the test fold 10, as their sources print them: they differ in
protocol, and intervals are no two sources' the same. Those of the PTB-XL benchmark are the score plus and minus the
uncertainty that it prints, the larger distance to an end of its 90 % bootstrap interval; it redraws a resample that
lacks a label. Those of the ECG foundation model benchmark lean low: a label that a resample lacks counts as 0.5. Where
an independent rerun of that benchmark came to other numbers, both stand here, each with its source.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..data.ptbxl.labels import TASK_NAMES

FILE = "published_results.csv"


@dataclass(frozen=True)
class PublishedResult:
    """One published number.

    Attributes:
        task (`str`): Of PTB-XL's label tasks, for instance `"all"`.
        model (`str`): As its source calls it.
        mode (`str`): How it was trained: `"supervised"` (from random weights), `"fine-tuned"`, `"linear probe"`, or
            `"frozen with attentive head"`.
        metric (`str`): As `evaluate_task` calls it, for instance `"macro_auroc"`.
        value (`float`): The score.
        lower (`float`, *optional*): Lower end of its interval; None where not known.
        upper (`float`, *optional*): Upper end.
        pretraining_data (`str`, *optional*): What the model had seen before, `"none"` for nothing; None where the
            source that was read does not say.
        source (`str`): Where the number stands.
        note (`str`): What tells it from another of the same model and mode: `"independent rerun"`, or nothing.
    """

    task: str
    model: str
    mode: str
    metric: str
    value: float
    lower: float | None
    upper: float | None
    pretraining_data: str | None
    source: str
    note: str = ""


def published_results(task: str, metric: str = "macro_auroc") -> list[PublishedResult]:
    """Return the published results of a task, the best first.

    Args:
        task (`str`): Of PTB-XL's label tasks: `"all"`, `"diagnostic"`, `"subdiagnostic"`, `"superdiagnostic"`,
            `"form"` or `"rhythm"`.
        metric (`str`, *optional*, defaults to `"macro_auroc"`): The only one published for these tasks so far; any
            other gives no rows.

    Raises:
        ValueError: if the task is unknown.
    """
    if task not in TASK_NAMES:
        raise ValueError(f"task must be one of {', '.join(TASK_NAMES)}; got {task!r}.")
    rows = [row for row in _all_results() if (row.task, row.metric) == (task, metric)]
    return sorted(rows, key=lambda row: -row.value)


@cache
def _all_results() -> tuple[PublishedResult, ...]:
    text = (files(__package__) / FILE).read_text(encoding="utf-8")
    return tuple(_read_row(row) for row in csv.DictReader(text.splitlines()))


def _read_row(row: dict[str, str]) -> PublishedResult:
    return PublishedResult(
        task=row["task"],
        model=row["model"],
        mode=row["mode"],
        metric=row["metric"],
        value=float(row["value"]),
        lower=float(row["lower"]) if row["lower"] else None,
        upper=float(row["upper"]) if row["upper"] else None,
        pretraining_data=row["pretraining_data"] or None,
        source=row["source"],
        note=row["note"],
    )
