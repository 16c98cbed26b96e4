"""The median beat: against the simulator's truth, and what it leaves out."""

import numpy as np
import pytest

from modeling_enecg.data.simulator.ecg import SAMPLING_RATE, simulate_with_truth
from modeling_enecg.evaluation.median_beat import median_beat
from tests.helpers.explaining import BEAT_S, beats

RATE = 250
PEAKS = np.arange(BEAT_S / 2, 10, BEAT_S)


def test_it_is_the_beat_of_the_simulator_without_its_noise():
    truth = simulate_with_truth(["NORM"], np.random.default_rng(3))
    inside = truth.beats[(truth.beats > 0.5) & (truth.beats < 9.4)]
    beat = median_beat(truth.signal_mv, SAMPLING_RATE, inside)
    peaks = np.rint(inside * SAMPLING_RATE).astype(int)
    after = beat.signal_mv.shape[1] - beat.r_peak
    expected = np.mean([truth.clean_mv[:, peak - beat.r_peak : peak + after] for peak in peaks], axis=0)
    expected -= np.median(expected, axis=1, keepdims=True)
    assert np.sqrt(np.mean(np.square(beat.signal_mv - expected))) < 0.03  # mV
    assert np.corrcoef(beat.signal_mv.ravel(), expected.ravel())[0, 1] > 0.99


def test_peaks_found_some_ms_off_do_not_blur_it():
    signal = beats(10, RATE).signal_mv
    off = np.random.default_rng(0).integers(-5, 6, len(PEAKS)) / RATE
    exact, blurred = median_beat(signal, RATE, PEAKS), median_beat(signal, RATE, PEAKS + off)
    assert np.ptp(blurred.signal_mv, axis=1) == pytest.approx(np.ptp(exact.signal_mv, axis=1), rel=0.03)


def test_beats_of_another_shape_are_left_out():
    signal = beats(10, RATE).signal_mv
    for peak in PEAKS[[3, 7]]:
        middle = round(peak * RATE)
        signal[:, middle - 60 : middle + 60] = np.hanning(120)
    found = median_beat(signal, RATE, PEAKS)
    assert (found.num_used, found.num_found) == (10, 12)


def test_a_lead_that_was_not_recorded_is_nan_and_a_gap_is_passed_over():
    signal = beats(10, RATE).signal_mv
    whole = median_beat(signal, RATE, PEAKS)
    signal[2, 1000:1200] = signal[5] = np.nan
    found = median_beat(signal, RATE, PEAKS)
    assert np.isnan(found.signal_mv[5]).all()
    assert found.signal_mv[2] == pytest.approx(whole.signal_mv[2], abs=0.02)


@pytest.mark.parametrize("peaks", [np.zeros(0), PEAKS[:2], np.array([0.0, 0.1, 9.95, 9.99])])
def test_too_few_whole_beats_have_no_median(peaks):
    assert median_beat(beats(10, RATE).signal_mv, RATE, peaks) is None


def test_a_fast_rhythm_has_a_beat_no_longer_than_its_rr_interval():
    found = median_beat(beats(10, RATE).signal_mv, RATE, np.sort(np.r_[PEAKS, PEAKS + BEAT_S / 2])[:-1])
    assert found is None or found.signal_mv.shape[1] <= BEAT_S / 2 * RATE
