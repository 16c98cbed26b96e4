"""The headline metrics of a task in the data as given and in every resample, for intervals of any kind."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..configuration_enecg import Task
from .metrics import defined_mean, percentile_interval, ranking_samples
from .records import label_columns
from .regression import regression_scores
from .resampling import Resamples

CLASSIFICATION_METRICS, REGRESSION_METRICS = ("macro_auroc", "macro_auprc"), ("mae", "rmse", "r2")


class MetricSamples(NamedTuple):
    """A metric in the data as given, which comes first, and in each resample; nan where undefined.

    Attributes:
        overall (`np.ndarray` of shape `(1 + num_resamples,)`): The macro mean, or a regression's mean over outputs.
        per_output (`np.ndarray` of shape `(1 + num_resamples, num_outputs)`): That of each label or output.
    """

    overall: np.ndarray
    per_output: np.ndarray


def headline_metrics(task: Task) -> tuple[str, ...]:
    """Return the names of the metrics that a task is compared by."""
    return REGRESSION_METRICS if task.is_regression else CLASSIFICATION_METRICS


def headline_samples(
    task: Task, targets: np.ndarray, outputs: np.ndarray, resamples: Resamples
) -> dict[str, MetricSamples]:
    """Compute the headline metrics of a task, each in the data as given and in each resample.

    Args:
        task (`Task`): The task.
        targets (`np.ndarray`): Its labels as in `task_loss`, none missing.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Probabilities, or a regression's values.
        resamples (`Resamples`): Of these records.

    Returns:
        `dict[str, MetricSamples]`: `macro_auroc` and `macro_auprc` of a classification, whose outputs have `auroc`
            and `auprc`; `mae`, `rmse` and `r2` of a regression.
    """
    if not len(targets):
        shape = (1 + len(resamples.records), task.num_outputs)
        nothing = MetricSamples(np.full(shape[0], np.nan), np.full(shape, np.nan))
        return dict.fromkeys(headline_metrics(task), nothing)
    if task.is_regression:
        return _regression_samples(targets.reshape(outputs.shape), outputs, resamples)
    samples = ranking_samples(label_columns(task, targets), outputs, resamples)
    return {f"macro_{name}": MetricSamples(defined_mean(values, axis=1), values) for name, values in samples.items()}


def resample_metrics(
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    targets: np.ndarray,
    outputs: np.ndarray,
    resamples: Resamples,
) -> dict[str, np.ndarray]:
    """Compute metrics of the records as given, and then of each resample: each of shape `(1 + num_resamples,)`.

    A metric of a resample without any record is nan.
    """
    given = metrics(targets, outputs)
    nothing = dict.fromkeys(given, np.nan)
    samples = [metrics(targets[rows], outputs[rows]) if len(rows) else nothing for rows in resamples.records]
    return {name: np.array([point, *(sample[name] for sample in samples)]) for name, point in given.items()}


def sample_interval(samples: np.ndarray, confidence: float) -> dict[str, float | None]:
    """Return `point`, `lower` and `upper` of a metric, ready for JSON: None for nan.

    Args:
        samples (`np.ndarray` of shape `(1 + num_resamples,)`): The metric of the data as given and of the resamples.
        confidence (`float`): Share of the resamples inside the interval.
    """
    return plain_interval(percentile_interval(samples[0], samples[1:], confidence))


def plain_interval(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Return point and interval as plain numbers, None for nan."""
    return {key: plain_number(values[key]) for key in ("point", "lower", "upper")}


def plain_number(value: float) -> float | None:
    """Return a number ready for JSON, None for nan."""
    return None if np.isnan(value) else float(value)


def _regression_samples(targets: np.ndarray, outputs: np.ndarray, resamples: Resamples) -> dict[str, MetricSamples]:
    overall = resample_metrics(regression_scores, targets, outputs, resamples)
    columns = [overall]
    if outputs.shape[1] > 1:
        pairs = zip(targets.T, outputs.T, strict=True)
        columns = [resample_metrics(regression_scores, truth, values, resamples) for truth, values in pairs]
    return {
        name: MetricSamples(values, np.stack([column[name] for column in columns], axis=1))
        for name, values in overall.items()
    }
