import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored
from modeling_enecg.evaluation.conformal import (
    class_bound,
    conformal_quantile,
    conformal_scores,
    half_widths,
    label_bounds,
)

FINDINGS = Task("findings", "multi_label_classification", ["frequent", "rare"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression", unit="years")
TASKS = pytest.mark.parametrize("task", [FINDINGS, RHYTHM, AGE], ids=lambda task: task.name)


def records(task, num_records, rng):
    """Records of a model that is too sure of itself."""
    logits = rng.normal(0, 2, size=(num_records, task.num_outputs))
    if task is AGE:
        return Scored(task, logits[:, 0] + rng.standard_t(3, size=num_records), logits)
    if task is RHYTHM:
        drawn = rng.random((num_records, 1)) > softmax(logits / 2, axis=1).cumsum(axis=1)
        return Scored(task, drawn.sum(axis=1).clip(max=2), softmax(logits, axis=1))
    return Scored(task, (rng.random(logits.shape) < expit(logits / 2 - [0, 2])).astype(float), expit(logits))


@pytest.mark.parametrize(
    ("num_scores", "coverage", "expected"),
    [
        (9, 0.9, 9),
        (10, 0.9, 10),
        (19, 0.9, 18),
        (99, 0.95, 95),
        (8, 0.9, np.inf),
        (18, 0.95, np.inf),
        (0, 0.5, np.inf),
    ],
)
def test_the_quantile_is_that_of_finite_samples(num_scores, coverage, expected):
    assert conformal_quantile(np.random.default_rng(0).permutation(num_scores) + 1, coverage) == expected


def test_a_coverage_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"coverage must be between 0 and 1.*got 90"):
        conformal_quantile([1.0], 90)


@TASKS
def test_the_wanted_coverage_is_reached_on_average_over_validation_sets(task):
    rng = np.random.default_rng(1)
    test, covered = records(task, 4000, rng), []
    for _ in range(150):
        validation = records(task, 60, rng)
        if task is AGE:
            truth, predicted = test.columns[0]
            covered.append(np.mean(np.abs(truth - predicted) <= half_widths(validation, 0.8)[0]))
        elif task is RHYTHM:
            covered.append(np.mean(test.outputs[test.is_positive] >= class_bound(validation, 0.8)))
        else:
            low, high = label_bounds(validation, 0.8)
            columns = zip(test.is_positive.T, test.outputs.T, low, high, strict=True)
            covered.append(
                [(np.mean(p[y] >= yes), np.mean(p[~y] <= no)) for y, p, yes, no in columns]  # of each class alone
            )
    shares = np.mean(covered, axis=0)
    assert (shares > 0.79).all()
    assert (shares < 0.8 + 1.5 / 61 if task is not FINDINGS else shares < 1).all()


@TASKS
def test_what_is_measured_is_the_share_of_the_test_records_and_legal_json(task):
    rng = np.random.default_rng(2)
    validation, test = records(task, 300, rng), records(task, 200, rng)
    result = conformal_scores(validation, test, Bootstrap(20), 0.9)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["coverage"], result["num_validation"]) == (0.9, 300)
    if task is AGE:
        row = result["per_output"]["age"]
        expected = np.mean(np.abs(test.targets - test.outputs[:, 0]) <= row["half_width"])
        assert row["covered"]["point"] == pytest.approx(expected)
    elif task is RHYTHM:
        chosen = test.outputs >= result["bound"]
        assert result["covered"]["point"] == pytest.approx(chosen[np.arange(200), test.targets].mean())
        assert result["single"]["point"] == pytest.approx(np.mean(chosen.sum(axis=1) == 1))
    else:
        row, values, is_positive = result["per_label"]["rare"], test.outputs[:, 1], test.is_positive[:, 1]
        assert row["covered_positives"]["point"] == pytest.approx(np.mean(values[is_positive] >= row["present_from"]))
        assert row["covered_negatives"]["point"] == pytest.approx(np.mean(values[~is_positive] <= row["absent_up_to"]))
        assert 0 < row["decided"]["point"] < 1


def test_too_few_validation_records_promise_nothing_and_exclude_nothing():
    rng = np.random.default_rng(3)
    result = conformal_scores(records(AGE, 5, rng), records(AGE, 50, rng), Bootstrap(20), 0.9)["per_output"]["age"]
    assert (result["half_width"], result["covered"]["point"]) == (None, 1)
