"""The records that the shipped model `small` is made of: two sources of PTB-XL's records as one folder of own data.

The release gives raw records, with all labels; a folder of the same release gives further ones, band-passed and with
unit deviation in each lead, whose labels are the release's as well. Of a record that both have, the raw one is taken.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import wfdb
import yaml

from ..leads import STANDARD_LEADS
from ..runs.files import new_folder, write_csv
from .folder.recordings import SETTINGS_FILE, TABLE_FILE
from .rows import signal_array
from .rr_interval import rr_interval
from .sources import SPLITS, DatasetOptions, find_source
from .targets import dataset_tasks

LABELS = {
    "superdiagnostic": "multi_label",
    "subdiagnostic": "multi_label",
    "form": "multi_label",
    "rhythm": "multi_label",
    "sex": "single_label",
    "age": "regression",
    "rr_interval": "regression",
}
COMPLETE = ("form",)  # where no statement of the kind means that there is nothing to state


def write_shipped_records(release: str | Path, filtered: str | Path, output: str | Path) -> Path:
    """Join the release's records at 500 Hz with a folder's at 100 Hz.

    A record's number stands in its file's name, a patient's in the column of patients, in both sources. Folds are the
    release's. RR intervals are measured on each record.

    Args:
        release (`str` or `Path`): PTB-XL's folder, or a part of it.
        filtered (`str` or `Path`): A folder of own data with further records of PTB-XL.
        output (`str` or `Path`): The new folder: `labels.csv`, `dataset.yaml` and the records in WFDB.

    Returns:
        `Path`: The folder.

    Raises:
        DatasetError: if a source cannot be read.
        FileExistsError: if the folder is there.
    """
    with new_folder(output) as aside:
        (aside / "records").mkdir()
        rows: dict[int, dict[str, Any]] = {}
        for source, sampling_rate in ((release, 500), (filtered, 100)):
            for row in _rows(source, sampling_rate):
                number = _number(row["ecg_id"])
                if number not in rows:
                    rows[number] = _cells(row, number) | _write_record(
                        aside, row, number, row.get("sampling_rate", sampling_rate)
                    )
        write_csv(aside / TABLE_FILE, list(next(iter(rows.values()))), rows.values())
        settings = {"table": TABLE_FILE, "record": "file", "patient": "patient", "fold": "fold", "labels": LABELS}
        (aside / SETTINGS_FILE).write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return Path(output)


def _rows(place: str | Path, sampling_rate: int) -> Iterator[dict[str, Any]]:
    """Read a source, with names in the place of class numbers."""
    source = find_source(DatasetOptions(str(place), sampling_rate))
    tasks = dataset_tasks(source.features, [name for name in LABELS if name in source.features])
    classes = {task.name: task.labels for task in tasks if not task.is_regression}
    for row in datasets.concatenate_datasets(list(source.read(SPLITS).values())):
        yield row | {name: _names(row[name], labels) for name, labels in classes.items()}


def _names(value: int | list[int] | None, classes: Sequence[str]) -> str | list[str] | None:
    if isinstance(value, list):
        return [classes[index] for index in value]
    return None if value is None else classes[value]


def _number(ecg_id: int | str) -> int:
    return int(re.findall(r"\d+", Path(str(ecg_id)).name)[0])


def _cells(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a record's cells: what is stated, `none` of a complete kind, and nothing where it is not known."""
    return {
        "file": f"records/{number:05d}",
        "patient": f"p{_number(row['patient_id'])}",
        "fold": row["strat_fold"],
        **{name: _listed(row[name], name in COMPLETE) for name, kind in LABELS.items() if kind == "multi_label"},
        "sex": row["sex"] or "",
        "age": "" if row["age"] is None else row["age"],
    }


def _listed(names: Iterable[str] | None, is_complete: bool) -> str:
    return ";".join(names or []) or ("none" if is_complete else "")


def _write_record(folder: Path, row: Mapping[str, Any], number: int, sampling_rate: int) -> dict[str, Any]:
    """Write a record in µV, and return its RR interval."""
    signal = signal_array(row)
    wfdb.wrsamp(
        f"{number:05d}",
        fs=sampling_rate,
        units=["mV"] * len(signal),
        sig_name=list(STANDARD_LEADS),
        d_signal=signal.T.astype(np.int64),
        fmt=["16"] * len(signal),
        adc_gain=[1000.0] * len(signal),
        baseline=[0] * len(signal),
        write_dir=str(folder / "records"),
    )
    interval = rr_interval(signal, sampling_rate)
    return {"rr_interval": "" if interval is None else round(interval, 1)}


__all__ = ["write_shipped_records"]
