import json
import math
import os
from pathlib import Path

import evaluate
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from modeling_enecg.evaluation import bootstrap_scores, multilabel_scores, regression_scores, singlelabel_scores

METRIC_SCRIPT = Path(__file__).parents[2] / "modeling_enecg" / "evaluation" / "multilabel_ecg.py"


def tied_predictions(num_records=300, num_labels=5, seed=0):
    """Targets and scores that take nine values only, so that nearly every record is tied."""
    rng = np.random.default_rng(seed)
    targets = rng.random((num_records, num_labels)) < np.linspace(0.02, 0.7, num_labels)
    scores = np.round(rng.normal(size=targets.shape) + targets).clip(-4, 4) / 10
    return targets.astype(int), scores


def sklearn_scores(target, score):
    return sklearn_metrics.roc_auc_score(target, score), sklearn_metrics.average_precision_score(target, score)


def sklearn_macro_scores(targets, scores):
    defined = [i for i in range(targets.shape[1]) if len(np.unique(targets[:, i])) == 2]
    return np.mean([sklearn_scores(targets[:, i], scores[:, i]) for i in defined], axis=0)


@pytest.fixture(scope="module")
def published():
    """Predictions of a published model with scores that scikit-learn computed, outside this repository."""
    if "ENECG_PARITY_DIR" not in os.environ:
        pytest.skip("ENECG_PARITY_DIR is not set")
    folder = Path(os.environ["ENECG_PARITY_DIR"]).parent / "metrics" / "xresnet1d101-ptbxl-all-fold10"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    with np.load(folder / "scores.npz") as arrays:
        return dict(arrays), json.loads((folder / "expected.json").read_text())


def test_a_tie_is_half_a_win_and_one_threshold():
    scores = multilabel_scores([[1], [0], [1], [0]], [[0.9], [0.5], [0.5], [0.1]])
    # Of 2 x 2 pairs three are won and one is tied; precision is 1/1 at the first positive and 2/3 at the second.
    assert scores["macro_auroc"] == 3.5 / 4
    assert scores["macro_auprc"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-15)


@pytest.mark.parametrize(
    ("score", "auroc", "auprc"), [([3, 2, 1, 0], 1, 1), ([0, 1, 2, 3], 0, 5 / 12), ([7, 7, 7, 7], 0.5, 0.5)]
)
def test_perfect_reversed_and_constant_scores(score, auroc, auprc):
    result = multilabel_scores([[1], [1], [0], [0]], np.array(score)[:, None])
    assert result["macro_auroc"] == auroc
    assert result["macro_auprc"] == pytest.approx(auprc, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_scores_with_many_ties_equal_scikit_learn(seed):
    targets, scores = tied_predictions(seed=seed)
    result = multilabel_scores(targets, scores)
    for label in range(targets.shape[1]):
        own = result["per_label"][str(label)]
        assert (own["auroc"], own["auprc"]) == pytest.approx(
            sklearn_scores(targets[:, label], scores[:, label]), abs=1e-12
        )
        assert own["num_positives"] == targets[:, label].sum()
    assert (result["macro_auroc"], result["macro_auprc"]) == pytest.approx(
        sklearn_macro_scores(targets, scores), abs=1e-12
    )


def test_labels_with_one_class_are_named_and_left_out():
    targets, scores = tied_predictions(num_labels=4)
    targets[:, 1], targets[:, 3] = 0, 1
    result = multilabel_scores(targets, scores, ["A", "B", "C", "D"])
    assert result["undefined"] == ["B", "D"]
    assert result["per_label"]["B"] == {"auroc": None, "auprc": None, "num_positives": 0}
    assert result["per_label"]["D"] == {"auroc": None, "auprc": None, "num_positives": 300}
    assert result["macro_auroc"] == pytest.approx(np.mean([result["per_label"][name]["auroc"] for name in "AC"]))
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.filterwarnings("error")
def test_macro_scores_are_nan_if_every_label_is_undefined():
    targets, scores = np.zeros((4, 2)), np.eye(4, 2)
    result = multilabel_scores(targets, scores)
    assert result["undefined"] == ["0", "1"]
    assert math.isnan(result["macro_auroc"])
    assert math.isnan(result["macro_auprc"])
    assert math.isnan(bootstrap_scores(targets, scores, num_resamples=3)["macro_auroc"]["upper"])


def test_fixed_resamples_equal_a_loop_over_scikit_learn():
    targets, scores = tied_predictions(num_records=60)
    targets[1:, 0] = 0  # about a third of the resamples lack this positive
    targets[0, 0] = 1
    indices = np.random.default_rng(1).integers(60, size=(40, 60))
    result = bootstrap_scores(targets, scores, indices, confidence=0.8)
    expected = np.array([sklearn_macro_scores(targets[rows], scores[rows]) for rows in indices])
    for name, values, point in zip(
        ("macro_auroc", "macro_auprc"), expected.T, sklearn_macro_scores(targets, scores), strict=True
    ):
        np.testing.assert_allclose(result[name]["samples"], values, rtol=0, atol=1e-12)
        summary = [result[name][key] for key in ("point", "mean", "lower", "upper")]
        assert summary == pytest.approx([point, values.mean(), *np.quantile(values, [0.1, 0.9])], abs=1e-12)


def test_per_label_samples_are_nan_where_a_resample_lacks_a_class():
    targets, scores = tied_predictions(num_records=20)
    indices = np.array([np.arange(20), np.zeros(20, dtype=int)])
    per_label = bootstrap_scores(targets, scores, indices)["per_label"]["auroc"]
    assert per_label["samples"].shape == (2, 5)
    assert np.isnan(per_label["samples"][1]).all()
    np.testing.assert_array_equal(per_label["samples"][0], per_label["point"])
    np.testing.assert_array_equal(per_label["lower"], per_label["point"])


def test_the_seed_fixes_the_resamples():
    targets, scores = tied_predictions()
    first, again, other = (bootstrap_scores(targets, scores, num_resamples=50, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first["macro_auroc"]["samples"], again["macro_auroc"]["samples"])
    assert (first["macro_auroc"]["samples"] != other["macro_auroc"]["samples"]).any()
    assert first["macro_auroc"]["lower"] < first["macro_auroc"]["point"] < first["macro_auroc"]["upper"]


def test_chunks_do_not_change_the_samples(monkeypatch):
    targets, scores = tied_predictions()
    whole = bootstrap_scores(targets, scores, num_resamples=7)
    monkeypatch.setattr("modeling_enecg.evaluation.ranking._CHUNK_ELEMENTS", 2 * len(targets))
    chunked = bootstrap_scores(targets, scores, num_resamples=7)
    np.testing.assert_array_equal(whole["macro_auprc"]["samples"], chunked["macro_auprc"]["samples"])


def test_published_predictions_give_the_published_scores(published):
    arrays, expected = published
    result = multilabel_scores(arrays["targets"], arrays["scores"], arrays["classes"].tolist())
    assert result["undefined"] == []
    for metric in ("auroc", "auprc"):
        assert result[f"macro_{metric}"] == pytest.approx(expected[f"macro_{metric}"], abs=1e-12)
        own = {name: scores[metric] for name, scores in result["per_label"].items()}
        assert own == pytest.approx(expected[f"per_label_{metric}"], abs=1e-12)


def test_published_resamples_give_the_published_interval(published):
    arrays, expected = published
    # The PTB-XL benchmark publishes the 5th and 95th percentile.
    result = bootstrap_scores(arrays["targets"], arrays["scores"], arrays["bootstrap_indices"], confidence=0.9)
    for name, samples in expected["bootstrap"].items():
        np.testing.assert_allclose(result[name]["samples"], samples, rtol=0, atol=1e-9)
    summary = {key: result["macro_auroc"][key] for key in ("point", "mean", "lower", "upper")}
    assert summary == pytest.approx(expected["published"], abs=1e-9)


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([[0, 1]], [[0.5]], r"shape \(1, 2\) and scores of shape \(1, 1\)"),
        ([0, 1], [0.5, 0.1], r"must be \(num_records, num_labels\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "not empty"),
        ([[0, 2]], [[0.5, 0.1]], "must be 0 or 1; got 1 others, the first of them 2"),
        ([[0, np.nan]], [[0.5, 0.1]], "must be 0 or 1"),
        ([[0, 1]], [[0.5, np.nan]], r"scores must be finite.*at \[0, 1\]"),
    ],
)
def test_unsound_predictions_are_refused(targets, scores, message):
    for function in (multilabel_scores, bootstrap_scores):
        with pytest.raises(ValueError, match=message):
            function(targets, scores)


@pytest.mark.parametrize("names", [["A"], ["A", "A"]])
def test_label_names_must_be_distinct_and_complete(names):
    with pytest.raises(ValueError, match="need 2"):
        multilabel_scores([[0, 1]], [[0.5, 0.1]], names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [[0, 1, 2]]}, r"shape \(num_resamples, 2\); got \(1, 3\)"),
        ({"indices": [[0, 2]]}, "from 0 to 1; got int64 from 0 to 2"),
        ({"indices": [[0, -1]]}, "from 0 to 1; got int64 from -1 to 0"),
        ({"indices": [[0.0, 1.0]]}, "got float64"),
        ({"num_resamples": 0}, "at least 1; got 0"),
        ({"confidence": 95}, "between 0 and 1.*got 95"),
    ],
)
def test_unsound_resampling_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_scores([[0], [1]], [[0.1], [0.9]], **options)


def test_singlelabel_scores_equal_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.integers(4, size=200)
    scores = rng.dirichlet(np.ones(4), size=200) + 0.3 * np.eye(4)[targets]
    scores /= scores.sum(axis=1, keepdims=True)
    result = singlelabel_scores(targets, scores)
    predictions = scores.argmax(axis=1)
    assert result["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(targets, predictions))
    assert result["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(targets, predictions))
    assert result["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(targets, predictions, average="macro"))
    assert result["macro_auroc"] == pytest.approx(sklearn_metrics.roc_auc_score(targets, scores, multi_class="ovr"))


def test_classes_that_do_not_occur_are_left_out():
    result = singlelabel_scores([0, 0, 1], [[3, 1, 0, 0], [0, 1, 2, 0], [0, 5, 1, 0]], ["a", "b", "c", "d"])
    assert result["accuracy"] == pytest.approx(2 / 3)
    assert result["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert result["undefined"] == ["c", "d"]


@pytest.mark.parametrize(("targets", "message"), [([0, 2], "from 0 to 1; got 1 others"), ([0], r"shape \(1,\)")])
def test_unsound_classes_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        singlelabel_scores(targets, [[0.1, 0.9], [0.8, 0.2]])


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_regression_scores_equal_scikit_learn(shape):
    rng = np.random.default_rng(0)
    targets, noise = rng.normal(60, 10, shape), rng.normal(0, 5, shape)
    result = regression_scores(targets, targets + noise)
    assert result["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(targets, targets + noise))
    assert result["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(targets, targets + noise))
    assert result["r2"] == pytest.approx(sklearn_metrics.r2_score(targets, targets + noise))


@pytest.mark.filterwarnings("error")
def test_r2_of_equal_targets_is_undefined():
    result = regression_scores([0.1, 0.1, 0.1], [0.1, 0.2, 0.3])
    assert math.isnan(result["r2"])
    assert result["mae"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [([1.0], [[1.0]], "Got targets of shape"), ([1.0, np.inf], [1.0, 2.0], r"targets must be finite.*at \[1\]")],
)
def test_unsound_regression_is_refused(targets, predictions, message):
    with pytest.raises(ValueError, match=message):
        regression_scores(targets, predictions)


def test_the_evaluate_metric_loads_from_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    targets, scores = tied_predictions()
    metric = evaluate.load(str(METRIC_SCRIPT), cache_dir=str(tmp_path))
    for rows in np.array_split(np.arange(len(targets)), 3):
        metric.add_batch(predictions=scores[rows], references=targets[rows].astype(bool))
    expected = multilabel_scores(targets, scores)
    assert metric.compute() == {name: expected[name] for name in ("macro_auroc", "macro_auprc")}
