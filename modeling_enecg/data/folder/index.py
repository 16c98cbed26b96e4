"""From a folder of recordings to a data set of one's own: `labels.csv` and `dataset.yaml`, from what the files say."""

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from ...ecg_file import ECGFileError
from ...io import read_ecg
from ...recording import ECGRecord, Metadata
from ...runs.files import new_file, write_csv, write_text
from ..errors import DatasetError
from ..folds import folds_by_label
from .recordings import SETTINGS_FILE, TABLE_FILE, UNREADABLE_FILE, recordings
from .statements import Statement, superclasses, understand
from .table import NO_LABEL, NUM_FOLDS

SALT_FILE = ".pseudonym_salt"
SEPARATOR = ";"
UNKNOWN = "unknown"  # how the PhysioNet Challenges say that nothing is stated
MIN_POSITIVES = 2  # of a label that is offered for training
_MEASUREMENTS = [each.name for each in fields(Metadata) if each.name.endswith(("_bpm", "_ms", "_deg"))]
COLUMNS = (
    *("file", "patient", "fold", "superdiagnostic", "scp", "dx", "sex", "age"),
    *("recorded_at", "device", "sampling_rate", "duration_s", "leads", *_MEASUREMENTS, "statements"),
)


@dataclass(frozen=True)
class FolderIndex:
    """What was found in a folder.

    Attributes:
        rows (`list[dict[str, str]]`): Of each recording that could be read, the cells of `COLUMNS`.
        unreadable (`dict[str, str]`): By file, why it could not be.
        labels (`dict[str, str]`): By column, the type of each that can be learnt.
    """

    rows: list[dict[str, str]]
    unreadable: dict[str, str]
    labels: dict[str, str]


def index_folder(
    folder: str | Path, num_proc: int = 1, clear_ids: bool = False, overwrite: bool = False, seed: int = 0
) -> FolderIndex:
    """Read every recording of a folder and its sub-folders, and write what they say beside them.

    `labels.csv` has a row per recording, `dataset.yaml` says what its columns mean: with them the folder is a data set
    that trains as it is. `unreadable.csv` names the files that could not be read, with the reason. Patients' numbers
    become pseudonyms, by a secret that stays in the folder's hidden file `.pseudonym_salt`, so that indexing again
    gives the same ones; names are never read.

    Args:
        folder (`str` or `Path`): The folder.
        num_proc (`int`, *optional*, defaults to 1): Processes that read.
        clear_ids (`bool`, *optional*, defaults to False): Keep patients' numbers as the files have them.
        overwrite (`bool`, *optional*, defaults to False): Replace a table and settings that are there.
        seed (`int`, *optional*, defaults to 0): Seed of the folds.

    Returns:
        [`FolderIndex`]

    Raises:
        DatasetError: if there is no such folder, it holds a table or settings already, or no recording can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(None, None, "folder", f"there is no folder {folder}")
    present = [name for name in (TABLE_FILE, SETTINGS_FILE) if (folder / name).exists()]
    if present and not overwrite:
        raise DatasetError(str(folder), None, present[0], "is there already; pass --overwrite to replace it")
    places = list(recordings(folder))
    if not places:
        raise DatasetError(str(folder), None, "recordings", "none was found; expected ECG files of a known format")
    salt = None if clear_ids else _salt(folder)
    rows, unreadable = _read_all(folder, places, num_proc, salt)
    if not rows:
        file, reason = next(iter(unreadable.items()))
        raise DatasetError(
            file, None, "recording", f"{reason}; nor could any other of the {len(places)} files be read"
        )
    labels = _learnable(rows)
    _set_folds(rows, list(labels), seed)
    write_csv(folder / TABLE_FILE, COLUMNS, rows)
    reasons = [{"file": file, "reason": why} for file, why in unreadable.items()]
    write_csv(folder / UNREADABLE_FILE, ("file", "reason"), reasons)
    settings: dict[str, Any] = {"table": TABLE_FILE, "record": "file", "patient": "patient", "fold": "fold"}
    if labels:  # without any, the recordings can be predicted
        settings["labels"] = labels
    write_text(folder / SETTINGS_FILE, yaml.safe_dump(settings, sort_keys=False))
    return FolderIndex(rows, unreadable, labels)


def _read_all(
    folder: Path, places: Sequence[str], num_proc: int, salt: bytes | None
) -> tuple[list[dict[str, str]], dict[str, str]]:
    rows, unreadable = [], {}
    describe = partial(_describe, folder, salt)
    with tqdm(total=len(places), desc="Reading recordings", unit="file") as progress:

        def take(place: str, found: dict[str, str] | str) -> None:
            if isinstance(found, str):
                unreadable[place] = found
            else:
                rows.append(found)
            progress.update()

        if num_proc == 1:
            for place in places:
                take(place, describe(place))
        else:
            with ProcessPoolExecutor(num_proc) as pool:
                for place, found in zip(places, pool.map(describe, places, chunksize=16), strict=True):
                    take(place, found)
    return rows, unreadable


def _describe(folder: Path, salt: bytes | None, place: str) -> dict[str, str] | str:
    """Return a recording's cells, or why it cannot be read."""
    try:
        record = read_ecg(folder / place)
    except (ECGFileError, ImportError, OSError) as error:
        return str(error).removeprefix(f"{folder / place}: ")
    return _cells(place, record, salt)


def _cells(place: str, record: ECGRecord, salt: bytes | None) -> dict[str, str]:
    said = record.metadata
    statements = [understand(text) for text in said.statements if text.strip().lower() != UNKNOWN]
    return {
        "file": place,
        "patient": _patient(said.patient_id, place, salt),
        "superdiagnostic": joined(superclasses(statements), statements),
        "scp": joined(sorted({each.scp_code for each in statements if each.scp_code}), statements),
        "dx": joined(sorted({each.name for each in statements}), statements),
        "sex": said.sex or "",
        "age": _number(said.age_years),
        "recorded_at": said.recorded_at.isoformat(sep=" ") if said.recorded_at else "",
        "device": said.device or "",
        "sampling_rate": _number(record.sampling_rate),
        "duration_s": _number(round(record.signal_mv.shape[1] / record.sampling_rate, 3)),
        "leads": " ".join(record.lead_names),
        **{name: _number(getattr(said, name)) for name in _MEASUREMENTS},
        "statements": " | ".join(said.statements),
    }


def joined(names: Sequence[str], statements: Sequence[Statement]) -> str:
    """Return a cell of labels: empty where the file states nothing, `none` where it states nothing of this kind."""
    if not statements:
        return ""
    said = (name.replace(SEPARATOR, ",") for name in names if name.lower() != NO_LABEL)
    return SEPARATOR.join(said) or NO_LABEL


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _salt(folder: Path) -> bytes:
    """Return the folder's secret, made at the first time."""
    path = folder / SALT_FILE
    if not path.exists():
        with new_file(path) as aside:
            aside.touch(mode=0o600)
            aside.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_bytes()


def _patient(number: str | None, place: str, salt: bytes | None) -> str:
    """Return a patient's pseudonym, or its number where there is no salt; of an unknown one, the recording's name."""
    if not number:
        return place
    return number if salt is None else f"p{hmac.new(salt, number.encode(), hashlib.sha256).hexdigest()[:16]}"


def _learnable(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the label columns that have something to learn, by their type."""
    types = {"superdiagnostic": "multi_label", "scp": "multi_label", "dx": "multi_label"}
    types |= {"sex": "single_label", "age": "regression"}
    return {column: kind for column, kind in types.items() if _has_contrast(kind, [row[column] for row in rows])}


def _has_contrast(kind: str, cells: Sequence[str]) -> bool:
    """Whether a label is known of some records and differs between them."""
    known = [cell for cell in cells if cell]
    if kind == "regression":
        return len(set(known)) > MIN_POSITIVES
    names = [cell.split(SEPARATOR) if kind == "multi_label" else [cell] for cell in known]
    counts = Counter(name for each in names for name in each if name != NO_LABEL)
    contrasts = [name for name, count in counts.items() if MIN_POSITIVES <= count < len(known)]
    return len(contrasts) >= (1 if kind == "multi_label" else 2)


def _set_folds(rows: Sequence[dict[str, str]], columns: Sequence[str], seed: int) -> None:
    """Give every row a fold, stratified over the labels; of few patients the last two validate and test."""
    patients = [row["patient"] for row in rows]
    found = [
        {f"{column}.{name}" for column in columns if column != "age" for name in row[column].split(SEPARATOR) if name}
        for row in rows
    ]
    folds = folds_by_label(found, patients, NUM_FOLDS, seed)
    for row, fold in zip(rows, folds, strict=True):
        row["fold"] = str(fold + 1)


__all__ = ["FolderIndex", "index_folder", "recordings"]
