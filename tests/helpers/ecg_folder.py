"""Writes small folders of ECGs with a table of labels, for the tests."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
import yaml

from modeling_enecg.leads import STANDARD_LEADS

SETTINGS = {"table": "labels.csv", "record": "file", "patient": "patient", "fold": "fold", "labels": ["sex"]}


def write_folder(folder: Path, rows: Sequence[Mapping[str, object]], **settings: Any) -> Path:
    """Write settings, a table, and a record of noise for each row that names none which is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, row in enumerate(rows):
        write_record(folder / str(row["file"]), noise(seed=index))
    write_table(folder / "labels.csv", rows)
    return write_settings(folder, **settings)


def write_settings(folder: Path, **settings: Any) -> Path:
    """Write `SETTINGS` with some changed; those that are None are left out."""
    content = {key: value for key, value in (SETTINGS | settings).items() if value is not None}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder


def write_table(
    file: Path, rows: Iterable[Mapping[str, object]], delimiter: str = ",", encoding: str = "utf-8"
) -> None:
    rows = list(rows)
    with open(file, "w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_record(
    path: Path, signal_mv: np.ndarray, rate: float = 100, leads: Sequence[str] = STANDARD_LEADS, units: str = "mV"
) -> None:
    """Write a signal of shape `(num_leads, num_samples)` in mV as a WFDB record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wfdb.wrsamp(
        path.name,
        fs=rate,
        units=[units] * len(signal_mv),
        sig_name=list(leads),
        p_signal=signal_mv.T,
        fmt=["32"] * len(signal_mv),
        adc_gain=[1000.0] * len(signal_mv),
        baseline=[0] * len(signal_mv),
        write_dir=str(path.parent),
    )


def noise(num_leads: int = 12, num_samples: int = 50, seed: int = 0) -> np.ndarray:
    """Whole microvolts, in mV."""
    return np.random.default_rng(seed).integers(-2000, 2000, (num_leads, num_samples)) / 1000


def patients(num_records: int = 12, **columns: Sequence[object]) -> list[dict[str, object]]:
    """Rows of records `records/01` onwards, each a patient's only one, in the folds 1 to 10, 1, 2."""
    return [
        {
            "file": f"records/{index + 1:02d}",
            "patient": f"p{index + 1}",
            "fold": index % 10 + 1,
            "sex": "mf"[index % 2],
        }
        | {name: cells[index] for name, cells in columns.items()}
        for index in range(num_records)
    ]
