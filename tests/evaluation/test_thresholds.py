import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from modeling_enecg.evaluation.thresholds import (
    LEAST_POSITIVES,
    f1_thresholds,
    sensitivity_thresholds,
    specificity_thresholds,
)


def example(num_records=80, decimals=2):
    """Targets, and probabilities of which some are equal."""
    rng = np.random.default_rng(0)
    targets = (rng.random((num_records, 3)) < [0.5, 0.2, 0.05]).astype(int)
    targets[0] = 1
    return targets, np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1).round(decimals)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_no_other_threshold_has_a_higher_f1(decimals):
    targets, probabilities = example(decimals=decimals)
    for label, threshold in enumerate(f1_thresholds(targets, probabilities)):
        truth, scores = targets[:, label], probabilities[:, label]
        by_threshold = {each: f1_score(truth, scores >= each) for each in np.unique(scores)}
        best = max(by_threshold.values())
        assert f1_score(truth, scores >= threshold) == pytest.approx(best, abs=1e-12)
        highest = max(each for each, f1 in by_threshold.items() if f1 == pytest.approx(best, abs=1e-12))
        assert scores[scores >= threshold].min() == highest


def test_a_label_without_a_positive_keeps_a_half():
    targets, probabilities = example()
    targets[:, 1] = 0
    assert f1_thresholds(targets, probabilities)[1] == 0.5


def test_a_label_of_few_positives_keeps_a_half_where_a_model_decides_by_it():
    targets, probabilities = np.zeros((40, 1)), np.linspace(0, 0.2, 40)[:, None]
    for number, is_chosen in ((LEAST_POSITIVES - 1, False), (LEAST_POSITIVES, True)):
        targets[:number] = 1
        assert (f1_thresholds(targets, probabilities, LEAST_POSITIVES)[0] != 0.5) == is_chosen
        assert f1_thresholds(targets, probabilities)[0] != 0.5


def test_a_record_of_the_same_probability_as_the_threshold_counts_as_present():
    assert f1_thresholds([[0], [1], [1]], [[0.1], [0.7], [0.7]]) == pytest.approx([0.4])


@pytest.mark.parametrize("centre", [1e-6, 0.5, 1 - 1e-6])
def test_decisions_hold_where_scores_are_computed_anew_in_single_precision(centre):
    """Of scores that rounding could exchange none is decided apart from the other."""
    rng = np.random.default_rng(0)
    targets = rng.random((400, 1)) < 0.3
    spread = 0.5 * min(centre, 1 - centre)
    scores = centre + spread * rng.normal(0.3 * targets, 0.3).clip(-1, 1)
    scores[:50] = scores[0] * (1 + 1e-7 * rng.random((50, 1)))
    thresholds = [
        *f1_thresholds(targets, scores),
        *sensitivity_thresholds(targets, scores, 0.8),
        *specificity_thresholds(targets, scores, 0.8),
    ]
    anew = scores.astype(np.float32).astype(np.float64)
    for threshold in thresholds:
        np.testing.assert_array_equal(anew >= json.loads(json.dumps(threshold)), scores >= threshold)


def test_a_threshold_of_the_lowest_score_lies_halfway_to_zero_and_one_beyond_all_halfway_to_one():
    assert f1_thresholds([[1], [1]], [[0.2], [0.3]]) == pytest.approx([0.1])
    assert specificity_thresholds([[0], [1]], [[0.9], [0.2]], 1.0) == pytest.approx([0.95])
    assert specificity_thresholds([[0], [1]], [[1.0], [0.2]], 1.0)[0] > 1
    assert f1_thresholds([[1], [1]], [[0.0], [0.0]]) == [0.0]


@pytest.mark.parametrize(("targets", "probabilities"), [([[1]], [[0.5, 0.5]]), ([1], [0.5]), ([[1]], [[np.nan]])])
def test_what_does_not_fit_is_refused(targets, probabilities):
    with pytest.raises(ValueError, match=r"shape|finite"):
        f1_thresholds(targets, probabilities)
