"""Split conformal prediction: sets and intervals that hold the truth as often as is wanted, whatever the model.

Bounds are chosen on validation records, of which the model was not trained, and hold for records that are drawn like
these: of patients of the same hospital, not of another. The finite-sample quantile makes the coverage at least the
wanted one on average over validation sets (Vovk, Gammerman and Shafer, 2005; Lei et al., 2018, arXiv 1604.04173).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from .bootstrap import Bootstrap, Resamples
from .intervals import share_interval
from .scored import Scored

COVERAGE = 0.9


def conformal_quantile(scores: ArrayLike, coverage: float) -> float:
    """Return what a new score does not exceed with the wanted probability: the ceil((n + 1) * coverage)-th smallest.

    Args:
        scores (`ArrayLike` of shape `(num_records,)`): Of validation records, higher for stranger.
        coverage (`float`): Above 0 and below 1.

    Returns:
        `float`: Infinite where so few records can promise no such coverage: 19 are needed for 95 %.

    Raises:
        ValueError: if the coverage is out of range.
    """
    _check_coverage(coverage)
    values = np.sort(np.asarray(scores, dtype=np.float64))
    place = math.ceil((len(values) + 1) * coverage - 1e-9)  # 0.9 of 10 is 9, not 9.000000000000002
    return float(values[place - 1]) if place <= len(values) else math.inf


def fit_conformal(
    task: Task, targets: np.ndarray, outputs: np.ndarray, coverage: float = COVERAGE
) -> dict[str, Any] | None:
    """Fit what a [`Task`] keeps as `conformal`.

    Args:
        task (`Task`): A regression or a single-label task.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Values, or calibrated probabilities.
        coverage (`float`, *optional*, defaults to 0.9): Share of records whose truth is to be inside.

    Returns:
        `dict`, *optional*: None for a multi-label task, and where the records are too few for the coverage.

    Raises:
        ValueError: if `coverage` is not between 0 and 1, or shapes do not fit.
    """
    _check_coverage(coverage)
    if task.is_multi_label:
        return None
    scored = Scored(task, targets, outputs)
    if task.is_regression:
        widths = half_widths(scored, coverage)
        return {"coverage": coverage, "half_widths": widths.tolist()} if np.isfinite(widths).all() else None
    bound = class_bound(scored, coverage)
    return {"coverage": coverage, "quantile": 1 - bound} if math.isfinite(bound) else None


def half_widths(validation: Scored, coverage: float) -> np.ndarray:
    """Return how far a regression's intervals reach to either side of a prediction, of shape `(num_outputs,)`."""
    return np.array(
        [conformal_quantile(np.abs(truth - predicted), coverage) for truth, predicted in validation.columns]
    )


def class_bound(validation: Scored, coverage: float) -> float:
    """Return the probability from which a class belongs to the set of a single-label task.

    See Sadinle, Lei and Wasserman (2019, arXiv 1609.00451). Minus infinity where every class does.
    """
    return 1 - conformal_quantile(1 - validation.outputs[validation.is_positive], coverage)


def label_bounds(validation: Scored, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Return from and up to which probability each label may be present and absent, both of shape `(num_labels,)`.

    The coverage is wanted of the positives and of the negatives of each label, so that frequent negatives cannot stand
    in for rare positives. A label that may be both is undecided. Bounds are infinite where validation records of the
    class are too few.
    """
    columns = list(zip(validation.is_positive.T, validation.outputs.T, strict=True))
    present = [-conformal_quantile(-values[is_positive], coverage) for is_positive, values in columns]
    absent = [conformal_quantile(values[~is_positive], coverage) for is_positive, values in columns]
    return np.array(present), np.array(absent)


def conformal_scores(validation: Scored, test: Scored, bootstrap: Bootstrap, coverage: float) -> dict[str, Any]:
    """Choose bounds on validation records, and measure on test records how often they hold and how much they decide.

    Args:
        validation (`Scored`): The records to choose by.
        test (`Scored`): The records to measure on, of the same task.
        bootstrap (`Bootstrap`): How intervals of the measured shares are made.
        coverage (`float`): The wanted coverage.

    Returns:
        `dict[str, Any]`, ready for JSON, infinite bounds as None: `coverage` as wanted; `num_validation`; and
            - of a regression **per_output**, from an output to `half_width` and `covered`;
            - of a single-label task `bound`, `covered`, and `single`, the share of records with one class in the set;
            - of a multi-label task **per_label**, from a label to `present_from`, `absent_up_to`, `covered_positives`,
              `covered_negatives` and `decided`, the share of records that may not be both.
            Shares are `point`, `lower` and `upper`, see `share_interval`.
    """
    resamples, task = bootstrap.resamples(test), test.task
    everyone = np.ones(len(test), dtype=bool)

    def share(holds: np.ndarray, of: np.ndarray = everyone) -> dict[str, Any]:
        return _share(holds, of, resamples, bootstrap.confidence)

    result: dict[str, Any] = {"coverage": coverage, "num_validation": len(validation)}
    if task.is_regression:
        widths = half_widths(validation, coverage)
        columns = zip(task.output_names, widths, test.columns, strict=True)
        result["per_output"] = {
            name: {"half_width": _finite(width), "covered": share(np.abs(truth - predicted) <= width)}
            for name, width, (truth, predicted) in columns
        }
    elif task.problem_type == "single_label_classification":
        bound = class_bound(validation, coverage)
        chosen = test.outputs >= bound
        result |= {"bound": _finite(bound), "covered": share(chosen[test.is_positive])}
        result["single"] = share(chosen.sum(axis=1) == 1)
    else:
        present, absent = label_bounds(validation, coverage)
        rows = zip(task.labels, present, absent, test.is_positive.T, test.outputs.T, strict=True)
        result["per_label"] = {
            label: {
                "present_from": _finite(low),
                "absent_up_to": _finite(high),
                "covered_positives": share(values >= low, is_positive),
                "covered_negatives": share(values <= high, ~is_positive),
                "decided": share((values < low) | (values > high)),
            }
            for label, low, high, is_positive, values in rows
        }
    return result


def _share(holds: np.ndarray, of: np.ndarray, resamples: Resamples, confidence: float) -> dict[str, Any]:
    """Return the share of some records for which something holds."""
    part, whole = (resamples.counts @ each.astype(np.float64) for each in (holds & of, of))
    samples = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return share_interval(samples, confidence, resamples, of)


def _check_coverage(coverage: float) -> None:
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, for instance 0.9; got {coverage}.")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
