"""Compares what is read from the sample files of all formats with their true values."""

import json
from pathlib import Path

import numpy as np
import pytest

from modeling_enecg.io import ECGFileError, ECGRecord, read_ecg


def cases_of(folder: Path, *starts: str) -> dict[str, dict]:
    """Return the cases of `expected.json` whose path starts so."""
    cases = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    cases = {name: case for name, case in cases.items() if name.startswith(starts)}
    assert cases
    return cases


def assert_samples_read_as_expected(folder: Path, *starts: str) -> None:
    for name, case in cases_of(folder, *starts).items():
        if "expect" in case:
            with pytest.raises(ECGFileError):
                read_ecg(folder / name)
        else:
            assert_read_as_expected(folder / name, case)


def assert_read_as_expected(file: Path, case: dict) -> None:
    record = read_ecg(file)
    assert record.lead_names == case["leads"]
    tolerance = 5e-4 if "allow 0.0005 mV" in case["notes"] else 1e-6
    if record.sampling_rate == case["sampling_rate_hz"]:
        assert_samples(record, case, tolerance)
    else:  # the native rate of signals that have several samples a frame
        for samples, native in zip(record.signal_mv, case["native_rate"].values(), strict=True):
            assert (record.sampling_rate, len(samples)) == (native["sampling_rate_hz"], native["num_samples"])
            np.testing.assert_allclose(samples[:10], native["mv_first10"], atol=1e-6)


def assert_samples(record: ECGRecord, case: dict, tolerance: float) -> None:
    assert record.signal_mv.shape[1] == case["num_samples"]
    for samples, name in zip(record.signal_mv, case["leads"], strict=True):
        first = [np.nan if value is None else value for value in case["mv_first10"][name]]
        np.testing.assert_allclose(samples[:10], first, atol=tolerance)
        if name in case.get("from_first_valid", {}):
            valid = case["from_first_valid"][name]
            assert np.flatnonzero(~np.isnan(samples))[0] == valid["index"]
            np.testing.assert_allclose(samples[valid["index"] :][:10], valid["mv"], atol=tolerance)
        stats = case["mv_stats"][name]
        assert np.isnan(samples).sum() == stats["missing"]
        found = [np.nanmean(samples), np.nanmin(samples), np.nanmax(samples)]
        np.testing.assert_allclose(found, [stats["mean"], stats["min"], stats["max"]], atol=tolerance)
