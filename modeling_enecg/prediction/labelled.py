"""A saved model on labelled records that it was not trained on: what it predicts beside what is true.

The folder is read by `enecg report` and `enecg compare` like that of a run.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from accelerate import PartialState
from transformers.utils import CONFIG_NAME, logging

from ..configuration_enecg import Task
from ..data.record_metadata import record_metadata
from ..data.sources import DatasetOptions, Source, find_source
from ..data.targets import dataset_tasks, read_targets
from ..runs.files import added_files
from ..runs.info import DatasetInfo, RunInfo, environment
from ..runs.lock import LOCK, locked
from ..runs.predictions import Predictions, predicted_columns
from ..runs.run import PREDICTIONS, RUN_INFO
from . import Predictor
from .dataset import predict_dataset

logger = logging.get_logger(__name__)

VALIDATION, TEST = "validation", "test"


def evaluate_model(
    predictor: Predictor,
    name: str,
    options: DatasetOptions,
    output: str | Path,
    tested: Sequence[str] = (TEST,),
) -> Path:
    """Predict labelled records, and write predictions with targets and a description of both.

    Tasks that the dataset does not have are left out. Labels are matched by name: one that the dataset lacks is not
    known of its records and is left out, as is one that the model lacks; both are named.

    Args:
        predictor ([`Predictor`]): The model with its feature extractor.
        name (`str`): What the model is called.
        options ([`DatasetOptions`]): The dataset.
        output (`str` or `Path`): The folder to write: `predictions.parquet`, `config.json` with the tasks, and
            `run_info.json`.
        tested (`Sequence[str]`, *optional*, defaults to `("test",)`): The dataset's splits that are tested. The split
            `validation`, if it is not one of them and there is such, is there to calibrate by.

    Returns:
        `Path`: The folder.

    Raises:
        FolderInUseError: if another process writes there.
        ValueError: if the dataset has none of the model's tasks, there is no such split, or as `predict_dataset` does.
    """
    output = Path(output)
    with locked(output, "evaluation"):
        return _evaluate(predictor, name, options, output, tested)


def _evaluate(predictor: Predictor, name: str, options: DatasetOptions, output: Path, tested: Sequence[str]) -> Path:
    _check_free(output)
    options = replace(options, rr_interval="rr_interval" in predictor.model.tasks)
    source = find_source(options)
    tasks, notes = _shared_tasks(predictor, source)
    for note in notes:
        logger.warning("%s", note)
    rows = source.read([*tested, VALIDATION])
    splits = list(dict.fromkeys([*tested, *(name for name in (VALIDATION,) if name in rows)]))
    file = predict_dataset(predictor, options, output / PREDICTIONS, splits)
    if PartialState().is_main_process:
        predicted = pd.read_parquet(file)
        parts = [
            _with_targets(
                predicted[predicted["split"] == split], TEST if split in tested else VALIDATION, rows[split], tasks
            )
            for split in splits
        ]
        config = {**predictor.model.config.to_dict(), "tasks": [task.to_dict() for task in tasks]}
        with added_files(output) as aside:
            pd.concat(parts).to_parquet(aside / PREDICTIONS, index=False)
            (aside / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            info = _describe(predictor, name, source, options, pd.concat(parts), tested, " ".join(notes))
            (aside / RUN_INFO).write_text(json.dumps(info.to_dict(), indent=2) + "\n", encoding="utf-8")
    PartialState().wait_for_everyone()
    return output


def _check_free(output: Path) -> None:
    """Refuse a folder with other files, such as those of a run."""
    own = {PREDICTIONS, f"{PREDICTIONS}.parts", CONFIG_NAME, RUN_INFO, "report"}
    others = sorted({path.name for path in output.iterdir() if not path.name.startswith(LOCK)} - own)
    if others:
        raise ValueError(f"{output} holds other files, such as {others[0]}; choose a new folder.")


def _shared_tasks(predictor: Predictor, source: Source) -> tuple[list[Task], list[str]]:
    """Return the model's tasks, with the labels that the dataset has, and sentences on what is left out."""
    known = [task for name, task in predictor.model.tasks.items() if _is_column(source, task)]
    left_out = sorted(predictor.model.tasks.keys() - {task.name for task in known})
    if not known:
        raise ValueError(f"{source.name} has none of the model's tasks {', '.join(left_out)} among its columns.")
    notes = [f"Not evaluated, as {source.name} has no such columns: {', '.join(left_out)}."] if left_out else []
    tasks = []
    for task in known:
        if task.is_regression:
            tasks.append(task)
            continue
        (column,) = dataset_tasks(source.features, [task.name])
        shared = [label for label in task.labels if label in column.labels]
        lacking = [label for label in task.labels if label not in column.labels]
        unused = [label for label in column.labels if label not in task.labels]
        if lacking:
            notes.append(f"{task.name}: not known of the records, and left out: {', '.join(lacking)}.")
        if unused:
            notes.append(f"{task.name}: labels that the model does not know: {', '.join(unused)}.")
        tasks.append(task.of_labels(shared) if task.is_multi_label and lacking else task)
    return tasks, notes


def _is_column(source: Source, task: Task) -> bool:
    if task.name not in source.features:
        return False
    (column,) = dataset_tasks(source.features, [task.name])
    if column.problem_type != task.problem_type:
        raise ValueError(
            f"{source.name}: column {task.name!r} is a {column.problem_type.replace('_', ' ')}; the model's task of "
            f"that name is a {task.problem_type.replace('_', ' ')}."
        )
    if task.is_regression:
        if len(task.output_names) > 1:
            raise ValueError(
                f"The model's task {task.name!r} has the outputs {', '.join(task.output_names)}; a column holds one."
            )
        return True
    if not set(task.labels) & set(column.labels):
        raise ValueError(
            f"{source.name}: column {task.name!r} has the labels {', '.join(column.labels)}; the model knows "
            f"{', '.join(task.labels)}."
        )
    return True


def _with_targets(
    predicted: pd.DataFrame, split: str, records: datasets.Dataset, tasks: Sequence[Task]
) -> pd.DataFrame:
    """Return a split's rows of `predictions.parquet`: what was predicted, with the records' targets beside."""
    targets = {task.name: _targets(records, task) for task in tasks}
    outputs = {task.name: predicted[predicted_columns(task)].to_numpy() for task in tasks}
    return Predictions(record_metadata(records), targets, outputs).to_frame(split, tasks)


def _targets(records: datasets.Dataset, task: Task) -> np.ndarray:
    """Return targets in the order of the model's labels."""
    (column,) = dataset_tasks(records.features, [task.name])
    targets = read_targets(records, column)
    if task.is_regression:
        return targets
    if task.problem_type == "single_label_classification":
        places = {label: index for index, label in enumerate(task.labels)}
        own = np.array([places.get(label, np.nan) for label in column.labels])
        return np.array([np.nan if np.isnan(value) else own[int(value)] for value in targets])
    return targets[:, [column.labels.index(label) for label in task.labels]]


def _describe(
    predictor: Predictor,
    name: str,
    source: Source,
    options: DatasetOptions,
    predictions: pd.DataFrame,
    tested: Sequence[str],
    note: str,
) -> RunInfo:
    """Return what is said of the evaluation."""
    counts = predictions["split"].value_counts().to_dict()
    return RunInfo(
        name=f"{name} on {source.name}",
        experts=dict.fromkeys(predictor.model.experts, f"of {name}"),
        dataset=DatasetInfo(
            source.name,
            options.sampling_rate,
            {split: int(counts.get(split, 0)) for split in (VALIDATION, TEST)},
            tested=list(tested),
            note=note,
        ),
        num_parameters=predictor.model.num_parameters(),
        **environment(),
    )
