import numpy as np
import pytest
from sklearn.metrics import f1_score

from modeling_enecg.evaluation.thresholds import f1_thresholds


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
        assert by_threshold[threshold] == pytest.approx(best, abs=1e-12)
        assert threshold == max(each for each, f1 in by_threshold.items() if f1 == pytest.approx(best, abs=1e-12))


def test_a_label_without_a_positive_keeps_a_half():
    targets, probabilities = example()
    targets[:, 1] = 0
    assert f1_thresholds(targets, probabilities)[1] == 0.5


def test_a_record_of_the_same_probability_as_the_threshold_counts_as_present():
    assert f1_thresholds([[0], [1], [1]], [[0.1], [0.7], [0.7]]) == [0.7]


@pytest.mark.parametrize(("targets", "probabilities"), [([[1]], [[0.5, 0.5]]), ([1], [0.5]), ([[1]], [[np.nan]])])
def test_what_does_not_fit_is_refused(targets, probabilities):
    with pytest.raises(ValueError, match=r"shape|finite"):
        f1_thresholds(targets, probabilities)
