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


def test_an_unknown_unit_is_refused(write):
    with pytest.raises(ECGFileError, match="unknown units mmHg"):
        read_ecg(write(units="mmHg"))


def test_lead_names_become_standard_and_keep_the_order_of_the_file(write):
    assert read_ecg(write(leads=("AVR", "lead II", "v1"))).lead_names == ["aVR", "II", "V1"]


@pytest.mark.parametrize(
    ("leads", "message"), [(("I", "II", "PLETH"), "Unknown lead name 'PLETH'"), (("I", "II", "L1"), "given twice: I")]
)
def test_unknown_and_repeated_leads_are_refused(write, leads, message):
    path = write(leads=leads)
    with pytest.raises(ECGFileError, match=message) as caught:
        read_ecg(path)
    assert str(path) in str(caught.value)


def test_missing_samples_are_refused(write):
    signal = np.zeros((200, 3))
    signal[5, 1] = signal[7, 2] = np.nan
    with pytest.raises(ECGFileError, match="2 samples are marked as missing"):
        read_ecg(write(signal=signal))


def test_a_missing_header_is_named(tmp_path):
    with pytest.raises(ECGFileError, match=r"no WFDB header at .*absent\.hea"):
        read_ecg(tmp_path / "absent.dat")


def test_a_folder_is_no_record(tmp_path):
    with pytest.raises(ECGFileError, match="no WFDB header"):
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


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(b"%PDF-1.7")
    with pytest.raises(ECGFileError, match=r"scan\.pdf"):
        read_ecg(path)
