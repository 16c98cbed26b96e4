"""Trackers of experiments (TensorBoard, W&B, MLflow and others): which there are, and what they follow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ..runs.run import CROSS_VALIDATION
from ..settings import SettingsError, check_choice

TRACKING_SETTINGS = ("report_to", "run_name", "project")  # what a run computes is the same whatever these are
_NOBODY_AND_ALL = ("none", "all")


def check_trackers(key: str, report_to: Any) -> None:
    """Refuse a tracker that is not known, or not installed.

    Args:
        key (`str`): What the setting is called in the error.
        report_to (`str` or `list[str]`): A tracker, several, `"none"`, or `"all"` that are installed.

    Raises:
        SettingsError: with the tracker at fault.
    """
    for name in report_to if isinstance(report_to, list) else [report_to]:
        check_choice(key, name, (*_NOBODY_AND_ALL, *INTEGRATION_TO_CALLBACK))
        if name not in (*_NOBODY_AND_ALL, *get_available_reporting_integrations()):
            raise SettingsError(f"{key}: {name} is not installed here: install its package, or report to another.")


def tracked_name(folder: Path) -> str:
    """Return what trackers call a stage unless its `run_name` says so: its folder, from the run's on.

    Args:
        folder (`Path`): The stage's folder, as `runs/mine/linear_probing`.
    """
    parts = folder.parts
    return "/".join(parts[-4:] if CROSS_VALIDATION in parts[-3:] else parts[-2:])


def without_trackers(trainer: Trainer) -> list[TrainerCallback]:
    """Take a trainer's trackers away, and return them."""
    kinds = get_reporting_integration_callbacks(trainer.args.report_to)
    return [each for each in map(trainer.pop_callback, kinds) if each is not None]


@contextmanager
def tracked(trainer: Trainer, trackers: Sequence[TrainerCallback]) -> Iterator[None]:
    """Let trackers follow what a trainer does meanwhile, as a run of theirs that ends with it.

    Predictions are none of their business: a run's report scores these, with intervals. A run that whoever calls has
    begun with W&B or MLflow goes on.

    Args:
        trainer (`Trainer`): A trainer without trackers.
        trackers (`Sequence[TrainerCallback]`): Those to give it.
    """
    wandb, mlflow = (
        import_module(name) if name in (trainer.args.report_to or ()) else None for name in ("wandb", "mlflow")
    )
    ends_wandb = wandb is not None and wandb.run is None
    ends_mlflow = mlflow is not None and mlflow.active_run() is None
    for each in trackers:
        trainer.add_callback(each)
    is_over = False
    try:
        yield
        is_over = True
    finally:
        for each in trackers:
            trainer.remove_callback(each)
        if wandb is not None and ends_wandb:
            wandb.finish(exit_code=0 if is_over else 1)
        if mlflow is not None and ends_mlflow:
            mlflow.end_run("FINISHED" if is_over else "FAILED")


__all__ = ["TRACKING_SETTINGS", "check_trackers", "tracked", "tracked_name", "without_trackers"]
