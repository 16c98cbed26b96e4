"""A look inside an ensemble: which experts its gates choose for which class, and what it loses without each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from .bootstrap import Bootstrap
from .checks import finite_array
from .intervals import difference_interval
from .samples import headline_samples, why_no_intervals
from .scored import Scored
from .scoring import predicted_outputs


def gate_weights_by_class(scored: Scored, gate_weights: ArrayLike, experts: Sequence[str]) -> dict[str, Any]:
    """Average a gate's weights over all records and over those of each class.

    Args:
        scored (`Scored`): The records; those without targets count among all records only.
        gate_weights (`ArrayLike` of shape `(num_records, num_experts)`): Each expert's weight on every record that
            `scored` was made of; rows sum to 1.
        experts (`Sequence[str]`): The experts' names, in the order of the weights.

    Returns:
        `dict[str, Any]`, ready for JSON:
            - **all_records** (`dict`): `num_records` (`int`) and `weights` (`dict`), from an expert to its mean
              weight, None where there is no record.
            - **per_label** (`dict`): By label, the same over the records that are positive for it (multi-label) or of
              this class (single-label). Empty for a regression.

    Raises:
        ValueError: if the weights have the wrong shape or are not finite.
    """
    weights = _check_weights(scored, gate_weights, experts)
    table: dict[str, Any] = {"all_records": _mean_weights(weights, experts), "per_label": {}}
    if not scored.task.is_regression:
        for label, chosen in zip(scored.task.labels, scored.is_positive.T, strict=True):
            table["per_label"][label] = _mean_weights(weights[scored.given][chosen], experts)
    return table


def leave_one_expert_out(
    scored: Scored, expert_logits: ArrayLike, gate_weights: ArrayLike, experts: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Score an ensemble without each of its experts in turn, against all of them.

    Without an expert, the weights of the others are scaled to sum to 1: the gate is not trained again, and one with
    `top_k` chooses no other expert instead. The bootstrap is paired: both ensembles are scored on the same resamples.

    Args:
        scored (`Scored`): The records; its outputs do not count, those of all experts are mixed anew.
        expert_logits (`ArrayLike` of shape `(num_records, num_experts, num_outputs)`): Each expert's own logits, or a
            regression's values, on every record that `scored` was made of. May be nan where the expert's weight is 0.
        gate_weights (`ArrayLike` of shape `(num_records, num_experts)`): Each expert's weight; rows sum to 1.
        experts (`Sequence[str]`): The experts' names, in the order of the weights.
        bootstrap (`Bootstrap`): How intervals are made.

    Returns:
        `dict[str, Any]`, ready for JSON: by expert and metric, the score without the expert minus the score with all,
            as `point`, `lower` and `upper` (None where undefined, and see `interval`). The metrics are `macro_auroc`
            and `macro_auprc`, or for a regression `mae` and `rmse` (both in the unit of the targets) and `r2`.

    Raises:
        ValueError: if there are fewer than two experts, logits or weights have the wrong shape or are not finite, or a
            record's weight lies on a single expert.
    """
    if len(experts) < 2:
        raise ValueError(f"Task {scored.task.name!r}: leaving an expert out takes two or more; got {list(experts)}.")
    weights = _check_weights(scored, gate_weights, experts)
    logits = _check_logits(scored.task, weights, expert_logits)[scored.given]
    _check_others_have_weight(scored.task, weights, scored.given)
    weights, resamples = weights[scored.given], bootstrap.resamples(scored)

    def scores(kept_weights: np.ndarray) -> dict[str, np.ndarray]:
        outputs = predicted_outputs(scored.task, _weighted_mean(logits, kept_weights))
        samples = headline_samples(scored.with_outputs(outputs), resamples)
        return {metric: values.overall for metric, values in samples.items()}

    with_all, (reason, _) = scores(weights), why_no_intervals(scored, resamples)
    differences = {}
    for index, expert in enumerate(experts):
        without = scores(np.where(np.arange(len(experts)) == index, 0, weights))
        differences[expert] = {
            metric: difference_interval(without[metric] - with_all[metric], bootstrap.confidence, reason)
            for metric in with_all
        }
    return differences


def _mean_weights(weights: np.ndarray, experts: Sequence[str]) -> dict[str, Any]:
    means = weights.mean(axis=0).tolist() if len(weights) else [None] * len(experts)
    return {"num_records": len(weights), "weights": dict(zip(experts, means, strict=True))}


def _weighted_mean(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mix the experts' logits, with weights of any sum, to shape `(num_records, num_outputs)`.

    In float32, as the model's own, which rounds away what the weights' sum leaves: where all experts agree, their mean
    is the same whatever the weights.
    """
    mixed = np.einsum("re,reo->ro", weights, logits) / weights.sum(axis=1, keepdims=True)
    return mixed.astype(np.float32)


def _check_weights(scored: Scored, weights: ArrayLike, experts: Sequence[str]) -> np.ndarray:
    checked = finite_array("gate_weights", weights)
    if checked.shape != (len(scored.given), len(experts)):
        raise ValueError(
            f"Task {scored.task.name!r}: gate_weights must be of shape (num_records, num_experts), here "
            f"{(len(scored.given), len(experts))}; got {checked.shape}."
        )
    return checked


def _check_logits(task: Task, weights: np.ndarray, expert_logits: ArrayLike) -> np.ndarray:
    """Return the logits in float64, 0 where an expert has no weight."""
    logits = np.asarray(expert_logits, dtype=np.float64)
    if logits.shape != (*weights.shape, task.num_outputs):
        raise ValueError(
            f"Task {task.name!r}: expert_logits must be of shape (num_records, num_experts, num_outputs), here "
            f"{(*weights.shape, task.num_outputs)}; got {logits.shape}."
        )
    return finite_array("expert_logits of experts with weight", np.where(weights[..., None] != 0, logits, 0))


def _check_others_have_weight(task: Task, weights: np.ndarray, given: np.ndarray) -> None:
    alone = np.flatnonzero(given & (np.count_nonzero(weights, axis=1) < 2))
    if len(alone):
        raise ValueError(
            f"Task {task.name!r}: in {len(alone)} of {given.sum()} records, the first of them record {alone[0]}, a "
            "single expert has all the weight; without it the others' weights sum to 0 and cannot be scaled to 1. "
            "Use a gate that keeps two experts or more (top_k of at least 2, or none), or leave these records out."
        )
