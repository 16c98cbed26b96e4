"""Recordings that people had read wrongly, each beside what is right; the folder is named by `ENECG_CASES_DIR`."""

import os
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS, is_standard_lead
from modeling_enecg.windows import usable_windows

STATED = {"sampling_rate": 250, "unit": "mV"}


@pytest.fixture(scope="module")
def cases() -> Path:
    if "ENECG_CASES_DIR" not in os.environ:
        pytest.skip("ENECG_CASES_DIR is not set")
    return Path(os.environ["ENECG_CASES_DIR"])


@pytest.fixture
def read(cases):
    """A function that reads the file whose path below `reading` begins so."""

    def read(start, **stated):
        (path,) = (cases / "reading").glob(start)
        return read_ecg(path, **stated)

    return read


def lead(record, name):
    return record.signal_mv[record.lead_names.index(name)]


@pytest.mark.parametrize("name", ["cabrera.csv", "cabrera.edf", "cabrera.hea", "text_0.dcm", "text_2.dcm"])
def test_an_inverted_avr_is_no_avr(read, name):
    record = read(f"01_*/{name}", **({"sampling_rate": 250} if name.endswith("csv") else {}))
    assert "aVR" not in record.lead_names
    assert {"I", "II", "III", "aVL", "aVF"} <= set(record.lead_names)


def test_a_lead_on_the_right_is_no_lead_on_the_left(read):
    record = read("01_*/text_v4r.dcm")
    assert "V4" not in record.lead_names
    assert record.left_out == {"V4 (V4R)": "by its name no standard lead"}


@pytest.mark.parametrize(
    ("name", "stated"), [("eeg.csv", {"sampling_rate": 100}), ("eeg.edf", {}), ("eeg.npz", {}), ("icare_eeg.hea", {})]
)
def test_places_on_the_head_are_no_chest_leads(read, name, stated):
    record = read(f"02_*/{name}", **stated)
    assert not any(map(is_standard_lead, record.lead_names))
    assert set(record.left_out) == {"C3", "C4"}


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("one_missing_sample.hea", [name for name in STANDARD_LEADS if name != "V1"]),
        ("print_3x4_with_rhythm_strip.hea", ["II"]),
    ],
)
def test_leads_with_gaps_are_told(read, name, used):
    record = read(f"03_*/{name}")
    windows = usable_windows(record.signal_mv, record.sampling_rate, record.lead_names, 10.0)
    assert windows.used_leads == used
    assert set(windows.num_with_gaps) == set(STANDARD_LEADS) - set(used)


@pytest.mark.parametrize(
    ("name", "leads"), [("one_lead.csv", ["I"]), ("pandas_index_false.csv", list(STANDARD_LEADS))]
)
def test_numbers_of_columns_are_no_sample(read, name, leads):
    record = read(f"04_*/{name}", **STATED, lead_names=leads)
    assert record.signal_mv.shape == (len(leads), 1000)
    assert np.abs(record.signal_mv[:, 0]).max() < 0.1


@pytest.mark.parametrize(
    ("name", "leads"), [("single_lead.hea", ["I"]), ("ecg_label.edf", ["I"]), ("col_names.hea", ["I", "II"])]
)
def test_names_that_say_nothing_are_replaced(read, name, leads):
    assert read(f"05_*/{name}", lead_names=leads).lead_names == leads


@pytest.mark.parametrize("name", ["counts.csv", "counts.mat", "counts.npy", "counts_wfdb.hea"])
def test_the_lowest_code_is_a_missing_sample(read, name):
    said = {} if name.endswith("hea") else {"sampling_rate": 250, "unit": 0.001, "lead_names": STANDARD_LEADS}
    record = read(f"06_*/{name}", **said)
    missing = np.isnan(record.signal_mv)
    assert np.flatnonzero(missing[record.lead_names.index("V1")]).tolist() == list(range(1000, 1100))
    assert missing.sum() == 100


@pytest.mark.parametrize("name", ["ChannelTimeSkew.dcm", "ChannelSampleSkew.dcm"])
def test_a_skewed_channel_is_put_in_its_time(read, name):
    record = read(f"07_*/{name}")
    law = lead(record, "I") + lead(record, "III") - lead(record, "II")
    assert np.isnan(law).sum() == 25
    assert np.nanmax(np.abs(law)) < 0.003


def test_a_lead_that_was_off_is_missing_and_gives_no_other(read):
    record = read("08_*/lead_ii_off.xml")
    assert np.isnan(lead(record, "II")).all()
    assert list(record.damaged_leads) == ["II"]
    windows = usable_windows(record.signal_mv, record.sampling_rate, record.lead_names, 10.0)
    assert windows.used_leads == ["I", "V1", "V2", "V3", "V4", "V5", "V6"]


def test_leads_in_turn_are_refused(read):
    with pytest.raises(ECGFileError, match="do not start together: LeadTimeOffset differs"):
        read("08_*/leads_in_turn.xml")


def test_windows_end_before_a_calibration_pulse(read):
    record = read("09_*/sierra.xml")
    for window in usable_windows(record.signal_mv, record.sampling_rate, record.lead_names, 5.0).signals:
        assert not (window == 1.0).all(axis=0).any()


@pytest.mark.parametrize(("name", "hz"), [("rate_10_000.csv", 10_000), ("rate_1_000.csv", 1000)])
def test_part_thousands_are_no_decimals(read, name, hz):
    assert read(f"10_*/{name}").sampling_rate == hz


@pytest.mark.parametrize("name", ["resaved_v5.hea", "two_leads_header.hea"])
def test_a_matrix_that_was_saved_again_is_refused(read, name):
    with pytest.raises(ECGFileError, match=r"is no MATLAB 4 matrix of .* rows"):
        read(f"11_*/{name}")


@pytest.mark.parametrize("name", ["zeros.hea", "constant.hea"])
def test_a_recording_without_signal_gives_no_window(read, name):
    record = read(f"12_*/{name}")
    with pytest.raises(ValueError, match="every lead is constant"):
        usable_windows(record.signal_mv, record.sampling_rate, record.lead_names, 10.0)


def test_four_samples_are_too_short(read):
    record = read("13_*/four.hea")
    with pytest.raises(ValueError, match="too short"):
        usable_windows(record.signal_mv, record.sampling_rate, record.lead_names, 10.0)


@pytest.mark.parametrize("name", ["d1_d2.csv", "ekg.csv"])
def test_usual_spellings_are_understood(read, name):
    assert read(f"14_*/{name}", **STATED).lead_names == ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f.hea", "more than a signal is compressed to"),
        ("npy_nested_unary_header.npy", "has a header of 9014 bytes"),
        ("npz_bzip2_member_of_2_GB.npz", "compressed in a way that numpy.savez does not write"),
    ],
)
def test_small_files_that_would_cost_much_are_refused_with_a_reason(cases, name, message):
    with pytest.raises(ECGFileError, match=message):
        read_ecg(cases / "safety" / name)
