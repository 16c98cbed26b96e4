"""The one table of metrics: what each is called, which way is better, and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..configuration_enecg import Task
from . import errors, ranking, rates

MIN_POSITIVES = 10  # a label with fewer is marked: its scores say little

# What a metric is computed from, and with it the signature of `compute`.
RANKING = "ranking"  # of each label: `ranking.Totals` -> (num_resamples,)
DECISIONS = "decisions"  # of each label: `rates.DecisionCounts` -> (num_resamples, num_labels)
CLASSES = "classes"  # of all classes together: `rates.DecisionCounts` -> (num_resamples,)
PROBABILITIES = "probabilities"  # of each label: targets, probabilities, counts -> (num_resamples, num_labels)
REGRESSION = "regression"  # of each output: true and predicted values -> float

_MULTI, _SINGLE, _REGRESSION = "multi_label_classification", "single_label_classification", "regression"
_PROBLEM_TYPES = {
    RANKING: (_MULTI, _SINGLE),
    DECISIONS: (_MULTI, _SINGLE),
    CLASSES: (_SINGLE,),
    PROBABILITIES: (_MULTI, _SINGLE),
    REGRESSION: (_REGRESSION,),
}


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name (`str`): Of one label or output. The mean over a classification's labels is called `macro_` and this.
        title (`str`): What reports call it.
        family (`str`): What it is computed from.
        compute (`Callable`): The function; its signature is that of the family.
        is_higher_better (`bool`): Which way is better.
        is_share (`bool`): Whether it is a share of records.
        in_unit (`bool`): Whether it has the unit of its task.
        hub_type (`str`, *optional*): The Hub's name of it, for the model index of a card; None leaves it out there.
    """

    name: str
    title: str
    family: str
    compute: Callable[..., Any]
    is_higher_better: bool = True
    is_share: bool = False
    in_unit: bool = False
    hub_type: str | None = None

    @property
    def problem_types(self) -> tuple[str, ...]:
        """The problem types whose tasks have it."""
        return _PROBLEM_TYPES[self.family]

    @property
    def key(self) -> str:
        """The name of a task's single number: of metrics of labels that of their mean."""
        return self.name if self.family in (CLASSES, REGRESSION) else f"{MACRO}{self.name}"


MACRO = "macro_"
METRICS = {
    metric.name: metric
    for metric in (
        Metric("auroc", "AUROC", RANKING, ranking.auroc, hub_type="roc_auc"),
        Metric("auprc", "AUPRC", RANKING, ranking.average_precision, hub_type="average_precision"),
        Metric("accuracy", "accuracy", CLASSES, rates.accuracy, is_share=True),
        Metric("balanced_accuracy", "balanced accuracy", CLASSES, rates.balanced_accuracy),
        Metric("f1", "F1", DECISIONS, rates.f1),
        Metric("sensitivity", "sensitivity", DECISIONS, rates.sensitivity, is_share=True),
        Metric("specificity", "specificity", DECISIONS, rates.specificity, is_share=True),
        Metric("ppv", "PPV", DECISIONS, rates.ppv, is_share=True),
        Metric("npv", "NPV", DECISIONS, rates.npv, is_share=True),
        Metric("brier", "Brier score", PROBABILITIES, errors.brier, is_higher_better=False),
        Metric("log_loss", "log loss", PROBABILITIES, errors.log_loss, is_higher_better=False),
        Metric("ece", "calibration error", PROBABILITIES, errors.calibration_error, is_higher_better=False),
        Metric("mae", "MAE", REGRESSION, errors.mae, is_higher_better=False, in_unit=True, hub_type="mae"),
        Metric("rmse", "RMSE", REGRESSION, errors.rmse, is_higher_better=False, in_unit=True),
        Metric("r2", "R²", REGRESSION, errors.r2, hub_type="r_squared"),
    )
}
MAIN_METRICS = ("macro_auroc", "r2")  # by which a classification and a regression are chosen and shown in brief


def metrics_of(*families: str) -> list[Metric]:
    """Return the metrics of some families, in the table's order."""
    return [metric for metric in METRICS.values() if metric.family in families]


def find_metric(name: str) -> Metric:
    """Return a metric by its name, with or without `macro_`.

    Raises:
        ValueError: if there is none.
    """
    metric = METRICS.get(name.removeprefix(MACRO))
    if metric is None:
        raise ValueError(f"There is no metric {name!r}; there are {', '.join(METRICS)}.")
    return metric


def metric_title(name: str, unit: str | None = None) -> str:
    """Return what reports call a metric: `"macro AUROC"` of `"macro_auroc"`.

    Args:
        name (`str`): With or without `macro_`.
        unit (`str`, *optional*): The task's, which errors have too.
    """
    metric = find_metric(name)
    title = f"macro {metric.title}" if name.startswith(MACRO) else metric.title
    return f"{title} ({unit})" if unit and metric.in_unit else title


def compared_metrics(task: Task) -> list[Metric]:
    """Return the metrics that a task is compared by: of ranking, or of a regression."""
    return metrics_of(REGRESSION if task.is_regression else RANKING)


def headline_metrics(task: Task) -> tuple[str, ...]:
    """Return the names of a task's single numbers by which it is compared."""
    return tuple(metric.key for metric in compared_metrics(task))


def main_metric(task: Task) -> str:
    """Return the name of the single number that stands for a task."""
    return MAIN_METRICS[task.is_regression]


def is_few(num_positives: int | np.integer[Any]) -> bool:
    """Whether a label's positives are so few that its scores say little."""
    return bool(num_positives < MIN_POSITIVES)
