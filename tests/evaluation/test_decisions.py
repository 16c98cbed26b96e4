"""What validation records tell a model: calibration, thresholds and intervals, and what they make of logits."""

import json

import numpy as np
import pytest
import torch
from scipy.special import expit
from transformers import AutoModel

from modeling_enecg import EnECGConfig, EnECGModel, Task, decisions
from modeling_enecg.decisions import findings
from modeling_enecg.evaluation.calibration import calibrated_outputs, fit_calibration
from modeling_enecg.evaluation.conformal import fit_conformal
from modeling_enecg.evaluation.task_fields import fitted_fields
from modeling_enecg.probabilities import calibrated_probabilities, output_probabilities
from tests.helpers.tiny_models import AGE, RHYTHM, SEX, one_task

TEMPERATURE = {"method": "temperature", "temperature": 2.0}
PLATT = {"method": "platt", "slopes": [1.0, 2.0, 0.5], "intercepts": [0.0, 1.0, -1.0]}
LOGITS = torch.tensor([2.0, -1.0, 0.5])


def scores_of(found):
    return {each["label"]: each["score"] for each in found}


def test_a_temperature_divides_logits():
    found = findings(Task(**RHYTHM, calibration=TEMPERATURE), LOGITS)
    assert scores_of(found) == pytest.approx(dict(zip(RHYTHM["labels"], expit(LOGITS.numpy() / 2), strict=True)))
    assert found[0]["raw_score"] == pytest.approx(expit(2.0))


def test_platt_scaling_has_a_line_of_each_label():
    wanted = expit(np.array([2.0, -1.0, -0.75]))
    found = findings(Task(**RHYTHM, calibration=PLATT), LOGITS)
    assert scores_of(found) == pytest.approx(dict(zip(RHYTHM["labels"], wanted, strict=True)))


def test_thresholds_are_on_the_calibrated_probability():
    task = Task(**RHYTHM, calibration=PLATT, thresholds=[0.9, 0.2, 0.4])
    present = {each["label"]: each["present"] for each in findings(task, LOGITS)}
    assert present == {"AFIB": False, "SR": True, "PACE": False}  # without calibration PACE would be there


def test_a_prediction_set_holds_the_classes_that_are_not_too_surprising():
    task = Task(**SEX, conformal={"coverage": 0.9, "quantile": 0.8})
    assert [each["possible"] for each in findings(task, torch.tensor([0.0, 1.0]))] == [True, True]
    assert [each["possible"] for each in findings(task, torch.tensor([0.0, 3.0]))] == [True, False]


@pytest.mark.parametrize("task", [RHYTHM, SEX])
def test_a_fitted_calibration_does_on_the_model_what_it_does_on_arrays(task):
    rng = np.random.default_rng(0)
    task = Task(**task)
    logits = torch.from_numpy(rng.normal(size=(200, task.num_outputs)) * 3)
    model_probabilities = logits.sigmoid() if task.is_multi_label else logits.softmax(dim=-1)
    targets = (
        (rng.random(logits.shape) < expit(logits.numpy() / 3)).astype(float)
        if task.is_multi_label
        else (rng.random(200) < 0.5).astype(float)
    )
    for method in ("temperature", "platt") if task.is_multi_label else ("temperature",):
        fitted = fit_calibration(task, targets, model_probabilities.numpy(), method)
        kept = task.with_fields(calibration=json.loads(json.dumps(fitted.for_task())))
        wanted = fitted.apply(model_probabilities.numpy())
        np.testing.assert_allclose(calibrated_outputs(kept, model_probabilities.numpy()), wanted)
        by_label = [scores_of(findings(kept, row)) for row in logits]
        ours = np.array([[row[label] for label in task.labels] for row in by_label])
        np.testing.assert_allclose(ours, wanted, atol=1e-9)


def test_validation_records_decide_on_what_each_type_of_task_keeps():
    rng = np.random.default_rng(0)
    truth = rng.random((100, 3)) < 0.4
    kept = fitted_fields(Task(**RHYTHM), truth.astype(float), expit(rng.normal(2 * truth - 1, 1.0)))
    assert kept.keys() == {"calibration", "thresholds", "conformal"}
    assert kept["conformal"] is None
    ages = rng.normal(60, 15, size=(100, 1))
    kept = fitted_fields(Task(**AGE), ages, ages + rng.normal(0, 5, size=(100, 1)))
    assert kept["conformal"]["half_widths"][0] == pytest.approx(8.2, abs=2)
    assert fitted_fields(Task(**AGE), np.full((3, 1), np.nan), np.zeros((3, 1))) == {}


def test_conformal_intervals_cover_the_stated_share_of_further_records():
    rng = np.random.default_rng(0)
    coverages = []
    for _ in range(200):
        errors = rng.exponential(size=(150, 1))
        (half_width,) = fit_conformal(Task(**AGE), errors[:50], np.zeros((50, 1)), 0.8)["half_widths"]
        coverages.append(np.mean(errors[50:] <= half_width))
    assert np.mean(coverages) == pytest.approx(0.8, abs=0.02)


def test_conformal_sets_cover_the_stated_share_and_need_enough_records():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1], size=4000)
    targets = (rng.random(4000) < probabilities[:, 1]).astype(float)
    quantile = fit_conformal(Task(**SEX), targets[:2000], probabilities[:2000], 0.9)["quantile"]
    inside = 1 - probabilities[2000:][np.arange(2000), targets[2000:].astype(int)] <= quantile
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
    assert fit_conformal(Task(**SEX), targets[:8], probabilities[:8], 0.9) is None
    assert fit_conformal(Task(**SEX), targets[:9], probabilities[:9], 0.9) is not None


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        (AGE, {"calibration": TEMPERATURE}, "it has no probabilities"),
        (SEX, {"calibration": PLATT}, "has the method temperature"),
        (RHYTHM, {"calibration": {"method": "temperature"}}, "calibration needs method, temperature"),
        (RHYTHM, {"calibration": TEMPERATURE | {"temperature": 0}}, "temperature must be positive"),
        (RHYTHM, {"calibration": PLATT | {"slopes": [1.0]}}, "slopes needs 3 numbers"),
        (RHYTHM, {"conformal": {"coverage": 0.9, "quantile": 0.5}}, "for regressions and single-label"),
        (AGE, {"conformal": {"coverage": 0.9}}, "conformal needs coverage, half_widths"),
        (AGE, {"conformal": {"coverage": 1.5, "half_widths": [1.0]}}, "coverage must be between 0 and 1"),
    ],
)
def test_a_task_refuses_what_it_cannot_keep(task, fields, message):
    with pytest.raises(ValueError, match=message):
        Task.from_dict(task | fields)


def test_decisions_travel_with_the_model(tiny_experts, tmp_path):
    model = one_task(tiny_experts, RHYTHM)
    model.update_task("rhythm", calibration=PLATT, thresholds=[0.1, 0.2, 0.3], measured={"12 leads": {"score": 0.9}})
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.tasks == model.tasks
    logits = {"rhythm": LOGITS[None]}
    torch.testing.assert_close(loaded.calibrated(logits), model.calibrated(logits))
    assert not torch.allclose(model.calibrated(logits)["rhythm"], model.probabilities(logits)["rhythm"])


def test_a_config_from_before_these_fields_loads(tiny_experts, tmp_path):
    model = one_task(tiny_experts, RHYTHM)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for task in config["tasks"]:
        for field in ("calibration", "conformal", "measured"):
            del task[field]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert EnECGModel.from_pretrained(tmp_path).tasks == model.tasks


def test_the_config_is_the_one_truth_about_tasks(single):
    single.config.tasks[0]["thresholds"] = [0.1, 0.2, 0.3]
    assert single.tasks["rhythm"].thresholds == [0.1, 0.2, 0.3]
    single.update_task("rhythm", thresholds=[0.4, 0.5, 0.6])
    assert single.config.tasks[0]["thresholds"] == [0.4, 0.5, 0.6]
    with pytest.raises(AttributeError):
        single.tasks["rhythm"].thresholds = None
    with pytest.raises(TypeError):
        single.tasks["other"] = single.tasks["rhythm"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("rythm", {}, "no task 'rythm'; there are rhythm, sex, age"),
        ("rhythm", {"tresholds": []}, "did you mean 'thresholds'"),
        ("rhythm", {"labels": ["AFIB"]}, "num_outputs cannot change"),
        ("rhythm", {"name": "other"}, "name cannot change"),
        ("rhythm", {"thresholds": [0.5]}, "needs 3 numbers"),
    ],
)
def test_an_update_that_does_not_fit_is_refused(single, name, changes, message):
    with pytest.raises(ValueError, match=message):
        single.update_task(name, **changes)


def test_a_regression_in_half_precision_is_brought_to_its_unit_in_single(tiny_experts, inputs):
    sodium = {"name": "sodium", "problem_type": "regression", "target_mean": [140.0], "target_std": [3.0]}
    model = one_task(tiny_experts, sodium)
    with torch.inference_mode():
        whole = model(inputs).logits["sodium"]
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(inputs).logits["sodium"]
        half = model.to(torch.bfloat16)(inputs.to(torch.bfloat16)).logits["sodium"]
    assert mixed.dtype == half.dtype == torch.float32
    assert (mixed - whole).abs().max() < 0.1  # bfloat16 has steps of 1 there
    assert (half - whole).abs().max() < 0.1
    assert len(mixed.unique()) == len(inputs)


def test_config_tasks_take_objects_of_the_config_class():
    config = EnECGConfig(experts={}, tasks=[RHYTHM])
    assert config.get_tasks() == [Task(**RHYTHM)]


@pytest.mark.parametrize("fields", [RHYTHM, RHYTHM | {"calibration": PLATT}, SEX | {"calibration": TEMPERATURE}, AGE])
def test_arrays_and_tensors_are_calibrated_alike(fields):
    task = Task(**fields)
    logits = np.random.default_rng(0).normal(scale=3, size=(50, task.num_outputs))
    for ours, theirs in (
        (decisions.activated(task.problem_type, logits), output_probabilities),
        (
            decisions.activated(task.problem_type, decisions.calibrated_logits(logits, task.calibration)),
            calibrated_probabilities,
        ),
    ):
        np.testing.assert_allclose(ours, theirs(task, torch.from_numpy(logits)).numpy(), rtol=1e-12)
