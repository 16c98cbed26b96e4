"""A task's scores within groups of records, by sex, age, device, site or any other column."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import Bootstrap, Resamples
from .intervals import defined_mean, difference_interval, interval
from .metrics import is_few
from .samples import MetricSamples, headline_samples, why_no_intervals
from .scored import Scored

MIN_RECORDS = 30  # a group with fewer is marked: its scores say little
UNKNOWN = "unknown"
GROUPS = {"sex": "sex", "age": "age decade", "device": "device", "site": "site"}  # from a column to what it tells
OLDEST = 90  # from which decades are one group: PTB-XL withholds ages over 89


def age_decades(ages: ArrayLike) -> list[str]:
    """Return each record's group by age: `"0-9"`, `"10-19"`, ..., `"80-89"`, `"90+"`, or `"unknown"`.

    Args:
        ages (`ArrayLike` of shape `(num_records,)`): In years, None or nan where not known.

    Raises:
        ValueError: if an age is negative.
    """
    years = np.asarray(ages, dtype=np.float64)
    if np.any(years < 0):
        raise ValueError(f"ages must not be negative; got {years.min()}.")
    return [_decade(age) for age in years.tolist()]


def score_subgroups(scored: Scored, groups: ArrayLike, bootstrap: Bootstrap) -> dict[str, Any]:
    """Score a task within each group of records, and against all other records.

    All records are resampled together, and each resample is cut into its groups. A patient with records in two groups
    is thus drawn into both or neither, and the interval of a difference knows of it.

    The difference of a macro mean is over the labels that are defined in the group and in the rest, in each resample:
    else a group that lacks the difficult labels would look better for it.

    Args:
        scored (`Scored`): The records.
        groups (`ArrayLike` of shape `(num_records,)`): The group of each record that `scored` was made of, a text or
            number; None and nan are `"unknown"`.
        bootstrap (`Bootstrap`): How intervals are made.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; and `groups`, numbers by
            size before names, from a group to `num_records`, `num_patients` (None without patients), `few_records`
            (whether these are fewer than `MIN_RECORDS`), each metric (`macro_auroc`, `macro_auprc`, or `mae`, `rmse`
            and `r2`) and `minus_rest`, the same metrics' difference to all other records, as `point`, `lower` and
            `upper` (None where undefined, and see `interval`); and for a classification `per_label`, from a label to
            `num_positives`, `few_positives`, `auroc` and `auprc`.

    Raises:
        ValueError: if there is not one group per record.
    """
    names = _group_names(scored, groups)
    if not len(scored):
        return {"num_records": 0}
    resamples = bootstrap.resamples(scored)
    rows = {name: _group_row(scored, names == name, resamples, bootstrap) for name in sorted(set(names), key=_rank)}
    return {"num_records": len(scored), "resampled_by": resamples.resampled_by, "groups": rows}


def _group_row(scored: Scored, chosen: np.ndarray, resamples: Resamples, bootstrap: Bootstrap) -> dict[str, Any]:
    own, own_resamples, confidence = scored.within(chosen), resamples.within(chosen), bootstrap.confidence
    rest, rest_resamples = scored.within(~chosen), resamples.within(~chosen)
    inside, outside = headline_samples(own, own_resamples), headline_samples(rest, rest_resamples)
    (reason, reasons), (rest_reason, _) = why_no_intervals(own, own_resamples), why_no_intervals(rest, rest_resamples)
    row = {
        "num_records": len(own),
        "num_patients": None if own.patient_numbers is None else len(np.unique(own.patient_numbers)),
        "few_records": len(own) < MIN_RECORDS,
        **{metric: interval(values.overall, confidence, reason) for metric, values in inside.items()},
        "minus_rest": {
            metric: difference_interval(_mean_difference(values, outside[metric]), confidence, reason or rest_reason)
            for metric, values in inside.items()
        },
    }
    if not scored.task.is_regression:
        row["per_label"] = {
            label: {
                "num_positives": int(own.is_positive[:, index].sum()),
                "few_positives": is_few(own.is_positive[:, index].sum()),
                **{
                    metric.removeprefix("macro_"): interval(values.per_output[:, index], confidence, reasons[index])
                    for metric, values in inside.items()
                },
            }
            for index, label in enumerate(scored.task.labels)
        }
    return row


def _decade(age: float) -> str:
    if np.isnan(age):
        return UNKNOWN
    start = 10 * int(age // 10)
    return f"{start}-{start + 9}" if start < OLDEST else f"{OLDEST}+"


def _group_names(scored: Scored, groups: ArrayLike) -> np.ndarray:
    """Return the names of the scored records' groups, whole numbers without a fraction."""
    values = scored.of_given("groups", groups)
    return np.array([_group_name(value) for value in values.tolist()], dtype=object)


def _group_name(value: Any) -> str:
    if value is None or value != value:
        return UNKNOWN
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _rank(name: str) -> tuple[float, str]:
    return (int(name) if name.isdecimal() else np.inf), name


def _mean_difference(inside: MetricSamples, rest: MetricSamples) -> np.ndarray:
    """Return a metric's difference, averaged over the outputs that both have, of shape `(1 + num_resamples,)`."""
    return defined_mean(inside.per_output - rest.per_output, axis=1)
