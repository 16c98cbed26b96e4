import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import bootstrap_scores, score_predictions
from modeling_enecg.evaluation.scored import has_targets
from modeling_enecg.evaluation.scoring import predicted_outputs
from modeling_enecg.losses import MISSING
from tests.helpers import scores as plain

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
SEX = Task("sex", "single_label_classification", ["male", "female"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression", unit="years", target_mean=[60.0], target_std=[15.0])
AXES = Task("axes", "regression", labels=["P", "QRS"], target_std=[10.0, 20.0])


def example(task, num_records=120, seed=0):
    """Targets without gaps, and logits that know something of them."""
    rng = np.random.default_rng(seed)
    shape = (num_records, task.num_outputs)
    if task.is_regression:
        targets = rng.normal(60, 15, size=shape)
        return (targets[:, 0] if task is AGE else targets), targets + rng.normal(0, 5, size=shape)
    if task.problem_type == "single_label_classification":
        targets = rng.integers(task.num_outputs, size=num_records)
        return targets, rng.normal(size=shape) + 1.5 * np.eye(task.num_outputs)[targets]
    targets = (rng.random(shape) < [0.5, 0.3, 0.1]).astype(np.float32)
    return targets, rng.normal(size=shape) + targets


def evaluate(task, targets, logits, **options):
    return plain.evaluate(task, targets, predicted_outputs(task, logits), **options)


def test_outputs_are_sigmoids_shares_or_the_values_themselves():
    for task, activation in ((FINDINGS, expit), (RHYTHM, lambda values: softmax(values, axis=-1)), (AGE, np.asarray)):
        logits = example(task)[1].astype(np.float32)
        outputs = predicted_outputs(task, logits)
        assert outputs.dtype == np.float64
        np.testing.assert_allclose(outputs, activation(logits.astype(np.float64)), rtol=1e-12)


def test_confident_logits_stay_apart_as_probabilities():
    """In float32 both would be 1."""
    first, second = predicted_outputs(FINDINGS, np.array([[18.0, 0, 0], [18.5, 0, 0]], dtype=np.float32))[:, 0]
    assert first < second


def test_multilabel_scores_are_macro_means():
    targets, logits = example(FINDINGS)
    assert score_predictions([FINDINGS], {"findings": logits}, {"findings": targets}) == pytest.approx(
        {
            "macro_auroc": sklearn_metrics.roc_auc_score(targets, logits, average="macro"),
            "macro_auprc": sklearn_metrics.average_precision_score(targets, logits, average="macro"),
            "score": sklearn_metrics.roc_auc_score(targets, logits, average="macro"),
        }
    )


def test_singlelabel_scores_rank_each_class_against_the_rest():
    targets, logits = example(RHYTHM)
    probabilities, one_hot = softmax(logits, axis=-1), np.eye(3)[targets]
    assert score_predictions([RHYTHM], {"rhythm": logits}, {"rhythm": targets}) == pytest.approx(
        {
            "macro_auroc": sklearn_metrics.roc_auc_score(targets, probabilities, multi_class="ovr"),
            "macro_auprc": sklearn_metrics.average_precision_score(one_hot, probabilities),
            "score": sklearn_metrics.roc_auc_score(targets, probabilities, multi_class="ovr"),
        }
    )


def test_several_tasks_have_their_own_scores_and_classification_means():
    tasks = [FINDINGS, SEX, AGE]
    data = {task.name: example(task) for task in tasks}
    targets = {name: pair[0] for name, pair in data.items()}
    scores = score_predictions(tasks, {name: pair[1] for name, pair in data.items()}, targets)
    for metric in ("macro_auroc", "macro_auprc"):
        assert scores[metric] == pytest.approx((scores[f"findings_{metric}"] + scores[f"sex_{metric}"]) / 2)
    assert scores["r2"] == scores["age_r2"]
    assert scores["score"] == pytest.approx(
        (scores["findings_macro_auroc"] + scores["sex_macro_auroc"] + scores["r2"]) / 3
    )
    assert scores["age_mae"] == pytest.approx(np.mean(np.abs(data["age"][1][:, 0] - targets["age"])))
    assert scores["sex_accuracy"] == np.mean(data["sex"][1].argmax(axis=1) == data["sex"][0])
    assert {name for name in scores if name.startswith("age_")} == {"age_mae", "age_rmse", "age_r2"}


@pytest.mark.parametrize(
    ("task", "missing"),
    [(FINDINGS, np.nan), (FINDINGS, MISSING), (SEX, np.nan), (RHYTHM, MISSING), (AGE, np.nan), (AXES, np.nan)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_records_without_targets_are_left_out(task, missing):
    targets, logits = example(task)
    gaps = targets.astype(np.float64)
    gaps[::3] = missing
    if gaps.ndim == 2:
        gaps[1, 0] = missing  # one target of several is not enough
    kept = np.arange(len(gaps)) % 3 != 0
    kept[1] = gaps.ndim == 1
    np.testing.assert_array_equal(has_targets(task, gaps), kept)
    expected = evaluate(task, targets[kept], logits[kept])
    assert evaluate(task, gaps, logits) == expected
    assert expected["num_records"] == kept.sum()
    other = AGE if task is not AGE else SEX  # beside another task, so that each has scores of its own
    beside_targets, beside_logits = example(other)
    with_gaps = score_predictions(
        *([task, other], {task.name: logits, other.name: beside_logits}, {task.name: gaps, other.name: beside_targets})
    )
    own = {name: value for name, value in with_gaps.items() if name.startswith(f"{task.name}_")}
    assert own
    for name, value in own.items():
        point = expected[name.removeprefix(f"{task.name}_")]["point"]
        assert value == pytest.approx(point, abs=1e-12)


def test_a_hundred_below_zero_is_a_quantity_and_no_gap():
    targets, values = example(AXES)
    targets[0] = values[0] = MISSING
    assert evaluate(AXES, targets, values)["num_records"] == len(targets)


def test_intervals_are_those_of_the_bootstrap():
    targets, logits = example(FINDINGS)
    scores = evaluate(FINDINGS, targets, logits, num_resamples=200, seed=3, confidence=0.8)
    bootstrap = bootstrap_scores(targets, expit(logits), num_resamples=200, seed=3, confidence=0.8)
    for metric in ("macro_auroc", "macro_auprc"):
        assert scores[metric] == pytest.approx({key: bootstrap[metric][key] for key in ("point", "lower", "upper")})
    for metric, values in bootstrap["per_label"].items():
        for index, label in enumerate(FINDINGS.labels):
            expected = {key: values[key][index] for key in ("point", "lower", "upper")}
            assert scores["per_label"][label][metric] == pytest.approx(expected)
    assert {label: values["num_positives"] for label, values in scores["per_label"].items()} == dict(
        zip(FINDINGS.labels, targets.sum(axis=0).tolist(), strict=True)
    )


@pytest.mark.parametrize("task", [FINDINGS, SEX, RHYTHM, AGE, AXES], ids=lambda task: task.name)
def test_points_lie_in_their_intervals_which_widen_with_confidence(task):
    targets, logits = example(task)
    narrow, wide = (
        evaluate(task, targets, logits, num_resamples=200, confidence=confidence) for confidence in (0.5, 0.99)
    )
    metrics = [name for name, value in wide.items() if isinstance(value, dict) and "point" in value]
    assert metrics
    for name in metrics:
        assert wide[name]["lower"] < narrow[name]["lower"] < narrow[name]["upper"] < wide[name]["upper"]
        assert wide[name]["lower"] < wide[name]["point"] < wide[name]["upper"]


def test_regression_is_scored_in_the_targets_own_unit():
    targets, values = example(AGE)
    scores = evaluate(AGE, targets, values)
    assert set(scores) == {"num_records", "resampled_by", "mae", "rmse", "r2"}
    assert scores["mae"]["point"] == pytest.approx(sklearn_metrics.mean_absolute_error(targets, values))
    assert scores["rmse"]["point"] == pytest.approx(sklearn_metrics.root_mean_squared_error(targets, values))
    assert scores["r2"]["point"] == pytest.approx(sklearn_metrics.r2_score(targets, values))
    months = evaluate(AGE, 12 * targets, 12 * values)
    for name in ("mae", "rmse"):
        assert months[name]["point"] == pytest.approx(12 * scores[name]["point"])


def test_single_label_scores_hold_accuracy_and_every_class():
    targets, logits = example(RHYTHM)
    scores = evaluate(RHYTHM, targets, logits)
    assert {"accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "macro_auprc"} <= set(scores)
    guesses = logits.argmax(axis=1)
    assert scores["balanced_accuracy"]["point"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(targets, guesses)
    )
    assert list(scores["per_label"]) == RHYTHM.labels


@pytest.mark.parametrize("task", [FINDINGS, SEX, RHYTHM, AGE, AXES], ids=lambda task: task.name)
@pytest.mark.parametrize("case", ["sound", "one_class", "one_record"])
def test_scores_are_legal_json_with_none_for_what_is_undefined(task, case):
    targets, logits = example(task)
    if case == "one_class":
        targets = np.full_like(targets, 1)
    elif case == "one_record":
        targets, logits = targets[:1], logits[:1]
    scores = evaluate(task, targets, logits)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    undefined = "r2" if task.is_regression else "macro_auroc"
    assert (scores[undefined]["point"] is None) == (case != "sound")


def test_an_undefined_label_is_named_and_left_out_of_the_mean():
    targets, logits = example(FINDINGS)
    targets[:, 1] = 0
    scores = evaluate(FINDINGS, targets, logits)
    assert scores["undefined"] == ["HYP"]
    assert scores["per_label"]["HYP"]["auroc"] == {"point": None, "lower": None, "upper": None}
    defined = [scores["per_label"][label]["auroc"]["point"] for label in ("MI", "CD")]
    assert scores["macro_auroc"]["point"] == pytest.approx(np.mean(defined))


@pytest.mark.parametrize("targets", ["one_class", "none"])
def test_a_task_that_cannot_be_scored_does_not_hide_the_others(targets):
    """Otherwise no epoch could be told best although one task says so."""
    logits = {task.name: example(task)[1] for task in (FINDINGS, SEX)}
    truth = {task.name: example(task)[0] for task in (FINDINGS, SEX)}
    alone = score_predictions([FINDINGS], logits, truth)
    truth["sex"] = np.zeros_like(truth["sex"]) if targets == "one_class" else np.full(len(truth["sex"]), MISSING)
    together = score_predictions([FINDINGS, SEX], logits, truth)
    assert together["macro_auroc"] == pytest.approx(alone["macro_auroc"])
