"""Probabilities made to mean what they say: temperature and Platt scaling, fitted on validation records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit, softmax

from ..configuration_enecg import Task
from ..decisions import activated, calibrated_logits
from ..tasks import CALIBRATIONS
from .checks import probability_array
from .errors import log_loss
from .metrics import MIN_POSITIVES
from .scored import Scored

METHODS = CALIBRATIONS
NUM_PARTS = 5  # of the records that a method is chosen on
FEW_POSITIVES, FEW_NEGATIVES = "few_positives", "few_negatives"
SEPARABLE, NOT_INCREASING = "separable", "not_increasing"

_SLOPES = (1e-3, 1e3)  # between which the slope of a temperature is sought
_HIGHEST = 1 - np.finfo(np.float64).epsneg


@dataclass(frozen=True)
class Calibration:
    """A map of each label's probability p to sigmoid(slope * logit(p) + intercept), or of a single-label task's
    probabilities to softmax(slope * log(p)).

    Attributes:
        problem_type (`str`): The task's.
        method (`str`): Of `METHODS`.
        slopes (`dict[str, float]`): By label; with a temperature, all are 1 / temperature.
        intercepts (`dict[str, float]`): By label; 0 with a temperature.
        uncalibrated (`dict[str, str]`): The labels left as they are (slope 1, intercept 0), with the reason:
            `"few_positives"`, `"few_negatives"` (fewer than `MIN_POSITIVES`), `"separable"` (a threshold parts the
            classes, or the probabilities are all equal: no slope fits best) or `"not_increasing"` (the label gets no
            more frequent with its probability, and to turn the order of records round is not calibration's business).
    """

    problem_type: str
    method: str
    slopes: dict[str, float]
    intercepts: dict[str, float]
    uncalibrated: dict[str, str] = field(default_factory=dict)

    def apply(self, probabilities: ArrayLike) -> np.ndarray:
        """Return calibrated probabilities.

        Args:
            probabilities (`ArrayLike` of shape `(num_records, num_labels)`): The model's, labels in order.

        Raises:
            ValueError: if the shape does not fit or a value is not in [0, 1].
        """
        values = _check_probabilities(probabilities, len(self.slopes))
        return _apply(self.problem_type, self.for_task(), values)

    def for_task(self) -> dict[str, Any]:
        """Return the calibration as a [`Task`] keeps it."""
        if self.method == "temperature":
            return {"method": self.method, "temperature": 1 / next(iter(self.slopes.values()))}
        return {
            "method": self.method,
            "slopes": list(self.slopes.values()),
            "intercepts": list(self.intercepts.values()),
        }

    @classmethod
    def of_task(cls, task: Task) -> "Calibration | None":
        """Return the calibration that a task keeps, None if it has none; see `for_task`."""
        kept = task.calibration
        if kept is None:
            return None
        is_temperature = kept["method"] == "temperature"
        slopes = [1 / kept["temperature"]] * task.num_outputs if is_temperature else kept["slopes"]
        intercepts = [0.0] * task.num_outputs if is_temperature else kept["intercepts"]
        by_label = (dict(zip(task.labels, values, strict=True)) for values in (slopes, intercepts))
        return cls(task.problem_type, kept["method"], *by_label)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Calibration":
        """Return what `to_dict` was made of."""
        return cls(**fields)


def fit_calibration(
    task: Task, targets: np.ndarray, probabilities: np.ndarray, method: str = "temperature"
) -> Calibration:
    """Fit a calibration by maximum likelihood, on records that the model was neither trained nor is tested on.

    A temperature is one number per task, of a multi-label task too: all its labels' records together fix it well, it
    leaves the order of records and of labels as it is, and it mends what is common to all labels, a model too sure of
    itself. What differs from label to label, such as a shift by class weights, is what Platt scaling is for, with a
    slope and an intercept of each label, without penalty or smoothed targets. It leaves single labels uncalibrated
    and says so where records do not suffice.

    Args:
        task (`Task`): A classification.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        probabilities (`np.ndarray` of shape `(num_records, num_labels)`): The model's.
        method (`str`, *optional*, defaults to `"temperature"`): Or `"platt"`, for multi-label tasks.

    Raises:
        ValueError: if the task is a regression, the method is unknown or not for this task, shapes do not fit, or a
            probability is not in [0, 1].
    """
    _check_method(task, method)
    scored = Scored(task, targets, probabilities)
    values = _check_probabilities(scored.outputs, task.num_outputs)
    if method == "temperature":
        return _fit_temperature(task, scored.is_positive, values)
    fits = [_fit_platt(*label) for label in zip(scored.is_positive.T, _logits(values).T, strict=True)]
    return Calibration(
        task.problem_type,
        method,
        {label: fit[0] for label, fit in zip(task.labels, fits, strict=True)},
        {label: fit[1] for label, fit in zip(task.labels, fits, strict=True)},
        {label: fit[2] for label, fit in zip(task.labels, fits, strict=True) if fit[2]},
    )


def choose_calibration(
    task: Task, targets: np.ndarray, probabilities: np.ndarray, patients: ArrayLike | None = None
) -> Calibration:
    """Fit a temperature or, label by label, Platt scaling: whichever calibrates records better that it has not seen.

    The records are cut into 5 parts, a patient's records all into one; each part is calibrated by what the other parts
    fit, and the method with the lower log loss over all parts, averaged over labels and records, is fitted on all of
    them. Of equals it is the temperature, as where fewer than 10 records are positive in all labels together. A label
    with fewer than 10 positives is left as it is by Platt scaling, see `fit_calibration`. Single-label tasks have a
    temperature.

    Args:
        task (`Task`): A classification.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        probabilities (`np.ndarray` of shape `(num_records, num_labels)`): The model's.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient; by default each record is
            of a patient of its own.

    Raises:
        ValueError: as `fit_calibration` does, or if there is not one patient per record.
    """
    _check_method(task, "temperature")
    scored = Scored(task, targets, probabilities, patients)
    if task.problem_type == "single_label_classification" or scored.is_positive.sum() < MIN_POSITIVES:
        return fit_calibration(task, scored.targets, scored.outputs)
    units = np.arange(len(scored)) if scored.patient_numbers is None else scored.patient_numbers
    parts = np.random.default_rng(0).permutation(units.max() + 1)[units] % NUM_PARTS
    losses = {method: _loss_of_others(scored, parts, method) for method in METHODS}
    return fit_calibration(task, scored.targets, scored.outputs, min(METHODS, key=losses.__getitem__))


def _loss_of_others(scored: Scored, parts: np.ndarray, method: str) -> float:
    """Return the log loss of probabilities that were calibrated by the other parts of the records."""
    calibrated = scored.outputs.astype(np.float64)
    for part in np.unique(parts):
        others = scored.within(parts != part)
        fitted = fit_calibration(scored.task, others.targets, others.outputs, method)
        calibrated[parts == part] = fitted.apply(scored.outputs[parts == part])
    return float(log_loss(scored.is_positive.astype(np.float64), calibrated, np.ones((1, len(scored)))).mean())


def calibrated_outputs(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Return outputs with the task's own calibration applied: as they are if it has none, or is a regression.

    Args:
        task (`Task`): The task.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): The model's probabilities, or values.
    """
    if task.calibration is None:
        return outputs
    return _apply(task.problem_type, task.calibration, _check_probabilities(outputs, task.num_outputs))


def _apply(problem_type: str, calibration: Mapping[str, Any], probabilities: np.ndarray) -> np.ndarray:
    """Calibrate as a model does, from probabilities instead of logits."""
    is_single = problem_type == "single_label_classification"
    scores = _logs(probabilities) if is_single else _logits(probabilities)
    return activated(problem_type, calibrated_logits(scores, calibration))


def _fit_temperature(task: Task, is_positive: np.ndarray, probabilities: np.ndarray) -> Calibration:
    if task.problem_type == "single_label_classification":
        scores, activation = _logs(probabilities), _softmax
    else:
        scores, activation = _logits(probabilities), expit

    def excess(log_slope: float) -> float:
        """Return the log loss's derivative by the slope, which rises with it."""
        return float(np.sum((activation(np.exp(log_slope) * scores) - is_positive) * scores))

    slope, reason = 1.0, ""
    if is_positive.sum() < MIN_POSITIVES:
        reason = FEW_POSITIVES
    elif excess(np.log(_SLOPES[1])) <= 0:
        reason = SEPARABLE
    elif excess(np.log(_SLOPES[0])) >= 0:
        reason = NOT_INCREASING
    else:
        slope = float(np.exp(brentq(excess, *np.log(_SLOPES), xtol=1e-12)))
    return Calibration(
        task.problem_type,
        "temperature",
        dict.fromkeys(task.labels, slope),
        dict.fromkeys(task.labels, 0.0),
        dict.fromkeys(task.labels, reason) if reason else {},
    )


def _fit_platt(is_positive: np.ndarray, scores: np.ndarray) -> tuple[float, float, str]:
    """Return slope, intercept and, where they are left at 1 and 0, the reason."""
    reason = _why_not(is_positive, scores)
    if not reason:
        slope, intercept = _fit_line(is_positive, scores)
        if slope > 0:
            return slope, intercept, ""
        reason = NOT_INCREASING
    return 1.0, 0.0, reason


def _why_not(is_positive: np.ndarray, scores: np.ndarray) -> str:
    """Return why one label's line cannot be fitted; an empty text if it can."""
    if np.count_nonzero(is_positive) < MIN_POSITIVES:
        return FEW_POSITIVES
    if np.count_nonzero(~is_positive) < MIN_POSITIVES:
        return FEW_NEGATIVES
    positives, negatives = scores[is_positive], scores[~is_positive]
    overlap = positives.min() < negatives.max() and negatives.min() < positives.max()
    return "" if overlap else SEPARABLE


def _fit_line(is_positive: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of one label on its scores."""
    centre, scale = scores.mean(), scores.std()
    columns = np.column_stack([(scores - centre) / scale, np.ones(len(scores))])

    def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
        values = columns @ line
        gradient = columns.T @ (expit(values) - is_positive) / len(values)
        return float(np.mean(np.logaddexp(0, values) - is_positive * values)), gradient

    def curvature(line: np.ndarray) -> np.ndarray:
        chance = expit(columns @ line)
        curved: np.ndarray = (columns.T * (chance * (1 - chance))) @ columns / len(columns)
        return curved

    start = np.array([1.0, logit(is_positive.mean())])
    line = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-10}).x
    return float(line[0] / scale), float(line[1] - line[0] * centre / scale)


def _softmax(scores: np.ndarray) -> np.ndarray:
    shares: np.ndarray = softmax(scores, axis=1)
    return shares


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Return finite logits: a probability of 0 or 1 counts as the nearest number inside."""
    inside: np.ndarray = logit(np.clip(probabilities, np.finfo(np.float64).tiny, _HIGHEST))
    return inside


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def _check_method(task: Task, method: str) -> None:
    if task.is_regression:
        raise ValueError(f"Task {task.name!r} is a regression: it has no probabilities to calibrate.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if method == "platt" and task.problem_type == "single_label_classification":
        raise ValueError(
            f"Task {task.name!r} has one class per record, and Platt scaling of each class alone would leave "
            "probabilities that do not sum to 1; use the method 'temperature'."
        )


def _check_probabilities(probabilities: ArrayLike, num_labels: int) -> np.ndarray:
    values = probability_array(probabilities)
    if values.ndim != 2 or values.shape[1] != num_labels:
        raise ValueError(f"probabilities must be of shape (num_records, {num_labels}); got {values.shape}.")
    return values
