import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, comparison
from modeling_enecg.evaluation.comparison import CORRECTIONS, adjusted_p_values, bootstrap_p_value

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression", unit="years")
AXES = Task("axes", "regression", labels=["P", "QRS"])
TASKS = [FINDINGS, RHYTHM, AGE, AXES]
NUM_RECORDS = 240
PATIENTS = np.arange(NUM_RECORDS) // 3

every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@dataclass
class Records:
    """What a model says of records."""

    ids: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray

    def scored(self, task, patients=None):
        return Scored(task, self.targets, self.outputs, patients, self.ids)


def compare_predictions(task, first, second, correction="holm", patients=None, **options):
    pair = first.scored(task, patients), second.scored(task)
    return comparison.compare_predictions(*pair, Bootstrap(**({"num_resamples": 200} | options)), correction)


def example(task, seed=0):
    """A better and a worse model's predictions, which share some of their errors."""
    rng = np.random.default_rng(seed)
    shape = (NUM_RECORDS, task.num_outputs)
    if task.is_regression:
        targets = known = rng.normal(60, 15, size=shape)
        targets = targets[:, 0] if task is AGE else targets
    elif task is RHYTHM:
        targets = rng.integers(3, size=NUM_RECORDS)
        known = np.eye(3)[targets]
    else:
        targets = known = (rng.random(shape) < [0.5, 0.3, 0.1]).astype(np.float32)
    shared, *own = rng.normal(size=(3, *shape))
    better, worse = (known + each for each in (0.6 * shared + 0.3 * own[0], 0.6 * shared + 0.9 * own[1]))
    ids = 1000 + rng.permutation(NUM_RECORDS)
    return Records(ids, targets, better), Records(ids, targets, worse)


def columns(task, targets):
    return np.eye(3)[targets] if task is RHYTHM else targets


def resample_patients(num_resamples, seed=0):
    draws = np.random.default_rng(seed).integers(NUM_RECORDS // 3, size=(num_resamples, NUM_RECORDS // 3))
    return [(3 * draw[:, None] + np.arange(3)).ravel() for draw in draws]


@pytest.mark.parametrize("task", [FINDINGS, RHYTHM], ids=lambda task: task.name)
def test_paired_intervals_equal_a_loop_over_scikit_learn(task):
    first, second = example(task)
    result = compare_predictions(
        task, first, second, "none", num_resamples=60, seed=5, confidence=0.8, patients=PATIENTS
    )
    truth = columns(task, first.targets)
    for name, score in (("auroc", sklearn_metrics.roc_auc_score), ("auprc", sklearn_metrics.average_precision_score)):

        def difference(rows, score=score):
            ours, theirs = (score(truth[rows], each.outputs[rows], average=None) for each in (first, second))
            return ours - theirs

        changes = np.array([difference(rows) for rows in resample_patients(60, seed=5)])
        given = difference(np.arange(NUM_RECORDS))
        for own, point, samples in [
            (result[f"macro_{name}"], given.mean(), changes.mean(axis=1)),
            *((result["per_label"][label][name], given[i], changes[:, i]) for i, label in enumerate(task.labels)),
        ]:
            expected = [point, *np.quantile(samples, [0.1, 0.9])]
            assert [own[key] for key in ("point", "lower", "upper")] == pytest.approx(expected, abs=1e-12)
            assert own["first"] - own["second"] == pytest.approx(own["point"], abs=1e-12)
    assert result["resampled_by"] == "patient"


@pytest.mark.parametrize("task", [AGE, AXES], ids=lambda task: task.name)
def test_paired_intervals_of_a_regression_equal_a_loop(task):
    first, second = example(task)
    result = compare_predictions(
        task, first, second, "none", num_resamples=60, seed=5, confidence=0.8, patients=PATIENTS
    )
    truth = first.targets.reshape(first.outputs.shape)
    changes = np.abs(first.outputs - truth) - np.abs(second.outputs - truth)
    samples = np.array([changes[rows].mean(axis=0) for rows in resample_patients(60, seed=5)])
    lower, upper = np.quantile(samples.mean(axis=1), [0.1, 0.9])
    assert (result["mae"]["lower"], result["mae"]["upper"]) == pytest.approx((lower, upper), abs=1e-9)
    assert list(result["per_output"]) == task.output_names
    for index, row in enumerate(result["per_output"].values()):
        assert row["mae"]["upper"] == pytest.approx(np.quantile(samples[:, index], 0.9), abs=1e-9)
        scores = [sklearn_metrics.r2_score(truth[:, index], each.outputs[:, index]) for each in (first, second)]
        assert [row["r2"]["first"], row["r2"]["second"]] == pytest.approx(scores)


def delong_error(target, first, second):
    """The standard error of a difference in AUROC after DeLong, DeLong and Clarke-Pearson (1988)."""
    parts = []
    for scores in (first, second):
        pairs = np.subtract.outer(scores[target == 1], scores[target == 0])
        wins = (pairs > 0) + 0.5 * (pairs == 0)
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    return np.sqrt(sum(np.var(a - b, ddof=1) / len(a) for a, b in zip(*parts, strict=True)))


def test_intervals_of_auroc_are_as_wide_as_delongs():
    first, second = example(FINDINGS)
    result = compare_predictions(FINDINGS, first, second, num_resamples=2000)
    for index, label in enumerate(FINDINGS.labels[:2]):
        own = result["per_label"][label]["auroc"]
        error = delong_error(first.targets[:, index], first.outputs[:, index], second.outputs[:, index])
        assert own["upper"] - own["lower"] == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.1)


@every_task
def test_the_better_model_is_told_from_the_worse_and_the_sign_turns_with_their_order(task):
    first, second = example(task)
    ahead, behind = (
        compare_predictions(task, *pair, num_resamples=300) for pair in ((first, second), (second, first))
    )
    for metric in ("mae", "rmse") if task.is_regression else ("macro_auroc", "macro_auprc"):
        assert ahead[metric]["p_value"] == behind[metric]["p_value"] < 0.05
        assert ahead[metric]["point"] == -behind[metric]["point"]
        assert ahead[metric]["lower"] == pytest.approx(-behind[metric]["upper"], abs=1e-12)
    assert ahead["mae"]["upper"] < 0 if task.is_regression else ahead["macro_auroc"]["lower"] > 0


@every_task
def test_a_model_does_not_differ_from_itself(task):
    first, _ = example(task)
    result = compare_predictions(task, first, first, num_resamples=50)
    rows = result["per_output" if task.is_regression else "per_label"]
    changes = [result[name] for name in result if isinstance(result[name], dict) and "point" in result[name]]
    changes += [value for row in rows.values() for value in row.values() if isinstance(value, dict)]
    assert len(changes) == (2 if not task.is_regression else 3) * (1 + task.num_outputs)
    for change in changes:
        assert (change["point"], change["lower"], change["upper"], change["p_value"]) == (0, 0, 0, 1)


@every_task
def test_over_several_runs_the_mean_of_their_differences_counts_patient_by_patient(task):
    runs = [example(task), example(task)]
    shuffled = np.random.default_rng(2).permutation(NUM_RECORDS)
    runs[1] = tuple(Records(*(np.asarray(part)[shuffled] for part in vars(each).values())) for each in runs[1])
    firsts, seconds = ([pair[side].scored(task, PATIENTS) for pair in runs] for side in (0, 1))
    single = compare_predictions(task, *runs[0], num_resamples=50, patients=PATIENTS)
    for metric, difference in comparison.compare_over_runs(firsts, seconds, Bootstrap(50)).items():
        expected = {key: single[metric][key] for key in ("point", "lower", "upper")}
        assert difference == pytest.approx(expected, abs=1e-9)


@every_task
def test_records_are_matched_by_id_whatever_their_order(task):
    first, second = example(task)
    order = np.random.default_rng(1).permutation(NUM_RECORDS)
    shuffled = Records(*(np.asarray(each)[order] for each in vars(second).values()))
    expected = compare_predictions(task, first, second, num_resamples=20, patients=PATIENTS)
    assert compare_predictions(task, first, shuffled, num_resamples=20, patients=PATIENTS) == expected


def test_different_records_are_refused_with_their_number_and_names():
    first, second = example(AGE)
    other = replace(second, ids=np.r_[[7, 8], second.ids[2:]])
    gone = ", ".join(map(str, first.ids[:2]))
    with pytest.raises(
        ValueError, match=rf"2 records \({gone}\) are in the first only, 2 records \(7, 8\) in the second only"
    ):
        compare_predictions(AGE, first, other)
    half = Records(*(values[:100] for values in vars(second).values()))
    with pytest.raises(ValueError, match=r"140 records \(.*, …\) are in the first only, none in the second only"):
        compare_predictions(AGE, first, half)
    with pytest.raises(ValueError, match="The second predictions hold 1 records more than once"):
        compare_predictions(AGE, first, replace(second, ids=np.r_[second.ids[1], second.ids[1:]]))


def test_different_targets_are_refused_with_their_records():
    first, second = example(FINDINGS)
    targets = second.targets.copy()
    targets[[3, 5], 1] = 1 - targets[[3, 5], 1]
    names = f"{first.ids[3]}, {first.ids[5]}"
    with pytest.raises(ValueError, match=rf"same targets; those of 2 records \({names}\) differ"):
        compare_predictions(FINDINGS, first, replace(second, targets=targets))


@every_task
def test_records_without_targets_are_left_out_and_results_are_legal_json(task):
    pair = example(task)
    gaps = pair[0].targets.astype(float)
    gaps[::3] = np.nan
    kept = np.arange(NUM_RECORDS) % 3 != 0
    with_gaps = [replace(each, targets=gaps) for each in pair]
    without = [Records(*(values[kept] for values in vars(each).values())) for each in pair]
    result = compare_predictions(task, *with_gaps, num_resamples=20)
    assert result == compare_predictions(task, *without, num_resamples=20)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    nothing = [replace(each, targets=gaps * np.nan) for each in pair]
    assert compare_predictions(task, *nothing) == {"num_records": 0}


def test_an_undefined_label_has_no_p_value_and_counts_as_no_test():
    first, second = example(FINDINGS)
    targets = first.targets.copy()
    targets[:, 1] = 0
    pair = [replace(each, targets=targets) for each in (first, second)]
    per_label = compare_predictions(FINDINGS, *pair, "bonferroni", num_resamples=200)["per_label"]
    assert set(per_label["HYP"]["auroc"].values()) == {None}
    assert (per_label["HYP"]["num_positives"], per_label["HYP"]["few_positives"]) == (0, True)
    for label in ("MI", "CD"):
        values = per_label[label]["auroc"]
        assert values["adjusted_p_value"] == pytest.approx(min(1, 2 * values["p_value"]))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([1, *[1] * 99], 2 / 100),
        ([-1, *[-1] * 99], 2 / 100),
        ([1, *[-1] * 9, *[1] * 90], 20 / 100),
        ([1, *[0] * 9, *[1] * 90], 20 / 100),
        ([0, *[0] * 99], 1),
        ([1, *[np.nan] * 50, *[-1] * 4, *[1] * 45], 10 / 50),
        ([np.nan, *[1] * 99], np.nan),
    ],
)
def test_a_p_value_is_twice_the_share_beyond_zero(samples, expected):
    assert bootstrap_p_value(np.array(samples, dtype=float)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_p_value_is_below_5_percent_where_the_interval_leaves_zero_out(seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(rng.uniform(1, 3), 1, size=2001)
    lower = np.quantile(samples[1:], 0.025)
    assert (bootstrap_p_value(samples) < 0.05) == (lower > 0) or abs(lower) < 0.02


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        ("none", [0.01, 0.04, np.nan, 0.03, 0.005, 0.6]),
        ("bonferroni", [0.05, 0.2, np.nan, 0.15, 0.025, 1]),
        ("holm", [0.04, 0.09, np.nan, 0.09, 0.025, 0.6]),
        ("benjamini-hochberg", [0.025, 0.05, np.nan, 0.05, 0.025, 0.6]),
    ],
)
def test_corrections_by_hand(correction, expected):
    p_values = [0.01, 0.04, np.nan, 0.03, 0.005, 0.6]
    np.testing.assert_allclose(adjusted_p_values(p_values, correction), expected, rtol=1e-12)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_labels_carry_the_chosen_correction(correction):
    first, second = example(FINDINGS)
    result = compare_predictions(FINDINGS, first, second, correction, num_resamples=200)
    assert result["correction"] == correction
    rows = [row["auprc"] for row in result["per_label"].values()]
    expected = adjusted_p_values([row["p_value"] for row in rows], correction)
    assert [row["adjusted_p_value"] for row in rows] == pytest.approx(expected)


def test_an_unknown_correction_is_refused():
    with pytest.raises(ValueError, match="none, bonferroni, holm, benjamini-hochberg; got 'sidak'"):
        compare_predictions(AGE, *example(AGE), correction="sidak")
