import json

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, r2_score

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored
from modeling_enecg.evaluation.agreement import LIMIT_Z, bland_altman
from modeling_enecg.evaluation.agreement import agreement as agreement_of

AGE = Task("age", "regression", unit="years")
AXES = Task("axes", "regression", labels=["P", "QRS"])
FINDINGS = Task("findings", "multi_label_classification", ["MI"])


def agreement(task, targets, outputs, patients=None, **options):
    return agreement_of(Scored(task, targets, outputs, patients), Bootstrap(**options))


def example(task, num_records=400, seed=0):
    """Predictions that are 2 too high on average, with normal errors of a standard deviation of 5."""
    rng = np.random.default_rng(seed)
    targets = rng.normal(60, 15, size=(num_records, task.num_outputs))
    outputs = targets + rng.normal(2, 5, size=targets.shape)
    return (targets[:, 0] if task is AGE else targets), outputs


def test_bias_and_limits_by_hand():
    """Differences 1, 2 and 3: mean 2, standard deviation 1."""
    result = bland_altman(np.array([10.0, 20.0, 30.0]), np.array([11.0, 22.0, 33.0]))
    assert result == pytest.approx({"bias": 2, "std": 1, "lower_limit": 2 - 1.96, "upper_limit": 2 + 1.96}, abs=1e-4)
    assert pytest.approx(norm.ppf(0.975), abs=1e-15) == LIMIT_Z


def test_intervals_are_those_of_bland_and_altmans_formulas():
    """Standard errors of normal differences: s / sqrt(n) of the bias, s * sqrt(1 / n + z² / (2 n)) of a limit."""
    targets, outputs = example(AGE)
    rows = agreement(AGE, targets, outputs, num_resamples=2000)["per_output"]["age"]
    std = rows["std"]["point"]
    errors = {"bias": std / 20, "upper_limit": std * np.sqrt(1 / 400 + LIMIT_Z**2 / 800)}
    for name, error in errors.items():
        width = rows[name]["upper"] - rows[name]["lower"]
        assert width == pytest.approx(2 * LIMIT_Z * error, rel=0.1)
        assert rows[name]["lower"] < rows[name]["point"] < rows[name]["upper"]


def test_intervals_are_quantiles_over_resamples_of_patients():
    targets, outputs = example(AGE)
    patients = np.arange(400) // 4
    result = agreement(AGE, targets, outputs, num_resamples=50, seed=3, confidence=0.8, patients=patients)
    differences = (outputs[:, 0] - targets).reshape(100, 4)
    draws = np.random.default_rng(3).integers(100, size=(50, 100))
    lower, upper = np.quantile([differences[draw].std(ddof=1) for draw in draws], [0.1, 0.9])
    std = result["per_output"]["age"]["std"]
    assert (std["lower"], std["upper"]) == pytest.approx((lower, upper), rel=1e-9)
    assert result["resampled_by"] == "patient"


def test_each_output_has_its_own_statistics_and_errors():
    targets, outputs = example(AXES)
    outputs[:, 1] += 10
    per_output = agreement(AXES, targets, outputs, num_resamples=3)["per_output"]
    assert list(per_output) == ["P", "QRS"]
    assert per_output["QRS"]["bias"]["point"] == pytest.approx(np.mean(outputs[:, 1] - targets[:, 1]))
    for index, row in enumerate(per_output.values()):
        assert row["mae"]["point"] == pytest.approx(mean_absolute_error(targets[:, index], outputs[:, index]))
        assert row["r2"]["point"] == pytest.approx(r2_score(targets[:, index], outputs[:, index]))


@pytest.mark.filterwarnings("error")
def test_a_single_record_has_a_bias_and_no_limits():
    row = agreement(AGE, np.array([50.0]), np.array([[53.0]]), num_resamples=3)["per_output"]["age"]
    assert row["bias"] == {"point": 3, "lower": None, "upper": None, "no_interval": "fewer than 5 records"}
    assert row["upper_limit"] == {"point": None, "lower": None, "upper": None}


def test_records_without_targets_are_left_out_and_results_are_legal_json():
    targets, outputs = example(AGE)
    gaps = np.where(np.arange(400) % 3 == 0, np.nan, targets)
    kept = np.arange(400) % 3 != 0
    result = agreement(AGE, gaps, outputs, num_resamples=10)
    assert result == agreement(AGE, targets[kept], outputs[kept], num_resamples=10)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert agreement(AGE, gaps * np.nan, outputs) == {"num_records": 0}


def test_a_classification_is_refused():
    with pytest.raises(ValueError, match="of a regression"):
        agreement(FINDINGS, np.zeros((3, 1)), np.zeros((3, 1)))
