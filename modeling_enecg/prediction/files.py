"""Predicting the recordings of folders, labelled or not, into one Parquet file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ..configuration_enecg import Task
from ..data.folder.recordings import ReadingOptions, find_recordings, states_beside
from ..ecg_file import ECGFileError
from ..findings import Findings
from ..signal_quality import UNUSABLE
from .parts import write_in_parts
from .predictor import Predictor
from .table import finding_columns

FILES_PER_PART = 64  # little is lost by a kill, and all processes have work
NOTHING_TO_ADD = ReadingOptions()


def predict_files(
    predictor: Predictor,
    places: Sequence[str | Path],
    output: str | Path,
    options: ReadingOptions = NOTHING_TO_ADD,
    force: bool = False,
) -> Path:
    """Predict recordings into a table with a row per file.

    Args:
        predictor ([`Predictor`]): The model.
        places (`Sequence[str | Path]`): Recordings, and folders, which are searched with their sub-folders.
        output (`str` or `Path`): The Parquet file: `file`; `quality`, the verdict; `error`, why a file could not be
            read or was not scored, or what makes it doubtful; `leads`, those that were used; and what
            `finding_columns` gives.
        options ([`ReadingOptions`], *optional*): What files that do not say it are told.
        force (`bool`, *optional*, defaults to False): Score unusable recordings as well.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: as `find_recordings` and `write_in_parts` do.
    """
    files = find_recordings(places)
    parts = parts_of_files(files)
    texts = [predictor.digest, repr(options), str(force), *files, *states_beside(files)]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return write_in_parts(
        output, digest, list(parts), lambda name: _predict_part(predictor, parts[name], options, force)
    )


def parts_of_files(files: Sequence[str], most: int | None = None) -> dict[str, Sequence[str]]:
    """Return in which parts a table of files is made: by name, the files, no more than `most`."""
    size = min(FILES_PER_PART, most or FILES_PER_PART)
    return {f"{start:010d}": files[start : start + size] for start in range(0, len(files), size)}


def _predict_part(predictor: Predictor, files: Sequence[str], options: ReadingOptions, force: bool) -> pa.Table:
    results: list[Findings | None] = []
    errors: list[str] = []
    for file in files:
        try:
            found = predictor(options.read(file), force)
        except (ECGFileError, ImportError, OSError, ValueError) as error:
            results.append(None)
            errors.append(str(error).removeprefix(f"{file}: "))
        else:
            results.append(found)
            errors.append("")
    return findings_of_files(list(predictor.model.tasks.values()), files, results, errors)


def findings_of_files(
    tasks: Sequence[Task], files: Sequence[str], results: Sequence[Findings | None], errors: Sequence[str]
) -> pa.Table:
    """Return the findings in files as the table of `predict_files`.

    Args:
        tasks (`Sequence[Task]`): The model's tasks.
        files (`Sequence[str]`): The files, a row each.
        results (`Sequence[Findings]`): What was found; None where a file could not be read.
        errors (`Sequence[str]`): Why not.
    """
    reasons = [
        error if found is None else str(found.quality) or None for found, error in zip(results, errors, strict=True)
    ]
    verdicts = [UNUSABLE if found is None else found.quality.verdict for found in results]
    leads = [None if found is None else " ".join(found.used_leads) for found in results]
    columns: dict[str, pa.Array] = {
        "file": pa.array(files, pa.string()),
        "quality": pa.array(verdicts, pa.string()),
        "error": pa.array(reasons, pa.string()),
        "leads": pa.array(leads, pa.string()),
    }
    return pa.table(columns | finding_columns(tasks, results))


__all__ = ["ReadingOptions", "find_recordings", "findings_of_files", "parts_of_files", "predict_files"]
