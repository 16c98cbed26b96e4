import os

import numpy as np
import pytest
import wfdb

from modeling_enecg.io import ECGFileError, read_ecg
from modeling_enecg.leads import STANDARD_LEADS


@pytest.fixture
def write(tmp_path):
    """A function that writes a WFDB record of the three first leads; it returns its path without ending."""

    def write(name="record", leads=("I", "II", "III"), units="mV", signal=None, gain=1000.0):
        signal = np.random.default_rng(0).normal(size=(200, len(leads))) if signal is None else signal
        wfdb.wrsamp(
            *(name, 100, [units] * len(leads), list(leads)),
            p_signal=signal,
            fmt=["16"] * len(leads),
            adc_gain=[gain] * len(leads),
            baseline=[0] * len(leads),
            write_dir=str(tmp_path),
        )
        return tmp_path / name

    return write


@pytest.mark.parametrize(("folder", "end", "rate"), [("records100", "lr", 100), ("records500", "hr", 500)])
def test_a_record_reads_as_wfdb_reads_it(simulated, folder, end, rate):
    path = simulated / folder / "00000" / f"00001_{end}"
    record = read_ecg(path)
    np.testing.assert_array_equal(record.signal_mv, wfdb.rdrecord(str(path)).p_signal.T)
    assert record.signal_mv.shape == (12, 10 * rate)
    assert record.signal_mv.dtype == np.float64
    assert record.signal_mv.flags.c_contiguous
    assert record.sampling_rate == rate
    assert tuple(record.lead_names) == STANDARD_LEADS


@pytest.mark.parametrize("ending", [".hea", ".dat"])
def test_either_file_of_a_record_names_it(simulated, ending):
    path = simulated / "records100" / "00000" / "00001_lr"
    np.testing.assert_array_equal(read_ecg(f"{path}{ending}").signal_mv, read_ecg(path).signal_mv)


def test_a_dot_in_a_name_is_no_ending(write):
    header = write().with_suffix(".hea")
    path = header.with_name("patient.7")
    header.rename(f"{path}.hea")
    assert read_ecg(path).signal_mv.shape == (3, 200)
    assert read_ecg(f"{path}.hea").signal_mv.shape == (3, 200)


@pytest.mark.parametrize(("unit", "mv_per_unit"), [("mV", 1.0), ("uV", 1e-3), ("V", 1e3)])
def test_amplitudes_are_brought_to_millivolts(write, unit, mv_per_unit):
    signal = np.random.default_rng(1).normal(size=(200, 3))
    path = write(units=unit, signal=signal / mv_per_unit, gain=1000 * mv_per_unit)
    np.testing.assert_allclose(read_ecg(path).signal_mv, signal.T, atol=1e-3)


def test_a_record_without_any_voltage_is_refused(write):
    with pytest.raises(ECGFileError, match=r"has no ECG: its channels are I \(mmHg\), II"):
        read_ecg(write(units="mmHg"))


@pytest.mark.parametrize("leads", [("PLETH", "V2", "RESP"), ("ABP", "ECG II", "CS 1-2"), ("", "MLII", "marker")])
def test_channels_that_are_no_leads_are_left_out_beside_those_that_are(write, leads):
    signal = np.random.default_rng(0).normal(size=(200, 3))
    record = read_ecg(write(leads=leads, signal=signal))
    assert len(record.lead_names) == 1
    np.testing.assert_allclose(record.signal_mv, signal.T[1:2], atol=1e-3)


def test_channels_of_unknown_names_are_kept_where_none_is_known(write):
    assert read_ecg(write(leads=("col 0", "col 1", "col 2"))).lead_names == ["col 0", "col 1", "col 2"]


def test_lead_names_become_standard_and_keep_the_order_of_the_file(write):
    assert read_ecg(write(leads=("AVR", "lead II", "v1"))).lead_names == ["aVR", "II", "V1"]


def test_lead_names_hold_nothing_that_a_terminal_obeys_and_no_novels(write):
    header = write(leads=("lead II", "V1", "V2")).with_suffix(".hea")
    content = header.read_bytes().replace(b"lead II", b"lead II\x1b\x7f")
    header.write_bytes(content.replace(b"V1", b"ECG " + b"x" * 5000))
    second, long, _ = read_ecg(header).lead_names
    assert second == "II"
    assert long.startswith("ECG xxx")
    assert len(long) < 600


def test_repeated_leads_are_refused(write):
    path = write(leads=("I", "II", "L1"))
    with pytest.raises(ECGFileError, match="holds leads twice: I") as caught:
        read_ecg(path)
    assert str(path) in str(caught.value)


def test_names_that_tell_no_certain_lead_may_repeat(write):
    header = write(leads=("ECG", "EKG")).with_suffix(".hea")
    header.write_text(header.read_text().replace("EKG", "ECG"))  # as MIT-BIH's database of ST changes has them
    assert read_ecg(header).lead_names == ["ECG", "ECG"]


def test_a_number_is_no_unit_that_a_file_states(write):
    with pytest.raises(ECGFileError, match=r"states no unit of voltage but 1; give unit"):
        read_ecg(write(leads=("I",), units="1"))


def test_signals_that_name_themselves_something_else_are_left_out(write):
    assert read_ecg(write(leads=("RESP", "channel 2", "PLETH"))).lead_names == ["channel 2"]
    assert read_ecg(write(name="foetus", leads=("FECG", "UC"))).lead_names == ["FECG"]


def test_missing_samples_are_nan(write):
    signal = np.ones((200, 3))
    signal[5, 1] = signal[7, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(read_ecg(write(signal=signal)).signal_mv), np.isnan(signal.T))


def test_a_record_of_missing_samples_alone_is_refused(write):
    with pytest.raises(ECGFileError, match="no valid sample"):
        read_ecg(write(signal=np.full((200, 3), np.nan)))


@pytest.mark.parametrize(
    "arguments",
    [{"sampling_rate": 100}, {"unit": "mV"}, {"unit": "millivolts"}, {"lead_names": ["i", "Lead II", "L3"]}],
)
def test_arguments_may_repeat_what_the_file_says(write, arguments):
    assert read_ecg(write(), **arguments).lead_names == ["I", "II", "III"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling_rate": 500}, "states a sampling_rate of 100; it is given as 500"),
        ({"unit": "uV"}, "states the units mV; unit is given as uV"),
        ({"lead_names": ["I", "II", "V1"]}, "names its leads I, II, III; lead_names is given as I, II, V1"),
        ({"lead_names": ["I", "II"]}, "lead_names is given as I, II"),
        ({"unit": 0.001}, "states the units mV; unit is given as 0.001"),
    ],
)
def test_arguments_that_contradict_the_file_are_refused(write, arguments, message):
    path = write()
    with pytest.raises(ECGFileError, match=message) as caught:
        read_ecg(path, **arguments)
    assert str(path) in str(caught.value)


STATED = {"sampling_rate": 100, "unit": "uV", "lead_names": ["I", "II"]}


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "matrix.npy"
    np.save(path, np.arange(400.0).reshape(2, 200))
    return path


@pytest.mark.parametrize("unit", ["uV", 0.001, "0.001"])
def test_arguments_say_what_the_file_does_not(matrix, unit):
    record = read_ecg(matrix, **STATED | {"unit": unit})
    np.testing.assert_allclose(record.signal_mv, np.arange(400.0).reshape(2, 200) / 1000)
    assert (record.sampling_rate, record.lead_names) == (100, ["I", "II"])


@pytest.mark.parametrize("lacking", list(STATED))
def test_what_is_not_stated_is_asked_for(matrix, lacking):
    with pytest.raises(ECGFileError, match=f"give {lacking}"):
        read_ecg(matrix, **{name: value for name, value in STATED.items() if name != lacking})


@pytest.mark.parametrize(
    "wrong", [{"sampling_rate": 0}, {"sampling_rate": -1}, {"unit": 0}, {"unit": "mmHg"}, {"lead_names": ["I"]}]
)
def test_impossible_arguments_are_refused(matrix, wrong):
    with pytest.raises(ECGFileError, match=str(matrix)):
        read_ecg(matrix, **STATED | wrong)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ECGFileError, match=r"absent\.dat: cannot be read .*no WFDB header"):
        read_ecg(tmp_path / "absent.dat")


def test_a_folder_is_no_record(tmp_path):
    with pytest.raises(ECGFileError, match="cannot be read"):
        read_ecg(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nothing sensible\n",
        "record\n",
        "record 3 100\n",
        "record 0 100 200\n",
        "record 3 fast 200\n",
        b"\xff\xfe\x00",
    ],
    ids=["empty", "words", "name", "no_signals", "zero_signals", "no_rate", "binary"],
)
def test_a_damaged_header_is_refused(write, header):
    path = write()
    path.with_suffix(".hea").write_bytes(header if isinstance(header, bytes) else header.encode())
    with pytest.raises(ECGFileError, match=str(path)):
        read_ecg(path)


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_damaged_signal_file_is_refused(write, damage):
    path = write()
    signal = path.with_suffix(".dat")
    content = signal.read_bytes()
    signal.unlink()
    if damage != "missing":
        signal.write_bytes(content[:100] if damage == "truncated" else b"")
    with pytest.raises(ECGFileError, match=str(path)):
        read_ecg(path)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02\x03" * 300, bytes(5000)])
def test_a_file_of_an_unknown_format_is_refused(tmp_path, content):
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(ECGFileError, match=r"scan\.png: is of no known format"):
        read_ecg(path)


def test_a_document_is_refused(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(b"%PDF-1.7")
    with pytest.raises(ECGFileError, match=r"scan\.pdf"):
        read_ecg(path)


@pytest.mark.parametrize("stated", ["ECG", "MLII", "col 0", "Var1", "ECG1", "channel 1", "CM5"])
def test_a_name_that_tells_no_certain_lead_is_replaced_by_what_is_given(write, stated):
    record = read_ecg(write(leads=(stated,)), lead_names=["V5"])
    assert (record.lead_names, list(record.original_lead_names)) == (["V5"], [stated])


@pytest.mark.parametrize("stated", ["V5", "-aVR", "V4R", "V7", "RESP", "EEG Fz"])
def test_a_name_that_tells_something_else_is_not_replaced(write, stated):
    with pytest.raises(ECGFileError, match=f"names its leads {stated}; lead_names is given as aVR"):
        read_ecg(write(leads=(stated,)), lead_names=["aVR"])


def test_names_may_be_given_of_those_channels_alone_that_are_leads(write):
    assert read_ecg(write(leads=("RESP", "ECG", "PLETH")), lead_names=["II"]).lead_names == ["II"]


@pytest.mark.parametrize(("unit", "mv"), [(0.001, 0.001), ("mV", 1 / 200), ("uV", 1e-3 / 200)])
@pytest.mark.parametrize("stated", ["adu", "counts", "nu", "{counts}", "unitless"])
def test_a_unit_that_is_none_is_replaced_and_a_number_is_what_a_count_is(write, stated, unit, mv):
    signal = np.round(np.random.default_rng(0).normal(size=(200, 1)) * 200) / 200
    path = write(leads=("I",), units=stated, signal=signal, gain=200.0)
    with pytest.raises(ECGFileError, match=f"states no unit of voltage but {stated}; give unit"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, unit=unit).signal_mv, signal.T * 200 * mv, atol=1e-12)


def test_channels_that_are_left_out_are_told_with_the_reason(tmp_path):
    channels = {"I": "mV", "ABP": "mmHg", "RESP": "mV", "marker": "mV", "-aVR": "mV"}
    lines = (f"r.dat 16 1/{unit} 0 0 0 0 0 {name}\n" for name, unit in channels.items())
    (tmp_path / "r.hea").write_text("r 5 100 20\n" + "".join(lines))
    (tmp_path / "r.dat").write_bytes(np.arange(100, dtype="<i2").tobytes())
    record = read_ecg(tmp_path / "r")
    assert record.lead_names == ["I"]
    assert record.left_out == {
        "ABP": "in mmHg, which is no unit of voltage",
        "RESP": "by its name no ECG",
        "marker": "by its name no standard lead",
        "-aVR": "by its name no standard lead",
    }


@pytest.mark.parametrize(
    ("names", "leads"),
    [
        (("I", "II", "C1", "C3"), ["I", "II", "V1", "V3"]),
        (("II", "C3", "C4"), ["II"]),
        (("II", "C1", "C2", "O1"), ["II"]),
        (("C3", "C4", "Fp1"), ["Fp1"]),
        (("ECG II", "FC3", "C1", "C2", "CP3"), ["II"]),
        (("D1", "D2", "C1", "C9"), ["I", "II", "V1"]),  # V9 is left out as unknown, so spelt
        (("ECG II", "C1", "C32", "D1", "D2", "D4"), ["II"]),  # of BioSemi's caps
        (("II", "L1", "L2", "L3", "L4"), ["II"]),  # contacts of an electrode in the brain
    ],
)
def test_chest_leads_and_places_on_the_head_are_told_by_what_stands_beside_them(write, names, leads):
    assert read_ecg(write(leads=names)).lead_names == leads


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("lead_names", 0.001),
        ("lead_names", "I,II"),
        ("lead_names", [1, 2]),
        ("sampling_rate", []),
        ("sampling_rate", "500"),
        ("unit", ["mV"]),
        ("most_samples", 0),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(write, argument, value):
    with pytest.raises(TypeError, match=f"^{argument} is "):
        read_ecg(write(), **{argument: value})


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("sampling_rate", float("nan"), "has a sampling rate of nan Hz"),
        ("unit", float("nan"), "unit is given as nan"),
        ("unit", "1_0", "unit is given as 1_0"),
    ],
)
def test_an_argument_that_is_no_sound_number_is_refused(tmp_path, argument, value, message):
    np.save(tmp_path / "record.npy", np.random.default_rng(0).normal(size=(1, 200)))
    stated = {"sampling_rate": 500, "unit": "mV", "lead_names": ["I"]} | {argument: value}
    with pytest.raises(ECGFileError, match=message):
        read_ecg(tmp_path / "record.npy", **stated)


def test_the_bound_on_samples_holds_for_a_file_that_does_not_state_its_size(tmp_path):
    np.save(tmp_path / "record.npy", np.random.default_rng(0).normal(size=(3, 200)))
    stated = {"sampling_rate": 500, "unit": "mV", "lead_names": ["I", "II", "V1"]}
    with pytest.raises(ECGFileError, match="holds 600 samples; at most 599 are read"):
        read_ecg(tmp_path / "record.npy", **stated, most_samples=599)
    assert read_ecg(tmp_path / "record.npy", **stated, most_samples=600).signal_mv.shape == (3, 200)


def test_a_recording_larger_than_the_bound_is_refused_and_the_bound_can_be_moved(write):
    path = write()
    with pytest.raises(ECGFileError, match=r"3 channels of 200 samples; at most .* 599 samples are read"):
        read_ecg(path, most_samples=599)
    assert read_ecg(path, most_samples=600).signal_mv.shape == (3, 200)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7", "is a PDF, a picture of an ECG"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"\xd0\xcf\x11\xe0", "is an old Excel workbook .*: save the sheet as CSV"),
        (b"\x1f\x8b\x08", "is compressed by gzip, which is not read: unpack it"),
    ],
)
def test_a_known_format_that_is_not_read_is_named_with_the_way_on(tmp_path, content, what):
    path = tmp_path / "recording"
    path.write_bytes(content)
    with pytest.raises(ECGFileError, match=what):
        read_ecg(path)


@pytest.mark.parametrize("name", ["ecg.csv", "ecg.hea"])
def test_a_pipe_is_refused_and_never_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ECGFileError, match="is a pipe or a device; a regular file was expected"):
        read_ecg(tmp_path / name)
