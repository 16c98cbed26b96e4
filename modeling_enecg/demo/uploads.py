"""The recordings in uploaded files, which are removed whatever comes of it; and simulated ones."""

import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.folder.recordings import parts_of_records
from ..data.ptbxl.labels import describe
from ..data.simulator.ecg import SAMPLING_RATE, simulate_record
from ..io import read_ecg
from ..leads import STANDARD_LEADS
from ..recording import ECGRecord

logger = logging.getLogger(__name__)

MAX_FILES = 100
MAX_BYTES = 20 * 2**20
MAX_SECONDS = 3600
LIMITS = f"at once there may be {MAX_FILES} files of {MAX_BYTES // 2**20} MB together"

SIMULATED_CODES = ("NORM", "AFIB", "SBRAD", "STACH", "PVC", "1AVB", "CLBBB", "CRBBB", "IMI", "ASMI", "LVH", "ISC_")
SIMULATED = {describe(code): code for code in SIMULATED_CODES}


class Recording(NamedTuple):
    """A recording that somebody chose.

    Attributes:
        name (`str`): What to call it.
        record ([`ECGRecord`], *optional*): What was read; None where it could not be.
        error (`str`): Why not, in a line.
    """

    name: str
    record: ECGRecord | None
    error: str = ""


def read_uploads(paths: Sequence[str]) -> list[Recording]:
    """Read the recordings in uploaded files, in the order of their names; of WFDB, header and signals are one.

    Raises:
        ValueError: if there are too many or too large files, or two of one name.
    """
    with tempfile.TemporaryDirectory() as folder:
        taken = [_take(Path(path), Path(folder)) for path in paths]
        files = {each.name: each for each in taken}
        size = sum(each.stat().st_size for each in files.values())
        if len(taken) > MAX_FILES or size > MAX_BYTES:
            raise ValueError(f"Got {len(taken)} files of {size / 2**20:.1f} MB; {LIMITS}.")
        if len(files) < len(taken):
            raise ValueError("Several files have the same name; upload one after the other.")
        headers = {each.stem for each in taken if each.suffix == ".hea"}
        parts = parts_of_records(Path(folder), sorted(files))
        parts |= {name for name, file in files.items() if file.suffix != ".hea" and file.stem in headers}
        return [_read(file) for name, file in sorted(files.items()) if name not in parts]


def simulate(name: str) -> Recording:
    """Simulate the recording of a name in `SIMULATED`, always the same."""
    signal_mv = simulate_record([SIMULATED[name]], np.random.default_rng(0))
    return Recording(f"Simulated: {name}", ECGRecord(signal_mv, SAMPLING_RATE, list(STANDARD_LEADS)))


def in_one_line(error: Exception, otherwise: str = "This recording cannot be read.") -> str:
    """Return what an error says, or, of one that nobody foresaw, another line; the log has its details."""
    if isinstance(error, ValueError):
        return " ".join(str(error).split())
    logger.error(otherwise, exc_info=error)
    return otherwise


def _take(upload: Path, folder: Path) -> Path:
    """Move an uploaded file to a folder, under a name of plain characters."""
    name = re.sub(r"[^\w.-]", "_", upload.name, flags=re.ASCII).lstrip(".") or "_"
    taken = Path(shutil.move(upload, folder / name))
    with suppress(OSError):
        upload.parent.rmdir()  # Gradio's folder of this one file
    return taken


def _read(file: Path) -> Recording:
    try:
        record = read_ecg(file)
        num_samples = record.signal_mv.shape[1]
        if num_samples > MAX_SECONDS * record.sampling_rate:
            rate = f"{record.sampling_rate:g} Hz"
            raise ValueError(f"Got {num_samples} samples at {rate}; a recording has at most an hour.")
    except Exception as error:  # what else a file can provoke in the libraries that read it
        return Recording(file.stem, None, in_one_line(error).replace(f"{file.parent}/", ""))
    return Recording(file.stem, record)


__all__ = ["LIMITS", "MAX_BYTES", "MAX_FILES", "SIMULATED", "Recording", "in_one_line", "read_uploads", "simulate"]
