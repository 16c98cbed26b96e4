"""Parts of the training records: fractions for data efficiency, and permuted labels as a control."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..configuration_enecg import Task

QUANTILES = 10  # into so many strata a regression's targets fall


def nested_subset(tasks: Sequence[Task], labels: Mapping[str, np.ndarray], fraction: float, seed: int) -> np.ndarray:
    """Choose a share of records, stratified by the first task.

    A record's stratum is its class, the rarest of its labels, or the decile of its target. Each stratum gives its
    share, so that a smaller fraction with the same seed is a part of a larger one.

    Args:
        tasks (`Sequence[Task]`): The tasks.
        labels (`Mapping[str, np.ndarray]`): By task, targets with NaN where they are not known.
        fraction (`float`): Share in (0, 1].
        seed (`int`): Seed of the choice.

    Returns:
        `np.ndarray`: Indices of records, in rising order; one at least.
    """
    strata = _strata(tasks[0], labels[tasks[0].name])
    rng = np.random.default_rng(seed)
    place = np.empty(len(strata))  # of a record in its stratum, from 0 to 1
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        place[rng.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = np.flatnonzero(place < fraction)
    return chosen if len(chosen) else np.array([place.argmin()])


def permuted(labels: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Give every record the labels of another one drawn at random: what is learnt from them is chance."""
    order = np.random.default_rng(seed).permutation(len(next(iter(labels.values()))))
    return {task: targets[order] for task, targets in labels.items()}


def _strata(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return each record's stratum, -1 where nothing is known of it, or it has none of the labels."""
    if task.problem_type == "single_label_classification":
        return np.where(np.isnan(targets), -1, targets).astype(int)
    if task.is_regression:
        values = targets.reshape(len(targets), -1)[:, 0]
        bounds = np.nanquantile(values, np.linspace(0, 1, QUANTILES + 1)[1:-1])
        return np.where(np.isnan(values), -1, np.searchsorted(bounds, values))
    positive = targets == 1
    by_rarity = np.argsort(positive.sum(axis=0), kind="stable")
    rarest = by_rarity[positive[:, by_rarity].argmax(axis=1)]
    return np.where(positive.any(axis=1), rarest, -1)
