import numpy as np
import pytest

from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.windows import cut_windows, num_windows, usable_windows


@pytest.fixture
def signal():
    return np.random.default_rng(0).normal(size=(12, 3500))


@pytest.mark.parametrize(("seconds", "count"), [(1, 1), (10, 1), (14.9, 1), (15, 2), (24, 2), (25, 3), (600, 60)])
def test_a_recording_is_cut_into_as_many_windows_as_fit_best(seconds, count):
    assert num_windows(seconds, 10.0) == count
    assert len(cut_windows(np.zeros((1, round(100 * seconds))), 100, 10.0)) == count


def test_windows_reach_from_the_beginning_to_the_end(signal):
    windows = cut_windows(signal, 100, 10.0)
    assert [window.shape for window in windows] == [(12, 1000)] * 4
    np.testing.assert_array_equal(windows[0], signal[:, :1000])
    np.testing.assert_array_equal(windows[-1], signal[:, -1000:])
    covered = np.concatenate([window[0] for window in windows])
    assert np.isin(signal[0], covered).all()


def test_what_one_window_holds_best_stays_whole(signal):
    assert cut_windows(signal[:, :1400], 100, 10.0)[0].shape == (12, 1400)


def test_leads_beyond_the_standard_ones_are_left_out(signal):
    windows = usable_windows(signal[:3], 100, ["vx", "II", "MLII"], 35.0)
    assert (windows.lead_names, windows.other_leads) == (["II"], ["vx", "MLII"])
    np.testing.assert_array_equal(windows.signals[0], signal[1:2])


def test_a_lead_with_a_gap_is_missing_in_that_window_only(signal):
    signal[4, 1200] = np.nan
    windows = usable_windows(signal, 100, STANDARD_LEADS, 7.0)
    gaps = [np.isnan(window).all(axis=1) for window in windows.signals]
    assert [np.flatnonzero(gap).tolist() for gap in gaps] == [[], [4], [], [], []]
    assert all(np.isfinite(window[~gap]).all() for window, gap in zip(windows.signals, gaps, strict=True))
    assert windows.num_with_gaps == {"aVL": 1}
    assert windows.used_leads == list(STANDARD_LEADS)


def test_a_window_in_which_every_lead_has_a_gap_is_left_out(signal):
    signal[:, 100] = np.nan
    windows = usable_windows(signal, 100, STANDARD_LEADS, 7.0)
    assert (len(windows.signals), windows.num_left_out) == (4, 1)
    for start, window in zip(windows.starts, windows.signals, strict=True):
        np.testing.assert_array_equal(window, signal[:, start : start + 700])
    assert windows.num_with_gaps == dict.fromkeys(STANDARD_LEADS, 1)
    signal[:, ::500] = np.nan
    with pytest.raises(ValueError, match="Every lead has missing samples in every window"):
        usable_windows(signal, 100, STANDARD_LEADS, 7.0)


def test_a_recording_without_a_standard_lead_is_refused_by_its_names(signal):
    with pytest.raises(ValueError, match="None of the leads col 0, col 1 is a standard one"):
        usable_windows(signal[:2], 100, ["col 0", "col 1"], 10.0)


def test_leads_with_gaps_everywhere_are_not_among_those_used(signal):
    signal[2:, 50::500] = np.nan
    windows = usable_windows(signal, 100, STANDARD_LEADS, 10.0)
    assert windows.used_leads == ["I", "II"]
    assert windows.num_with_gaps == dict.fromkeys(STANDARD_LEADS[2:], 4)


def test_a_window_in_which_no_lead_changes_is_left_out_and_a_recording_of_such_refused(signal):
    signal[:, :700] = 0.4
    windows = usable_windows(signal, 100, STANDARD_LEADS, 7.0)
    assert (len(windows.signals), windows.num_left_out) == (4, 1)
    for start, window in zip(windows.starts, windows.signals, strict=True):
        np.testing.assert_array_equal(window, signal[:, start : start + 700])
    with pytest.raises(ValueError, match="holds no ECG: every lead is constant"):
        usable_windows(np.full((12, 3500), 0.4), 100, STANDARD_LEADS, 7.0)


def test_a_recording_shorter_than_a_beat_is_refused_by_its_length(signal):
    with pytest.raises(ValueError, match=r"too short: 4 samples at 500 Hz are 0\.008 s"):
        usable_windows(signal[:, :4], 500, STANDARD_LEADS, 10.0)


def test_windows_end_before_a_calibration_pulse(signal):
    tail = np.repeat([0.0, 1.0, 0.0], [50, 20, 30])
    pulsed = np.concatenate([signal[:, :1000], np.tile(tail, (12, 1))], axis=1)
    windows = usable_windows(pulsed, 100, STANDARD_LEADS, 5.0).signals
    np.testing.assert_array_equal(np.concatenate(windows, axis=1), signal[:, :1000])
