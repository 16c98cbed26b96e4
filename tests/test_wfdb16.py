import os
from pathlib import Path

import numpy as np
import pytest
import wfdb

from dataset_scripts import wfdb16
from dataset_scripts.wfdb16 import read_records
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


def test_a_regular_record_is_read_bit_for_bit_without_the_wfdb_library(tmp_path, signal, monkeypatch):
    path = write_record(tmp_path, signal)
    monkeypatch.setattr(wfdb16, "_read_with_wfdb", None)
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
    "options",
    [
        {"fmt": ["24"] * 12},
        {"fmt": ["32"] * 12},
        {"fmt": ["212"] * 12, "d_signal": "halved", "adc_gain": [500.0] * 12},
        {"adc_gain": [1.0] * 12, "units": ["uV"] * 12},
        {"baseline": [100] * 12, "d_signal": "shifted"},
        {"comments": ["a comment"]},
    ],
    ids=["format 24", "format 32", "format 212 at 500 units/mV", "microvolts", "baseline", "comment"],
)
def test_other_formats_gains_units_and_baselines_give_the_same_microvolts(tmp_path, signal, options):
    signal = signal // 2 * 2
    digital = {"halved": signal // 2, "shifted": signal + 100}.get(options.get("d_signal"), signal)
    path = write_record(tmp_path, signal, **(options | {"d_signal": digital.T.astype(np.int64)}))
    np.testing.assert_array_equal(read_one(path), signal)


def test_leads_are_put_into_the_standard_order_by_name(tmp_path, signal):
    order = np.random.default_rng(1).permutation(12)
    path = write_record(tmp_path, signal[order], sig_name=[STANDARD_LEADS[lead].upper() for lead in order])
    np.testing.assert_array_equal(read_one(path), signal)


@pytest.mark.parametrize("gain", [500, 200, 100])
def test_other_whole_microvolts_and_another_order_are_read_without_the_library(tmp_path, signal, gain, monkeypatch):
    order = np.random.default_rng(0).permutation(12)
    coarse = signal // (1000 // gain)
    path = write_record(
        *(tmp_path, coarse[order]),
        d_signal=coarse[order].T.astype(np.int64),
        adc_gain=[float(gain)] * 12,
        sig_name=[STANDARD_LEADS[lead] for lead in order],
    )
    monkeypatch.delattr("wfdb.rdrecord")
    signals, errors = read_records([path], 100, 1000)
    assert not errors
    np.testing.assert_array_equal(signals[0], coarse * (1000 // gain))


def test_coarse_amplitudes_beyond_int16_microvolts_are_refused(tmp_path, signal):
    digital = np.full(signal.shape, 9000)
    path = write_record(tmp_path, signal, d_signal=digital.T.astype(np.int64), adc_gain=[200.0] * 12)
    _, errors = read_records([path], 100, 1000)
    assert errors[0].field == "amplitude"


def test_amplitudes_beyond_int16_microvolts_are_refused(tmp_path, signal):
    path = write_record(tmp_path, signal, adc_gain=[10.0] * 12)
    (error,) = read_records([path], RATE, LENGTH).errors.values()
    assert error.field == "amplitude"
    assert "expected -32768 to 32767" in str(error)


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_wrong_checksum_or_initial_value_is_found_in_any_format(tmp_path, signal, fmt):
    for field, name in (("checksum", "00001_lr"), ("initial value", "00002_lr")):
        path = write_record(tmp_path, signal, name, fmt=[fmt] * 12)
        initial, checksum = (int(value) % 65536 for value in (signal[1, 0], signal[1].sum(dtype=np.int64)))
        initial = initial - 65536 if initial > 32767 else initial
        changed = (initial, checksum + 1) if field == "checksum" else (initial + 1, checksum)
        edit_header(path, f" {initial} {checksum} 0 II\n", f" {changed[0]} {changed[1]} 0 II\n")
        (error,) = read_records([path], RATE, LENGTH).errors.values()
        assert error.field == field
        assert "lead II" in str(error)
        assert f"{name}.dat" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("00001_lr 12 ", "00002_lr 12 ", "record name"),
        ("00001_lr 12 ", "00001_lr 13 ", "number of leads"),
        (" 12 100 ", " 12 500 ", "sampling rate"),
        (" 100 1000", " 100 999", "number of samples"),
        ("00001_lr.dat", "../00002_lr.dat", "signal file"),
        (" V6\n", " V7\n", "lead names"),
        (" V6\n", " V5\n", "lead names"),
        (" 0 aVL\n", " 0\n", "header"),
    ],
)
def test_a_header_that_disagrees_names_the_file_the_field_and_both_values(tmp_path, signal, old, new, field):
    path = write_record(tmp_path, signal)
    edit_header(path, old, new)
    (error,) = read_records([path], RATE, LENGTH).errors.values()
    assert error.field == field
    assert f"{path}.hea" in str(error)


@pytest.mark.parametrize(
    "text", ["", "\0\1\2", "00001_lr", "00001_lr 12 100 1000", "00001_lr/2 12 100 1000\na 500\nb 500"]
)
def test_a_mangled_header_is_one_clear_error(tmp_path, signal, text):
    path = write_record(tmp_path, signal)
    Path(f"{path}.hea").write_text(text)
    (error,) = read_records([path], RATE, LENGTH).errors.values()
    assert f"{path}.hea" in str(error)


@pytest.mark.parametrize("fmt", ["16", "24"])
@pytest.mark.parametrize(("change", "fault"), [(-2, "truncated"), (2, "overlong")])
def test_a_signal_file_of_the_wrong_size_is_refused(tmp_path, signal, fmt, change, fault):
    path = write_record(tmp_path, signal, fmt=[fmt] * 12)
    size = os.path.getsize(f"{path}.dat")
    os.truncate(f"{path}.dat", size + change)
    (error,) = read_records([path], RATE, LENGTH).errors.values()
    assert str(error) == f"{path}.dat: file size: {fault}, got {size + change} bytes; expected {size}"


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
