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
    windows, names = usable_windows(signal[:3], 100, ["vx", "II", "MLII"], 35.0)
    assert names == ["II"]
    np.testing.assert_array_equal(windows[0], signal[1:2])


def test_a_lead_with_a_gap_is_missing_in_that_window_only(signal):
    signal[4, 1200] = np.nan
    windows, _ = usable_windows(signal, 100, STANDARD_LEADS, 7.0)
    gaps = [np.isnan(window).all(axis=1) for window in windows]
    assert [np.flatnonzero(gap).tolist() for gap in gaps] == [[], [4], [], [], []]
    assert all(np.isfinite(window[~gap]).all() for window, gap in zip(windows, gaps, strict=True))


def test_a_window_in_which_every_lead_has_a_gap_is_left_out(signal):
    signal[:, 100] = np.nan
    windows, _ = usable_windows(signal, 100, STANDARD_LEADS, 7.0)
    assert len(windows) == 4
    signal[:, ::500] = np.nan
    with pytest.raises(ValueError, match="Every lead has missing samples in every window"):
        usable_windows(signal, 100, STANDARD_LEADS, 7.0)


def test_a_recording_without_a_standard_lead_is_refused_by_its_names(signal):
    with pytest.raises(ValueError, match="None of the leads col 0, col 1 is a standard one"):
        usable_windows(signal[:2], 100, ["col 0", "col 1"], 10.0)
