"""Statistics of the training fold that a model takes over before it trains: of targets and of features."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..data.targets import balanced_class_weights, target_statistics
from ..modeling_enecg import EnECGModel
from ..settings import SettingsError

_SAME = (
    "all training records with labels have the same ones, from which nothing can be learnt; give other records, or "
    "leave the task out of `tasks`."
)


def fit_tasks(
    model: EnECGModel,
    targets: Mapping[str, np.ndarray],
    loss_weights: Mapping[str, float],
    class_weights: str,
    trained_tasks: Collection[str] = (),
) -> None:
    """Set the tasks' weights in the loss, and by what regressions are standardised, in place.

    Args:
        model ([`EnECGModel`]): The model.
        targets (`Mapping[str, np.ndarray]`): By task, those of the training fold.
        loss_weights (`Mapping[str, float]`): A task's share in the summed loss; 1 by default.
        class_weights (`str`): `"none"`, or `"balanced"`: a rare label counts as much as a common one.
        trained_tasks (`Collection[str]`, *optional*): Tasks whose outputs have statistics already.

    Raises:
        SettingsError: if nothing can be learnt from a task's targets, as they are all the same.
    """
    for name, task in model.tasks.items():
        changes: dict[str, Any] = {"loss_weight": loss_weights.get(name, 1.0)}
        if task.is_regression and name not in trained_tasks:
            try:
                changes["target_mean"], changes["target_std"] = target_statistics(targets[name])
            except ValueError as error:
                raise SettingsError(f"tasks: {name}: {error}") from error
        elif name not in trained_tasks and not _differ(targets[name]):
            raise SettingsError(f"tasks: {name}: {_SAME}")
        if not task.is_regression and class_weights == "balanced":
            changes["class_weights"] = balanced_class_weights(task, targets[name])
        model.update_task(name, **changes)


def _differ(targets: np.ndarray) -> bool:
    """Whether any label has records of both kinds, or any class another beside it."""
    columns = targets.reshape(len(targets), -1)
    return any(len(np.unique(column[~np.isnan(column)])) > 1 for column in columns.T)


__all__ = ["fit_tasks"]
