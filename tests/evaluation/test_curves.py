import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from modeling_enecg.evaluation.bootstrap import draw_resamples
from modeling_enecg.evaluation.curves import (
    net_benefit,
    precision_recall_band,
    precision_recall_curve,
    roc_band,
    roc_curve,
)


def example(decimals=1):
    rng = np.random.default_rng(0)
    is_positive = rng.random(200) < 0.3
    return is_positive, np.clip(rng.normal(0.3 + 0.3 * is_positive, 0.2), 0, 1).round(decimals)


@pytest.mark.parametrize("decimals", [1, 8])
def test_the_roc_curve_is_scikit_learns(decimals):
    is_positive, scores = example(decimals)
    expected = sklearn_metrics.roc_curve(is_positive, scores, drop_intermediate=False)[:2]
    np.testing.assert_allclose(np.transpose(roc_curve(is_positive, scores)), np.transpose(expected))
    area = np.trapezoid(*reversed(roc_curve(is_positive, scores)))
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(is_positive, scores))


@pytest.mark.parametrize("decimals", [1, 8])
def test_the_steps_below_precision_over_recall_hold_the_average_precision(decimals):
    is_positive, scores = example(decimals)
    recall, precision = precision_recall_curve(is_positive, scores)
    area = np.sum(np.diff(recall) * precision[1:])
    assert area == pytest.approx(sklearn_metrics.average_precision_score(is_positive, scores))


def test_net_benefit_by_hand():
    """At 20 %, where four needless acts are as bad as an omission: two found and two needless of ten records."""
    is_positive = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    probabilities = np.array([0.9, 0.2, 0.1, 0.8, 0.3, 0, 0, 0, 0, 0])
    assert net_benefit(is_positive, probabilities, [0.2]) == pytest.approx([(2 - 2 / 4) / 10])
    assert net_benefit(is_positive, np.ones(10), [0.2]) == pytest.approx([(3 - 7 / 4) / 10])
    assert net_benefit(is_positive, np.zeros(10), [0.2]) == [0]


@pytest.mark.parametrize("decimals", [1, 8])
def test_bands_hold_what_the_curves_of_drawn_records_are(decimals):
    is_positive, scores = example(decimals)
    resamples = draw_resamples(200, 40)
    drawn = [(is_positive[records], scores[records]) for records in resamples.records]
    counts = resamples.counts[1:]

    band = roc_band(is_positive, scores, counts, 0.9)
    inner = slice(1, -1)  # at the ends of vertical steps `interp` may take either end
    curves = []
    for each in drawn:
        x, y = roc_curve(*each)
        curves.append([np.interp(at, x, y) if at not in x else y[x == at].max() for at in band.at])
    lower, upper = np.quantile(curves, (0.05, 0.95), axis=0)
    np.testing.assert_allclose(band.lower[inner], lower[inner], atol=1e-9)
    np.testing.assert_allclose(band.upper[inner], upper[inner], atol=1e-9)

    band = precision_recall_band(is_positive, scores, counts, 0.9)
    curves = []
    for each in drawn:
        recall, precision = precision_recall_curve(*each)
        curves.append([precision[np.flatnonzero(recall[1:] >= at - 1e-9)[0] + 1] for at in band.at])
    lower, upper = np.quantile(curves, (0.05, 0.95), axis=0)
    np.testing.assert_allclose(band.lower, lower)
    np.testing.assert_allclose(band.upper, upper)


def test_resamples_without_both_classes_have_no_curve():
    counts = np.array([[1, 1, 0, 0], [0, 0, 2, 1], [1, 1, 1, 1]])
    band = roc_band([True, True, False, False], [0.9, 0.8, 0.2, 0.1], counts)
    assert band.lower.tolist() == band.upper.tolist() == [1] * len(band.at)
    with pytest.raises(ValueError, match="both classes"):
        roc_band([True, True, False, False], [0.9, 0.8, 0.2, 0.1], counts[:2])
