"""The recordings among the files of folders."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...ecg_file import ECGFileError
from ...file_signatures import SNIFFED_BYTES, format_of
from ...io import read_ecg
from ...recording import ECGRecord
from ...wfdb_header import read_header

TABLE_FILE, UNREADABLE_FILE, SETTINGS_FILE = "labels.csv", "unreadable.csv", "dataset.yaml"
_NO_RECORDINGS = {".md", ".yaml", ".yml", ".json", ".html", ".py", ".log", ".pdf", ".zip", ".parquet"}


@dataclass(frozen=True)
class ReadingOptions:
    """What files that do not say it are told; see `read_ecg`."""

    sampling_rate: float | None = None
    unit: str | float | None = None
    lead_names: Sequence[str] | None = None

    def read(self, file: str | Path) -> ECGRecord:
        """Read a recording; errors as of `read_ecg`."""
        return read_ecg(file, self.sampling_rate, self.unit, self.lead_names)


def find_recordings(places: Sequence[str | Path]) -> list[str]:
    """Return the recordings that are named, and those in the folders that are, without any twice.

    Raises:
        ValueError: if a folder holds none.
    """
    found: list[str] = []
    for place in map(Path, places):
        inside = [str(place / each) for each in recordings(place)] if place.is_dir() else [str(place)]
        if not inside:
            raise ValueError(f"{place} holds no recording of a known format.")
        found += inside
    return list(dict.fromkeys(found))


def states_of_files(folders: Iterable[Path]) -> Iterator[str]:
    """Yield name, size and time of change of each file directly in some folders that can be of a recording."""
    for folder in sorted(folders):
        for file in sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []:
            can_be = not file.name.startswith(".") and Path(file.name).suffix not in _NO_RECORDINGS
            if can_be and file.is_file():
                status = file.stat()
                yield f"{folder}/{file.name} {status.st_size} {status.st_mtime_ns}\n"


def states_beside(files: Iterable[str]) -> Iterator[str]:
    """Yield the states of all files beside recordings, as `states_of_files` gives them."""
    return states_of_files({Path(file).parent for file in files})


def recordings(folder: Path) -> Iterator[str]:
    """Yield the recordings in a folder and its sub-folders, in order, as paths relative to it.

    A WFDB record is its header, without the ending; its signal files and segments are no recordings of their own, nor
    are hidden files, and those that no reader's signature fits.

    Args:
        folder (`Path`): The folder.
    """
    for root, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        parts = parts_of_records(Path(root), files)
        for name in sorted(files):
            path = Path(root, name)
            if name.startswith(".") or name in (TABLE_FILE, UNREADABLE_FILE, SETTINGS_FILE) or name in parts:
                continue
            if path.suffix == ".hea":
                yield path.with_suffix("").relative_to(folder).as_posix()
            elif _may_be_recording(path):
                yield path.relative_to(folder).as_posix()


def _may_be_recording(path: Path) -> bool:
    """Whether a file is no document, and a reader knows its signature; what cannot be opened is told when read."""
    if path.suffix.lower() in _NO_RECORDINGS or path.name.upper().startswith("README"):
        return False
    try:
        with path.open("rb") as stream:
            return format_of(stream.read(SNIFFED_BYTES)) is not None
    except OSError:
        return True


def parts_of_records(folder: Path, files: Sequence[str]) -> set[str]:
    """Return the files that the WFDB headers among a folder's files name: signals, and headers of segments."""
    parts: set[str] = set()
    for name in files:
        if name.endswith(".hea"):
            try:
                header = read_header(folder / name)
            except ECGFileError:
                continue  # reading the record says what is wrong
            parts |= {each.file for each in header.signals}
            parts |= {f"{segment}.hea" for segment, _ in header.segments}
    return parts


__all__ = ["ReadingOptions", "find_recordings", "parts_of_records", "recordings"]
