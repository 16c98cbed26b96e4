"""How far what an exported model finds is from what the model itself finds, on records of one's own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..data.folder.recordings import recordings
from ..data.rows import row_signal
from ..data.sources import SPLITS, DatasetOptions, find_source
from ..findings import Findings
from ..io import read_ecg
from ..recording import ECGRecord
from ..tasks import Task

MOST_RECORDS = 100


@dataclass(frozen=True)
class Difference:
    """How far the outputs of a task are from each other.

    Attributes:
        task ([`Task`]): The task.
        largest (`float`): The largest difference, of calibrated probabilities, or of a regression's values.
        mean (`float`): The mean difference.
        num_values (`int`): How many probabilities or values were compared.
        num_changed (`int`): How many decisions changed; 0 of a regression.
    """

    task: Task
    largest: float
    mean: float
    num_values: int
    num_changed: int

    def __str__(self) -> str:
        if self.task.is_regression:
            unit = f" {self.task.unit}" if self.task.unit else ""
            return f"values differ by up to {self.largest:.2g}{unit}, by {self.mean:.2g}{unit} on average"
        return (
            f"probabilities differ by up to {self.largest:.2g}, by {self.mean:.2g} on average; "
            f"{self.num_changed} of {self.num_values} decisions changed"
        )


def compare(
    find: Callable[[Any], Findings], find_exported: Callable[[Any], Findings], tasks: Sequence[Task], records: Iterable
) -> tuple[list[Difference], int]:
    """Compare what two predictors find in the same records.

    Args:
        find (`Callable`): The model's predictor.
        find_exported (`Callable`): The exported model's.
        tasks (`Sequence[Task]`): Their tasks.
        records (`Iterable`): Recordings of any form that both take.

    Returns:
        `tuple[list[Difference], int]`: The difference of each task, and the number of records that were fit to be
            scored.

    Raises:
        ValueError: if none was.
    """
    pairs = [(find(record), find_exported(record)) for record in records]
    scored = [(ours, theirs) for ours, theirs in pairs if ours.is_scored]
    if not scored:
        raise ValueError(f"None of the {len(pairs)} records to check with is fit to be scored.")
    return [_difference(task, scored) for task in tasks], len(scored)


def _difference(task: Task, pairs: Sequence[tuple[Findings, Findings]]) -> Difference:
    key = "value" if task.is_regression else "score"
    distances, num_changed = [], 0
    for ours, theirs in pairs:
        by_label = {each["label"]: each for each in theirs[task.name]}
        for each in ours[task.name]:
            other = by_label[each["label"]]
            distances.append(abs(each[key] - other[key]))
            num_changed += each.get("present") != other.get("present")
    return Difference(task, float(max(distances)), float(np.mean(distances)), len(distances), num_changed)


def records_of_folder(folder: str | Path) -> Iterator[ECGRecord]:
    """Read the recordings of a folder, of more than `MOST_RECORDS` so many, spread evenly.

    Raises:
        ECGFileError: if one cannot be read.
    """
    files = list(recordings(Path(folder)))
    yield from (read_ecg(Path(folder, files[index])) for index in _spread(len(files)))


def records_of_dataset(options: DatasetOptions) -> Iterator[dict[str, Any]]:
    """Read the records of a dataset, of more than `MOST_RECORDS` so many, spread evenly.

    Raises:
        DatasetError: if there is no such dataset, or it cannot be read.
    """
    rows = datasets.concatenate_datasets(list(find_source(options).read(SPLITS).values()))
    yield from (row_signal(rows[index], options.sampling_rate)._asdict() for index in _spread(len(rows)))


def _spread(number: int) -> list[int]:
    return np.unique(np.linspace(0, number - 1, min(number, MOST_RECORDS)).astype(int)).tolist()


__all__ = ["MOST_RECORDS", "Difference", "compare", "records_of_dataset", "records_of_folder"]
