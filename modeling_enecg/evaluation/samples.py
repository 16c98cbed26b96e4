"""The metrics of a task in the data as given and in every resample, for intervals of any kind."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .bootstrap import Resamples
from .intervals import defined_mean, too_few, too_few_of_class
from .metrics import REGRESSION, headline_metrics, metrics_of
from .multilabel import ranking_samples
from .scored import Scored


class MetricSamples(NamedTuple):
    """A metric in the data as given, which comes first, and in each resample; nan where undefined.

    Attributes:
        overall (`np.ndarray` of shape `(1 + num_resamples,)`): The macro mean, or a regression's mean over outputs.
        per_output (`np.ndarray` of shape `(1 + num_resamples, num_outputs)`): That of each label or output.
    """

    overall: np.ndarray
    per_output: np.ndarray


def headline_samples(scored: Scored, resamples: Resamples) -> dict[str, MetricSamples]:
    """Compute the metrics that a task is compared by, each in the data as given and in each resample.

    Args:
        scored (`Scored`): The records.
        resamples (`Resamples`): Of these.

    Returns:
        `dict[str, MetricSamples]`: `macro_auroc` and `macro_auprc` of a classification, whose outputs have `auroc`
            and `auprc`; `mae`, `rmse` and `r2` of a regression.
    """
    if not len(scored):
        shape = (1 + len(resamples.records), scored.task.num_outputs)
        nothing = MetricSamples(np.full(shape[0], np.nan), np.full(shape, np.nan))
        return dict.fromkeys(headline_metrics(scored.task), nothing)
    if not scored.task.is_regression:
        samples = ranking_samples(scored.is_positive, scored.outputs, resamples)
        return {f"macro_{name}": MetricSamples(defined_mean(each, axis=1), each) for name, each in samples.items()}
    metrics = {metric.name: metric.compute for metric in metrics_of(REGRESSION)}
    columns = [resample_metrics(metrics, *column, resamples) for column in scored.columns]
    per_output = {name: np.stack([column[name] for column in columns], axis=1) for name in metrics}
    return {name: MetricSamples(each.mean(axis=1), each) for name, each in per_output.items()}


def resample_metrics(
    metrics: dict[str, Callable[[np.ndarray, np.ndarray], float]],
    truth: np.ndarray,
    predicted: np.ndarray,
    resamples: Resamples,
) -> dict[str, np.ndarray]:
    """Compute metrics of one output, of the records as given, and then of each resample.

    Returns:
        `dict[str, np.ndarray]`: Each of shape `(1 + num_resamples,)`; nan of a resample without any record.
    """
    values = np.full((len(metrics), 1 + len(resamples.records)), np.nan)
    for index, rows in enumerate([np.arange(len(truth)), *resamples.records]):
        if len(rows):
            drawn = truth[rows], predicted[rows]
            values[:, index] = [compute(*drawn) for compute in metrics.values()]
    return dict(zip(metrics, values, strict=True))


def why_no_intervals(scored: Scored, resamples: Resamples) -> tuple[str, list[str]]:
    """Return why a task's single numbers have no interval, and why each output's have none; empty texts if they do.

    A label needs enough positives and negatives, a regression enough records. A macro mean has an interval if any
    label has one.
    """
    if scored.task.is_regression:
        reason = too_few(resamples)
        return reason, [reason] * scored.task.num_outputs
    reasons = [too_few_of_class(resamples, label) for label in scored.is_positive.T]
    return ("" if "" in reasons else reasons[0]), reasons
