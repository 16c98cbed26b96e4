import json

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import mean_absolute_error, roc_auc_score

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored
from modeling_enecg.evaluation.cross_validation import cross_validated_scores
from tests.helpers.scores import evaluate

FINDING = Task("findings", "multi_label_classification", ["MI"])
AGE = Task("age", "regression", unit="years")


def repeats_of(num_repeats, rng, num_patients=60, training=2.0):
    """Ages of patients with two records, and repeats whose models are each wrong in their own way."""
    patients = np.repeat(np.arange(num_patients), 2)
    targets = rng.normal(60, 15, size=2 * num_patients)
    shared = rng.normal(0, 5, size=num_patients)[patients] + rng.normal(0, 2, size=len(targets))
    repeats, folds = [], []
    for _ in range(num_repeats):
        fold = rng.permutation(num_patients)[patients] % 5
        order = rng.permutation(len(targets))
        outputs = targets + shared * (1 + 0.1 * training * rng.normal())
        repeats.append(Scored(AGE, targets[order], outputs[order, None], patients[order], order))
        folds.append(fold[order])
    return repeats, folds


def test_one_repeat_is_the_bootstrap_of_the_pooled_predictions_and_says_that_training_is_left_out():
    repeats, folds = repeats_of(1, np.random.default_rng(0))
    result = cross_validated_scores(repeats, folds, Bootstrap(50))
    first = repeats[0]
    expected = evaluate(AGE, first.targets, first.outputs, first.patients)
    for metric in ("mae", "rmse", "r2"):
        own = result[metric]
        assert {key: own[key] for key in ("point", "lower", "upper")} == pytest.approx(expected[metric])
        assert own["repeat_sd"] is None
    assert (result["num_repeats"], result["num_folds"], result["resampled_by"]) == (1, 5, "patient")


def test_both_spreads_are_put_together_by_hand():
    repeats, folds = repeats_of(3, np.random.default_rng(1))
    result = cross_validated_scores(repeats, folds, Bootstrap(80, confidence=0.8))
    points = [mean_absolute_error(each.targets, each.outputs) for each in repeats]
    errors = [np.abs(each.targets - each.outputs[:, 0])[np.argsort(each.ids)][repeats[0].ids] for each in repeats]
    draws = Bootstrap(80).resamples(repeats[0]).records
    lower, upper = np.quantile([np.mean([error[rows].mean() for error in errors]) for rows in draws], [0.1, 0.9])
    reach = student.ppf(0.9, 2) * np.std(points, ddof=1) / np.sqrt(3)
    own, point = result["mae"], np.mean(points)
    assert own["point"] == pytest.approx(point)
    assert own["repeat_sd"] == pytest.approx(np.std(points, ddof=1))
    assert own["lower"] == pytest.approx(point - np.hypot(point - lower, reach))
    assert own["upper"] == pytest.approx(point + np.hypot(upper - point, reach))
    assert result["per_output"]["age"]["mae"]["lower"] == own["lower"]


def test_the_folds_own_scores_stand_beside():
    repeats, folds = repeats_of(2, np.random.default_rng(2))
    by_fold = [
        mean_absolute_error(each.targets[fold == number], each.outputs[fold == number])
        for each, fold in zip(repeats, folds, strict=True)
        for number in range(5)
    ]
    own = cross_validated_scores(repeats, folds, Bootstrap(10))["mae"]
    assert (own["fold_mean"], own["fold_sd"]) == pytest.approx((np.mean(by_fold), np.std(by_fold, ddof=1)))


def test_intervals_hold_the_true_score_about_as_often_as_they_say():
    """The models' errors have a mean absolute value of 4.3 as their training varies about 1."""
    rng, held = np.random.default_rng(3), 0
    truth = np.sqrt(2 / np.pi) * np.sqrt(5**2 + 2**2)
    for _ in range(60):
        own = cross_validated_scores(*repeats_of(4, rng, num_patients=40), Bootstrap(60))["mae"]
        held += own["lower"] < truth < own["upper"]
    assert 52 <= held <= 60  # of 60 at 95 %


def test_a_classification_has_its_labels_and_results_are_legal_json():
    rng = np.random.default_rng(4)
    targets = (rng.random((80, 1)) < 0.4).astype(float)
    targets[7] = np.nan
    repeats = [Scored(FINDING, targets, rng.normal(targets, 1).clip(0, 1) * 0.9, ids=np.arange(80)) for _ in range(2)]
    for repeat in repeats:
        repeat.outputs[np.isnan(repeat.outputs)] = 0.5
    folds = [rng.permutation(80) % 4 for _ in range(2)]
    result = cross_validated_scores(repeats, folds, Bootstrap(20))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["num_records"] == 79
    points = [roc_auc_score(each.targets, each.outputs) for each in repeats]
    assert result["per_label"]["MI"]["auroc"]["point"] == pytest.approx(np.mean(points))


def test_repeats_of_other_records_are_refused():
    repeats, folds = repeats_of(2, np.random.default_rng(5))
    part = repeats[1].within(np.arange(119))
    with pytest.raises(ValueError, match="same records of the task: 1 records"):
        cross_validated_scores([repeats[0], part], folds, Bootstrap(5))
    with pytest.raises(ValueError, match="got 2 and 1"):
        cross_validated_scores(repeats, folds[:1], Bootstrap(5))
