"""Findings as columns of a table: novelty, the model's own probabilities, calibrated ones, and decisions."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ..configuration_enecg import Task
from ..findings import Findings


def finding_columns(tasks: Sequence[Task], results: Sequence[Findings | None]) -> dict[str, pa.Array]:
    """Return findings, and what they rest on, as columns.

    `novelty` is the share of validation records that lie nearer to those of training, null where the model cannot
    tell. For each task and output there are `<task>.<output>.predicted` (a regression's value, or the model's own
    probability), `.probability` (the calibrated one) and `.present` of classifications, `.lower` and `.upper` of
    regressions with an interval, null where leads are missing.

    Args:
        tasks (`Sequence[Task]`): The tasks.
        results (`Sequence[Findings]`): A row each; None, or without findings, where nothing was scored.
    """
    novelty = [None if result is None or result.novelty is None else result.novelty["rank"] for result in results]
    columns: dict[str, pa.Array] = {"novelty": pa.array(novelty, pa.float64())}
    for task in tasks:
        by_label = [
            {found["label"]: found for found in ([] if result is None else result[task.name])} for result in results
        ]

        def column(label: str, key: str, kind: pa.DataType, rows: list[dict[str, Any]] = by_label) -> pa.Array:
            return pa.array([row[label].get(key) if label in row else None for row in rows], kind)

        for label in task.output_names:
            name = f"{task.name}.{label}"
            if not task.is_regression:
                columns[f"{name}.predicted"] = column(label, "raw_score", pa.float64())
                columns[f"{name}.probability"] = column(label, "score", pa.float64())
                columns[f"{name}.present"] = column(label, "present", pa.bool_())
                continue
            columns[f"{name}.predicted"] = column(label, "value", pa.float64())
            if task.conformal is not None:
                columns[f"{name}.lower"] = column(label, "lower", pa.float64())
                columns[f"{name}.upper"] = column(label, "upper", pa.float64())
    return columns


__all__ = ["finding_columns"]
