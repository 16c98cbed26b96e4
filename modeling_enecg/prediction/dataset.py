"""Predicting a whole dataset, shared among the processes of the launcher, into one Parquet file."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from tqdm import tqdm

from ..configuration_enecg import Task
from ..data.rows import row_signal
from ..data.sources import SPLITS, DatasetOptions, find_source
from ..expert_references import weights_digest
from ..pipeline_ecg import ECGClassificationPipeline
from ..runs.files import new_file, write_text
from ..runs.lock import locked
from . import Predictor

RECORDS_A_PART = 256  # little is lost by a kill, and all processes have work
IDS = ["ecg_id", "patient_id"]


def predict_dataset(
    predictor: Predictor,
    options: DatasetOptions,
    output: str | Path,
    splits: Sequence[str] | None = None,
    batch_size: int = 16,
) -> Path:
    """Predict every record of a dataset once.

    Each process predicts its share of the parts of 256 records, which are kept beside the output until it is whole:
    the same call goes on after a kill.

    Args:
        predictor ([`Predictor`]): The model with its feature extractor.
        options ([`DatasetOptions`]): The dataset.
        output (`str` or `Path`): The Parquet file: `ecg_id`, `patient_id` and `split` of a record, and by task each
            label's probability or a regression's value, `<task>.<output>.predicted`.
        splits (`Sequence[str]`, *optional*, defaults to all): Which.
        batch_size (`int`, *optional*, defaults to 16): Windows predicted at once.

    Returns:
        `Path`: The file.

    Raises:
        FolderInUseError: if another process predicts into the same file.
        ValueError: if there is no such split, or no record; the output is a folder, or beside it there are parts of
            another prediction; or a record cannot be predicted.
    """
    if Path(output).is_dir():
        raise ValueError(f"{output} is a folder; give a file.")
    with locked(f"{output}.parts", "prediction"):
        return _predict_parts(predictor, options, Path(output), splits, batch_size)


def _predict_parts(
    predictor: Predictor, options: DatasetOptions, output: Path, splits: Sequence[str] | None, batch_size: int
) -> Path:
    state = PartialState()
    rows = _read(options, splits)
    work = [(split, start) for split, records in rows.items() for start in range(0, len(records), RECORDS_A_PART)]
    folder = Path(f"{output}.parts")
    _check_same(folder, _digest(predictor, options, rows))
    paths = {(split, start): folder / f"{split}-{start:010d}.parquet" for split, start in work}
    own = [part for part in work[state.process_index :: state.num_processes] if not paths[part].exists()]
    find = ECGClassificationPipeline(
        model=predictor.model, feature_extractor=predictor.extractor, device=state.device, batch_size=batch_size
    )
    tasks = list(predictor.model.tasks.values())
    progress = tqdm(total=len(own), desc="Predicting", unit="part", disable=not state.is_main_process)
    for split, start in own:
        records = rows[split].select(range(start, min(start + RECORDS_A_PART, len(rows[split]))))
        table = _predict(find, tasks, records, options.sampling_rate)
        table = table.add_column(len(IDS), "split", pa.array([split] * len(table)))
        with new_file(paths[split, start]) as aside:
            pq.write_table(table, aside)
        progress.update()
    state.wait_for_everyone()
    if state.is_main_process:
        _join([paths[part] for part in work], output)
        for path in paths.values():  # before what says whose they are
            path.unlink()
        shutil.rmtree(folder)
    state.wait_for_everyone()
    return output


def _read(options: DatasetOptions, wanted: Sequence[str] | None) -> Mapping[str, datasets.Dataset]:
    """Read the wanted splits, which must be there, or those that are."""
    source = find_source(options)
    names = list(dict.fromkeys(wanted or SPLITS))
    rows = source.read(names)
    missing = [name for name in names if name not in rows]
    if missing and (wanted or not rows):
        known = ", ".join(source.files or source.read(SPLITS))
        raise ValueError(f"{options.data_dir} has no split {', '.join(missing)}; there are {known}.")
    if not any(map(len, rows.values())):
        raise ValueError(f"{options.data_dir} has no records in {', '.join(rows)}.")
    return rows


def _digest(predictor: Predictor, options: DatasetOptions, rows: Mapping[str, datasets.Dataset]) -> str:
    """Return a digest of all that determines the predictions, and how they are divided."""
    model = predictor.model
    parts = [model.config.to_json_string(), weights_digest(model), predictor.extractor.to_json_string()]
    parts += [str(options.sampling_rate), str(RECORDS_A_PART)]
    parts += [text for split, records in rows.items() for text in (split, records._fingerprint)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _check_same(folder: Path, digest: str) -> None:
    """Refuse to go on with the parts of another model or dataset."""
    path = folder / "of.txt"
    if path.exists() and path.read_text(encoding="utf-8") != digest:
        raise ValueError(f"{folder} holds parts of another prediction; remove it, or choose another output.")
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        write_text(path, digest)
    PartialState().wait_for_everyone()


def _predict(
    find: ECGClassificationPipeline, tasks: Sequence[Task], records: datasets.Dataset, sampling_rate: float
) -> pa.Table:
    """Return a row a record: its ids, and every task's outputs."""
    current: list[Any] = [None]

    def signals() -> Iterator[dict[str, Any]]:
        for row in records:
            current[0] = row["ecg_id"]
            yield row_signal(row, sampling_rate)._asdict()

    try:
        results = list(find(signals()))
    except ValueError as error:
        raise ValueError(f"Record {current[0]}: {error}") from error
    table = records.select_columns(IDS).with_format("arrow")[:].replace_schema_metadata()
    for task in tasks:
        values = [{found["label"]: _value(found) for found in result[task.name]} for result in results]
        for name in task.output_names:
            column = pa.array([each[name] for each in values], pa.float64())
            table = table.append_column(f"{task.name}.{name}.predicted", column)
    return table


def _value(found: Mapping[str, Any]) -> float:
    """Return the model's own probability of a label, or a regression's value."""
    return found["raw_score"] if "raw_score" in found else found["value"]


def _join(parts: Sequence[Path], output: Path) -> None:
    with new_file(output) as aside, pq.ParquetWriter(aside, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))
