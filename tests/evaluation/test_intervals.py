"""Intervals at the edge: where resamples show nothing of how a score varies."""

import numpy as np
import pytest
from scipy.stats import binomtest

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored
from modeling_enecg.evaluation.comparison import compare_predictions
from modeling_enecg.evaluation.intervals import MIN_UNITS
from modeling_enecg.evaluation.operating_points import operating_points
from modeling_enecg.evaluation.subgroups import score_subgroups
from tests.helpers.scores import evaluate

FINDING = Task("findings", "multi_label_classification", ["MI"])
SEX = Task("sex", "single_label_classification", ["male", "female"])
AGE = Task("age", "regression", unit="years")


def finding(num_positives, num_negatives, seed=0):
    """Records of one label that a model knows something of."""
    targets = np.repeat([1.0, 0.0], [num_positives, num_negatives])[:, None]
    return targets, np.clip(np.random.default_rng(seed).normal(0.3 + 0.3 * targets, 0.2), 0, 1)


def rates(targets, probabilities, patients=None, threshold=0.5):
    scored = Scored(FINDING, targets, probabilities, patients)
    return operating_points(scored, Bootstrap(200), [threshold])["per_label"]["MI"]


def wilson(hits, number):
    return pytest.approx(tuple(binomtest(hits, number).proportion_ci(0.95, method="wilson")), abs=1e-12)


def ends(value):
    return value["lower"], value["upper"]


def test_a_specificity_of_one_has_wilsons_interval():
    targets, probabilities = finding(10, 40)
    row = rates(targets, np.where(targets == 1, probabilities, 0.1))
    assert row["specificity"]["point"] == 1
    assert ends(row["specificity"]) == wilson(40, 40)
    assert ends(row["specificity"])[0] < 0.95


def test_a_ppv_of_three_of_three_is_far_from_sure():
    targets, _ = finding(10, 40)
    probabilities = np.where(np.arange(50) < 3, 0.9, 0.1)[:, None]
    row = rates(targets, probabilities)
    assert (row["ppv"]["point"], ends(row["ppv"])) == (1, wilson(3, 3))
    assert row["ppv"]["lower"] < 0.5


def test_shares_of_independent_records_have_wilsons_interval_everywhere():
    targets, probabilities = finding(20, 60)
    row = rates(targets, probabilities, patients=np.arange(80))
    hits, misses = row["true_positives"], row["false_negatives"]
    assert 0 < hits < 20
    assert ends(row["sensitivity"]) == wilson(hits, hits + misses)


def test_where_patients_repeat_shares_are_bootstrapped_but_at_the_edge():
    targets, probabilities = finding(20, 60)
    patients = np.repeat(np.arange(20), 4)
    row = rates(targets, np.where(targets == 1, probabilities, 0.1), patients)
    assert ends(row["sensitivity"]) != wilson(row["true_positives"], 20)
    assert ends(row["specificity"]) == wilson(15, 15)  # of as many patients, who have four records each


def test_an_accuracy_of_one_is_not_sure_either():
    targets = np.arange(30) % 2
    scores = evaluate(SEX, targets, np.eye(2)[targets])
    assert (scores["accuracy"]["point"], ends(scores["accuracy"])) == (1, wilson(30, 30))
    assert scores["balanced_accuracy"] == {
        "point": 1,
        "lower": None,
        "upper": None,
        "no_interval": "no resample differs",
    }


@pytest.mark.parametrize(("counts", "what"), [((1, 60), "positives"), ((4, 60), "positives"), ((60, 4), "negatives")])
def test_a_ranking_by_few_of_a_class_has_no_interval_and_says_why(counts, what):
    scores = evaluate(FINDING, *finding(*counts))
    for value in (scores["per_label"]["MI"]["auroc"], scores["per_label"]["MI"]["auprc"], scores["macro_auroc"]):
        assert value["point"] is not None
        assert (*ends(value), value["no_interval"]) == (None, None, f"fewer than {MIN_UNITS} {what}")


def test_five_of_each_class_are_enough_but_not_if_they_are_of_fewer_patients():
    targets, probabilities = finding(5, 60)
    assert None not in ends(evaluate(FINDING, targets, probabilities)["macro_auroc"])
    patients = np.maximum(np.arange(65), 1)  # the first two records are of one patient
    value = evaluate(FINDING, targets, probabilities, patients)["macro_auroc"]
    assert value["no_interval"] == f"positives of fewer than {MIN_UNITS} patients"


def test_a_macro_mean_has_an_interval_if_any_label_has_one():
    task = Task("findings", "multi_label_classification", ["common", "rare"])
    common, rare = finding(30, 60), finding(1, 89, seed=1)
    scores = evaluate(task, np.hstack([common[0], rare[0]]), np.hstack([common[1], rare[1]]))
    assert None not in ends(scores["macro_auroc"])
    assert "no_interval" in scores["per_label"]["rare"]["auroc"]


def test_a_perfect_ranking_is_not_sure():
    targets, _ = finding(30, 60)
    value = evaluate(FINDING, targets, targets)["macro_auroc"]
    assert value == {"point": 1, "lower": None, "upper": None, "no_interval": "no resample differs"}


@pytest.mark.parametrize("num_records", [2, 3, 4])
def test_groups_of_a_few_records_have_no_interval(num_records):
    rng = np.random.default_rng(0)
    targets = rng.normal(60, 15, size=60)
    groups = np.where(np.arange(60) < num_records, "few", "many")
    scored = Scored(AGE, targets, targets[:, None] + rng.normal(0, 5, size=(60, 1)))
    rows = score_subgroups(scored, groups, Bootstrap(50))["groups"]
    for metric in ("r2", "mae", "rmse"):
        assert rows["few"][metric]["no_interval"] == f"fewer than {MIN_UNITS} records"
        assert ends(rows["few"]["minus_rest"][metric]) == ends(rows["many"]["minus_rest"][metric]) == (None, None)
        assert None not in ends(rows["many"][metric])


def test_a_difference_on_one_positive_has_neither_interval_nor_p_value():
    targets, probabilities = finding(1, 60)
    other = finding(1, 60, seed=1)[1]
    first, second = (Scored(FINDING, targets, each, ids=np.arange(61)) for each in (probabilities, other))
    row = compare_predictions(first, second, Bootstrap(50))["per_label"]["MI"]["auroc"]
    assert row["point"] is not None
    assert (*ends(row), row["p_value"], row["adjusted_p_value"]) == (None,) * 4
    assert row["no_interval"] == f"fewer than {MIN_UNITS} positives"
