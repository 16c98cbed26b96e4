"""Verdicts on recordings, on simulated ones that are damaged on purpose and on real ones."""

import numpy as np
import pytest

from modeling_enecg.data.simulator.ecg import simulate_record
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.signal_quality import DOUBTFUL, OK, UNUSABLE, assess_quality

RATE = 500


@pytest.fixture
def signal():
    return simulate_record(["NORM"], np.random.default_rng(1)).copy()


def verdict_on(signal: np.ndarray, leads=STANDARD_LEADS, rate: float = RATE):
    return assess_quality(signal, rate, leads)


def test_a_clean_recording_is_ok(signal):
    quality = verdict_on(signal)
    assert (quality.verdict, quality.reasons, quality.leads) == (OK, [], {})


@pytest.mark.parametrize("fill", [0.0, 3.25])
def test_a_constant_recording_is_unusable(fill):
    quality = verdict_on(np.full((12, 5000), fill))
    assert quality.verdict == UNUSABLE
    assert set(map(tuple, quality.leads.values())) == {("flat",)}


@pytest.mark.parametrize(("rate", "scale"), [(100, 1.0), (500, 0.05), (500, 2.0), (1000, 0.3)])
def test_white_noise_is_unusable_at_any_rate_and_scale(rate, scale):
    noise = np.random.default_rng(0).normal(scale=scale, size=(12, 10 * rate))
    assert verdict_on(noise, rate=rate).verdict == UNUSABLE


def test_flat_chest_leads_are_unusable_and_named(signal):
    signal[6:] = 0
    quality = verdict_on(signal)
    assert quality.verdict == UNUSABLE
    assert str(quality) == "6 of 12 leads tell nothing; V1, V2, V3, V4, V5, V6: flat"


def test_one_flat_lead_is_doubtful(signal):
    signal[8] = 0.1
    quality = verdict_on(signal)
    assert (quality.verdict, quality.leads) == (DOUBTFUL, {"V3": ["flat"]})


def test_an_electrode_that_is_off_is_told_by_its_offset(signal):
    signal[9] += 40
    assert verdict_on(signal).leads == {"V4": ["off"]}


def test_a_clipped_lead_is_named(signal):
    signal[7] = signal[7].clip(-0.1, 0.2)
    assert "clipped" in verdict_on(signal).leads["V2"]


@pytest.mark.parametrize("mains", [50, 60])
def test_hum_is_named(signal, mains):
    signal[10] += np.sin(2 * np.pi * mains * np.arange(5000) / RATE)
    assert "50 or 60 Hz hum" in verdict_on(signal).leads["V5"]


@pytest.mark.parametrize(
    ("factor", "shown"),
    [
        (0.05, "amplitudes of at most 0.078 mV"),
        (100.0, "amplitudes of 157 mV"),
    ],
)
def test_a_wrong_unit_is_asked_about(signal, factor, shown):
    quality = verdict_on(signal * factor)
    assert quality.verdict != OK
    assert f"{shown}: is the unit right?" in quality.reasons


def test_reversed_arms_are_told(signal):
    first, second, third = signal[:3].copy()
    signal[0], signal[1], signal[2] = -first, third, second
    signal[[3, 4]] = signal[[4, 3]]
    assert "arm electrodes may be reversed (I against V6)" in verdict_on(signal).reasons


def test_limb_leads_that_contradict_each_other_are_told(signal):
    signal[1] *= 2
    assert any("I + III is not II" in reason for reason in verdict_on(signal).reasons)


@pytest.mark.parametrize(("seconds", "verdict"), [(1.0, UNUSABLE), (3.0, DOUBTFUL), (5.0, OK)])
def test_a_short_recording_is_told(signal, seconds, verdict):
    assert verdict_on(signal[:, : round(seconds * RATE)]).verdict == verdict


def test_a_single_lead_is_judged_by_itself(signal):
    assert verdict_on(signal[:1], ["I"]).verdict == OK
    assert verdict_on(signal[:1] * 0, ["I"]).verdict == UNUSABLE


def test_a_lead_with_gaps_is_judged_by_what_is_there(signal):
    signal[5, 1000:2000] = np.nan
    assert verdict_on(signal).verdict == OK
    signal[5] = np.nan
    assert verdict_on(signal).leads == {"aVF": ["missing"]}


def test_few_real_recordings_raise_a_false_alarm(ptbxl_dir):
    records = sorted(ptbxl_dir.glob("records500/*/*.hea"))[:100]
    assert len(records) == 100
    verdicts = [verdict_on(read_ecg(path).signal_mv).verdict for path in records]
    assert UNUSABLE not in verdicts
    assert verdicts.count(DOUBTFUL) <= 5


@pytest.mark.parametrize("columns", [4, 2])
def test_leads_that_were_recorded_one_after_another_do_not_contradict_each_other(signal, columns):
    printed = np.full_like(signal, np.nan)
    width = signal.shape[1] // columns
    for row in range(len(signal)):
        start = row % columns * width  # so that I, II and III lie apart
        printed[row, start : start + width] = signal[row, start : start + width]
    assert verdict_on(printed).reasons == verdict_on(signal[:, :width]).reasons
