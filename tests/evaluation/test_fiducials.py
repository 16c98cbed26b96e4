"""The marks of the median beat: against the simulator's truth, and that none is told where there is no wave."""

import sys

import numpy as np
import pytest

from modeling_enecg.data.beats import find_beats
from modeling_enecg.data.simulator.ecg import NORMAL_BEAT, SAMPLING_RATE, Simulated, simulate_with_truth
from modeling_enecg.data.simulator.fiducials import true_fiducials
from modeling_enecg.evaluation.fiducials import FIDUCIALS, Delineation, delineate
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord

# In ms of the mean absolute error; what was measured on 200 records stands in docs/recordings.md.
LARGEST_ERRORS = {
    "P onset": 12,
    "P peak": 3,
    "P end": 12,
    "QRS onset": 6,
    "QRS end": 6,
    "T peak": 4,
    "T end": 20,
}


def simulated(findings: list[str], seed: int) -> tuple[Simulated, Delineation]:
    truth = simulate_with_truth(findings, np.random.default_rng(seed))
    record = ECGRecord(truth.signal_mv, SAMPLING_RATE, list(STANDARD_LEADS))
    return truth, delineate(record, find_beats(record))


def test_the_truth_of_the_simulator_is_where_its_waves_have_four_percent_of_their_height():
    truth = true_fiducials(NORMAL_BEAT)
    assert truth["P peak"] == pytest.approx(-0.15)
    assert truth["P onset"] == pytest.approx(-0.195)
    assert truth["QRS onset"] == pytest.approx(-0.047)
    assert truth["QRS end"] == pytest.approx(0.049)
    assert truth["T end"] == pytest.approx(0.3575)
    assert 0.22 < truth["T peak"] < 0.27
    assert list(true_fiducials({"main": NORMAL_BEAT["main"]})) == ["QRS onset", "QRS peak", "QRS end"]


def test_marks_lie_where_the_simulator_has_its_waves():
    pytest.importorskip("neurokit2", reason="the marks are those of neurokit2")
    errors = []
    for seed in range(2):
        truth, found = simulated(["NORM"], seed)
        wanted = true_fiducials(truth.waves)
        assert set(found.seconds) == set(FIDUCIALS)
        errors.append([1000 * abs(found.seconds[name] - wanted[name]) for name in FIDUCIALS])
    means = dict(zip(FIDUCIALS, np.mean(errors, axis=0), strict=True))
    assert {name: error for name, error in means.items() if error > LARGEST_ERRORS[name]} == {}


def test_no_p_wave_is_told_in_atrial_fibrillation():
    pytest.importorskip("neurokit2", reason="the marks are those of neurokit2")
    _, found = simulated(["AFIB"], 1)
    assert "QRS onset" in found.seconds
    assert not [name for name in found.seconds if name.startswith("P ")]


def test_nothing_is_told_where_the_r_peaks_are_none():
    pytest.importorskip("neurokit2", reason="the marks are those of neurokit2")
    truth = simulate_with_truth(["NORM"], np.random.default_rng(0))
    record = ECGRecord(truth.signal_mv, SAMPLING_RATE, list(STANDARD_LEADS))
    at_the_t_waves = truth.beats[1:-1] + true_fiducials(truth.waves)["T peak"]
    assert delineate(record, at_the_t_waves[at_the_t_waves > 0]) == Delineation()
    assert delineate(record, np.zeros(0)) == Delineation()
    assert delineate(ECGRecord(np.full((2, 5000), np.nan), 500, ["I", "II"]), truth.beats) == Delineation()


def test_a_beat_for_which_neurokit_lists_no_place_at_all_shifts_no_mark_of_the_others():
    pytest.importorskip("neurokit2", reason="the marks are those of neurokit2")
    truth, found = simulated(["1AVB"], 40)  # of which NeuroKit lists 23 P peaks for 24 beats
    wanted = true_fiducials(truth.waves)
    for name in ("QRS onset", "QRS end", "T peak", "T end"):
        assert 1000 * abs(found.seconds[name] - wanted[name]) < 2 * LARGEST_ERRORS[name], name


def test_without_neurokit2_the_reason_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    _, found = simulated(["NORM"], 0)
    assert not found.seconds
    assert "pip install neurokit2" in found.why_not
