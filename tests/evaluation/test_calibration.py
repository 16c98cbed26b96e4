import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve as sklearn_calibration_curve
from sklearn.linear_model import LogisticRegression

from modeling_enecg import Task
from modeling_enecg.evaluation import Bootstrap, Scored, errors, reliability
from modeling_enecg.evaluation.bootstrap import draw_resamples
from modeling_enecg.evaluation.calibration import Calibration, fit_calibration
from modeling_enecg.evaluation.intervals import wilson_interval
from modeling_enecg.evaluation.reliability import calibration_curve

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP", "CD"])
RHYTHM = Task("rhythm", "single_label_classification", ["SR", "AFIB", "STACH"])
AGE = Task("age", "regression")
SLOPES, SHIFTS = np.array([0.5, 1.5, 1.0]), np.array([-1.0, 0.5, -2.0])


def calibration_scores(task, targets, probabilities, patients=None, **options):
    return reliability.calibration_scores(Scored(task, targets, probabilities, patients), Bootstrap(**options))


def findings(num_records=600, seed=0):
    """Targets whose frequency is sigmoid(slope * logit + shift) of the probabilities, slope and shift by label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, size=(num_records, 3))
    targets = (rng.random(logits.shape) < expit(SLOPES * logits + SHIFTS)).astype(np.float32)
    return targets, expit(logits)


def rhythms(num_records=600, seed=0, temperature=2.5):
    """Classes drawn from softmax(logits / temperature), and the probabilities of an overconfident softmax(logits)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, size=(num_records, 3))
    targets = (rng.random((num_records, 1)) > softmax(logits / temperature, axis=1).cumsum(axis=1)).sum(axis=1)
    return targets, softmax(logits, axis=1)


def test_platt_scaling_equals_logistic_regression_without_penalty():
    targets, probabilities = findings()
    calibration = fit_calibration(FINDINGS, targets, probabilities, "platt")
    assert calibration.uncalibrated == {}
    calibrated = calibration.apply(probabilities)
    for index, label in enumerate(FINDINGS.labels):
        scores = logit(probabilities[:, index, None])
        peer = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(scores, targets[:, index])
        assert calibration.slopes[label] == pytest.approx(peer.coef_[0, 0], rel=1e-6)
        assert calibration.intercepts[label] == pytest.approx(peer.intercept_[0], rel=1e-6)
        np.testing.assert_allclose(calibrated[:, index], peer.predict_proba(scores)[:, 1], rtol=1e-6)


def test_platt_scaling_finds_the_slopes_and_shifts_that_made_the_targets():
    calibration = fit_calibration(FINDINGS, *findings(num_records=40_000), "platt")
    np.testing.assert_allclose(list(calibration.slopes.values()), SLOPES, rtol=0.05)
    np.testing.assert_allclose(list(calibration.intercepts.values()), SHIFTS, rtol=0.05)


@pytest.mark.parametrize("task", [FINDINGS, RHYTHM], ids=lambda task: task.name)
def test_no_other_temperature_has_a_lower_log_loss(task):
    targets, probabilities = findings() if task is FINDINGS else rhythms()
    (slope,) = set(fit_calibration(task, targets, probabilities).slopes.values())

    def loss(slope):
        if task is FINDINGS:
            return np.sum(np.logaddexp(0, slope * logit(probabilities)) - targets * slope * logit(probabilities))
        return -log_softmax(slope * np.log(probabilities), axis=1)[np.arange(len(targets)), targets].sum()

    best = minimize_scalar(loss, bounds=(0.01, 10), method="bounded", options={"xatol": 1e-9}).x
    assert slope == pytest.approx(best, rel=1e-5)


def test_a_temperature_finds_the_one_that_made_the_targets():
    calibration = fit_calibration(RHYTHM, *rhythms(num_records=20_000))
    assert 1 / calibration.slopes["SR"] == pytest.approx(2.5, rel=0.05)
    calibrated = calibration.apply(rhythms()[1])
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), rhythms()[1].argmax(axis=1))


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_calibration_lowers_the_log_loss_of_other_records_and_keeps_their_order(method):
    calibration = fit_calibration(FINDINGS, *findings(num_records=2000), method)
    targets, before = findings(seed=1)
    after = calibration.apply(before)
    losses = [sklearn_metrics.log_loss(targets.ravel(), values.ravel()) for values in (before, after)]
    assert losses[1] < losses[0]
    np.testing.assert_array_equal(after.argsort(axis=0), before.argsort(axis=0))


def test_labels_that_cannot_be_fitted_stay_as_they_are_and_are_named():
    rng = np.random.default_rng(0)
    labels = ["few_positives", "few_negatives", "separable", "reversed_separable", "constant", "falling", "sound"]
    scores = rng.normal(size=(200, len(labels)))
    targets = rng.random(scores.shape) < expit(scores)
    targets[:, 0] = np.arange(200) < 9
    targets[:, 1] = np.arange(200) >= 9
    targets[:, 2], targets[:, 3] = scores[:, 2] > 0.3, scores[:, 3] < 0.3
    scores[:, 4] = 0.7
    targets[:, 5] = rng.random(200) < expit(-2 * scores[:, 5])
    task = Task("findings", "multi_label_classification", labels)
    probabilities = expit(scores)
    calibration = fit_calibration(task, targets.astype(float), probabilities, "platt")
    assert calibration.uncalibrated == {
        "few_positives": "few_positives",
        "few_negatives": "few_negatives",
        "separable": "separable",
        "reversed_separable": "separable",
        "constant": "separable",
        "falling": "not_increasing",
    }
    np.testing.assert_allclose(calibration.apply(probabilities)[:, :6], probabilities[:, :6], rtol=1e-12)
    assert (calibration.slopes["falling"], calibration.intercepts["falling"]) == (1, 0)


@pytest.mark.parametrize(
    ("targets", "scores", "reason"),
    [
        (np.arange(40) < 9, np.linspace(1, -1, 40), "few_positives"),
        (np.arange(40) < 20, np.linspace(1, -1, 40), "separable"),
        (np.arange(40) < 20, np.linspace(-1, 1, 40), "not_increasing"),
        (np.arange(40) < 20, np.zeros(40), "separable"),
    ],
    ids=["few positives", "separable", "falling", "constant"],
)
def test_a_temperature_that_cannot_be_fitted_is_named(targets, scores, reason):
    task = Task("findings", "multi_label_classification", ["MI"])
    probabilities = expit(scores)[:, None]
    calibration = fit_calibration(task, targets[:, None].astype(float), probabilities)
    assert calibration.uncalibrated == {"MI": reason}
    np.testing.assert_allclose(calibration.apply(probabilities), probabilities, rtol=1e-12)


@pytest.mark.parametrize("task", [FINDINGS, RHYTHM], ids=lambda task: task.name)
def test_probabilities_of_zero_and_one_stay_finite(task):
    targets, probabilities = findings() if task is FINDINGS else rhythms()
    probabilities[0] = [1, 0, 0]
    for method in ("temperature", "platt")[: 2 if task is FINDINGS else 1]:
        calibrated = fit_calibration(task, targets, probabilities, method).apply(probabilities)
        assert np.isfinite(calibrated).all()
        assert calibrated[0, 0] > calibrated[0, 1]


def test_records_without_targets_do_not_count():
    targets, probabilities = findings()
    with_gaps = targets.copy()
    with_gaps[::3, 1] = np.nan
    kept = np.arange(len(targets)) % 3 != 0
    for method in ("temperature", "platt"):
        expected = fit_calibration(FINDINGS, targets[kept], probabilities[kept], method)
        assert fit_calibration(FINDINGS, with_gaps, probabilities, method) == expected


def test_a_calibration_is_read_back_from_json():
    calibration = fit_calibration(FINDINGS, *findings(), "platt")
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize(
    ("task", "probabilities", "method", "message"),
    [
        (AGE, np.ones((600, 1)), "temperature", "is a regression"),
        (FINDINGS, np.ones((600, 3)), "isotonic", "temperature, platt; got 'isotonic'"),
        (RHYTHM, np.ones((600, 3)), "platt", "one class per record"),
        (FINDINGS, np.full((600, 3), 1.5), "platt", r"in \[0, 1\]; got 1.5 to 1.5"),
        (FINDINGS, np.ones((600, 2)), "platt", r"here \(600, 3\); got \(600, 2\)"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(task, probabilities, method, message):
    with pytest.raises(ValueError, match=message):
        fit_calibration(task, findings()[0] if task is not RHYTHM else rhythms()[0], probabilities, method)


def test_brier_score_and_log_loss_equal_scikit_learn():
    targets, probabilities = findings()
    scores = calibration_scores(FINDINGS, targets, probabilities, num_resamples=2)
    for metric, function in (("brier", sklearn_metrics.brier_score_loss), ("log_loss", sklearn_metrics.log_loss)):
        expected = [function(targets[:, index], probabilities[:, index]) for index in range(3)]
        own = [scores["per_label"][label][metric]["point"] for label in FINDINGS.labels]
        assert own == pytest.approx(expected, abs=1e-12)
        assert scores[f"macro_{metric}"]["point"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_the_cross_entropy_of_a_single_label_task_equals_scikit_learn():
    targets, probabilities = rhythms()
    scores = calibration_scores(RHYTHM, targets, probabilities, num_resamples=2)
    assert scores["log_loss"]["point"] == pytest.approx(sklearn_metrics.log_loss(targets, probabilities), abs=1e-12)
    brier = sklearn_metrics.brier_score_loss(targets == 1, probabilities[:, 1])
    assert scores["per_label"]["AFIB"]["brier"]["point"] == pytest.approx(brier, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 8])
def test_the_calibration_curve_equals_scikit_learn(decimals):
    targets, probabilities = findings()
    target, chances = targets[:, 0], probabilities[:, 0].round(decimals)
    curve = calibration_curve(target, chances)
    observed, predicted = sklearn_calibration_curve(target, chances, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([point["observed"] for point in curve], observed, atol=1e-12)
    np.testing.assert_allclose([point["predicted"] for point in curve], predicted, atol=1e-12)
    sizes = np.array([point["num_records"] for point in curve])
    assert sizes.sum() == 600
    assert decimals == 1 or (sizes == 60).all()


@pytest.mark.parametrize(("hits", "num_records"), [(0, 8), (3, 8), (8, 8), (150, 400)])
def test_the_curves_intervals_are_wilsons(hits, num_records):
    expected = binomtest(hits, num_records).proportion_ci(0.9, method="wilson")
    assert wilson_interval(hits / num_records, num_records, 0.9) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_calibration_error_by_hand():
    """Two bins of 20: 0.1 and 0.3 with no positive, 0.6 and 0.8 with one of two: both 0.2 off."""
    targets, chances = np.repeat([[0], [0], [1], [0]], 10, axis=0), np.repeat([[0.1], [0.3], [0.6], [0.8]], 10, axis=0)
    assert errors.calibration_error(targets, chances, np.ones((1, 40)))[0, 0] == pytest.approx(0.2)


@pytest.mark.parametrize(("num_records", "num_bins"), [(5, 1), (39, 1), (48, 2), (100, 5), (600, 10), (5000, 10)])
def test_few_records_have_fewer_bins_of_twenty_at_least(num_records, num_bins):
    curve = calibration_curve(np.arange(num_records) % 2, np.linspace(0, 1, num_records))
    sizes = [point["num_records"] for point in curve]
    assert len(sizes) == num_bins
    assert sum(sizes) == num_records
    assert min(sizes) >= min(num_records, 19)  # quantiles share out a remainder


def test_resampled_calibration_scores_equal_a_loop():
    targets, probabilities = findings(num_records=100)
    resamples = draw_resamples(100, 20, patients=np.arange(100) // 2)
    own = [
        compute(targets, probabilities, resamples.counts)
        for compute in (errors.brier, errors.log_loss, errors.calibration_error)
    ]
    edges = np.quantile(probabilities[:, 1], [0.2, 0.4, 0.6, 0.8])
    for index, rows in enumerate(resamples.records, start=1):
        target, chances = targets[rows, 1], probabilities[rows, 1]
        bins = np.searchsorted(edges, chances)
        gaps = [abs((chances - target)[bins == each].sum()) for each in range(5)]
        expected = [np.mean((chances - target) ** 2), sklearn_metrics.log_loss(target, chances), sum(gaps) / len(rows)]
        assert [samples[index, 1] for samples in own] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", [FINDINGS, RHYTHM], ids=lambda task: task.name)
def test_calibration_scores_are_legal_json_with_intervals(task):
    targets, probabilities = findings() if task is FINDINGS else rhythms()
    patients = np.arange(len(targets)) // 2
    scores = calibration_scores(task, targets, probabilities, num_resamples=100, patients=patients)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert (scores["num_records"], scores["resampled_by"]) == (600, "patient")
    assert scores["macro_brier"]["lower"] < scores["macro_brier"]["point"] < scores["macro_brier"]["upper"]
    nothing = np.full(targets.shape, np.nan)
    assert calibration_scores(task, nothing, probabilities) == {"num_records": 0}


def test_the_calibration_error_lies_in_its_interval_which_is_as_wide_as_the_resamples():
    targets, probabilities = findings()
    calibrated = fit_calibration(FINDINGS, targets, probabilities, "platt").apply(probabilities)
    samples = errors.calibration_error(targets, calibrated, draw_resamples(600, 200).counts)
    scores = calibration_scores(FINDINGS, targets, calibrated, num_resamples=200)
    assert samples[0, 0] < np.quantile(samples[1:, 0], 0.1)  # the reason to move it
    for own, values in (
        (scores["per_label"]["MI"]["ece"], samples[:, 0]),
        (scores["macro_ece"], samples.mean(axis=1)),
    ):
        lower, upper = np.quantile(values[1:], [0.025, 0.975])
        assert own["lower"] < own["point"] < own["upper"]
        assert own["upper"] - own["lower"] == pytest.approx(upper - lower)
        assert own["point"] == values[0]


def test_calibration_lowers_the_calibration_error_of_a_label():
    calibration = fit_calibration(FINDINGS, *findings(num_records=2000), "platt")
    targets, probabilities = findings(num_records=2000, seed=1)
    before, after = (
        calibration_scores(FINDINGS, targets, values, num_resamples=100)["per_label"]["CD"]["ece"]
        for values in (probabilities, calibration.apply(probabilities))
    )
    assert after["upper"] < before["lower"]


@pytest.mark.parametrize(
    ("task", "probabilities", "message"),
    [
        (AGE, np.ones((600, 1)), "is a regression"),
        (FINDINGS, np.full((600, 3), -1.0), r"in \[0, 1\]"),
    ],
)
def test_what_has_no_calibration_is_refused(task, probabilities, message):
    with pytest.raises(ValueError, match=message):
        calibration_scores(task, findings()[0][:, : task.num_outputs], probabilities)
