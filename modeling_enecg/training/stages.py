"""One stage's settings on this machine, its checkpoints, and what is kept of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from .arguments import StageArguments
from .recipe import STAGES, Recipe, RecipeError
from .trainers import EnECGTrainer


def stage_arguments(recipe: Recipe, stage: str, folder: Path, num_records: int) -> StageArguments:
    """Return a stage's training arguments for this machine and number of processes.

    Args:
        recipe (`Recipe`): Gives the stage's settings.
        stage (`str`): One of its stages.
        folder (`Path`): Where checkpoints go.
        num_records (`int`): Number of training records.

    Raises:
        RecipeError: if the global batch cannot be divided or is larger than the training fold, or settings contradict
            each other.
    """
    batch_size = _records_a_process(recipe, stage, num_records)
    use_cpu = not torch.cuda.is_available()
    try:
        return STAGES[stage](
            **recipe.stages[stage],
            output_dir=str(folder),
            seed=recipe.seed,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            use_cpu=use_cpu,
            ddp_backend="gloo" if use_cpu and PartialState().num_processes > 1 else None,
        )
    except ValueError as error:
        raise RecipeError(f"stages.{stage}: {error}") from error


def _records_a_process(recipe: Recipe, stage: str, num_records: int) -> int:
    """Return the batch size of one process and accumulation step."""
    settings = recipe.stages[stage]
    batch_size = settings.get("global_batch_size", STAGES[stage].global_batch_size)
    shares = PartialState().num_processes * settings.get("gradient_accumulation_steps", 1)
    key = f"stages.{stage}.global_batch_size"
    if batch_size < 1 or batch_size % shares:
        raise RecipeError(f"{key}: {batch_size} records cannot be shared by {shares} processes x accumulation steps.")
    if batch_size > num_records:
        raise RecipeError(f"{key}: {batch_size} exceeds the {num_records} labelled training records; lower it.")
    return batch_size // shares


def last_complete_checkpoint(folder: Path, num_processes: int) -> str | None:
    """Return the newest checkpoint that was written to its end, or None: a kill may leave an incomplete one."""
    rng_states = (
        ["rng_state.pth"] if num_processes == 1 else [f"rng_state_{rank}.pth" for rank in range(num_processes)]
    )
    complete = [
        path
        for path in folder.glob("checkpoint-*")
        if _is_whole_json(path / "trainer_state.json") and all((path / name).is_file() for name in rng_states)
    ]
    newest = max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)
    return None if newest is None else str(newest)


def _is_whole_json(path: Path) -> bool:
    """Whether a file, which a kill may have cut short, is there to its end."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def stage_history(trainer: EnECGTrainer, cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is worth keeping of a stage that has ended; `cost` is what a `CostMeter` read."""
    # An undefined score is left out: JSON has no nan.
    log = [{key: value for key, value in entry.items() if value == value} for entry in trainer.state.log_history]
    scores = [(entry["eval_score"], entry["epoch"]) for entry in log if "eval_score" in entry]
    best = max(scores, key=lambda pair: (pair[0], -pair[1])) if scores else (None, None)
    return {
        "num_trainable": trainer.model.num_parameters(only_trainable=True),
        "num_epochs": round(trainer.state.epoch or 0),
        "best_epoch": None if best[1] is None else round(best[1]),
        "best_score": best[0],
        **cost,
        "log": log,
    }
