"""Scores of cross-validation, from what each record's model predicted that had not seen it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from .bootstrap import Bootstrap
from .comparison import match_records
from .intervals import interval, plain_number
from .samples import headline_samples, why_no_intervals
from .scored import Scored


def cross_validated_scores(
    repeats: Sequence[Scored], folds: Sequence[ArrayLike], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Score out-of-fold predictions, pooled over the folds, with intervals over patients and over repeats.

    Two things make a cross-validated score vary: which patients there are, and how they were cut into folds and the
    models trained. The first is told by a bootstrap of patients, on the same resamples in all repeats, of the score's
    mean over repeats; the second by the standard deviation s of the score over R repeats, which puts s / sqrt(R) on
    the mean, with Student's quantile of R - 1 degrees of freedom. Both are put together side by side, as the method of
    variance estimates recovery does (Zou and Donner, 2008, doi 10.1002/sim.3095): an end lies the root of the sum of
    both squared distances from the score. The spread over folds alone is no such measure, as a fold is scored on few
    records: it is given beside.

    A single repeat tells nothing of the training's share: `repeat_sd` is None, and the interval is over patients only.

    Args:
        repeats (`Sequence[Scored]`): By repeat, all records with the prediction of the model that was not trained on
            them, with ids; the same records in each.
        folds (`Sequence[ArrayLike]`): By repeat, the fold of each record that its `Scored` was made of.
        bootstrap (`Bootstrap`): How intervals are made.

    Returns:
        `dict[str, Any]`, ready for JSON: `num_records`, alone if it is 0; `num_repeats`, `num_folds` and
            `resampled_by`; each metric (`macro_auroc`, `macro_auprc`, or `mae`, `rmse` and `r2`) as `point`, `lower`
            and `upper` (see `interval`), `repeat_sd`, and `fold_mean` and `fold_sd` over all folds of all repeats;
            and `per_label` (a regression: `per_output`), from a label to the same without the folds' values.

    Raises:
        ValueError: if there is no repeat, there is not one set of folds per repeat, or repeats differ in their
            records or targets.
    """
    if not repeats or len(repeats) != len(folds):
        raise ValueError(f"Need folds for each of one or more repeats; got {len(repeats)} and {len(folds)}.")
    matched = [match_records(repeats[0], repeat) for repeat in repeats]
    if not len(repeats[0]):
        return {"num_records": 0}
    task, resamples = repeats[0].task, bootstrap.resamples(repeats[0])
    samples = [headline_samples(repeat, resamples) for repeat in matched]
    by_fold = _fold_scores(repeats, folds)
    reason, reasons = why_no_intervals(repeats[0], resamples)
    result: dict[str, Any] = {
        "num_records": len(repeats[0]),
        "num_repeats": len(repeats),
        "num_folds": len(by_fold) // len(repeats),
        "resampled_by": resamples.resampled_by,
    }
    rows: list[dict[str, Any]] = [{} for _ in task.output_names]
    for metric in samples[0]:
        overall = np.stack([each[metric].overall for each in samples])
        per_fold = np.array([fold[metric] for fold in by_fold])
        result[metric] = {
            **_interval(overall, bootstrap.confidence, reason),
            "fold_mean": plain_number(np.mean(per_fold)),
            "fold_sd": plain_number(np.std(per_fold, ddof=1)) if len(per_fold) > 1 else None,
        }
        per_output = np.stack([each[metric].per_output for each in samples])
        for index, row in enumerate(rows):
            own = _interval(per_output[:, :, index], bootstrap.confidence, reasons[index])
            row[metric.removeprefix("macro_")] = own
    result["per_output" if task.is_regression else "per_label"] = dict(zip(task.output_names, rows, strict=True))
    return result


def _interval(samples: np.ndarray, confidence: float, reason: str) -> dict[str, Any]:
    """Return a score's mean over repeats with its interval; `samples` have the repeats along their first axis."""
    whole = interval(samples.mean(axis=0), confidence, reason)
    spread = np.std(samples[:, 0], ddof=1) if len(samples) > 1 else np.nan
    if whole["lower"] is not None and np.isfinite(spread):
        reach = student.ppf((1 + confidence) / 2, len(samples) - 1) * spread / np.sqrt(len(samples))
        below, above = whole["point"] - whole["lower"], whole["upper"] - whole["point"]
        whole["lower"] = float(whole["point"] - np.hypot(max(below, 0), reach))
        whole["upper"] = float(whole["point"] + np.hypot(max(above, 0), reach))
    return {**whole, "repeat_sd": plain_number(spread)}


def _fold_scores(repeats: Sequence[Scored], folds: Sequence[ArrayLike]) -> list[dict[str, float]]:
    """Return the metrics of each fold of each repeat; those of one that has none of them are nan."""
    scores = []
    for repeat, fold_of in zip(repeats, folds, strict=True):
        numbers = repeat.of_given("folds", fold_of)
        for fold in np.unique(numbers):
            part = repeat.within(numbers == fold)
            samples = headline_samples(part, Bootstrap(num_resamples=1).resamples(part))
            scores.append({metric: float(values.overall[0]) for metric, values in samples.items()})
    return scores
