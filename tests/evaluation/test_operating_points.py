import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, singlelabel_scores
from modeling_enecg.evaluation import operating_points as points
from modeling_enecg.evaluation.bootstrap import draw_resamples
from modeling_enecg.evaluation.metrics import METRICS
from modeling_enecg.evaluation.rates import count_decisions
from modeling_enecg.evaluation.thresholds import f1_thresholds, sensitivity_thresholds, specificity_thresholds

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression")
THRESHOLDS = [0.5, 0.4, 0.3]
RATES = ("f1", "sensitivity", "specificity", "ppv", "npv")


def operating_points(task, targets, probabilities, thresholds=None, patients=None, **options):
    return points.operating_points(Scored(task, targets, probabilities, patients), Bootstrap(**options), thresholds)


def findings(num_records=300, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_records, 3)) < [0.5, 0.3, 0.1]).astype(np.float32)
    return targets, np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1).round(2)


def rhythms(num_records=300, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(3, size=num_records)
    return targets, 0.6 * rng.dirichlet(np.ones(3), num_records) + 0.4 * np.eye(3)[targets]


def sklearn_rates(target, decision):
    return {
        "f1": sklearn_metrics.f1_score(target, decision),
        "sensitivity": sklearn_metrics.recall_score(target, decision),
        "specificity": sklearn_metrics.recall_score(target, decision, pos_label=0),
        "ppv": sklearn_metrics.precision_score(target, decision),
        "npv": sklearn_metrics.precision_score(target, decision, pos_label=0),
    }


def test_rates_by_hand():
    """Of three positives two are found, of five negatives one is mistaken."""
    targets = np.array([1, 1, 1, 0, 0, 0, 0, 0])[:, None]
    probabilities = np.array([0.9, 0.5, 0.2, 0.7, 0.4, 0.3, 0.1, 0.0])[:, None]
    task = Task("findings", "multi_label_classification", ["MI"])
    row = operating_points(task, targets, probabilities, [0.5], num_resamples=2)["per_label"]["MI"]
    counts = ("true_positives", "false_positives", "false_negatives", "true_negatives", "num_positives")
    assert [row[name] for name in counts] == [2, 1, 1, 4, 3]
    assert row["few_positives"] is True
    assert row["threshold"] == 0.5
    assert [row[name]["point"] for name in RATES] == pytest.approx([4 / 6, 2 / 3, 4 / 5, 2 / 3, 4 / 5])


def test_rates_equal_scikit_learn_and_macro_rates_are_their_means():
    targets, probabilities = findings()
    scores = operating_points(FINDINGS, targets, probabilities, THRESHOLDS, num_resamples=2)
    expected = [sklearn_rates(targets[:, i], probabilities[:, i] >= THRESHOLDS[i]) for i in range(3)]
    for label, rates in zip(FINDINGS.labels, expected, strict=True):
        assert {name: scores["per_label"][label][name]["point"] for name in RATES} == pytest.approx(rates)
    for name in RATES:
        assert scores[f"macro_{name}"]["point"] == pytest.approx(np.mean([rates[name] for rates in expected]))


def test_resampled_rates_equal_a_loop_over_scikit_learn():
    targets, probabilities = findings()
    patients = np.arange(300) // 3
    resamples = draw_resamples(300, 30, patients=patients)
    counts = count_decisions(targets == 1, probabilities >= THRESHOLDS, resamples.counts)
    rates = {name: METRICS[name].compute(counts) for name in RATES}
    for index, rows in enumerate(resamples.records, start=1):
        for label, threshold in enumerate(THRESHOLDS):
            expected = sklearn_rates(targets[rows, label], probabilities[rows, label] >= threshold)
            assert {name: rates[name][index, label] for name in RATES} == pytest.approx(expected, abs=1e-12)
    scores = operating_points(
        FINDINGS, targets, probabilities, THRESHOLDS, num_resamples=30, confidence=0.8, patients=patients
    )
    interval = scores["per_label"]["CD"]["sensitivity"]
    lower, upper = np.quantile(rates["sensitivity"][1:, 2], [0.1, 0.9])
    assert (interval["lower"], interval["upper"], scores["resampled_by"]) == (lower, upper, "patient")


def test_a_single_label_task_has_a_confusion_and_the_rates_of_its_highest_probability():
    targets, probabilities = rhythms()
    scores = operating_points(RHYTHM, targets, probabilities, num_resamples=2)
    guesses = probabilities.argmax(axis=1)
    assert scores["confusion"] == sklearn_metrics.confusion_matrix(targets, guesses).tolist()
    for index, label in enumerate(RHYTHM.labels):
        own = {name: scores["per_label"][label][name]["point"] for name in RATES}
        assert own == pytest.approx(sklearn_rates(targets == index, guesses == index))
    assert scores["macro_f1"]["point"] == pytest.approx(singlelabel_scores(targets, probabilities)["macro_f1"])


def test_a_rate_whose_denominator_is_zero_is_none_and_left_out_of_the_mean():
    targets, probabilities = findings()
    targets[:, 1], thresholds = 0, [0.5, 2.0, 0.3]
    scores = operating_points(FINDINGS, targets, probabilities, thresholds, num_resamples=10)
    nothing = {"point": None, "lower": None, "upper": None}
    row = scores["per_label"]["HYP"]
    assert [row[name] for name in ("f1", "sensitivity", "ppv")] == [nothing] * 3
    assert (row["specificity"]["point"], row["npv"]["point"]) == (1, 1)
    others = [scores["per_label"][label]["f1"]["point"] for label in ("MI", "CD")]
    assert scores["macro_f1"]["point"] == pytest.approx(np.mean(others))


@pytest.mark.parametrize("task", [FINDINGS, RHYTHM], ids=lambda task: task.name)
def test_records_without_targets_are_left_out_and_results_are_legal_json(task):
    targets, probabilities = findings() if task is FINDINGS else rhythms()
    thresholds = THRESHOLDS if task is FINDINGS else None
    gaps = targets.astype(float)
    gaps[::3] = np.nan
    kept = np.arange(300) % 3 != 0
    scores = operating_points(task, gaps, probabilities, thresholds, num_resamples=10)
    assert scores == operating_points(task, targets[kept], probabilities[kept], thresholds, num_resamples=10)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert operating_points(task, gaps * np.nan, probabilities, thresholds) == {"num_records": 0}


def test_thresholds_are_the_tasks_own_by_default():
    targets, probabilities = findings()
    task = Task(
        FINDINGS.name, FINDINGS.problem_type, FINDINGS.labels, thresholds=f1_thresholds(targets, probabilities)
    )
    scores = operating_points(task, targets, probabilities, num_resamples=2)
    assert [row["threshold"] for row in scores["per_label"].values()] == task.thresholds


@pytest.mark.parametrize(
    ("task", "thresholds", "message"),
    [
        (FINDINGS, None, "need 3 thresholds, one per label.*got 0"),
        (FINDINGS, [0.5], "got 1"),
        (FINDINGS, [0.5, np.nan, 0.5], "thresholds must be finite"),
        (RHYTHM, THRESHOLDS, "give no thresholds"),
        (AGE, None, "is a regression"),
    ],
)
def test_what_makes_no_decision_is_refused(task, thresholds, message):
    targets, probabilities = findings()
    if task is not FINDINGS:
        targets, probabilities = targets[:, 0], probabilities[:, : task.num_outputs]
    with pytest.raises(ValueError, match=message):
        operating_points(task, targets, probabilities, thresholds)


@pytest.mark.parametrize("at_least", [0.01, 0.3, 0.55, 0.9, 1.0])
@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_no_other_threshold_reaches_the_sensitivity_or_specificity_at_less_cost(at_least, decimals):
    targets, probabilities = findings()
    probabilities = probabilities.round(decimals)
    high = sensitivity_thresholds(targets, probabilities, at_least)
    low = specificity_thresholds(targets, probabilities, at_least)
    for label in range(3):
        truth, scores = targets[:, label] == 1, probabilities[:, label]
        candidates = np.r_[np.unique(scores), np.nextafter(scores.max(), 2)]
        sensitive = [each for each in candidates if np.mean(scores[truth] >= each) >= at_least]
        specific = [each for each in candidates if np.mean(scores[~truth] < each) >= at_least]
        np.testing.assert_array_equal(scores >= high[label], scores >= max(sensitive))
        np.testing.assert_array_equal(scores >= low[label], scores >= min(specific))


def test_a_share_that_is_reached_exactly_is_reached():
    """0.55 * 100 is 55.00000000000001 in floating point; the 55th positive suffices."""
    targets, probabilities = np.ones((100, 1)), np.linspace(1, 0, 100)[:, None]
    (threshold,) = sensitivity_thresholds(targets, probabilities, 0.55)
    assert np.count_nonzero(probabilities >= threshold) == 55


def test_a_threshold_may_have_to_lie_above_every_record():
    (threshold,) = specificity_thresholds([[1], [0]], [[0.2], [0.9]], 1.0)
    assert threshold > 0.9


@pytest.mark.parametrize(("rule", "missing"), [(sensitivity_thresholds, 0), (specificity_thresholds, 1)])
def test_labels_without_the_class_keep_a_half_and_shares_out_of_range_are_refused(rule, missing):
    assert rule([[missing], [missing]], [[0.2], [0.9]], 0.9) == [0.5]
    for share in (0, 1.1, np.nan):
        with pytest.raises(ValueError, match="at_least must be above 0 and at most 1"):
            rule([[0], [1]], [[0.2], [0.9]], share)
