"""Paired comparison of two models on the same records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from ..configuration_enecg import Task
from .metrics import MIN_POSITIVES
from .records import label_columns, with_targets
from .resampling import draw_resamples
from .samples import MetricSamples, headline_samples, plain_number, sample_interval

CORRECTIONS = ("none", "bonferroni", "holm", "benjamini-hochberg")
_NUM_SHOWN = 5  # records that an error names


@dataclass(frozen=True, eq=False)
class RecordPredictions:
    """What one model says of records, for one task.

    Attributes:
        ecg_ids (`Sequence`): Each record's name, no two equal.
        targets (`np.ndarray`): The records' labels as in `task_loss`.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Probabilities, or a regression's values.
    """

    ecg_ids: Sequence[Any] | np.ndarray
    targets: np.ndarray
    outputs: np.ndarray


def compare_predictions(
    task: Task,
    first: RecordPredictions,
    second: RecordPredictions,
    correction: str = "holm",
    num_resamples: int = 5000,
    seed: int = 0,
    confidence: float = 0.95,
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Compare two models on the same records: first minus second, with paired bootstrap intervals.

    Both are scored on the same resamples. The two-sided p-value of a difference is twice the smaller share of the
    resamples in which it is at most 0, or at least 0, where the data as given count as one more resample: it is below
    1 - confidence about where the interval leaves 0 out, and never below 2 / (num_resamples + 1). To call one of 71
    labels different at 5 % after a Bonferroni or Holm correction takes 2839 resamples or more.

    The correction is over the labels (or outputs) of one metric; intervals and the macro means' p-values are not
    corrected.

    Args:
        task (`Task`): The task.
        first (`RecordPredictions`): One model's; records without targets are left out.
        second (`RecordPredictions`): The other's, of the same records with the same targets, in any order.
        correction (`str`, *optional*, defaults to `"holm"`): Of `CORRECTIONS`.
        num_resamples (`int`, *optional*, defaults to 5000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): The patient of each record of `first`, as in
            `draw_resamples`; patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`, `num_resamples` and
            `correction`; each metric (`macro_auroc`, `macro_auprc`, or `mae`, `rmse` and `r2`) as `first`, `second`,
            `point` (first minus second), `lower`, `upper` and `p_value`, None where undefined; and `per_label`
            (a regression: `per_output`), from a label to the same of `auroc` and `auprc` (`mae`, `rmse`, `r2`) with
            `adjusted_p_value`, and for a classification `num_positives` and `few_positives`.

    Raises:
        ValueError: if the records or their targets differ, a record occurs twice, the correction is unknown, or as
            `evaluate_task` does.
    """
    if correction not in CORRECTIONS:
        raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}; got {correction!r}.")
    order = _matching_order(first.ecg_ids, second.ecg_ids)
    _check_same_targets(task, first, np.asarray(second.targets)[order])
    targets, first_outputs, patients = with_targets(task, first.targets, first.outputs, patients)
    second_outputs = with_targets(task, first.targets, second.outputs[order])[1]
    if not len(targets):
        return {"num_records": 0}
    resamples = draw_resamples(len(targets), num_resamples, seed, patients)
    scored = [headline_samples(task, targets, outputs, resamples) for outputs in (first_outputs, second_outputs)]
    result: dict[str, Any] = {
        "num_records": len(targets),
        "resampled_by": resamples.resampled_by,
        "num_resamples": num_resamples,
        "correction": correction,
    }
    rows = _start_rows(task, targets)
    for metric, ours in scored[0].items():
        theirs = scored[1][metric]
        result[metric] = _difference(ours.overall, theirs.overall, confidence)
        for row, values in zip(rows, _output_differences(ours, theirs, confidence, correction), strict=True):
            row[metric.removeprefix("macro_")] = values
    result["per_output" if task.is_regression else "per_label"] = dict(zip(task.output_names, rows, strict=True))
    return result


def bootstrap_p_value(samples: np.ndarray) -> float:
    """Return the two-sided p-value of a difference from 0; nan where the difference itself is undefined.

    Args:
        samples (`np.ndarray` of shape `(1 + num_resamples,)`): The difference in the data as given and in each
            resample; those where it is nan are left out.
    """
    if np.isnan(samples[0]):
        return np.nan
    drawn = samples[1:][~np.isnan(samples[1:])]
    tail = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return min(1.0, 2 * (1 + tail) / (1 + len(drawn)))


def adjusted_p_values(p_values: ArrayLike, correction: str) -> np.ndarray:
    """Correct p-values for their number, those that are nan left out.

    Args:
        p_values (`ArrayLike` of shape `(num_tests,)`): In [0, 1].
        correction (`str`): `"none"`; `"bonferroni"` or `"holm"`, against any false finding among the tests;
            `"benjamini-hochberg"`, against too high a share of false findings.

    Returns:
        `np.ndarray` of the same shape, to be compared with the level that is wanted of all tests together.
    """
    values = np.asarray(p_values, dtype=np.float64)
    defined = ~np.isnan(values)
    adjusted = np.full(values.shape, np.nan)
    known = values[defined]
    if correction == "holm":
        order = np.argsort(known, kind="stable")
        factors = len(known) - np.arange(len(known))
        known[order] = np.minimum(np.maximum.accumulate(factors * known[order]), 1)
    elif correction == "bonferroni":
        known = np.minimum(len(known) * known, 1)
    elif correction == "benjamini-hochberg" and len(known):
        known = false_discovery_control(known, method="bh")
    adjusted[defined] = known
    return adjusted


def _difference(ours: np.ndarray, theirs: np.ndarray, confidence: float) -> dict[str, float | None]:
    change = ours - theirs
    return {
        "first": plain_number(ours[0]),
        "second": plain_number(theirs[0]),
        **sample_interval(change, confidence),
        "p_value": plain_number(bootstrap_p_value(change)),
    }


def _output_differences(
    ours: MetricSamples, theirs: MetricSamples, confidence: float, correction: str
) -> list[dict[str, float | None]]:
    pairs = zip(ours.per_output.T, theirs.per_output.T, strict=True)
    rows = [_difference(one, other, confidence) for one, other in pairs]
    adjusted = adjusted_p_values([np.nan if row["p_value"] is None else row["p_value"] for row in rows], correction)
    return [{**row, "adjusted_p_value": plain_number(value)} for row, value in zip(rows, adjusted, strict=True)]


def _start_rows(task: Task, targets: np.ndarray) -> list[dict[str, Any]]:
    if task.is_regression:
        return [{} for _ in task.output_names]
    num_positives = (label_columns(task, targets) == 1).sum(axis=0).tolist()
    return [{"num_positives": count, "few_positives": count < MIN_POSITIVES} for count in num_positives]


def _matching_order(first: Sequence[Any] | np.ndarray, second: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return where each record of the first stands in the second."""
    names, places = np.asarray(first).tolist(), {}
    for which, ids in (("first", names), ("second", np.asarray(second).tolist())):
        places = {name: index for index, name in enumerate(ids)}
        if len(places) < len(ids):
            raise ValueError(f"The {which} predictions hold {len(ids) - len(places)} records more than once.")
    lacking = [name for name in names if name not in places]
    added = sorted(set(places) - set(names))
    if lacking or added:
        raise ValueError(
            f"Both must predict the same records: {_shown(lacking)} are in the first only, "
            f"{_shown(added)} in the second only."
        )
    return np.array([places[name] for name in names], dtype=np.int64)


def _shown(names: Sequence[Any]) -> str:
    more = ", …" if len(names) > _NUM_SHOWN else ""
    return f"{len(names)} records ({', '.join(map(str, names[:_NUM_SHOWN]))}{more})" if names else "none"


def _check_same_targets(task: Task, first: RecordPredictions, second_targets: np.ndarray) -> None:
    ours = np.asarray(first.targets, dtype=np.float64)
    if ours.shape != second_targets.shape:
        raise ValueError(
            f"Task {task.name!r}: targets must be of one shape; got {ours.shape} and {second_targets.shape}."
        )
    theirs = np.asarray(second_targets, dtype=np.float64)
    differ = (ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs))
    names = np.asarray(first.ecg_ids)[differ.reshape(len(ours), -1).any(axis=1)].tolist()
    if names:
        raise ValueError(
            f"Task {task.name!r}: both must be scored on the same targets; those of {_shown(names)} differ."
        )
