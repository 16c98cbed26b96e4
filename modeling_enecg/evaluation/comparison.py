"""Paired comparison of two models on the same records."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from .bootstrap import Bootstrap
from .intervals import difference_interval, plain_number
from .metrics import is_few
from .samples import headline_samples, why_no_intervals
from .scored import Scored

CORRECTIONS = ("none", "bonferroni", "holm", "benjamini-hochberg")
_NUM_SHOWN = 5  # records that an error names


def compare_predictions(
    first: Scored, second: Scored, bootstrap: Bootstrap, correction: str = "holm"
) -> dict[str, Any]:
    """Compare two models on the records of a task: first minus second, with paired bootstrap intervals.

    Both are scored on the same resamples. The two-sided p-value of a difference is twice the smaller share of the
    resamples in which it is at most 0, or at least 0, where the data as given count as one more resample: it is below
    1 - confidence about where the interval leaves 0 out, and never below 2 / (num_resamples + 1). To call one of 71
    labels different at 5 % after a Bonferroni or Holm correction takes 2839 resamples or more.

    The correction is over the labels (or outputs) of one metric; intervals and the macro means' p-values are not
    corrected.

    Args:
        first (`Scored`): One model's records, with their ids.
        second (`Scored`): The other's: the same task, and the same records with the same targets, in any order. Either
            may have been made of more records, that have no targets.
        bootstrap (`Bootstrap`): How intervals are made; patients are those of `first`.
        correction (`str`, *optional*, defaults to `"holm"`): Of `CORRECTIONS`.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`, `num_resamples` and
            `correction`; each metric (`macro_auroc`, `macro_auprc`, or `mae`, `rmse` and `r2`) as `first`, `second`,
            `point` (first minus second), `lower`, `upper` and `p_value`, None where undefined, or where no interval
            can be told (see `interval`); and `per_label` (a regression: `per_output`), from a label to the same of
            `auroc` and `auprc` (`mae`, `rmse`, `r2`) with `adjusted_p_value`, and for a classification
            `num_positives` and `few_positives`.

    Raises:
        ValueError: if the records have no ids, they or their targets differ, a record occurs twice, or the correction
            is unknown.
    """
    if correction not in CORRECTIONS:
        raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}; got {correction!r}.")
    second = match_records(first, second)
    if not len(first):
        return {"num_records": 0}
    task, confidence, resamples = first.task, bootstrap.confidence, bootstrap.resamples(first)
    ours, theirs = headline_samples(first, resamples), headline_samples(second, resamples)
    reason, reasons = why_no_intervals(first, resamples)
    result: dict[str, Any] = {
        "num_records": len(first),
        "resampled_by": resamples.resampled_by,
        "num_resamples": bootstrap.num_resamples,
        "correction": correction,
    }
    rows = _start_rows(first)
    for metric, samples in ours.items():
        result[metric] = _difference(samples.overall, theirs[metric].overall, confidence, reason)
        pairs = zip(samples.per_output.T, theirs[metric].per_output.T, reasons, strict=True)
        differences = [_difference(one, other, confidence, why) for one, other, why in pairs]
        p_values = [np.nan if row["p_value"] is None else row["p_value"] for row in differences]
        adjusted = adjusted_p_values(p_values, correction)
        for row, values, p_value in zip(rows, differences, adjusted, strict=True):
            row[metric.removeprefix("macro_")] = {**values, "adjusted_p_value": plain_number(p_value)}
    result["per_output" if task.is_regression else "per_label"] = dict(zip(task.output_names, rows, strict=True))
    return result


def compare_over_runs(
    first: Sequence[Scored], second: Sequence[Scored], bootstrap: Bootstrap
) -> dict[str, dict[str, float | None]]:
    """Compare two ways of training on the same records, each by its mean score over several runs: first minus second.

    A resample draws patients, the same for all runs, so that the interval tells what other patients would change. What
    other seeds would change it does not tell: the mean is over those that were run.

    Args:
        first (`Sequence[Scored]`): The runs of one way, such as one per seed.
        second (`Sequence[Scored]`): Those of the other: the same task and records, in any order.
        bootstrap (`Bootstrap`): How intervals are made; patients are those of the first run.

    Returns:
        `dict[str, dict]`: By metric, as of `compare_predictions`, `point`, `lower` and `upper`.

    Raises:
        ValueError: as `compare_predictions` does.
    """
    base = first[0]
    resamples = bootstrap.resamples(base)
    reason, _ = why_no_intervals(base, resamples)

    def means(several: Sequence[Scored]) -> dict[str, np.ndarray]:
        samples = [headline_samples(match_records(base, each), resamples) for each in several]
        return {metric: np.mean([each[metric].overall for each in samples], axis=0) for metric in samples[0]}

    ours, theirs = means(first), means(second)
    return {
        metric: difference_interval(ours[metric] - theirs[metric], bootstrap.confidence, reason) for metric in ours
    }


def match_records(first: Scored, second: Scored) -> Scored:
    """Return the second's records in the order of the first's.

    Raises:
        ValueError: if one has no ids, a record occurs twice, or records or targets differ.
    """
    matched = second.within(_matching_order(_ids("first", first), _ids("second", second)))
    if len(first):
        _check_same_targets(first, matched)
    return matched


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


def _difference(ours: np.ndarray, theirs: np.ndarray, confidence: float, reason: str) -> dict[str, Any]:
    change = ours - theirs
    return {
        "first": plain_number(ours[0]),
        "second": plain_number(theirs[0]),
        **difference_interval(change, confidence, reason),
        "p_value": None if reason else plain_number(bootstrap_p_value(change)),
    }


def _start_rows(scored: Scored) -> list[dict[str, Any]]:
    if scored.task.is_regression:
        return [{} for _ in scored.task.output_names]
    num_positives = scored.is_positive.sum(axis=0).tolist()
    return [{"num_positives": count, "few_positives": is_few(count)} for count in num_positives]


def _ids(which: str, scored: Scored) -> np.ndarray:
    if scored.ids is None:
        raise ValueError(f"The {which} predictions have no ids, by which records are matched; give `Scored` ids.")
    return scored.ids


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
            f"Both must predict the same records of the task: {_shown(lacking)} are in the first only, "
            f"{_shown(added)} in the second only."
        )
    return np.array([places[name] for name in names], dtype=np.int64)


def _shown(names: Sequence[Any]) -> str:
    more = ", …" if len(names) > _NUM_SHOWN else ""
    return f"{len(names)} records ({', '.join(map(str, names[:_NUM_SHOWN]))}{more})" if names else "none"


def _check_same_targets(first: Scored, second: Scored) -> None:
    differ = (first.targets != second.targets).reshape(len(first), -1).any(axis=1)
    names = [] if first.ids is None else first.ids[differ].tolist()
    if names:
        shown = _shown(names)
        raise ValueError(
            f"Task {first.task.name!r}: both must be scored on the same targets; those of {shown} differ."
        )
