"""A run's folder as a type: what lies where, and how it is read and written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from transformers.utils import CONFIG_NAME

from ..configuration_enecg import Task
from ..leads import ALL_LEADS
from .files import new_file, write_text
from .info import RunInfo
from .predictions import Predictions, read_predictions

RUN_INFO, METRICS, PREDICTIONS = "run_info.json", "metrics.json", "predictions.parquet"
LEAD_SETS, EXPERTS = "lead_sets.json", "experts.json"  # of runs that score lead sets, or have several experts
RECIPE, CARD = "recipe.yaml", "README.md"
DATA = "data.json"  # digests of the records that a run began with
HISTORY = "history.json"  # in the folder of each stage
ADAPTER, FIGURES, LOGS, CHECKPOINTS = "adapter", "figures", "logs", "checkpoints"
CROSS_VALIDATION = "cross_validation"  # the folder with one for every round
PREDICTED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Run:
    """The folder of a run, or of an evaluation on other records; what it holds is read when it is first asked for.

    Attributes:
        folder (`Path`): The folder.
    """

    folder: Path

    @property
    def is_complete(self) -> bool:
        """Whether the run ended: its metrics are written last."""
        return (self.folder / METRICS).exists()

    @property
    def has_model(self) -> bool:
        """Whether the model's files are there."""
        return (self.folder / CONFIG_NAME).exists() and any(self.folder.glob("model*.safetensors"))

    @property
    def card(self) -> Path:
        """The card's file."""
        return self.folder / CARD

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.folder / FIGURES

    @property
    def adapter(self) -> Path:
        """The folder of the adapter that a stage of LoRA makes."""
        return self.folder / ADAPTER

    def stage(self, name: str) -> Path:
        """Return a stage's folder."""
        return self.folder / name

    def history(self, stage: str) -> dict[str, Any]:
        """Return what is kept of a stage that has ended: the fields of `StageInfo`, and the trainer's `log`."""
        return self._read(f"{stage}/{HISTORY}")

    @property
    def data_digests(self) -> dict[str, Any]:
        """By split, hashes of what the run began with; empty where it has not begun, or in an earlier version."""
        return self._read(DATA) if (self.folder / DATA).exists() else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of the model's `config.json`."""
        return self._read(CONFIG_NAME)

    @cached_property
    def info(self) -> RunInfo:
        """What is said of the run."""
        try:
            return RunInfo.from_dict(self._read(RUN_INFO))
        except ValueError as error:
            raise ValueError(f"{self.folder} holds no run of an EnECG model: {error}") from error

    @property
    def name(self) -> str:
        """What the card calls the model."""
        return self.info.name

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks, with what the run decided on."""
        if "tasks" not in self.config and (self.folder / METRICS).exists() and "pretraining" in self.metrics:
            raise ValueError(
                f"{self.folder} holds a pre-trained backbone, which has no tasks to report on; its card, {CARD}, "
                "tells how it was trained."
            )
        try:
            return [Task.from_dict(fields) for fields in self.config["tasks"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.folder} holds no run of an EnECG model: {error!r} in {CONFIG_NAME}.") from error

    def task(self, name: str) -> Task:
        """Return the task of a name.

        Raises:
            ValueError: if there is none.
        """
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks:
            raise ValueError(f"The run in {self.folder} has no task {name!r}; it has {', '.join(tasks)}.")
        return tasks[name]

    @cached_property
    def splits(self) -> dict[str, Predictions]:
        """What the model predicted: `validation`, which may be empty, and `test`."""
        return read_predictions(self.folder / PREDICTIONS, self.tasks, PREDICTED_SPLITS)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`: by split and task, what `evaluate_task` gives."""
        return self._read(METRICS)

    @cached_property
    def lead_sets(self) -> dict[str, Any]:
        """By lead set, all 12 leads first, and task the scores of the test records; empty where none was scored."""
        if not (self.folder / LEAD_SETS).exists():
            return {}
        sets = self._read(LEAD_SETS)
        self._check_tasks(METRICS, self.metrics.get("test", {}))
        for by_task in sets.values():
            self._check_tasks(LEAD_SETS, by_task)
        return {ALL_LEADS: self.metrics["test"], **sets}

    @cached_property
    def experts(self) -> dict[str, Any]:
        """By task, the experts' weights and what each adds; empty of a run of one expert."""
        if not (self.folder / EXPERTS).exists():
            return {}
        inside = self._read(EXPERTS)
        self._check_tasks(EXPERTS, inside)
        return inside

    def read_all(self) -> None:
        """Read and check everything that a report needs."""
        for part in ("info", "tasks", "splits", "lead_sets", "experts"):
            getattr(self, part)

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files."""
        write_text(self.folder / name, json.dumps(content, indent=2) + "\n")

    def write_predictions(self, frame: pd.DataFrame) -> None:
        """Write the table of predictions; see `runs.predictions`."""
        with new_file(self.folder / PREDICTIONS) as aside:
            frame.to_parquet(aside, index=False)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            raise ValueError(f"{self.folder} is not the folder of a run that ended: it has no {name}.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold a mapping of names to values.")
        return content

    def _check_tasks(self, name: str, by_task: Mapping[str, Any]) -> None:
        missing = [task.name for task in self.tasks if task.name not in by_task]
        if missing:
            raise ValueError(
                f"{self.folder / name} lacks the task {missing[0]!r}; it does not fit the tasks in {CONFIG_NAME}."
            )


def read_run(folder: str | Path) -> Run:
    """Read the description and the predictions of a run, or of an evaluation, whole.

    Args:
        folder (`str` or `Path`): What `train.py` or `enecg evaluate` wrote: `config.json`, `run_info.json` and
            `predictions.parquet`; of a run that scored lead sets also `lead_sets.json` and `metrics.json`, of several
            experts `experts.json`.

    Raises:
        ValueError: if a file is missing or damaged, lacks a column or a split, or holds values that cannot be.
    """
    run = Run(Path(folder))
    run.read_all()
    return run


__all__ = [
    "ADAPTER",
    "CARD",
    "CHECKPOINTS",
    "CROSS_VALIDATION",
    "DATA",
    "EXPERTS",
    "FIGURES",
    "HISTORY",
    "LEAD_SETS",
    "LOGS",
    "METRICS",
    "PREDICTED_SPLITS",
    "PREDICTIONS",
    "RECIPE",
    "RUN_INFO",
    "Run",
    "read_run",
]
