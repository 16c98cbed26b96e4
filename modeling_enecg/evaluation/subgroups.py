"""A task's scores within groups of records, by sex, age, device, site or any other column."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..configuration_enecg import Task
from .metrics import MIN_POSITIVES, defined_mean
from .records import chosen_patients, has_targets, label_columns, with_targets
from .resampling import draw_resamples, number_patients
from .samples import MetricSamples, headline_samples, sample_interval

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


def score_subgroups(
    task: Task,
    targets: np.ndarray,
    outputs: np.ndarray,
    groups: ArrayLike,
    num_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    patients: ArrayLike | None = None,
) -> dict[str, Any]:
    """Score a task within each group of records, and against all other records.

    All records are resampled together, and each resample is cut into its groups. A patient with records in two groups
    is thus drawn into both or neither, and the interval of a difference knows of it.

    The difference of a macro mean is over the labels that are defined in the group and in the rest, in each resample:
    else a group that lacks the difficult labels would look better for it.

    Args:
        task (`Task`): The task.
        targets (`np.ndarray`): Its labels as in `task_loss`; records without are left out.
        outputs (`np.ndarray` of shape `(num_records, num_outputs)`): Probabilities, or a regression's values.
        groups (`ArrayLike` of shape `(num_records,)`): Each record's group, a text or number; None and nan are
            `"unknown"`.
        num_resamples (`int`, *optional*, defaults to 1000): Bootstrap resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, as in `draw_resamples`;
            patients are drawn instead of records if one of them has several.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `resampled_by`; and `groups`, numbers by
            size before names, from a group to `num_records`, `num_patients` (None without patients), `few_records`
            (whether these are fewer than `MIN_RECORDS`), each metric (`macro_auroc`, `macro_auprc`, or `mae`, `rmse`
            and `r2`) and `minus_rest`, the same metrics' difference to all other records, as `point`, `lower` and
            `upper` (None where undefined); and for a classification `per_label`, from a label to `num_positives`,
            `few_positives`, `auroc` and `auprc`.

    Raises:
        ValueError: if there is not one group a record, or as `evaluate_task` does.
    """
    given = has_targets(task, targets)
    names = _group_names(groups, given)
    targets, outputs, patients = with_targets(task, targets, outputs, patients)
    if not len(targets):
        return {"num_records": 0}
    resamples = draw_resamples(len(targets), num_resamples, seed, patients)

    def samples(chosen: np.ndarray) -> dict[str, MetricSamples]:
        return headline_samples(task, targets[chosen], outputs[chosen], resamples.within(chosen))

    rows = {}
    for name in sorted(set(names.tolist()), key=_rank):
        chosen = names == name
        inside, rest = samples(chosen), samples(~chosen)
        rows[name] = {
            **_counts(chosen, patients),
            **{metric: sample_interval(values.overall, confidence) for metric, values in inside.items()},
            "minus_rest": {
                metric: sample_interval(_mean_difference(inside[metric], rest[metric]), confidence)
                for metric in inside
            },
        }
        if not task.is_regression:
            rows[name]["per_label"] = _label_rows(task, targets[chosen], inside, confidence)
    return {"num_records": len(targets), "resampled_by": resamples.resampled_by, "groups": rows}


def _decade(age: float) -> str:
    if np.isnan(age):
        return UNKNOWN
    start = 10 * int(age // 10)
    return f"{start}-{start + 9}" if start < OLDEST else f"{OLDEST}+"


def _group_names(groups: ArrayLike, given: np.ndarray) -> np.ndarray:
    """Return the names of the groups of the records that are given, whole numbers without a fraction."""
    values = np.asarray(groups)
    if values.shape != given.shape:
        raise ValueError(f"groups must be of shape (num_records,), here {given.shape}; got {values.shape}.")
    return np.array([_group_name(value) for value in values[given].tolist()], dtype=object)


def _group_name(value: Any) -> str:
    if value is None or value != value:
        return UNKNOWN
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _rank(name: str) -> tuple[float, str]:
    return (int(name) if name.isdecimal() else np.inf), name


def _counts(chosen: np.ndarray, patients: np.ndarray | None) -> dict[str, Any]:
    num_records = int(np.count_nonzero(chosen))
    names = chosen_patients(patients, chosen)
    num_patients = None if names is None else int(number_patients(names, num_records).max(initial=-1)) + 1
    return {"num_records": num_records, "num_patients": num_patients, "few_records": num_records < MIN_RECORDS}


def _mean_difference(inside: MetricSamples, rest: MetricSamples) -> np.ndarray:
    """Return a metric's difference, averaged over the outputs that both have, of shape `(1 + num_resamples,)`."""
    return defined_mean(inside.per_output - rest.per_output, axis=1)


def _label_rows(
    task: Task, targets: np.ndarray, samples: dict[str, MetricSamples], confidence: float
) -> dict[str, dict[str, Any]]:
    num_positives = (label_columns(task, targets) == 1).sum(axis=0).tolist()
    return {
        label: {
            "num_positives": num_positives[index],
            "few_positives": num_positives[index] < MIN_POSITIVES,
            **{
                metric.removeprefix("macro_"): sample_interval(values.per_output[:, index], confidence)
                for metric, values in samples.items()
            },
        }
        for index, label in enumerate(task.labels)
    }
