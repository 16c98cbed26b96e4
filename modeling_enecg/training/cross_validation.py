"""Cross-validation: every record is predicted by models that neither trained on it nor chose anything by it.

The records of training and validation are divided into folds by patient, each with its share of every label. In turn
one fold is predicted, the next one picks epochs and stages, and the others train. What is learnt so, how long to train
and where to decide, then goes into one final model that trains on all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..configuration_enecg import Task
from ..data.folds import stratified_folds
from ..data.subsets import QUANTILES
from ..evaluation import Bootstrap
from ..evaluation.cross_validation import cross_validated_scores
from ..evaluation.scored import label_columns
from ..runs.predictions import Predictions
from .training import best_stage


@dataclass(frozen=True)
class Folds:
    """How records are divided; the fields of a recipe of the same names."""

    folds: int | None = None
    repeats: int = 1
    seed: int = 42


class Part(NamedTuple):
    """One round: which records have which role.

    Attributes:
        repeat (`int`): Number of the division, from 1.
        fold (`int`): Number of the fold that is predicted, from 1.
        rows (`dict[str, np.ndarray]`): Indices of the records that are `train`, `validation` and `test`.
    """

    repeat: int
    fold: int
    rows: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"repeat_{self.repeat}_fold_{self.fold}"


def parts(
    settings: Folds, tasks: Sequence[Task], labels: Mapping[str, np.ndarray], patients: Sequence[Any]
) -> Iterator[Part]:
    """Divide records anew in every repeat, and give each fold its turn.

    Args:
        settings (`Folds`): How often, into how many.
        tasks (`Sequence[Task]`): The tasks.
        labels (`Mapping[str, np.ndarray]`): By task, the records' targets.
        patients (`Sequence`): Each record's patient, who is in one fold only.

    Raises:
        ValueError: if there are fewer patients than folds.
    """
    assert settings.folds is not None
    traits = np.concatenate([_traits(task, labels[task.name]) for task in tasks], axis=1)
    for repeat in range(1, settings.repeats + 1):
        fold_of = stratified_folds(traits, list(map(str, patients)), settings.folds, settings.seed + repeat - 1)
        for fold in range(settings.folds):
            roles = {"validation": fold_of == (fold + 1) % settings.folds, "test": fold_of == fold}
            roles["train"] = ~(roles["validation"] | roles["test"])
            yield Part(repeat, fold + 1, {name: np.flatnonzero(is_in) for name, is_in in roles.items()})


def _traits(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return what is to be spread evenly over the folds: 0 or 1 of shape `(num_records, num_traits)`."""
    if not task.is_regression:
        return np.nan_to_num(label_columns(task, targets).astype(float))
    values = targets.reshape(len(targets), -1)[:, 0]
    bounds = np.nanquantile(values, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    deciles = np.where(np.isnan(values), -1, np.searchsorted(bounds, values))
    return (deciles[:, None] == np.arange(QUANTILES)).astype(float)


def final_schedule(outcomes: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, int]:
    """Return how many epochs of each stage the final model trains: the median of the rounds' best ones.

    It ends with the stage that is best on average, or by the loss where a round has no score.

    Args:
        outcomes (`Sequence[Mapping]`): By round and stage, the stage's history.
    """
    stages = list(outcomes[0])
    means: dict[str, dict[str, Any]] = {}
    for stage in stages:
        means[stage] = {}
        for name in ("best_score", "best_loss"):
            values = [outcome[stage][name] for outcome in outcomes]
            means[stage][name] = None if None in values else float(np.mean(values))
    kept = stages[: stages.index(best_stage(means)) + 1]
    return {stage: max(1, round(median(outcome[stage]["best_epoch"] for outcome in outcomes))) for stage in kept}


def out_of_fold_scores(
    tasks: Sequence[Task], rounds: Sequence[Part], predicted: Sequence[Predictions], bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Return by task what `cross_validated_scores` gives.

    Args:
        tasks (`Sequence[Task]`): The tasks.
        rounds (`Sequence[Part]`): The rounds, repeat by repeat.
        predicted (`Sequence[Predictions]`): What each round predicted.
        bootstrap (`Bootstrap`): How intervals are made.
    """
    repeats = sorted({each.repeat for each in rounds})
    of_repeat = [[index for index, each in enumerate(rounds) if each.repeat == repeat] for repeat in repeats]
    whole = [stacked([predicted[index] for index in indices]) for indices in of_repeat]
    folds = [np.concatenate([np.full(len(predicted[i]), rounds[i].fold) for i in indices]) for indices in of_repeat]
    return {
        task.name: cross_validated_scores([each.scored(task) for each in whole], folds, bootstrap) for task in tasks
    }


def stacked(predicted: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several rounds, one below the other; a record is there once per repeat."""
    first = predicted[0]
    return Predictions(
        pd.concat([each.records for each in predicted], ignore_index=True),
        {task: np.concatenate([each.targets[task] for each in predicted]) for task in first.targets},
        {task: np.concatenate([each.outputs[task] for each in predicted]) for task in first.outputs},
    )


__all__ = ["Folds", "Part", "final_schedule", "out_of_fold_scores", "parts", "stacked"]
