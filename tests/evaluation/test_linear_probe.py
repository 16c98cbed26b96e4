import numpy as np
import pytest

from modeling_enecg.configuration_enecg import Task
from modeling_enecg.evaluation.linear_probe import PENALTIES, effective_rank, linear_probe, probe_scores
from tests.helpers.tiny_models import AGE, RHYTHM, SEX


def features_and_targets(num_records=60, num_features=8, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_records, num_features)) * np.arange(1, num_features + 1) + 3
    targets = features[:, :2] @ [[1.0, -0.5], [0.3, 2.0]] + rng.normal(size=(num_records, 2))
    return features, targets


def test_a_probe_is_ridge_regression_by_the_normal_equations_with_the_penalty_that_leaves_out_best():
    features, targets = features_and_targets()
    fit, others = features[:40], features[40:]
    scaled, other_scaled = ((each - fit.mean(axis=0)) / fit.std(axis=0) for each in (fit, others))
    mean = targets[:40].mean(axis=0)

    def predicted(rows, penalty, wanted):
        centre, middle = scaled[rows].mean(axis=0), targets[:40][rows].mean(axis=0)
        inner = (scaled[rows] - centre).T @ (scaled[rows] - centre) + penalty * np.eye(fit.shape[1])
        weights = np.linalg.solve(inner, (scaled[rows] - centre).T @ (targets[:40][rows] - middle))
        return (wanted - centre) @ weights + middle

    def left_out_error(penalty):
        rest = [np.delete(np.arange(40), row) for row in range(40)]
        return np.mean([(predicted(rows, penalty, scaled[row]) - targets[row]) ** 2 for row, rows in enumerate(rest)])

    best = min(40 * PENALTIES, key=left_out_error)
    wanted = predicted(np.arange(40), best, other_scaled)
    assert np.abs(wanted - mean).max() > 1
    np.testing.assert_allclose(linear_probe(fit, targets[:40], others), wanted, rtol=1e-6)


def test_a_probe_with_more_features_than_records_and_a_constant_one_is_finite():
    features, targets = features_and_targets(num_records=20, num_features=50)
    features[:, 4] = 7.0
    assert np.isfinite(linear_probe(features[:10], targets[:10], features[10:])).all()


def test_probes_of_every_type_of_task_find_what_is_there():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 6)).astype(np.float32)
    rhythm = (features[:, :3] > 0).astype(np.float32)
    rhythm[::7] = np.nan
    targets = {"rhythm": rhythm, "sex": (features[:, 3] > 0).astype(np.float32), "age": 60 + 5 * features[:, 4]}
    tasks = [Task.from_dict(dict(each)) for each in (RHYTHM, SEX, AGE)]
    first, second = ({name: each[rows] for name, each in targets.items()} for rows in (slice(100), slice(100, 200)))
    scores = probe_scores(tasks, features[:100], first, features[100:], second)
    assert scores["r2"] > 0.99
    assert scores["rhythm_macro_auroc"] > 0.95
    assert scores["sex_macro_auroc"] > 0.95


@pytest.mark.parametrize(
    ("features", "rank"),
    [
        (np.vstack([np.eye(5), -np.eye(5)]), 5),  # five directions alike
        (np.vstack([np.eye(5), -np.eye(5)]) + 100, 5),  # whatever all records have in common
        (np.outer([1.0, 2.0, 4.0], [1.0, 2.0]), 1),  # a line
        (np.full((6, 4), 0.1, dtype=np.float32), 0),  # all records alike
        (np.zeros((6, 4)), 0),
        (np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]]), 4 / 27**0.25),  # exp of the entropy of 3/4 and 1/4
    ],
)
def test_the_effective_rank_is_that_of_cases_by_hand(features, rank):
    assert effective_rank(features) == pytest.approx(rank)
