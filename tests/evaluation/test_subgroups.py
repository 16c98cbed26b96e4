import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, subgroups
from modeling_enecg.evaluation.subgroups import age_decades

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression", unit="years")
AXES = Task("axes", "regression", labels=["P", "QRS"])
NUM_RECORDS = 240
PATIENTS = np.arange(NUM_RECORDS) // 2
SEX = np.where(PATIENTS % 3 == 0, "female", "male")

every_task = pytest.mark.parametrize("task", [FINDINGS, RHYTHM, AGE, AXES], ids=lambda task: task.name)


def score_subgroups(task, targets, outputs, groups, num_resamples=1000, seed=0, confidence=0.95, patients=None):
    bootstrap = Bootstrap(num_resamples, seed, confidence)
    return subgroups.score_subgroups(Scored(task, targets, outputs, patients), groups, bootstrap)


def example(task, seed=0):
    """Outputs that know less of women than of men."""
    rng = np.random.default_rng(seed)
    shape = (NUM_RECORDS, task.num_outputs)
    noise = rng.normal(size=shape) * np.where(SEX == "female", 2.0, 0.5)[:, None]
    if task.is_regression:
        targets = rng.normal(60, 15, size=shape)
        return (targets[:, 0] if task is AGE else targets), targets + 5 * noise
    if task is RHYTHM:
        targets = rng.integers(3, size=NUM_RECORDS)
        return targets, np.eye(3)[targets] + noise
    targets = (rng.random(shape) < [0.5, 0.3, 0.1]).astype(np.float32)
    return targets, targets + noise


def resample_patients(num_resamples, seed=0):
    draws = np.random.default_rng(seed).integers(NUM_RECORDS // 2, size=(num_resamples, NUM_RECORDS // 2))
    return [(2 * draw[:, None] + np.arange(2)).ravel() for draw in draws]


def test_groups_have_their_counts_and_scikit_learns_scores():
    targets, outputs = example(FINDINGS)
    result = score_subgroups(FINDINGS, targets, outputs, SEX, num_resamples=3, patients=PATIENTS)
    assert list(result["groups"]) == ["female", "male"]
    for name, group in result["groups"].items():
        chosen = name == SEX
        assert group["num_records"] == 2 * group["num_patients"] == chosen.sum()
        auroc = sklearn_metrics.roc_auc_score(targets[chosen], outputs[chosen], average=None)
        assert group["macro_auroc"]["point"] == pytest.approx(auroc.mean())
        for index, label in enumerate(FINDINGS.labels):
            row = group["per_label"][label]
            assert row["auroc"]["point"] == pytest.approx(auroc[index])
            assert row["num_positives"] == targets[chosen, index].sum()
            assert row["few_positives"] == (row["num_positives"] < 10)


def test_a_regressions_groups_have_scikit_learns_errors():
    targets, outputs = example(AXES)
    result = score_subgroups(AXES, targets, outputs, SEX, num_resamples=3)
    for name, group in result["groups"].items():
        chosen = name == SEX
        assert group["mae"]["point"] == pytest.approx(np.abs(targets - outputs)[chosen].mean())
        assert group["r2"]["point"] == pytest.approx(sklearn_metrics.r2_score(targets[chosen], outputs[chosen]))
        assert group["num_patients"] is None
        assert "per_label" not in group


def test_intervals_are_over_one_resampling_of_all_patients_cut_into_groups():
    targets, outputs = example(FINDINGS)
    result = score_subgroups(FINDINGS, targets, outputs, SEX, 60, 5, 0.8, PATIENTS)

    def auroc(rows):
        return sklearn_metrics.roc_auc_score(targets[rows], outputs[rows], average="macro")

    samples = [[auroc(rows[SEX[rows] == name]) for name in ("female", "male")] for rows in resample_patients(60, 5)]
    women, men = np.transpose(samples)
    for own, expected in (
        (result["groups"]["female"]["macro_auroc"], women),
        (result["groups"]["female"]["minus_rest"]["macro_auroc"], women - men),
        (result["groups"]["male"]["minus_rest"]["macro_auroc"], men - women),
    ):
        assert [own["lower"], own["upper"]] == pytest.approx(np.quantile(expected, [0.1, 0.9]), abs=1e-12)
    assert result["resampled_by"] == "patient"


@every_task
def test_a_group_that_is_known_less_differs_from_the_rest(task):
    group = score_subgroups(task, *example(task), SEX, num_resamples=200, patients=PATIENTS)["groups"]["female"]
    if task.is_regression:
        assert group["minus_rest"]["mae"]["lower"] > 0
    else:
        assert group["minus_rest"]["macro_auroc"]["upper"] < 0


def test_a_difference_of_macro_means_is_over_the_labels_that_both_have():
    targets, outputs = example(FINDINGS)
    women = SEX == "female"
    targets[women, 2] = 0
    group = score_subgroups(FINDINGS, targets, outputs, SEX, num_resamples=3)["groups"]["female"]
    inside, rest = (
        [sklearn_metrics.roc_auc_score(targets[chosen, i], outputs[chosen, i]) for i in (0, 1)]
        for chosen in (women, ~women)
    )
    assert group["minus_rest"]["macro_auroc"]["point"] == pytest.approx(np.mean(inside) - np.mean(rest))
    assert group["per_label"]["CD"]["auroc"]["point"] is None


@every_task
def test_small_groups_are_marked_and_kept(task):
    groups = np.array(["large"] * 209 + ["enough"] * 30 + ["one"])
    result = score_subgroups(task, *example(task), groups, num_resamples=50)["groups"]
    assert {name: group["few_records"] for name, group in result.items()} == {
        "enough": False,
        "large": False,
        "one": True,
    }
    assert result["one"]["num_records"] == 1
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@every_task
def test_a_single_group_has_no_rest(task):
    targets, outputs = example(task)
    group = score_subgroups(task, targets, outputs, ["all"] * NUM_RECORDS, num_resamples=5)["groups"]["all"]
    nothing = {"point": None, "lower": None, "upper": None}
    assert set(map(str, group["minus_rest"].values())) == {str(nothing)}


def test_records_of_no_known_group_are_a_group():
    targets, outputs = example(AGE)
    for unknown in (None, np.nan):
        groups = np.array([unknown, 10.0, 2.0, "CS-12"] * 60, dtype=object)
        result = score_subgroups(AGE, targets, outputs, groups, num_resamples=3)
        assert list(result["groups"]) == ["2", "10", "CS-12", "unknown"]


def test_records_without_targets_are_left_out():
    targets, outputs = example(AGE)
    gaps = np.where(np.arange(NUM_RECORDS) % 3 == 0, np.nan, targets)
    kept = ~np.isnan(gaps)
    expected = score_subgroups(AGE, targets[kept], outputs[kept], SEX[kept], 10, patients=PATIENTS[kept])
    assert score_subgroups(AGE, gaps, outputs, SEX, 10, patients=PATIENTS) == expected
    assert score_subgroups(AGE, gaps * np.nan, outputs, SEX) == {"num_records": 0}


def test_one_group_a_record_is_needed():
    with pytest.raises(ValueError, match=r"groups must be of shape \(num_records,\), here \(240,\); got \(2,\)"):
        score_subgroups(AGE, *example(AGE), ["male", "female"])


def test_ages_are_cut_into_decades():
    ages = [0, 9.9, 10, 55, 89, 90, 120, np.nan, None]
    expected = ["0-9", "0-9", "10-19", "50-59", "80-89", "90+", "90+", "unknown", "unknown"]
    assert age_decades(ages) == expected
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        age_decades([-1])
