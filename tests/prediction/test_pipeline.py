import numpy as np
import pytest
import torch
from transformers import pipeline

from modeling_enecg import ECGFeatureExtractor, EnECGFeatureExtractor, EnECGModel
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.io import read_ecg
from modeling_enecg.windows import cut_windows
from tests.helpers.tiny_models import AGE, RHYTHM, SEX

THRESHOLDS = [0.0, 1.0, 0.5]
PLATT = {"method": "platt", "slopes": [1.0, 2.0, 0.5], "intercepts": [0.0, 1.0, -1.0]}
COOLER = {"method": "temperature", "temperature": 0.5}


@pytest.fixture(params=["one", "two"])
def find(request, tiny_experts):
    """The pipeline of a model with one expert, and of one whose experts take different inputs under a signal gate."""
    torch.manual_seed(0)
    names = ["ecgfounder"] if request.param == "one" else ["ecgfounder", "stmem"]
    experts = {name: tiny_experts[name] for name in names}
    tasks = [RHYTHM | {"thresholds": THRESHOLDS, "calibration": PLATT}, SEX | {"calibration": COOLER}, AGE]
    model = EnECGModel.from_experts(experts, tasks, gate="encoder")
    settings = {name: expert.config.feature_extractor_settings() for name, expert in experts.items()}
    extractor = ECGFeatureExtractor(**settings["ecgfounder"])
    if request.param == "two":
        extractor = EnECGFeatureExtractor(settings, gate=model.config.gate_extractor_settings())
    return pipeline("ecg-classification", model=model, feature_extractor=extractor)


@pytest.fixture
def signal():
    return np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4


def assert_near(ours, theirs):
    for task, findings in theirs.items():
        for one, other in zip(ours[task], findings, strict=True):
            assert one == pytest.approx(other, abs=1e-4)


def test_scores_are_the_models_probabilities_highest_first(find, signal):
    findings = find(signal, sampling_rate=500)
    windows = cut_windows(signal, 500, find.feature_extractor.window_seconds())
    assert len(windows) > 1
    inputs = find.feature_extractor(windows, 500, return_tensors="pt")
    with torch.inference_mode():
        logits = {task: values.mean(dim=0, keepdim=True) for task, values in find.model(**inputs).logits.items()}
    wanted = find.model.calibrated(logits)
    for task, labels in (("rhythm", RHYTHM["labels"]), ("sex", SEX["labels"])):
        scores = dict(zip(labels, wanted[task][0].tolist(), strict=True))
        assert {each["label"]: each["score"] for each in findings[task]} == pytest.approx(scores, abs=1e-6)
        ranked = [each["score"] for each in findings[task]]
        assert ranked == sorted(ranked, reverse=True)
        raw = dict(zip(labels, find.model.probabilities(logits)[task][0].tolist(), strict=True))
        assert {each["label"]: each["raw_score"] for each in findings[task]} == pytest.approx(raw, abs=1e-6)
        assert raw != pytest.approx(scores, abs=1e-3)
    assert findings["age"] == [{"label": "age", "value": pytest.approx(wanted["age"].item()), "unit": "years"}]


def test_a_label_is_present_from_its_own_threshold_on(find, signal):
    present = {each["label"]: each["present"] for each in find(signal, sampling_rate=500)["rhythm"]}
    scores = {each["label"]: each["score"] for each in find(signal, sampling_rate=500)["rhythm"]}
    assert present == {"AFIB": True, "SR": False, "PACE": scores["PACE"] >= 0.5}


def test_of_a_single_label_task_the_most_probable_class_is_present(find, signal):
    first, second = find(signal, sampling_rate=500)["sex"]
    assert (first["present"], second["present"]) == (True, False)
    assert first["threshold"] is second["threshold"] is None


def test_a_regression_with_a_conformal_interval_gives_its_ends(find, signal):
    find.model.update_task("age", conformal={"coverage": 0.9, "half_widths": [7.5]})
    (found,) = find(signal, sampling_rate=500)["age"]
    assert (found["lower"], found["upper"]) == pytest.approx((found["value"] - 7.5, found["value"] + 7.5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_given_its_inputs_so(find, signal, dtype):
    whole = find(signal, sampling_rate=500)
    find.model.to(dtype)
    half = find(signal, sampling_rate=500)
    scores = [{each["label"]: each["score"] for each in found["rhythm"]} for found in (whole, half)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)


def test_top_k_keeps_the_highest(find, signal):
    whole, best = find(signal, sampling_rate=500), find(signal, sampling_rate=500, top_k=1)
    assert best["rhythm"] == whole["rhythm"][:1]


@pytest.mark.parametrize("top_k", [-1, 0, 1.5])
def test_a_top_k_that_would_drop_labels_unasked_is_refused(find, signal, top_k):
    with pytest.raises(
        ValueError, match=f"top_k must be a whole number from 1 on, or None for all labels; got {top_k}"
    ):
        find(signal, sampling_rate=500, top_k=top_k)


def test_a_file_an_array_and_a_dict_give_the_same_in_a_list_and_in_batches(find, tmp_path):
    path = simulate_ptbxl(tmp_path / "data", 10) / "records500" / "00000" / "00001_hr"
    record = read_ecg(path)
    alone = find(str(path))
    reversed_leads = {
        "signal": record.signal_mv[::-1],
        "sampling_rate": record.sampling_rate,
        "lead_names": record.lead_names[::-1],
    }
    assert_near(find(record.signal_mv, sampling_rate=500, lead_names=record.lead_names), alone)
    for batch_size in (1, 2):
        many = find([str(path), reversed_leads, path], batch_size=batch_size)
        assert len(many) == 3
        for each in many:
            assert_near(each, alone)


def test_recordings_of_any_leads_and_lengths_make_a_batch(find, signal):
    records = [
        {"signal": signal, "sampling_rate": 500},
        {"signal": signal[:1, :4000], "sampling_rate": 250, "lead_names": ["I"]},
        {"signal": signal[6:, :300], "sampling_rate": 500, "lead_names": ["V1", "V2", "V3", "V4", "V5", "V6"]},
    ]
    alone = [find(record) for record in records]
    for one, other in zip(find(records, batch_size=4), alone, strict=True):
        assert_near(one, other)
    assert alone[1]["sex"] != alone[0]["sex"]


def test_an_array_without_its_rate_is_refused(find, signal):
    with pytest.raises(ValueError, match="sampling_rate in Hz"):
        find(signal)


def test_an_unknown_parameter_is_refused_with_the_known_ones(find, signal):
    with pytest.raises(TypeError, match="topk; known: sampling_rate, lead_names, top_k"):
        find(signal, sampling_rate=500, topk=1)
