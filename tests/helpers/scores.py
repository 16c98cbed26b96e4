"""Calls of the functions of `modeling_enecg.evaluation` on plain arrays."""

from typing import Any

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, evaluate_task


def evaluate(task: Task, targets: Any, outputs: Any, patients: Any = None, **options: Any) -> dict[str, Any]:
    """Score a task with a few resamples."""
    return evaluate_task(Scored(task, targets, outputs, patients), Bootstrap(**({"num_resamples": 50} | options)))
