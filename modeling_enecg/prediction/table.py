"""Findings as columns of a table: the model's own probabilities, calibrated ones, and decisions."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ..configuration_enecg import Task
from ..findings import Findings


def finding_columns(tasks: Sequence[Task], results: Sequence[Findings | None]) -> dict[str, pa.Array]:
    """Return, for each task and output, the columns `<task>.<output>.predicted` (a regression's value, or the model's
    own probability), `.probability` (the calibrated one) and `.present` of classifications, `.lower` and `.upper` of
    regressions with an interval.

    Args:
        tasks (`Sequence[Task]`): The tasks.
        results (`Sequence[Findings]`): A row each; None, or without findings, where nothing was scored.
    """
    columns: dict[str, pa.Array] = {}
    for task in tasks:
        by_label = [
            {found["label"]: found for found in ([] if result is None else result[task.name])} for result in results
        ]

        def column(label: str, key: str, kind: pa.DataType, rows: list[dict[str, Any]] = by_label) -> pa.Array:
            return pa.array([row[label][key] if label in row else None for row in rows], kind)

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
