import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor

from modeling_enecg import (
    BACKBONES,
    ECGFeatureExtractor,
    ECGFounderConfig,
    EnECGConfig,
    EnECGFeatureExtractor,
    EnECGModel,
    STMEMConfig,
)
from modeling_enecg.leads import LEAD_SETS, STANDARD_LEADS, derive_limb_leads

PUBLISHED_SETTINGS = {
    model_type: model_class.config_class().feature_extractor_settings()
    for model_type, model_class in BACKBONES.items()
}


@pytest.fixture(params=sorted(BACKBONES))
def extractor(request):
    """The feature extractor of each published backbone, of all leads."""
    return ECGFeatureExtractor(**(PUBLISHED_SETTINGS[request.param] | {"lead_names": STANDARD_LEADS}))


def ecg(num_samples=5000, rate=500, num_leads=12, seed=0):
    """A beat-like signal in mV with baseline wander, mains hum and noise."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(num_samples) / rate
    beats = np.exp(-0.5 * (((seconds % 0.8) - 0.3) / 0.02) ** 2)
    slow = 0.3 * np.sin(2 * np.pi * 0.2 * seconds) + 0.05 * np.sin(2 * np.pi * 50 * seconds)
    noise = 0.02 * rng.normal(size=(num_leads, num_samples))
    return rng.uniform(-1.5, 1.5, size=(num_leads, 1)) * beats + slow + noise


def prepare(extractor, signals, **options):
    return extractor(signals, **({"sampling_rate": 500} | options))["input_values"]


def assert_near(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=tolerance, rtol=0)


def test_stmem_pre_processing_equals_upstreams(parity_dir):
    upstream = load_file(parity_dir / "stmem" / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(**STMEMConfig().feature_extractor_settings())
    ours = prepare(extractor, upstream["raw"].numpy())[0]
    assert_near(ours, upstream["f64.center.output"])
    assert_near(ours, upstream["output"])


def test_ecgfounder_pre_processing_equals_upstreams(parity_dir):
    upstream = load_file(parity_dir / "ecgfounder" / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(**ECGFounderConfig().feature_extractor_settings())
    assert_near(prepare(extractor, upstream["raw"].numpy())[0], upstream["output_float32"])


def test_linear_resampling_equals_ecgfounders(parity_dir):
    upstream = load_file(parity_dir / "ecgfounder" / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(steps=[{"name": "resample", "method": "linear"}])
    ours = prepare(extractor, upstream["raw"].numpy()[:, :4000], sampling_rate=400)[0]
    assert_near(ours, upstream["resampled_first4000_as_400hz_to_5000"], 1e-6)


@pytest.mark.parametrize("method", ["fourier", "kaiser", "linear"])
def test_resampling_keeps_a_slow_wave(method):
    extractor = ECGFeatureExtractor(250, 1000, ["I"], steps=[{"name": "resample", "method": method}])
    signal = np.sin(2 * np.pi * 2 * np.arange(2000) / 500)[None]
    wanted = np.sin(2 * np.pi * 2 * np.arange(1000) / 250)
    resampled = prepare(extractor, signal)[0, 0]
    assert resampled.shape == wanted.shape
    # Linear interpolation stretches by one sample.
    np.testing.assert_allclose(resampled[50:-50], wanted[50:-50], atol=0.03)


@pytest.mark.parametrize(("rate", "target_rate"), [(100, 240), (977, 240), (257.5, 250), (499.5, 500), (1000, 100)])
def test_the_kaiser_filter_takes_any_two_rates(rate, target_rate):
    extractor = ECGFeatureExtractor(target_rate, 9 * target_rate, ["I"], [{"name": "resample", "method": "kaiser"}])
    signal = np.sin(2 * np.pi * 5 * np.arange(int(10 * rate)) / rate)[None]
    resampled = prepare(extractor, signal, sampling_rate=rate)[0, 0]
    seconds = np.arange(len(resampled)) / target_rate
    assert len(resampled) in (10 * target_rate, 10 * target_rate - 1)  # rates with a fraction lose a part of a sample
    inner = (seconds > 1) & (seconds < 9)
    np.testing.assert_allclose(
        resampled[inner], np.sin(2 * np.pi * 5 * seconds[inner]), atol=3e-4
    )  # as exact as resampy


def test_amplitudes_are_clipped_at_both_limits():
    extractor = ECGFeatureExtractor(500, 4, ["I"], steps=[{"name": "clip", "limit_mv": 3.0}])
    signal = np.array([[-4.0, -1.0, 3.0, 3.5]])
    assert prepare(extractor, signal)[0, 0].tolist() == [-3.0, -1.0, 3.0, 3.0]


def test_steps_after_resampling_work_at_the_new_rate():
    resample = {"name": "resample", "method": "fourier"}
    highpass = {"name": "butterworth", "kind": "highpass", "cutoff_hz": 5.0, "order": 2}
    at_once, first, second = (
        ECGFeatureExtractor(250, 1000, steps=steps) for steps in ([resample, highpass], [resample], [highpass])
    )
    signal = ecg(2000)
    resampled = prepare(first, signal)[0]
    assert_near(prepare(at_once, signal), prepare(second, resampled, sampling_rate=250))


def test_a_saved_extractor_does_the_same_after_loading(extractor, tmp_path):
    extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is ECGFeatureExtractor
    assert loaded.to_dict() == extractor.to_dict()
    signal = ecg()
    np.testing.assert_array_equal(prepare(loaded, signal), prepare(extractor, signal))


def test_the_saved_file_names_every_step_in_order(extractor, tmp_path):
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert [step["name"] for step in saved["steps"]] == [step["name"] for step in extractor.steps]
    assert saved["lead_names"] == list(STANDARD_LEADS)


@pytest.mark.parametrize("rate", [100, 250, 360, 500, 977, 1000, 257.5])
@pytest.mark.parametrize("seconds", [2, 10, 13.7])
def test_any_rate_and_length_gives_the_same_shape(extractor, rate, seconds):
    values = prepare(extractor, ecg(int(seconds * rate), rate), sampling_rate=rate)
    assert values.shape == (1, 12, extractor.sequence_length)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    standardizes = any(step["name"] == "standardize" for step in extractor.steps)
    assert (0.2 if standardizes else 0.05) < values.std() < 1.5  # perhaps cropped, or filled up with zeros


def test_a_short_record_is_filled_up_at_the_end():
    extractor = ECGFeatureExtractor(sequence_length=8, lead_names=["I"], steps=[{"name": "crop_or_pad"}])
    np.testing.assert_array_equal(prepare(extractor, [[1, 2, 3, 4, 5]]), [[[1, 2, 3, 4, 5, 0, 0, 0]]])


def test_a_long_record_is_cut_to_its_middle():
    extractor = ECGFeatureExtractor(sequence_length=4, lead_names=["I"], steps=[{"name": "crop_or_pad"}])
    np.testing.assert_array_equal(prepare(extractor, np.arange(9.0)[None]), [[[2, 3, 4, 5]]])


@pytest.mark.parametrize("seconds", [4, 12, 14])
def test_the_first_sample_lies_where_the_extractor_says(extractor, seconds):
    seconds = max(seconds, extractor.window_seconds() / 2)
    times = np.arange(round(seconds * 500)) / 500
    pulse_at = seconds / 2
    signal = np.tile(np.exp(-(((times - pulse_at) / 0.05) ** 2)), (12, 1)) + 0.01 * np.sin(times)
    (prepared,) = extractor.prepare(signal, 500)
    skipped = extractor.skipped_seconds(len(times), 500)
    found = skipped + prepared.values[0].argmax() / extractor.sampling_rate
    if pulse_at - skipped < extractor.window_seconds() - 0.1:  # else it lies beyond what is taken of the start
        assert found == pytest.approx(pulse_at, abs=1.5 / extractor.sampling_rate + 0.004)


def test_leads_are_ordered_by_name(extractor):
    signal = ecg()
    order = np.random.default_rng(3).permutation(12)
    names = [STANDARD_LEADS[row] for row in order]
    np.testing.assert_array_equal(prepare(extractor, signal[order], lead_names=names), prepare(extractor, signal))


def test_eight_leads_serve_where_the_others_follow(extractor):
    rows = dict(zip(STANDARD_LEADS, ecg(), strict=True))
    rows |= derive_limb_leads(rows["I"], rows["II"])
    eight = [name for name in STANDARD_LEADS if name not in ("III", "aVR", "aVL", "aVF")]
    values = prepare(extractor, np.stack([rows[name] for name in eight]), lead_names=eight)
    twelve = prepare(extractor, np.stack([rows[name] for name in STANDARD_LEADS]))
    np.testing.assert_array_equal(values, twelve)


def test_records_of_different_lengths_form_a_batch(extractor):
    signals = [ecg(5000), ecg(3000, seed=1), ecg(7000, seed=2)]
    batch = prepare(extractor, signals)
    assert batch.shape[0] == 3
    for index, signal in enumerate(signals):
        np.testing.assert_array_equal(batch[index], prepare(extractor, signal)[0])


def test_one_array_of_several_records_is_a_batch(extractor):
    signals = np.stack([ecg(), ecg(seed=1)])
    np.testing.assert_array_equal(prepare(extractor, signals), prepare(extractor, list(signals)))


def test_integers_are_taken_as_numbers():
    extractor = ECGFeatureExtractor(sequence_length=4, lead_names=["I"])
    signal = np.array([[0, 1, 0, 5]], dtype=np.int16)
    np.testing.assert_array_equal(prepare(extractor, signal), prepare(extractor, signal.astype(float)))


def test_the_callers_signal_is_not_changed(extractor):
    signal = ecg()
    before = signal.copy()
    prepare(extractor, signal)
    np.testing.assert_array_equal(signal, before)


def test_tensors_are_returned_on_request(extractor):
    inputs = extractor(ecg(), sampling_rate=500, return_tensors="pt")
    assert list(inputs) == ["input_values"]
    assert inputs["input_values"].dtype == torch.float32
    assert inputs.to(torch.bfloat16)["input_values"].dtype == torch.bfloat16


def test_a_missing_sampling_rate_warns_and_means_the_extractors_own(caplog):
    # A rate of its own, for the warning is given once.
    extractor = ECGFeatureExtractor(sampling_rate=123, sequence_length=300)
    signal = ecg(400, 123)
    with caplog.at_level(logging.WARNING):
        values = extractor(signal)["input_values"]
    assert "taken to have 123 Hz" in caplog.text
    np.testing.assert_array_equal(values, prepare(extractor, signal, sampling_rate=123))


@pytest.mark.parametrize("sampling_rate", [0, -500, float("nan")])
def test_a_senseless_sampling_rate_is_refused(extractor, sampling_rate):
    with pytest.raises(ValueError, match="positive number of Hz"):
        extractor(ecg(), sampling_rate=sampling_rate)


def with_value(value):
    signal = ecg()
    signal[[3, 7], 100] = value
    return signal


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (with_value(np.nan), r"Signal 0 has 2 values that are NaN or infinite \(leads aVR, V2\)"),
        (with_value(np.inf), r"Signal 0 has 2 values that are NaN or infinite \(leads aVR, V2\)"),
        (ecg() * 1000, r"Are these µV \(divide by 1000\)"),
        (np.round(ecg() * 200).astype(np.int16), "ADC units"),
        (ecg() / 1000, r"Are these V \(multiply by 1000\)"),
        (ecg(num_leads=8), r"has 8 leads; this extractor expects 12: I, II, .*lead_names"),
        (ecg().T, r"has 5000 leads; this extractor expects 12"),
        (ecg()[:, :1], r"has shape \(12, 1\); expected \(num_leads, num_samples\)"),
        (ecg()[0], r"expected \(num_leads, num_samples\)"),
        (ecg().astype(complex), "expected real numbers in mV"),
        (ecg().astype(str), "expected real numbers in mV"),
    ],
    ids=["nan", "inf", "µV", "ADC", "V", "8 leads", "transposed", "one sample", "one lead", "complex", "text"],
)
def test_what_is_no_ecg_in_millivolts_is_refused_with_the_reason(extractor, signal, message):
    with pytest.raises(ValueError, match=message):
        extractor(signal, sampling_rate=500)


def test_an_error_names_the_record_of_the_batch(extractor):
    with pytest.raises(ValueError, match="Signal 1 has 2 values that are NaN"):
        extractor([ecg(), with_value(np.nan)], sampling_rate=500)


def test_a_large_offset_is_no_unit_error(extractor):
    assert np.isfinite(prepare(extractor, ecg() + 200.0)).all()


@pytest.mark.parametrize("names", LEAD_SETS.values(), ids=LEAD_SETS)
def test_missing_leads_are_zero_and_told_and_change_nothing_of_the_others(extractor, names):
    rows = dict(zip(STANDARD_LEADS, ecg(), strict=True))
    rows |= derive_limb_leads(rows["I"], rows["II"])
    inputs = extractor(np.stack([rows[name] for name in names]), 500, names)
    if "V1" in names:  # then the other limb leads follow
        assert "lead_mask" not in inputs
        return
    is_there = np.isin(STANDARD_LEADS, names)
    np.testing.assert_array_equal(inputs["lead_mask"], [is_there])
    alone = ECGFeatureExtractor(**(extractor.to_dict() | {"lead_names": list(names)}))
    np.testing.assert_array_equal(inputs["input_values"][:, is_there], prepare(alone, [rows[name] for name in names]))
    assert not inputs["input_values"][:, ~is_there].any()


def test_a_lead_without_samples_is_missing(extractor):
    signal = ecg()
    signal[8] = np.nan
    kept = [row for row in range(12) if row != 8]
    inputs, without = extractor(signal, 500), extractor(signal[kept], 500, [STANDARD_LEADS[row] for row in kept])
    np.testing.assert_array_equal(np.flatnonzero(~inputs["lead_mask"][0]), [8])
    np.testing.assert_array_equal(inputs["input_values"], without["input_values"])


def test_masks_come_where_one_record_of_a_batch_needs_them(extractor):
    signal, short = ecg(), ecg(num_samples=1500)
    short[11] = np.nan
    assert set(extractor([signal, signal], 500)) == {"input_values"}
    inputs = extractor([signal, short], 500)
    assert inputs["lead_mask"].tolist() == [[True] * 12, [True] * 11 + [False]]
    whole, part = inputs["input_mask"].sum(axis=1)
    assert whole == extractor.sequence_length
    assert part == min(whole, round(1500 * extractor.sampling_rate / 500))
    assert inputs["input_mask"][1, :part].all()


def test_an_ensemble_has_one_lead_mask_over_the_standard_leads_and_an_input_mask_an_expert():
    settings = {
        "all": {"sampling_rate": 100, "sequence_length": 1000},
        "first": {"sampling_rate": 100, "sequence_length": 500, "lead_names": ["I"]},
    }
    gate = {"sampling_rate": 100, "sequence_length": 1000, "lead_names": ["V1"]}
    extractor = EnECGFeatureExtractor(settings, gate=gate)
    inputs = extractor(ecg(3500)[:1], 500, ["I"], return_tensors="pt")
    assert inputs["lead_mask"].dtype == torch.bool
    assert inputs["lead_mask"].tolist() == [[True] + [False] * 11]
    assert [mask.sum().item() for mask in inputs["input_mask"]] == [700, 500]
    assert not inputs["gate_values"].any()
    assert extractor.window_seconds() == 10


def test_a_recording_without_any_of_the_leads_is_refused():
    extractor = ECGFeatureExtractor(lead_names=["I", "II"])
    with pytest.raises(ValueError, match="Signal 1 has none of the leads that the model reads"):
        extractor([ecg()[:1], np.full((1, 5000), np.nan)], 500, ["I"])


def test_an_unknown_step_is_refused_with_the_choice():
    with pytest.raises(ValueError, match=r"Unknown step \{'name': 'filter'\}; its name must be one of resample"):
        ECGFeatureExtractor(steps=[{"name": "filter"}])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"name": "butterworth", "kind": "bandpass", "cutoff_hz": [0.5, 40.0]},
            "missing a required argument: 'order'",
        ),
        ({"name": "resample", "methd": "fourier"}, "'method|'methd"),
        ({"name": "clip", "limit_mv": 3.0, "rate": 100}, "'rate'"),
    ],
)
def test_a_step_without_an_argument_or_with_a_wrong_one_is_refused_before_any_signal(step, message):
    with pytest.raises(ValueError, match=rf"The step .* does not fit: .*({message})"):
        ECGFeatureExtractor(steps=[step])


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_recording_in_which_no_lead_changes_is_refused(extractor, value):
    with pytest.raises(ValueError, match="Signal 0 holds no ECG: every lead is constant"):
        extractor(np.full((12, 5000), value), sampling_rate=500)


@pytest.mark.parametrize("scope", ["record", "lead"])
def test_standardising_a_flat_lead_gives_zeros(scope):
    steps = [{"name": "standardize", "scope": scope}]
    extractor = ECGFeatureExtractor(sequence_length=64, lead_names=["II"], steps=steps)
    signal = np.stack([ecg(64)[0], np.full(64, 0.5)])
    np.testing.assert_array_equal(extractor(signal, 500, ["I", "II"])["input_values"], 0)


def test_a_rate_that_is_no_whole_number_loses_no_sample():
    extractor = ECGFeatureExtractor(100, 1000, ["I"], steps=[{"name": "resample", "method": "fourier"}])
    assert prepare(extractor, ecg(5124, 512.414, num_leads=1), sampling_rate=512.414).shape == (1, 1, 1000)


def test_a_recording_too_short_for_one_sample_is_refused():
    extractor = ECGFeatureExtractor(100, 1000)
    with pytest.raises(ValueError, match=r"Signal 0 of 4 samples at 1000 Hz fails .* the signal is too short"):
        extractor(ecg(4, 1000), sampling_rate=1000)


def test_few_amplitudes_that_are_too_large_are_called_spikes(extractor):
    signal = ecg()
    signal[:, 700:703] = 60.0
    with pytest.raises(ValueError, match=r"Only 0\.06% of the samples do not: spikes, as of a pacemaker"):
        extractor(signal, sampling_rate=500)


def with_pulse(signal, line=75, pulse=100, rest=50):
    """Put behind a signal what Philips devices do: 1 mV for 0.2 s between flat lines, in all leads."""
    tail = np.concatenate([np.zeros(line), np.ones(pulse), np.zeros(rest)])
    return np.concatenate([signal, np.tile(tail, (len(signal), 1))], axis=1)


@pytest.mark.parametrize("num_leads", [1, 12])
def test_a_calibration_pulse_never_reaches_a_model(extractor, num_leads):
    names = STANDARD_LEADS[:num_leads]
    signal = ecg(4000, num_leads=num_leads)
    pure, pulsed = (extractor(each, 500, names) for each in (signal, with_pulse(signal)))
    np.testing.assert_array_equal(pulsed["input_values"], pure["input_values"])


@pytest.mark.parametrize("tail", [{"pulse": 0}, {"pulse": 5}, {"line": 0}, {"rest": 0}])
def test_an_end_that_is_no_calibration_pulse_is_kept(tail):
    extractor = ECGFeatureExtractor(steps=[{"name": "crop_or_pad"}])
    signal = with_pulse(ecg(4000), **tail)
    assert extractor(signal, 500)["input_mask"].sum() == signal.shape[1]


def test_scopes_standardise_the_record_or_each_lead():
    signal = ecg(400)
    by_record, by_lead = (
        prepare(ECGFeatureExtractor(sequence_length=400, steps=[{"name": "standardize", "scope": scope}]), signal)[0]
        for scope in ("record", "lead")
    )
    assert_near(by_record, (signal - signal.mean()) / signal.std())
    assert_near(by_lead, (signal - signal.mean(1, keepdims=True)) / signal.std(1, keepdims=True))


@pytest.fixture
def ensemble_extractor():
    return EnECGFeatureExtractor(
        {"founder": PUBLISHED_SETTINGS["enecg-ecgfounder"], "stmem": PUBLISHED_SETTINGS["enecg-stmem"]}
    )


def test_an_ensemble_gets_each_experts_own_view(ensemble_extractor):
    signals = [ecg(), ecg(4000, seed=1)]
    views = prepare(ensemble_extractor, signals)
    assert [view.shape for view in views] == [(2, 12, 5000), (2, 12, 2250)]
    for view, settings in zip(views, ensemble_extractor.experts.values(), strict=True):
        np.testing.assert_array_equal(view, prepare(ECGFeatureExtractor(**settings), signals))


def test_every_view_of_an_ensemble_moves_to_a_dtype(ensemble_extractor):
    inputs = ensemble_extractor(ecg(), sampling_rate=500, return_tensors="pt").to(torch.bfloat16)
    assert [view.dtype for view in inputs["input_values"]] == [torch.bfloat16, torch.bfloat16]


def test_a_saved_ensemble_extractor_does_the_same_after_loading(ensemble_extractor, tmp_path):
    ensemble_extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is EnECGFeatureExtractor
    assert list(loaded.experts) == ["founder", "stmem"]
    for ours, theirs in zip(prepare(loaded, ecg()), prepare(ensemble_extractor, ecg()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_extractor_and_ensemble_fit_each_other(tiny_experts):
    task = {"name": "sex", "problem_type": "multi_label_classification", "labels": ["female"]}
    model = EnECGModel.from_experts(tiny_experts, [task])
    settings = {name: expert.config.feature_extractor_settings() for name, expert in tiny_experts.items()}
    inputs = EnECGFeatureExtractor(settings)([ecg(), ecg(seed=1)], sampling_rate=500, return_tensors="pt")
    with torch.inference_mode():
        assert model(**inputs).logits["sex"].shape == (2, 1)


def test_an_ensemble_folder_may_hold_either_kind_of_extractor(tmp_path, ensemble_extractor):
    # One expert's ensemble has a plain extractor; the file itself says which class it is.
    EnECGConfig().save_pretrained(tmp_path)
    for extractor in (ECGFeatureExtractor(), ensemble_extractor):
        extractor.save_pretrained(tmp_path)
        assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is type(extractor)


def test_an_ensembles_extractor_keeps_its_order_through_files_that_sort_their_keys(tmp_path):
    settings = {"zeta": PUBLISHED_SETTINGS["enecg-stmem"], "alpha": PUBLISHED_SETTINGS["enecg-ecgfounder"]}
    EnECGFeatureExtractor(settings).save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert list(loaded.extractors()) == ["zeta", "alpha"]
    assert loaded.extractors()["zeta"].sequence_length == 2250


# What callers say to every extractor of the stack


@pytest.mark.parametrize("names", [["ecgfounder"], ["ecgfounder", "stmem"]])
def test_padding_and_device_are_taken_as_elsewhere_and_nothing_else_is_promised(tiny_experts, names):
    task = {"name": "sex", "problem_type": "single_label_classification", "labels": ["female", "male"]}
    extractor = EnECGModel.from_experts({name: tiny_experts[name] for name in names}, [task]).feature_extractor()
    wanted = extractor(ecg(), 500, return_tensors="pt")
    given = extractor(ecg(), 500, return_tensors="pt", padding="max_length", device="cpu")
    torch.testing.assert_close(given["input_values"], wanted["input_values"])
    moved = extractor(ecg(), 500, return_tensors="pt", device="meta")["input_values"]
    assert all(each.is_meta for each in (moved if len(names) > 1 else [moved]))
    with pytest.raises(ValueError, match="padding cannot be False: all records come out in one length"):
        extractor(ecg(), 500, padding=False)
    with pytest.raises(ValueError, match="device needs return_tensors=\"pt\"; got 'np'"):
        extractor(ecg(), 500, return_tensors="np", device="cpu")
