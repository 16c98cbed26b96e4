"""Uploaded files: which recordings they are, and that nothing of them stays."""

import io
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.demo import read_uploads
from modeling_enecg.io import read_ecg


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> Path:
    """Where uploads lie before and while they are read."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def upload(uploads, record):
    """A function that lays files into a folder each, as Gradio does; default: the record's, changed by name."""

    def upload(**changes: bytes | None) -> list[str]:
        files = {file.name: file.read_bytes() for file in (record.with_suffix(".hea"), record.with_suffix(".dat"))}
        files |= {name.replace("__", "."): content for name, content in changes.items()}
        paths = []
        for name, content in files.items():
            if content is not None:
                path = uploads / f"hash of {name}" / name
                path.parent.mkdir()
                path.write_bytes(content)
                paths.append(str(path))
        return paths

    return upload


HEADER, SIGNAL = "00001_hr__hea", "00001_hr__dat"


def test_an_upload_is_read_and_removed(upload, uploads, record):
    (found,) = read_uploads(upload())
    assert found.name == "00001_hr"
    assert found.record.lead_names == read_ecg(record).lead_names
    assert (found.record.signal_mv == read_ecg(record).signal_mv).all()
    assert list(uploads.iterdir()) == []


def test_several_recordings_are_told_apart_and_a_bad_one_does_not_cost_the_others(upload, uploads):
    found = read_uploads(upload(other__hea=b"other", a__csv=b"no table"))
    assert [each.name for each in found] == ["00001_hr", "a", "other"]
    assert [each.record is None for each in found] == [False, True, True]
    assert found[0].error == ""
    assert "a.csv" in found[1].error
    assert "other.hea: the WFDB header is damaged" in found[2].error
    assert list(uploads.iterdir()) == []


def change_header(record, old, new):
    return {HEADER: record.with_suffix(".hea").read_bytes().replace(old, new)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({HEADER: b"\0 no header"}, "00001_hr.hea: the WFDB header is damaged: number of signals is 'no'"),
        ({HEADER: None}, "00001_hr.dat: is of no known format: no signature of one, and no WFDB header beside it."),
        ({SIGNAL: None}, "00001_hr.hea: the header names the signal file 00001_hr.dat, which is not there."),
        ({SIGNAL: b"short"}, "00001_hr.hea: declares 12 channels of 5000 samples, but holds at most 2 samples"),
        ({HEADER: None, SIGNAL: None, "<b>__txt": b"rubbish"}, "_b_.txt: holds no table of numbers."),
        ({HEADER: b"r 1 10 40000\n00001_hr.dat 16 1000/mV 16 0 0 0 0 I\n", SIGNAL: bytes(80_000)}, "at most an hour."),
    ],
    ids=["rubbish", "no_header", "no_signal", "truncated", "text", "long"],
)
def test_a_bad_recording_gives_one_line_and_is_removed(upload, uploads, changes, message):
    (found,) = read_uploads(upload(**changes))
    assert found.record is None
    assert message in found.error
    assert len(found.error.splitlines()) == 1
    assert str(uploads) not in found.error
    assert list(uploads.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{number}__dat": b"" for number in range(99)}, "Got 101 files of 0.1 MB; at once there may be 100 files"),
        ({SIGNAL: bytes(21 * 2**20)}, "Got 2 files of 21.0 MB; at once there may be 100 files of 20 MB together"),
        ({"b!__dat": b"", "b?__dat": b""}, "Several files have the same name"),
    ],
    ids=["many", "large", "same_name"],
)
def test_too_much_at_once_is_refused_and_removed(upload, uploads, changes, message):
    paths = upload(**changes)
    with pytest.raises(ValueError, match=message):
        read_uploads(paths)
    assert list(uploads.iterdir()) == []


@pytest.mark.parametrize("name", [b"../secret.dat", b"/etc/hostname"])
def test_a_header_cannot_name_a_file_elsewhere(upload, uploads, record, name):
    (uploads / "secret.dat").write_bytes(record.with_suffix(".dat").read_bytes())
    (found,) = read_uploads(upload(**change_header(record, b"00001_hr.dat", name)))
    assert "only files in the header's own folder are read" in found.error


def test_files_of_other_formats_are_read(upload):
    file = io.BytesIO()
    signal = np.random.default_rng(0).normal(size=(2, 5000))
    np.savez(file, signal=signal, sampling_rate=500, unit="mV", lead_names=["I", "II"])
    (found,) = read_uploads(upload(**{HEADER: None, SIGNAL: None, "mine__npz": file.getvalue()}))
    assert (found.name, found.record.sampling_rate) == ("mine", 500)
    np.testing.assert_allclose(found.record.signal_mv[:2], signal)


def test_what_nobody_foresaw_is_one_line_too(upload, monkeypatch, caplog):
    def fail(path):
        raise ZeroDivisionError("a detail for the log")

    monkeypatch.setattr("modeling_enecg.demo.uploads.read_ecg", fail)
    (found,) = read_uploads(upload())
    assert found.error == "This recording cannot be read."
    assert "a detail for the log" in caplog.text
