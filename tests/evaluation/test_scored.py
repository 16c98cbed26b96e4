import ast
from pathlib import Path

import numpy as np
import pytest

import modeling_enecg.evaluation
from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, bootstrap, evaluate_task, score_predictions
from modeling_enecg.evaluation.agreement import agreement
from modeling_enecg.evaluation.comparison import compare_predictions
from modeling_enecg.evaluation.metrics import METRICS, RANKING, Metric, find_metric, metric_title
from modeling_enecg.evaluation.ranking import auroc
from modeling_enecg.evaluation.subgroups import score_subgroups

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP"])
SEX = Task("sex", "single_label_classification", ["male", "female"])
AGE = Task("age", "regression", unit="years")
EVALUATION = Path(modeling_enecg.evaluation.__file__).parent


def test_records_without_targets_are_left_out_with_all_that_is_theirs():
    targets = np.array([[1, 0], [np.nan, 1], [0, 1]])
    scored = Scored(FINDINGS, targets, np.arange(6).reshape(3, 2) / 10, ["a", "b", "c"], [7, 8, 9])
    assert len(scored) == 2
    assert scored.outputs.tolist() == [[0, 0.1], [0.4, 0.5]]
    assert (scored.patients.tolist(), scored.ids.tolist()) == (["a", "c"], [7, 9])
    assert scored.is_positive.tolist() == [[True, False], [False, True]]
    assert scored.of_given("groups", ["x", "y", "z"]).tolist() == ["x", "z"]
    part = scored.within(np.array([False, True]))
    assert (part.ids.tolist(), part.patients.tolist(), len(part)) == ([9], ["c"], 1)


@pytest.mark.parametrize(
    ("task", "targets", "outputs", "more", "message"),
    [
        (FINDINGS, np.zeros((3, 2)), np.zeros((3, 3)), {}, r"outputs must be of shape .* here \(3, 2\); got \(3, 3\)"),
        (FINDINGS, np.zeros(3), np.zeros((3, 2)), {}, r"targets must be of shape \(num_records, 2\); got \(3,\)"),
        (SEX, np.zeros((3, 2)), np.zeros((3, 2)), {}, r"targets must be of shape \(num_records,\); got \(3, 2\)"),
        (AGE, np.zeros((3, 2)), np.zeros((3, 1)), {}, r"\(num_records,\) or \(num_records, 1\); got \(3, 2\)"),
        (AGE, np.zeros(3), np.zeros((3, 1)), {"ids": [1, 2]}, r"ids must be of shape \(num_records,\), here \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused_once(task, targets, outputs, more, message):
    with pytest.raises(ValueError, match=message):
        Scored(task, targets, outputs, **more)


def test_all_that_is_computed_of_the_same_records_shares_one_draw(monkeypatch):
    draws = []
    draw = bootstrap.draw_resamples
    monkeypatch.setattr(bootstrap, "draw_resamples", lambda *arguments: draws.append(arguments) or draw(*arguments))
    rng = np.random.default_rng(0)
    targets, patients = rng.normal(60, 15, size=40), np.arange(40) // 2
    scored = Scored(AGE, targets, targets[:, None] + 1, patients)
    shared = Bootstrap(20)
    evaluate_task(scored, shared)
    agreement(scored, shared)
    score_subgroups(scored, np.arange(40) % 2, shared)
    evaluate_task(Scored(AGE, targets, targets[:, None] + 2, patients + 100), shared)  # another model's
    assert len(draws) == 1
    evaluate_task(Scored(AGE, targets[:-1], targets[:-1, None], patients[:-1]), shared)
    assert len(draws) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_resamples": 0}, "num_resamples must be at least 1; got 0"),
        ({"confidence": 95}, "confidence must lie between 0 and 1, for instance 0.95; got 95"),
        ({"by": "ward"}, "by must be one of patient, record; got 'ward'"),
    ],
)
def test_an_impossible_bootstrap_is_refused_before_it_draws(options, message):
    with pytest.raises(ValueError, match=message):
        Bootstrap(**options)


def test_the_table_knows_every_metrics_title_direction_and_problem_types():
    assert metric_title("macro_auroc") == "macro AUROC"
    assert metric_title("mae", "years") == "MAE (years)"
    assert metric_title("r2", "years") == "R²"
    assert {name for name, metric in METRICS.items() if not metric.is_higher_better} == {
        *("brier", "log_loss", "ece", "mae", "rmse")
    }
    assert find_metric("macro_ppv").problem_types == ("multi_label_classification", "single_label_classification")
    with pytest.raises(ValueError, match="no metric 'kappa'; there are auroc, "):
        find_metric("kappa")


def test_a_row_of_the_table_is_all_that_a_new_metric_needs(monkeypatch):
    gini = Metric("gini", "Gini", RANKING, lambda totals: 2 * auroc(totals) - 1)
    monkeypatch.setitem(METRICS, "gini", gini)
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 2)) < 0.4).astype(float)
    pair = [Scored(FINDINGS, targets, rng.normal(targets, 1), ids=np.arange(60)) for _ in range(2)]
    scores = evaluate_task(pair[0], Bootstrap(20))
    for own, area in (
        (scores["macro_gini"], scores["macro_auroc"]),
        (scores["per_label"]["MI"]["gini"], scores["per_label"]["MI"]["auroc"]),
    ):
        for key in ("point", "lower", "upper"):
            assert own[key] == pytest.approx(2 * area[key] - 1)
    assert "macro_gini" in compare_predictions(*pair, Bootstrap(20))
    assert "macro_gini" in score_subgroups(pair[0], np.arange(60) % 2, Bootstrap(20))["groups"]["0"]
    assert score_predictions([FINDINGS], {"findings": pair[0].outputs}, {"findings": targets})["macro_gini"]


@pytest.mark.parametrize("path", sorted(EVALUATION.glob("*.py")), ids=lambda path: path.stem)
def test_evaluation_opens_no_file_and_draws_nothing(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {part for part in [node.module or "", *(alias.name for alias in node.names)] if part}
        elif isinstance(node, ast.Name):
            names.add(node.id)
    assert not names & {"matplotlib", "pandas", "pathlib", "Path", "open", "figures", "runs", "reports"}
