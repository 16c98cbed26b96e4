"""Calls of the functions of `modeling_enecg.evaluation` on plain arrays."""

from collections.abc import Callable
from typing import Any

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, evaluate_task


def scored_by(function: Callable[..., Any], *own: Any, patients: Any = None, **options: Any) -> Callable[..., Any]:
    """Return a function of task, targets and outputs; `own` goes between records and bootstrap, options into it."""

    def score(task: Task, targets: Any, outputs: Any) -> Any:
        return function(Scored(task, targets, outputs, patients), *own, Bootstrap(**options))

    return score


def evaluate(task: Task, targets: Any, outputs: Any, patients: Any = None, **options: Any) -> dict[str, Any]:
    """Score a task with a few resamples."""
    return evaluate_task(Scored(task, targets, outputs, patients), Bootstrap(**({"num_resamples": 50} | options)))
