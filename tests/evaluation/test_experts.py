import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, bootstrap_scores, experts
from modeling_enecg.evaluation.scoring import predicted_outputs
from modeling_enecg.losses import MISSING
from tests.helpers.scores import evaluate

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression", unit="years", target_mean=[60.0], target_std=[15.0])
AXES = Task("axes", "regression", labels=["P", "QRS"], target_std=[10.0, 20.0])
TASKS = [FINDINGS, RHYTHM, AGE, AXES]
EXPERTS = ["stmem", "ecgfounder", "moment"]

every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def example(task, num_experts=3, num_records=150, seed=0):
    """Targets without gaps; logits of experts that know the less the later they come; a gate's weights."""
    rng = np.random.default_rng(seed)
    shape = (num_records, task.num_outputs)
    if task.is_regression:
        targets = known = rng.normal(60, 15, size=shape)
        targets = targets[:, 0] if task is AGE else targets
    elif task.problem_type == "single_label_classification":
        targets = rng.integers(task.num_outputs, size=num_records)
        known = 2 * np.eye(task.num_outputs)[targets]
    else:
        targets = known = (rng.random(shape) < [0.5, 0.3, 0.1]).astype(np.float32)
    noise = rng.normal(size=(num_records, num_experts, task.num_outputs)) * np.arange(1, num_experts + 1)[:, None]
    logits = (known[:, None] + (5 if task.is_regression else 1) * noise).astype(np.float32)
    return targets, logits, rng.dirichlet(np.ones(num_experts), num_records).astype(np.float32)


def records(task, targets):
    """Records whose outputs do not count."""
    return Scored(task, targets, np.zeros((len(targets), task.num_outputs)))


def leave_out(task, targets, logits, weights, **options):
    bootstrap = Bootstrap(**({"num_resamples": 50} | options))
    return experts.leave_one_expert_out(
        records(task, targets), logits, weights, EXPERTS[: weights.shape[1]], bootstrap
    )


def gate_weights_by_class(task, targets, weights, names):
    return experts.gate_weights_by_class(records(task, targets), weights, names)


def with_gaps(task, targets, missing):
    targets = targets.astype(np.float64)
    targets[::3] = missing
    return targets, np.arange(len(targets)) % 3 != 0


def reduced(weights, index):
    """Weights without an expert, computed record by record."""
    rest = np.array([[0 if i == index else weight for i, weight in enumerate(row)] for row in weights.astype(float)])
    return rest / rest.sum(axis=1, keepdims=True)


def mixed(logits, weights):
    return sum(weights[:, i, None] * logits[:, i].astype(float) for i in range(weights.shape[1]))


def test_gate_weights_are_averaged_over_the_positives_of_each_label():
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    weights = np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    table = gate_weights_by_class(FINDINGS, targets, weights, ["stmem", "moment"])
    assert table["all_records"]["num_records"] == 3
    assert table["all_records"]["weights"] == pytest.approx({"stmem": 0.5, "moment": 0.5})
    assert list(table["per_label"]) == FINDINGS.labels
    assert [row["num_records"] for row in table["per_label"].values()] == [2, 2, 0]
    assert table["per_label"]["MI"]["weights"] == pytest.approx({"stmem": 0.3, "moment": 0.7})
    assert table["per_label"]["HYP"]["weights"] == pytest.approx({"stmem": 0.65, "moment": 0.35})
    assert table["per_label"]["CD"]["weights"] == {"stmem": None, "moment": None}


def test_gate_weights_are_averaged_over_the_records_of_each_class():
    weights = np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    table = gate_weights_by_class(RHYTHM, np.array([2, 0, 2]), weights, ["stmem", "moment"])
    assert [row["num_records"] for row in table["per_label"].values()] == [1, 0, 2]
    assert table["per_label"]["SR"]["weights"] == pytest.approx({"stmem": 0.4, "moment": 0.6})
    assert table["per_label"]["STACH"]["weights"] == pytest.approx({"stmem": 0.55, "moment": 0.45})


@pytest.mark.parametrize("task", [AGE, AXES], ids=lambda task: task.name)
def test_a_regression_has_gate_weights_of_all_records_only(task):
    targets, _, weights = example(task)
    table = gate_weights_by_class(task, targets, weights, EXPERTS)
    assert table["per_label"] == {}
    assert list(table["all_records"]["weights"].values()) == pytest.approx(weights.mean(axis=0))


@pytest.mark.parametrize(
    ("task", "missing"), [(FINDINGS, np.nan), (FINDINGS, MISSING), (RHYTHM, np.nan), (RHYTHM, -100)]
)
def test_records_without_targets_count_among_all_records_only(task, missing):
    targets, _, weights = example(task)
    gaps, kept = with_gaps(task, targets, missing)
    table = gate_weights_by_class(task, gaps, weights, EXPERTS)
    assert table["all_records"] == gate_weights_by_class(task, targets, weights, EXPERTS)["all_records"]
    assert table["per_label"] == gate_weights_by_class(task, targets[kept], weights[kept], EXPERTS)["per_label"]


def test_a_table_counts_the_positives_that_the_scores_count():
    targets, logits, weights = example(FINDINGS)
    targets[0] = [1, np.nan, 1]  # one target of several is not enough
    scores = evaluate(FINDINGS, targets, predicted_outputs(FINDINGS, logits[:, 0]), num_resamples=2)
    table = gate_weights_by_class(FINDINGS, targets, weights, EXPERTS)
    assert {label: row["num_records"] for label, row in table["per_label"].items()} == {
        label: row["num_positives"] for label, row in scores["per_label"].items()
    }


def test_classification_differences_are_those_of_scikit_learn():
    for task, activation in ((FINDINGS, expit), (RHYTHM, lambda values: softmax(values, axis=-1))):
        targets, logits, weights = example(task)
        differences = leave_out(task, targets, logits, weights, num_resamples=2)
        columns = targets if task is FINDINGS else np.eye(3)[targets]
        assert list(differences) == EXPERTS
        for index, expert in enumerate(EXPERTS):
            assert list(differences[expert]) == ["macro_auroc", "macro_auprc"]
            for metric, score in (
                ("macro_auroc", sklearn_metrics.roc_auc_score),
                ("macro_auprc", sklearn_metrics.average_precision_score),
            ):
                without = score(columns, activation(mixed(logits, reduced(weights, index))), average="macro")
                with_all = score(columns, activation(mixed(logits, weights)), average="macro")
                assert differences[expert][metric]["point"] == pytest.approx(without - with_all, abs=1e-12)


@pytest.mark.parametrize("task", [AGE, AXES], ids=lambda task: task.name)
def test_regression_differences_are_those_of_scikit_learn_in_the_targets_own_unit(task):
    targets, logits, weights = example(task)
    differences = leave_out(task, targets, logits, weights, num_resamples=2)
    for index, expert in enumerate(EXPERTS):
        assert list(differences[expert]) == ["mae", "rmse", "r2"]
        for metric, score in (
            ("mae", sklearn_metrics.mean_absolute_error),
            ("rmse", sklearn_metrics.root_mean_squared_error),
            ("r2", sklearn_metrics.r2_score),
        ):
            without, with_all = (
                score(targets, mixed(logits, reduced(weights, index))),
                score(targets, mixed(logits, weights)),
            )
            assert differences[expert][metric]["point"] == pytest.approx(without - with_all, abs=1e-6)


def test_a_difference_of_two_records_is_that_computed_by_hand():
    """Both experts together are 3 and -4 off, without the first 6 and -6, without the second 0 and -2."""
    targets, weights = np.array([50.0, 70.0]), np.array([[0.5, 0.5], [0.5, 0.5]])
    logits = np.array([[[50.0], [56.0]], [[68.0], [64.0]]])
    differences = leave_out(AGE, targets, logits, weights)
    assert differences["stmem"]["mae"]["point"] == pytest.approx(6 - 3.5)
    assert differences["ecgfounder"]["mae"]["point"] == pytest.approx(1 - 3.5)
    assert differences["stmem"]["r2"]["point"] == pytest.approx((1 - 36 / 100) - (1 - 12.5 / 100))


def test_intervals_are_quantiles_of_the_differences_on_equal_resamples():
    targets, logits, weights = example(FINDINGS)
    differences = leave_out(FINDINGS, targets, logits, weights, num_resamples=200, seed=3, confidence=0.8)
    indices = np.random.default_rng(3).integers(len(targets), size=(200, len(targets)), dtype=np.int32)
    for index, expert in enumerate(EXPERTS):
        without, with_all = (
            bootstrap_scores(targets, mixed(logits, mix), indices=indices)
            for mix in (reduced(weights, index), weights)
        )
        for metric, interval in differences[expert].items():
            samples = without[metric]["samples"] - with_all[metric]["samples"]
            assert [interval["lower"], interval["upper"]] == pytest.approx(np.quantile(samples, [0.1, 0.9]), abs=1e-9)


def test_regression_intervals_are_quantiles_of_the_differences_on_equal_resamples():
    targets, logits, weights = example(AGE)
    differences = leave_out(AGE, targets, logits, weights, num_resamples=200, seed=3, confidence=0.8)
    indices = np.random.default_rng(3).integers(len(targets), size=(200, len(targets)))
    for index, expert in enumerate(EXPERTS):
        change = np.abs(mixed(logits, reduced(weights, index))[:, 0] - targets)
        change -= np.abs(mixed(logits, weights)[:, 0] - targets)
        interval = differences[expert]["mae"]
        expected = np.quantile(change[indices].mean(axis=1), [0.1, 0.9])
        assert [interval["lower"], interval["upper"]] == pytest.approx(expected, abs=1e-5)


@every_task
def test_an_exact_copy_of_the_other_expert_makes_no_difference(task):
    targets, logits, weights = example(task, num_experts=2)
    logits[:, 1] = logits[:, 0]
    for metrics in leave_out(task, targets, logits, weights).values():
        for interval in metrics.values():
            assert interval == {"point": 0, "lower": 0, "upper": 0}


@every_task
def test_an_expert_that_knows_nothing_is_missed_less_than_one_that_does(task):
    targets, logits, weights = example(task)
    logits[:, 2] = logits[::-1, 2]
    differences = leave_out(task, targets, logits, weights)
    score = "r2" if task.is_regression else "macro_auroc"
    assert differences["stmem"][score]["upper"] < 0 < differences["moment"][score]["lower"]


@every_task
def test_nan_logits_of_experts_without_weight_count_nothing(task):
    targets, logits, weights = example(task)
    chosen = np.random.default_rng(1).permuted(np.tile([True, True, False], (len(targets), 1)), axis=1)
    weights = np.where(chosen, weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    with_nan = np.where(chosen[..., None], logits, np.nan)
    assert leave_out(task, targets, with_nan, weights) == leave_out(task, targets, logits, weights)


def test_nan_logits_of_an_expert_with_weight_are_refused():
    targets, logits, weights = example(FINDINGS)
    logits[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"expert_logits .* with weight must be finite.*\[4, 1, 0\]"):
        leave_out(FINDINGS, targets, logits, weights)


@every_task
def test_an_expert_that_is_never_chosen_makes_no_difference(task):
    targets, logits, weights = example(task)
    weights[:, 1], logits[:, 1] = 0, np.nan
    for interval in leave_out(task, targets, logits, weights)["ecgfounder"].values():
        assert interval == {"point": 0, "lower": 0, "upper": 0}


@pytest.mark.parametrize(
    ("task", "missing"), [(FINDINGS, np.nan), (FINDINGS, MISSING), (RHYTHM, np.nan), (AGE, np.nan), (AXES, np.nan)]
)
def test_differences_are_over_the_records_with_targets(task, missing):
    targets, logits, weights = example(task)
    gaps, kept = with_gaps(task, targets, missing)
    expected = leave_out(task, targets[kept], logits[kept], weights[kept])
    assert leave_out(task, gaps, logits, weights) == expected


@every_task
@pytest.mark.parametrize("case", ["one_class", "no_targets"])
def test_undefined_differences_are_none(task, case):
    targets, logits, weights = example(task)
    targets = np.full(targets.shape, 1.0 if case == "one_class" else np.nan)
    differences = leave_out(task, targets, logits, weights)
    for metrics in differences.values():
        for metric, interval in metrics.items():
            is_defined = case == "one_class" and metric in ("mae", "rmse")
            assert all((value is not None) == is_defined for value in interval.values())


@every_task
def test_results_are_legal_json(task):
    targets, logits, weights = example(task)
    for result in (gate_weights_by_class(task, targets, weights, EXPERTS), leave_out(task, targets, logits, weights)):
        assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_single_expert_cannot_be_left_out():
    targets, logits, weights = example(FINDINGS, num_experts=1)
    with pytest.raises(ValueError, match=r"two or more; got \['stmem'\]"):
        leave_out(FINDINGS, targets, logits, weights)


def test_a_record_with_all_weight_on_one_expert_is_refused_with_advice():
    targets, logits, weights = example(FINDINGS)
    weights[7] = weights[11] = [0, 1, 0]
    with pytest.raises(ValueError, match=r"in 2 of 150 records, the first of them record 7, .*top_k of at least 2"):
        leave_out(FINDINGS, targets, logits, weights)
    targets[[7, 11]] = np.nan
    assert leave_out(FINDINGS, targets, logits, weights)


@pytest.mark.parametrize("wrong", ["weights", "logits", "nan"])
def test_wrong_shapes_and_weights_are_refused(wrong):
    targets, logits, weights = example(FINDINGS)
    if wrong == "nan":
        weights[0, 0] = np.nan
    elif wrong == "weights":
        weights = weights.T
    else:
        logits = logits[:, :2]
    with pytest.raises(ValueError, match="expert_logits" if wrong == "logits" else "gate_weights"):
        leave_out(FINDINGS, targets, logits, weights)
    if wrong != "logits":
        with pytest.raises(ValueError, match="gate_weights"):
            gate_weights_by_class(FINDINGS, targets, weights, EXPERTS)
