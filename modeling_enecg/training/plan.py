"""The cost of a recipe on the full PTB-XL, foretold from two short runs of it on simulated records.

Time grows along the line through both runs, so that what a stage or an epoch takes however few its records are is not
multiplied; and so does memory, over the batch.
"""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import torch
from huggingface_hub.utils import disable_progress_bars
from transformers.utils import logging

from ..data.simulator.ptbxl_layout import simulate_ptbxl
from ..runs.run import Run
from .cost import CostMeter
from .recipe import Recipe, RecipeError
from .run import run_recipe
from .stages import EVERY_STAGE

PTBXL_RECORDS = 21_799  # of version 1.0.3
PTBXL_TRAIN_RECORDS, PTBXL_VALIDATION_RECORDS = 17_418, 2_183  # its folds 1 to 8, and 9
_EPOCHS = 3
_BATCHES_A_RUN = (2, 10)  # of training records


class StagePlan(NamedTuple):
    """What a stage is expected to take.

    Attributes:
        num_trainable (`int`): Trainable parameters.
        num_epochs (`int`): Epochs, if it does not stop early.
        seconds_an_epoch (`float`): Of training and evaluation.
        peak_mb (`float`): Memory: the device's, or on a CPU the process's; without the prepared records and features,
            which are mapped into memory as far as there is room.
    """

    num_trainable: int
    num_epochs: int
    seconds_an_epoch: float
    peak_mb: float


@dataclass(frozen=True)
class Plan:
    """What a recipe is expected to take on this machine, on one process.

    Attributes:
        device (`str`): Where the short runs were.
        num_parameters (`int`): All weights.
        other_seconds (`float`): Reading, preparing, stored features, predictions and report.
        disk_gb (`float`): Prepared records and stored features.
        stages (`dict[str, StagePlan]`): Each stage.
    """

    device: str
    num_parameters: int
    other_seconds: float
    disk_gb: float
    stages: dict[str, StagePlan]

    @property
    def total_seconds(self) -> float:
        """Everything together."""
        stages = (stage.num_epochs * stage.seconds_an_epoch for stage in self.stages.values())
        return self.other_seconds + sum(stages)

    @property
    def peak_mb(self) -> float:
        """The largest memory of a stage."""
        return max(stage.peak_mb for stage in self.stages.values())


def plan_recipe(recipe: Recipe) -> Plan:
    """Measure a recipe by two short runs of three epochs a stage, each in a process of its own, and scale up.

    Args:
        recipe (`Recipe`): Its tasks are of PTB-XL; its data are not read. Of a cross-validated one a single training
            is measured.

    Raises:
        RecipeError: if the recipe cannot be followed.
    """
    if not recipe.tasks and not recipe.is_pretraining:
        raise RecipeError(
            "tasks: a plan is measured on simulated records in PTB-XL's layout, and the recipe names no task of "
            'theirs; for data of your own, plan with one that is like yours, as --tasks "[superdiagnostic]".'
        )
    batches = _largest_batch() // 2, _largest_batch()
    sizes = int(1.25 * batches[0] * _BATCHES_A_RUN[0]), int(1.25 * batches[1] * _BATCHES_A_RUN[1])
    with tempfile.TemporaryDirectory() as folder:
        runs = zip(("small", "large"), sizes, batches, strict=True)
        small, large = (_short_run(recipe, Path(folder) / name, size, batch) for name, size, batch in runs)
    num_records = {"train": round(recipe.train_fraction * PTBXL_TRAIN_RECORDS), "validation": PTBXL_VALIDATION_RECORDS}
    stages = {}
    for name in recipe.stages:
        settings = {field: _setting(recipe, name, field) for field in ("num_train_epochs", "global_batch_size")}
        batch = settings["global_batch_size"] // recipe.stages[name].get("gradient_accumulation_steps", 1)
        before, after = (run["stages"][name] for run in (small, large))
        stages[name] = StagePlan(
            after["num_trainable"],
            round(settings["num_train_epochs"]),
            sum(
                scaled(before[split], after[split], small["counts"][split], large["counts"][split], number)
                for split, number in num_records.items()
                if split in small["counts"]  # a pre-training evaluates nothing
            ),
            scaled(_memory(before), _memory(after), *batches, batch),
        )
    return Plan(
        large["device"],
        large["num_parameters"],
        scaled(_other_seconds(small), _other_seconds(large), *sizes, PTBXL_RECORDS),
        scaled(small["disk_mb"], large["disk_mb"], *sizes, PTBXL_RECORDS) / 1e3,
        stages,
    )


def _largest_batch() -> int:
    """Return how many records the larger run has in a batch: a GPU is slow with few, and a short run needs few."""
    return 128 if torch.cuda.is_available() else 16


def _other_seconds(run: dict[str, Any]) -> float:
    return run["seconds"] - sum(stage["seconds"] for stage in run["stages"].values())


def _setting(recipe: Recipe, stage: str, name: str) -> Any:
    return recipe.stages[stage].get(name, getattr(EVERY_STAGE[stage].arguments, name))


def scaled(small: float, large: float, small_size: float, large_size: float, size: float) -> float:
    """Follow the line through two measurements, never below the larger one or downwards."""
    slope = max(0.0, (large - small) / (large_size - small_size))
    return large + slope * max(0.0, size - large_size)


def _memory(stage: dict[str, Any]) -> float:
    return stage["peak_mb"] if stage["gpu_peak_mb"] is None else stage["gpu_peak_mb"]


def _short_run(recipe: Recipe, folder: Path, num_records: int, batch_size: int) -> dict[str, Any]:
    """Run a recipe for three epochs a stage in a process of its own, and return what it took."""
    stages = {
        name: {key: value for key, value in settings.items() if key != "gradient_accumulation_steps"}
        | {"num_train_epochs": _EPOCHS, "global_batch_size": batch_size, "report_to": "none", "disable_tqdm": True}
        for name, settings in recipe.stages.items()
    }
    short = replace(
        recipe,
        data_dir=str(folder / "data"),
        output_dir=str(folder / "run"),
        cache_dir=str(folder / "cache"),
        stages=stages,
        num_resamples=recipe.num_resamples if recipe.is_pretraining else 10,
        num_processes=None,
        train_fraction=1.0,
        streaming=False,
        lead_sets=[],
        folds=None,
        repeats=1,
    )
    simulate_ptbxl(folder / "data", num_records)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, short).result()


def _measure(recipe: Recipe) -> dict[str, Any]:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    disable_progress_bars()  # of writing weights
    meter = CostMeter()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # the trainer prints its logs
        run_recipe(recipe)
    run = Run(Path(recipe.output_dir))
    info = run.info
    stored = [path.stat().st_size for path in Path(str(recipe.cache_dir)).rglob("*") if path.is_file()]
    return {
        "seconds": meter.read()["seconds"],
        "stages": {name: asdict(stage) | _epoch_seconds(run.history(name)) for name, stage in info.stages.items()},
        "counts": info.dataset.num_records,
        "num_parameters": info.num_parameters,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else info.device,
        "disk_mb": sum(stored) / 1e6,
    }


def _epoch_seconds(history: dict[str, Any]) -> dict[str, float]:
    """Return what an epoch of a stage took: training, and evaluation on the validation records."""
    log = history["log"]
    evaluations = [entry["eval_runtime"] for entry in log if "eval_runtime" in entry]
    training = sum(entry.get("train_runtime", 0.0) for entry in log) - sum(evaluations)
    return {"train": training / _EPOCHS, "validation": sum(evaluations) / max(len(evaluations), 1)}
