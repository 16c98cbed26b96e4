import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sklearn_metrics

from modeling_enecg import Task
from modeling_enecg.evaluation import bootstrap_scores
from modeling_enecg.evaluation.experts import gate_weights_by_class, leave_one_expert_out
from modeling_enecg.evaluation.scoring import evaluate_task, predicted_outputs
from modeling_enecg.figures.experts import plot_gate_weights_by_class, plot_leave_one_out
from modeling_enecg.losses import MISSING

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


def leave_out(task, targets, logits, weights, **options):
    experts = EXPERTS[: weights.shape[1]]
    return leave_one_expert_out(task, targets, logits, weights, experts, **({"num_resamples": 50} | options))


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
    scores = evaluate_task(FINDINGS, targets, predicted_outputs(FINDINGS, logits[:, 0]), num_resamples=2)
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
        leave_one_expert_out(FINDINGS, targets, logits, weights, EXPERTS)
    if wrong != "logits":
        with pytest.raises(ValueError, match="gate_weights"):
            gate_weights_by_class(FINDINGS, targets, weights, EXPERTS)


def table_of(num_labels, experts):
    means = {"num_records": 12, "weights": {expert: (i + 1) / 100 for i, expert in enumerate(experts)}}
    never = {"num_records": 0, "weights": dict.fromkeys(experts)}
    per_label = {f"label {i}": means for i in range(num_labels - 1)} | {"never": never}
    return {"all_records": means | {"num_records": 400}, "per_label": per_label if num_labels else {}}


def cells(figure):
    return [text for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("experts", [["ECGFounder", "ST-MEM"], [f"expert-{i} of a long name" for i in range(7)]])
@pytest.mark.parametrize("num_labels", [0, 2, 71])
def test_a_heat_map_shows_each_class_and_expert(tmp_path, num_labels, experts, recwarn):
    figure = plot_gate_weights_by_class(table_of(num_labels, experts), tmp_path / "classes.png", "Test fold")
    (axes,) = figure.axes
    names = [f"label {i} (12)" for i in range(num_labels - 1)] + ["never (0)"] * (num_labels > 0)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["all records (400)", *names]
    assert [tick.label2.get_text() for tick in axes.xaxis.get_major_ticks()] == experts
    row = [f"0.0{i + 1}" for i in range(len(experts))]
    assert [text.get_text() for text in cells(figure)] == row * max(num_labels, 1) + ["–"] * len(experts) * (
        num_labels > 0
    )
    assert figure.get_suptitle() == "Test fold"
    assert (tmp_path / "classes.png").stat().st_size
    assert not recwarn


@pytest.mark.parametrize("num_labels", [2, 71])
def test_a_heat_maps_texts_lie_apart_and_inside_the_picture(tmp_path, num_labels):
    experts = [f"expert-{i} of a long name" for i in range(7)]
    figure = plot_gate_weights_by_class(table_of(num_labels, experts), tmp_path / "classes.png", "Test fold")
    (axes,) = figure.axes
    rows = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    columns = [text.get_window_extent() for text in cells(figure)[: len(experts)]]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(rows))
    assert rows[0].y0 - rows[1].y1 > 1.5 * (rows[1].y0 - rows[2].y1)  # the first set apart
    assert all(left.x1 < right.x0 for left, right in pairwise(columns))
    names = [tick.label2.get_window_extent() for tick in axes.xaxis.get_major_ticks()]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in (*rows, *columns, names[0]))
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in (*rows, *columns, *names))


def test_a_class_without_a_record_is_grey_and_a_weight_blue(tmp_path):
    figure = plot_gate_weights_by_class(table_of(2, ["ECGFounder", "ST-MEM"]), tmp_path / "classes.png", "Test fold")
    first, never = figure.axes[0].collections[1].get_facecolor().reshape(2, 2, 4)[:, 0]
    assert first[0] < first[2]
    assert 0 < never[0] == never[1] == never[2] < never[3] == 1


def test_a_label_may_be_called_all_records(tmp_path):
    table = table_of(1, ["ECGFounder", "ST-MEM"])
    table["per_label"] = {"all records": table["all_records"] | {"num_records": 3}}
    figure = plot_gate_weights_by_class(table, tmp_path / "classes.png", "Test fold")
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == ["all records (400)", "all records (3)"]


def changes(*points):
    intervals = [{"point": point, "lower": point - 0.1, "upper": point + 0.1} for point in points]
    nothing = dict.fromkeys(("point", "lower", "upper"))
    names = ["a", "b", "c", "d"]
    return dict(zip(names, [{"macro_auroc": each, "macro_auprc": nothing} for each in intervals], strict=False))


def dots(axes):
    return {line.get_ydata()[0]: line for line in axes.get_lines() if line.get_marker() == "o"}


def test_the_most_needed_expert_is_on_top_and_undefined_ones_at_the_bottom(tmp_path):
    differences = changes(0.3, -0.2, 0.0)
    differences["d"] = {"macro_auroc": dict.fromkeys(("point", "lower", "upper"))}
    differences = {name: differences[name] for name in "dacb"}
    (axes,) = plot_leave_one_out({"rhythm": differences}, tmp_path / "without.png").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["b", "c", "a", "d"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row is the highest
    assert {y: line.get_xdata()[0] for y, line in dots(axes).items()} == {0: -0.2, 1: 0.0, 2: 0.3}
    assert [text.get_text() for text in axes.texts] == ["undefined"]
    assert (tmp_path / "without.png").stat().st_size


def test_intervals_that_include_zero_are_hollow(tmp_path):
    figure = plot_leave_one_out({"rhythm": changes(-0.2, 0.05, 0.3)}, tmp_path / "without.png")
    worse, unsure, better = (dots(figure.axes[0])[y] for y in range(3))
    assert unsure.get_markerfacecolor() == "white"
    assert len({"white", worse.get_markerfacecolor(), better.get_markerfacecolor()}) == 3
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["worse without the expert", "interval includes 0", "better without it"]


def test_each_task_has_a_panel_and_those_of_one_score_a_scale(tmp_path):
    age = {name: {"mae": None, "r2": each["macro_auroc"]} for name, each in changes(-3, 2).items()}
    differences = {"rhythm": changes(0.05, -0.2), "age": age, "form": changes(0.1, 0.2, -0.7)}
    figure = plot_leave_one_out(differences, tmp_path / "without.png")
    first, second, third = figure.axes
    titles = [axes.get_title(loc="left") for axes in (first, second, third)]
    assert titles == ["rhythm: macro AUROC", "age: R²", "form: macro AUROC"]
    assert first.get_xlim() == third.get_xlim() != second.get_xlim()
    assert first.get_xlim()[0] < -0.8
    for axes in (first, second, third):
        assert axes.get_lines()[0].get_xdata() == [0, 0]
    assert len(figure.legends[0].get_texts()) == 3  # the first panel's two kinds and a third of the others


def test_what_is_left_out_is_drawn_as_it_was_computed(tmp_path, recwarn):
    differences = {task.name: leave_out(task, *example(task)) for task in TASKS}
    figure = plot_leave_one_out(differences, tmp_path / "without.png")
    for axes, (name, by_expert) in zip(figure.axes, differences.items(), strict=True):
        score = "macro_auroc" if name in ("findings", "rhythm") else "r2"
        drawn = {tick.get_text(): dots(axes)[y].get_xdata()[0] for y, tick in enumerate(axes.get_yticklabels())}
        assert drawn == {expert: metrics[score]["point"] for expert, metrics in by_expert.items()}
    assert not recwarn


def test_no_differences_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one task"):
        plot_leave_one_out({}, tmp_path / "without.png")
    assert not list(tmp_path.iterdir())
