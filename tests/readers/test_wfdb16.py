import os
from pathlib import Path

import numpy as np
import pytest
import wfdb

from modeling_enecg.data import wfdb16
from modeling_enecg.data.wfdb16 import RecordError, read_records
from modeling_enecg.leads import STANDARD_LEADS

RATE, LENGTH = 100, 1000


@pytest.fixture
def signal() -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, size=(12, LENGTH), dtype=np.int16)


def write_record(folder: Path, signal: np.ndarray, name: str = "00001_lr", **options) -> str:
    """Write int16 microvolts `(12, num_samples)` with `wfdb`, the way the release does unless told otherwise."""
    settings = {
        "fs": RATE,
        "units": ["mV"] * 12,
        "sig_name": list(STANDARD_LEADS),
        "d_signal": signal.T.astype(np.int64),
        "fmt": ["16"] * 12,
        "adc_gain": [1000.0] * 12,
        "baseline": [0] * 12,
    }
    wfdb.wrsamp(name, write_dir=str(folder), **(settings | options))
    return str(folder / name)


def edit_header(path: str, old: str, new: str) -> None:
    header = Path(f"{path}.hea")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, 1))


def read_one(path: str) -> np.ndarray:
    signals, errors = read_records([path], RATE, LENGTH)
    assert not errors
    return signals[0]


def read_error(path: str) -> RecordError:
    (error,) = read_records([path], RATE, LENGTH).errors.values()
    return error


def test_a_regular_record_is_read_bit_for_bit_without_the_reader_of_other_ones(tmp_path, signal, monkeypatch):
    path = write_record(tmp_path, signal)
    monkeypatch.setattr(wfdb16, "_read_other", None)
    np.testing.assert_array_equal(read_one(path), signal)


def test_many_records_keep_their_order_and_faults_their_position(tmp_path, signal):
    paths = [write_record(tmp_path, np.roll(signal, shift), f"{shift:05d}_lr") for shift in range(4)]
    Path(f"{paths[2]}.dat").unlink()
    signals, errors = read_records(paths, RATE, LENGTH)
    assert list(errors) == [2]
    for shift in (0, 1, 3):
        np.testing.assert_array_equal(signals[shift], np.roll(signal, shift))


def test_regular_and_other_records_may_take_turns(tmp_path, signal):
    formats = ("16", "24", "16", "32", "16")
    paths = [
        write_record(tmp_path, np.roll(signal, shift), f"{shift:05d}_lr", fmt=[fmt] * 12)
        for shift, fmt in enumerate(formats)
    ]
    signals, errors = read_records(paths, RATE, LENGTH)
    assert not errors
    np.testing.assert_array_equal(signals, [np.roll(signal, shift) for shift in range(len(formats))])


def test_no_record_is_no_signal():
    signals, errors = read_records([], RATE, LENGTH)
    assert signals.shape == (0, 12, LENGTH)
    assert not errors


def test_checksums_may_be_signed(tmp_path, signal):
    path = write_record(tmp_path, signal)
    checksum = int(signal[0].sum(dtype=np.int64)) % 65536
    edit_header(path, f" {checksum} 0 I\n", f" {checksum - 65536} 0 I\n")
    np.testing.assert_array_equal(read_one(path), signal)


@pytest.mark.parametrize(
    ("options", "microvolts"),
    [
        ({"fmt": ["24"] * 12}, 1),
        ({"fmt": ["32"] * 12}, 1),
        ({"fmt": ["212"] * 12, "adc_gain": [500.0] * 12}, 2),
        ({"fmt": ["80"] * 12, "adc_gain": [25.0] * 12}, 40),
        ({"adc_gain": [1.0] * 12, "units": ["uV"] * 12}, 1),
        ({"adc_gain": [0.001] * 12, "units": ["nV"] * 12}, 1),
        ({"adc_gain": [1e6] * 12, "units": ["V"] * 12}, 1),
        ({"baseline": [100] * 12}, 1),
        ({"comments": ["a comment"]}, 1),
    ],
    ids=["24", "32", "212 at 500 a mV", "80 at 25 a mV", "microvolts", "nanovolts", "volts", "baseline", "comment"],
)
def test_other_formats_gains_units_and_baselines_give_the_same_microvolts(tmp_path, signal, options, microvolts):
    signal = signal // microvolts * microvolts
    digital = signal // microvolts + np.array(options.get("baseline", [0] * 12))[:, None]
    path = write_record(tmp_path, signal, **(options | {"d_signal": digital.T.astype(np.int64)}))
    np.testing.assert_array_equal(read_one(path), signal)


@pytest.mark.parametrize(("fmt", "dtype", "zero"), [("61", ">i2", 0), ("160", "<u2", 32768)])
def test_formats_that_wfdb_does_not_write_give_what_it_reads(tmp_path, signal, fmt, dtype, zero):
    path = write_record(tmp_path, signal)
    Path(f"{path}.hea").write_text(Path(f"{path}.hea").read_text().replace(".dat 16 ", f".dat {fmt} "))
    (signal.T.astype(np.int32) + zero).astype(dtype).tofile(f"{path}.dat")
    np.testing.assert_array_equal(read_one(path), wfdb.rdrecord(path, physical=False).d_signal.T)


def test_fractions_of_a_microvolt_are_rounded_as_from_wfdb(tmp_path, signal):
    order = np.random.default_rng(1).permutation(12)
    path = write_record(
        *(tmp_path, signal),
        adc_gain=[1234.5, 2000.0] * 6,
        baseline=list(range(12)),
        sig_name=[STANDARD_LEADS[lead] for lead in order],
    )
    expected = np.rint(1000 * wfdb.rdrecord(path).p_signal.T)[np.argsort(order)]
    np.testing.assert_array_equal(read_one(path), expected)


def test_leads_are_put_into_the_standard_order_by_name(tmp_path, signal):
    order = np.random.default_rng(1).permutation(12)
    path = write_record(tmp_path, signal[order], sig_name=[STANDARD_LEADS[lead].upper() for lead in order])
    np.testing.assert_array_equal(read_one(path), signal)


@pytest.mark.parametrize("gain", [500, 200, 100])
def test_other_whole_microvolts_and_another_order_are_regular_too(tmp_path, signal, gain, monkeypatch):
    order = np.random.default_rng(0).permutation(12)
    coarse = signal // (1000 // gain)
    path = write_record(
        *(tmp_path, coarse[order]),
        d_signal=coarse[order].T.astype(np.int64),
        adc_gain=[float(gain)] * 12,
        sig_name=[STANDARD_LEADS[lead] for lead in order],
    )
    monkeypatch.setattr(wfdb16, "_read_other", None)
    np.testing.assert_array_equal(read_one(path), coarse * (1000 // gain))


def test_coarse_amplitudes_beyond_int16_microvolts_are_refused(tmp_path, signal):
    digital = np.full(signal.shape, 9000)
    path = write_record(tmp_path, signal, d_signal=digital.T.astype(np.int64), adc_gain=[200.0] * 12)
    assert read_error(path).field == "amplitude"


def test_amplitudes_beyond_int16_microvolts_are_refused(tmp_path, signal):
    error = read_error(write_record(tmp_path, signal, adc_gain=[10.0] * 12))
    assert error.field == "amplitude"
    assert "expected -32768 to 32767" in str(error)


def test_a_sample_marked_as_missing_is_refused_in_any_format(tmp_path, signal):
    for name, options in (("00001_lr", {"adc_gain": [500.0] * 12}), ("00002_lr", {"fmt": ["24"] * 12})):
        digital = signal.T.astype(np.int64) // 2
        digital[500, 3] = -(1 << 15) if name == "00001_lr" else -(1 << 23)
        error = read_error(write_record(tmp_path, signal, name, d_signal=digital, **options))
        assert (error.file, error.field) == (str(tmp_path / f"{name}.dat"), "amplitude")
        assert "a sample marked as missing" in error.reason


REGULAR, OTHER = "16", "24"  # by the format


@pytest.mark.parametrize(
    ("fmt", "changed", "field", "place"),
    [
        (REGULAR, "checksum", "checksum", "00001_lr.dat: checksum: got"),
        (REGULAR, "initial value", "initial value", "00001_lr.dat: initial value: got"),
        (OTHER, "checksum", "record", "signal II of 00001_lr.dat has the checksum"),
        (OTHER, "initial value", "initial value", "00001_lr.dat: initial value: got"),
    ],
)
def test_a_wrong_checksum_or_initial_value_is_found_in_any_format(tmp_path, signal, fmt, changed, field, place):
    path = write_record(tmp_path, signal, fmt=[fmt] * 12)
    initial, checksum = int(signal[1, 0]), int(signal[1].sum(dtype=np.int64)) % 65536
    wrong = (initial, checksum + 1) if changed == "checksum" else (initial + 1, checksum)
    edit_header(path, f" {initial} {checksum} 0 II\n", f" {wrong[0]} {wrong[1]} 0 II\n")
    error = read_error(path)
    assert error.field == field
    assert place in str(error)
    assert "lead II" in str(error) or "signal II" in str(error)


@pytest.mark.parametrize("fmt", [REGULAR, OTHER])
def test_a_checksum_of_0_is_verified_like_any_other(tmp_path, signal, fmt):
    path = write_record(tmp_path, signal, fmt=[fmt] * 12)
    edit_header(path, f" {int(signal[1].sum(dtype=np.int64)) % 65536} 0 II\n", " 0 0 II\n")
    error = read_error(path)
    assert error.field == "checksum"
    assert "lead II" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "field", "field_of_other"),
    [
        ("00001_lr 12 ", "00002_lr 12 ", "record name", "record name"),
        ("00001_lr 12 ", "00001_lr 13 ", "number of leads", "record"),
        (" 12 100 ", " 12 500 ", "sampling rate", "sampling rate"),
        (" 100 1000", " 100 999", "number of samples", "number of samples"),
        (" 100 1000", " 100", "number of samples", "number of samples"),
        ("00001_lr.dat", "../00002_lr.dat", "signal file", "record"),
        ("00001_lr.dat", "00002_lr.dat", "signal file", "signal file"),
        (" V6\n", " V7\n", "lead names", "lead names"),
        (" V6\n", " V5\n", "lead names", "lead names"),
        (" 0 aVL\n", " 0\n", "lead names", "lead names"),
        (" 1000.0(0)/mV ", " 1000.0(0)/mmHg ", "unit", "unit"),
        (" 1000.0(0)/mV ", " 1000.0(0)/5 ", "unit", "unit"),
        (" 1000.0(0)/mV ", " fast(0)/mV ", "record", "record"),
    ],
)
def test_a_header_that_disagrees_names_the_file_and_the_field(tmp_path, signal, old, new, field, field_of_other):
    for fmt, expected in ((REGULAR, field), (OTHER, field_of_other)):
        path = write_record(tmp_path, signal, fmt=[fmt] * 12)
        edit_header(path, old, new)
        error = read_error(path)
        assert error.field == expected
        assert f"{path}.hea" in str(error)


def test_a_header_of_13_leads_is_refused(tmp_path, signal):
    path = write_record(tmp_path, signal, fmt=[OTHER] * 12)
    edit_header(path, "00001_lr 12 ", "00001_lr 13 ")
    with Path(f"{path}.hea").open("a") as file:
        file.write("00001_lr.dat 24 1000/mV 24 0 0 0 0 V7\n")
    assert str(read_error(path)) == f"{path}.hea: number of leads: got 13; expected 12"


@pytest.mark.parametrize(
    ("fmt", "field", "seen"),
    [("24x2", "samples a frame", "got 2"), ("516", "format", "got '516'"), ("9", "record", "one of the formats")],
)
def test_formats_that_cannot_be_checked_are_refused(tmp_path, signal, fmt, field, seen):
    path = write_record(tmp_path, signal, fmt=[OTHER] * 12)
    Path(f"{path}.hea").write_text(Path(f"{path}.hea").read_text().replace(".dat 24 ", f".dat {fmt} "))
    error = read_error(path)
    assert error.field == field
    assert seen in str(error)


@pytest.mark.parametrize(
    "text", ["", "\0\1\2", "00001_lr", "00001_lr 12 100 1000", "00001_lr/2 12 100 1000\na 500\nb 500", "#\x0bx 1"]
)
def test_a_mangled_header_is_one_clear_error(tmp_path, signal, text):
    path = write_record(tmp_path, signal)
    Path(f"{path}.hea").write_text(text)
    assert f"{path}.hea" in str(read_error(path))


def test_a_record_of_segments_is_refused(tmp_path, signal):
    path = write_record(tmp_path, signal)
    Path(f"{path}.hea").write_text("00001_lr/2 12 100 1000\na 500\nb 500\n")
    assert str(read_error(path)) == f"{path}.hea: number of segments: got 2; expected a single segment"


@pytest.mark.parametrize(
    ("fmt", "change", "message"),
    [
        (REGULAR, -2, "{path}.dat: file size: truncated, got {size} bytes; expected 24000"),
        (REGULAR, 2, "{path}.dat: file size: overlong, got {size} bytes; expected 24000"),
        (OTHER, -2, "{path}.hea: record: declares 12 channels of 1000 samples, but holds at most 11999 samples"),
        (OTHER, 1, "{path}.dat: file size: overlong; expected 1000 samples a lead and no byte more"),
        (OTHER, 36000, "{path}.dat: file size: overlong; expected 1000 samples a lead and no byte more"),
    ],
)
def test_a_signal_file_of_the_wrong_size_is_refused(tmp_path, signal, fmt, change, message):
    path = write_record(tmp_path, signal, fmt=[fmt] * 12)
    size = os.path.getsize(f"{path}.dat") + change
    os.truncate(f"{path}.dat", size)
    assert str(read_error(path)).startswith(message.format(path=path, size=size))


@pytest.mark.parametrize(
    ("fmt", "message"),
    [
        (REGULAR, "{path}.dat: file: cannot be read"),
        (OTHER, "{path}.hea: record: the header names the signal file 00001_lr.dat, which is not there"),
    ],
)
def test_a_missing_signal_file_is_named(tmp_path, signal, fmt, message):
    path = write_record(tmp_path, signal, fmt=[fmt] * 12)
    Path(f"{path}.dat").unlink()
    assert str(read_error(path)).startswith(message.format(path=path))


@pytest.mark.parametrize("rate", [100, 500])
def test_real_records_equal_what_wfdb_reads(rate):
    folder = os.environ.get("PTBXL_DIR")
    if folder is None:
        pytest.skip("PTBXL_DIR is not set to a copy of PTB-XL")
    paths = [str(file.with_suffix("")) for file in sorted(Path(folder, f"records{rate}").rglob("*.hea"))[:400:8]]
    signals, errors = read_records(paths, rate, 10 * rate)
    assert not errors
    for path, signal in zip(paths, signals, strict=True):
        np.testing.assert_array_equal(signal, wfdb.rdrecord(path, physical=False).d_signal.T)
