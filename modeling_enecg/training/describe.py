"""The description of a run: its `RunInfo`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration_enecg import Task
from ..evaluation.metrics import MIN_POSITIVES
from ..evaluation.scored import has_targets, label_columns
from ..runs.info import CrossValidationInfo, DatasetInfo, RunInfo, StageInfo, environment
from ..runs.portable import without_machine_paths
from .recipe import OF_PRETRAINING, Recipe
from .training import Outcome, Training

_PLACES = ("data_dir", "output_dir", "cache_dir", "num_processes", "num_proc")
_FEW_TEST_RECORDS = 1000


def describe_run(
    recipe: Recipe,
    name: str,
    training: Training,
    outcome: Outcome,
    cross_validation: CrossValidationInfo | None = None,
) -> RunInfo:
    """Return how a run was made.

    Args:
        recipe (`Recipe`): What it followed.
        name (`str`): What the card calls the model.
        training (`Training`): Its model, records and stages.
        outcome (`Outcome`): What came of them.
        cross_validation (`CrossValidationInfo`, *optional*): What came of it.
    """
    model, data = training.model, training.data
    return RunInfo(
        name=name,
        experts=_sources(recipe) or {expert: f"of {Path(str(recipe.model)).name}" for expert in model.experts},
        dataset=DatasetInfo(
            data.source.name, data.source.chosen_rate, data.num_records(), data.num_labelled(), note=_note(training)
        ),
        stages={
            stage: StageInfo(**{key: history[key] for key in history if key != "log"})
            for stage, history in outcome.histories.items()
        },
        kept_stage=outcome.kept,
        cross_validation=cross_validation,
        num_parameters=model.num_parameters(),
        recipe=_without_places(recipe),
        num_resamples=recipe.num_resamples,
        confidence=recipe.confidence,
        **environment(),
    )


def describe_pretraining(
    recipe: Recipe, name: str, history: Mapping[str, Any], dataset: DatasetInfo, num_parameters: int
) -> RunInfo:
    """Return how a backbone was pre-trained.

    Args:
        recipe (`Recipe`): What it followed.
        name (`str`): What the card calls the backbone.
        history (`Mapping[str, Any]`): Of its stage.
        dataset (`DatasetInfo`): The records.
        num_parameters (`int`): The backbone's.
    """
    (stage,) = recipe.stages
    return RunInfo(
        name=name,
        experts=_sources(recipe),
        dataset=dataset,
        stages={stage: StageInfo(**{key: history[key] for key in history if key != "log"})},
        kept_stage=stage,
        num_parameters=num_parameters,
        recipe={key: value for key, value in _without_places(recipe).items() if key in OF_PRETRAINING},
        **environment(),
    )


def _sources(recipe: Recipe) -> dict[str, str]:
    """Return where each expert's first weights come from."""
    return {
        expert: Path(source["path"]).name if "path" in source else "random weights"
        for expert, source in recipe.experts.items()
    }


def _without_places(recipe: Recipe) -> dict[str, Any]:
    return without_machine_paths({key: value for key, value in asdict(recipe).items() if key not in _PLACES})


def _note(training: Training) -> str:
    """Return what a reader must know of the records: where they are too few."""
    counts = training.data.num_records()
    notes = []
    if counts["test"] < _FEW_TEST_RECORDS:
        notes.append("A smoke signal on few records, not a result.")
    decided_by = "validation" if "validation" in counts else "train"
    few = [
        task.name
        for task in training.model.tasks.values()
        if _decides_little(task, training.data.labels[decided_by][task.name])
    ]
    if few:
        notes.append(
            f"Validation ({counts[decided_by]} records) is too small to choose anything by for "
            f"{', '.join(few)}: epochs, stages and thresholds are chosen by chance as much as by merit."
        )
    return " ".join(notes)


def _decides_little(task: Task, targets: np.ndarray) -> bool:
    """Whether a task has no output with enough records of both kinds, or of a regression enough at all."""
    known = targets[has_targets(task, targets)]
    if task.is_regression:
        return len(known) < MIN_POSITIVES
    counts = label_columns(task, known).sum(axis=0)
    return not any(min(count, len(known) - count) >= MIN_POSITIVES for count in counts)


__all__ = ["describe_pretraining", "describe_run"]
