"""The description of a run, `run_info.json`, as a type."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import torch
from accelerate import PartialState

from ..settings import fits
from .portable import without_machine_paths
from .shipped import PACKAGE

_PACKAGES = ("enecg", "torch", "transformers", "peft", "accelerate", "datasets", "numpy", "scipy")


@dataclass(frozen=True)
class DatasetInfo:
    """The records of a run.

    Attributes:
        name (`str`): What reports call the dataset.
        sampling_rate (`float`, *optional*): In Hz; None where each record says its own.
        num_records (`dict[str, int]`): By split.
        num_labelled (`dict[str, dict[str, int]]`): By task and split, the records that have its labels.
        tested (`list[str]`): The dataset's splits that are called `test` here; others of an evaluation elsewhere.
        note (`str`): What a reader must know of these records.
    """

    name: str
    sampling_rate: float | None
    num_records: dict[str, int]
    num_labelled: dict[str, dict[str, int]] = field(default_factory=dict)
    tested: list[str] = field(default_factory=lambda: ["test"])
    note: str = ""

    def __str__(self) -> str:
        return self.name if self.sampling_rate is None else f"{self.name}, {self.sampling_rate} Hz"


@dataclass(frozen=True)
class StageInfo:
    """A stage that has ended.

    Attributes:
        num_trainable (`int`): Trainable parameters.
        num_epochs (`int`): Epochs that ran.
        best_epoch (`int`, *optional*): The epoch whose weights are kept.
        best_score (`float`, *optional*): Its score on the validation fold; None where that gives none.
        seconds (`float`): Wall time since its last start.
        peak_mb (`float`, *optional*): The process's largest memory so far.
        gpu_peak_mb (`float`, *optional*): The device's; None without one.
        energy_wh (`float`, *optional*): The device's; None where nothing tells it.
        best_loss (`float`, *optional*): The loss of the best epoch on the validation fold.
        chosen_by (`str`): What picked the best epoch, `"score"` or `"loss"`.
        start_score (`float`, *optional*): The validation score of a trained model before it was adapted.
        start_loss (`float`, *optional*): Its loss.
        precision (`str`): Of forward passes: `"fp32"`, or under autocast `"bf16"` or `"fp16"`.
    """

    num_trainable: int
    num_epochs: int
    best_epoch: int | None
    best_score: float | None
    seconds: float
    peak_mb: float | None = None
    gpu_peak_mb: float | None = None
    energy_wh: float | None = None
    best_loss: float | None = None
    chosen_by: str = "score"
    start_score: float | None = None
    start_loss: float | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class CrossValidationInfo:
    """How records were predicted out of fold, and what the final model took from it.

    Attributes:
        folds (`int`): Folds of each repeat.
        repeats (`int`): How often folds were drawn.
        epochs (`dict[str, int]`): By stage of the final model, the median best epoch of all rounds.
        scores (`dict[str, dict[str, Any]]`): By task, what `cross_validated_scores` gives.
    """

    folds: int
    repeats: int
    epochs: dict[str, int]
    scores: dict[str, dict[str, Any]]

    def remarks(self) -> list[str]:
        """Return in sentences what a reader must know."""
        epochs = ", ".join(f"{_words(stage)} {number}" for stage, number in self.epochs.items())
        texts = [
            f"What is called validation is out of fold: in each of {self.folds} folds, divided by patient with each "
            "label spread evenly, a model predicts that neither trained on it nor chose its epochs by it.",
            "The model itself trained on all records of these folds, as many epochs as were best in the median of all "
            f"rounds: {epochs}.",
        ]
        if self.repeats > 1:
            means = (
                f"{metric} of {task} {value['point']:.3f} (standard deviation {value['repeat_sd']:.3f})"
                for task, metrics in self.scores.items()
                for metric, value in metrics.items()
                if isinstance(value, dict) and value.get("repeat_sd") is not None
            )
            texts.append(f"The table shows the first of {self.repeats} divisions; their mean: {'; '.join(means)}.")
        return texts


@dataclass(frozen=True)
class RunInfo:
    """How a model came to its predictions: by a run of a recipe, or by an evaluation on other records.

    Attributes:
        name (`str`): What the card calls the model.
        experts (`dict[str, str]`): By expert, where its first weights come from.
        dataset (`DatasetInfo`): The records.
        cross_validation (`CrossValidationInfo`, *optional*): Of a run that was cross-validated.
        num_parameters (`int`): All weights.
        device (`str`): Where it ran.
        num_processes (`int`): On how many processes.
        versions (`dict[str, str]`): Of Python and of the packages.
        stages (`dict[str, StageInfo]`): What was trained; empty of an evaluation.
        kept_stage (`str`, *optional*): The stage whose model is the run's, the best one on the validation fold.
        recipe (`dict[str, Any]`, *optional*): The recipe's fields without places; None of an evaluation.
        num_resamples (`int`, *optional*): Of the intervals in `metrics.json`.
        confidence (`float`, *optional*): Of the intervals.
        commit (`str`, *optional*): That of the code, where it can be told.
    """

    name: str
    experts: dict[str, str]
    dataset: DatasetInfo
    num_parameters: int
    device: str
    num_processes: int
    versions: dict[str, str]
    stages: dict[str, StageInfo] = field(default_factory=dict)
    kept_stage: str | None = None
    cross_validation: CrossValidationInfo | None = None
    recipe: dict[str, Any] | None = None
    num_resamples: int | None = None
    confidence: float | None = None
    commit: str | None = None

    def remarks(self) -> list[str]:
        """Return sentences on how the model was chosen, and what was unusual about its training."""
        texts = [] if self.cross_validation is None else self.cross_validation.remarks()
        is_compared = all(stage.best_loss is not None for stage in self.stages.values())
        if self.kept_stage is not None and len(self.stages) > 1 and is_compared:
            scores = ", ".join(f"{_words(name)} {_validated(stage)}" for name, stage in self.stages.items())
            texts.append(f"The model is that of {_words(self.kept_stage)}, the best stage on validation: {scores}.")
        for name, stage in self.stages.items():
            if stage.start_loss is not None:
                before = _validated(StageInfo(0, 0, None, stage.start_score, 0, best_loss=stage.start_loss))
                texts.append(f"On validation, before {_words(name)}: {before}; after: {_validated(stage)}.")
            if stage.chosen_by == "loss" and stage.best_loss is not None:
                texts.append(f"The best epoch of {_words(name)} is that of the lowest validation loss.")
            if stage.precision != "fp32":
                asked = ((self.recipe or {}).get("stages") or {}).get(name, {}).get(stage.precision)
                how = "" if asked else f", by `accelerate launch --mixed_precision {stage.precision}`"
                texts.append(f"Forward passes of {_words(name)} ran under {stage.precision} autocast{how}.")
        return texts

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `run_info.json`: of each absolute path its last part only."""
        return without_machine_paths(asdict(self))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RunInfo":
        """Read the content of `run_info.json`; fields of other versions are passed over.

        Raises:
            ValueError: if a field is missing, or of another type.
        """
        try:
            stages = {name: _fields_of(StageInfo, stage) for name, stage in content["stages"].items()}
            own = _own_fields(cls, content)
            dataset = _fields_of(DatasetInfo, content["dataset"])
            rounds = content.get("cross_validation")
            own["cross_validation"] = None if rounds is None else _fields_of(CrossValidationInfo, rounds)
            info = cls(**own | {"dataset": dataset, "stages": stages, "recipe": content.get("recipe") or None})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its description lacks something: {error}") from error
        for part in (info, info.dataset, info.cross_validation, *info.stages.values()):
            _check_types(part)
        return info


def environment() -> dict[str, Any]:
    """Return the `device`, the number of processes, the `versions` of Python and the packages, and the `commit`."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({os.cpu_count()} cores)",
        "num_processes": PartialState().num_processes,
        "versions": {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        "commit": source_commit(),
    }


def source_commit(project: Path = PACKAGE.parent) -> str | None:
    """Return the commit of a git checkout, with a remark if files differ from it; None where it cannot be told."""
    if not (project / ".git").exists():  # an installed package may lie in somebody else's checkout
        return None
    command = ["git", "--no-optional-locks", "-C", str(project)]
    try:
        commit, changes = (
            subprocess.run([*command, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit} with changes" if changes else commit


def _words(stage: str) -> str:
    return stage.replace("_", " ")


def _validated(stage: StageInfo) -> str:
    """Return a stage's score and loss on the validation fold in words."""
    score = "no score" if stage.best_score is None else f"score {stage.best_score:.3f}"
    return score if stage.best_loss is None else f"{score} (loss {stage.best_loss:.3f})"


def _fields_of(kind: type, content: Mapping[str, Any]) -> Any:
    return kind(**_own_fields(kind, content))


def _own_fields(kind: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: content[item.name] for item in fields(kind) if item.name in content}


def _check_types(part: Any) -> None:
    """Refuse fields of other types than theirs; those that are parts themselves are checked as such."""
    hints = {} if part is None else get_type_hints(type(part))
    for name, hint in hints.items():
        value = getattr(part, name)
        if not is_dataclass(value) and not fits(value, hint):
            raise ValueError(f"{name} of its description is {value!r}; expected {getattr(hint, '__name__', hint)}.")


__all__ = ["CrossValidationInfo", "DatasetInfo", "RunInfo", "StageInfo", "environment", "source_commit"]
