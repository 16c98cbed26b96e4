"""Small recipes and stages for the tests of training, and the subprocesses that follow them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import set_seed

from modeling_enecg import ECGFounderConfig, ECGFounderModel, EnECGModel
from modeling_enecg.cli import main
from modeling_enecg.data.prepared import Split, labelled_rows
from modeling_enecg.data.preparing import load_splits
from modeling_enecg.data.ptbxl.ptbxl import RR_FEATURES
from modeling_enecg.data.sources import Source, find_source
from modeling_enecg.data.targets import dataset_tasks
from modeling_enecg.training import Recipe, load_recipe, run_recipe
from modeling_enecg.training.arguments import StageArguments
from modeling_enecg.training.building import ModelSource, StartingModel, starting_model
from modeling_enecg.training.checkpoints import checkpoint_fault
from tests.helpers.processes import ROOT, Started

ptbxl_tasks = partial(dataset_tasks, RR_FEATURES)

ECGFOUNDER = {
    "model_type": "enecg-ecgfounder",
    "sampling_rate": 100,
    "sequence_length": 1000,
    "stem_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "group_width": 8,
}
STMEM = {
    "model_type": "enecg-stmem",
    "sampling_rate": 100,
    "sequence_length": 1000,
    "patch_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 8,
    "intermediate_size": 32,
}
BOTH = {"cnn": {"config": ECGFOUNDER}, "vit": {"config": STMEM}}
LINEAR_PROBING = {"num_train_epochs": 2, "global_batch_size": 16}
POST_TRAINING = {"num_train_epochs": 3, "global_batch_size": 16}
LORA = {"num_train_epochs": 1, "global_batch_size": 16}
SMALL_HEADS = {"head_hidden_sizes": [8]}


def tiny_ecgfounder(seed: int = 0) -> ECGFounderModel:
    """The expert of `recipe_fields`, with random weights."""
    torch.manual_seed(seed)
    fields = {key: value for key, value in ECGFOUNDER.items() if key != "model_type"}
    return ECGFounderModel(ECGFounderConfig(**fields)).eval()


def recipe_fields(data_dir: Path, output_dir: Path, cache_dir: Path, **changes: Any) -> dict[str, Any]:
    """The fields of a recipe that runs in seconds, with some changed."""
    return {
        "data_dir": str(data_dir),
        "output_dir": str(output_dir),
        "cache_dir": str(cache_dir),
        "experts": {"ecgfounder": {"config": dict(ECGFOUNDER)}},
        "stages": {"linear_probing": dict(LINEAR_PROBING), "post_training": dict(POST_TRAINING)},
        "tasks": ["superdiagnostic"],
        "sampling_rate": 100,
        "num_resamples": 50,
    } | changes


def linked_copy(folder: Path, target: Path) -> Path:
    """A copy whose files may be replaced, but not written into."""
    return Path(shutil.copytree(folder, target, copy_function=os.link))


def write_recipe(path: Path, fields: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


def tiny_recipe(data_dir: Path, cache_dir: Path, **changes: Any) -> Recipe:
    return Recipe(**recipe_fields(data_dir, cache_dir / "run", cache_dir, **changes))


def tiny_start(recipe: Recipe, seed: int = 0) -> StartingModel:
    """The model of a recipe on PTB-XL's tasks, before any stage, with its feature extractor."""
    set_seed(seed)
    return starting_model(recipe.part(ModelSource), ptbxl_tasks(recipe.tasks))


def tiny_model(recipe: Recipe, seed: int = 0) -> EnECGModel:
    return tiny_start(recipe, seed).model


def recipe_source(recipe: Recipe) -> Source:
    """The dataset of a recipe."""
    return find_source(recipe.dataset_options_in_full())


def tiny_splits(recipe: Recipe) -> dict[str, Split]:
    """The records of a recipe that have a label, prepared for its model."""
    splits = load_splits(recipe_source(recipe), tiny_start(recipe).extractor, ptbxl_tasks(recipe.tasks))
    return {name: split.select(labelled_rows(split.labels)) for name, split in splits.items()}


def first_records(split: Split, number: int) -> Split:
    return split.select(np.arange(number))


def stage_arguments(folder: Path, arguments_class: type[StageArguments], **settings: Any) -> StageArguments:
    """Arguments of a stage that a trainer can be given directly."""
    defaults = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 16,
        "num_train_epochs": 1,
        "seed": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return arguments_class(**(defaults | settings), use_cpu=True)


def losses(trainer: Any) -> list[float]:
    """The losses that a trainer logged, in the order of time: training's of an epoch, then validation's."""
    return [entry[key] for entry in trainer.state.log_history for key in ("loss", "eval_loss") if key in entry]


def follow(config: Path, *overrides: str) -> Path:
    """Run a recipe in this process, and return the run's folder."""
    recipe = load_recipe(config, overrides)
    run_recipe(recipe, config.stem)
    return Path(recipe.output_dir)


def start_train(config: Path, *overrides: str) -> Started:
    return Started(main, ["train", str(config), *overrides])


def train(config: Path, *overrides: str, launcher: Sequence[str] = ()) -> tuple[int, str]:
    """Train in another process, or run `train.py` by a launcher; return the exit status and what was printed."""
    if not launcher:
        return start_train(config, *overrides).end()
    done = subprocess.run(
        [*launcher, str(ROOT / "train.py"), str(config), *overrides],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        timeout=180,
    )
    return done.returncode, done.stdout


def train_and_kill(folder: Path, stage: str, step: int, config: Path, *overrides: str) -> None:
    """Train in another process, and kill it once the checkpoint of a step is whole, before the stage ends.

    After the last checkpoint that window is short: a run that got past it is done again.
    """
    checkpoint = folder / stage / "checkpoints" / f"checkpoint-{step}"
    for _attempt in range(5):
        process = start_train(config, *overrides)
        while checkpoint_fault(checkpoint, 1) and process.is_running:
            time.sleep(0.001)
        process.kill()
        status, output = process.end()
        if checkpoint_fault(checkpoint, 1) is None and not (folder / stage / "history.json").exists():
            assert status == -signal.SIGKILL, output
            return
        assert folder.exists(), output
        shutil.rmtree(folder)
    raise AssertionError("every run had ended the stage before it was killed")


def read_json(path: Path) -> Any:
    """What a file holds, which must be legal JSON: without nan."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}, which is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def assert_interval(score: dict[str, Any]) -> None:
    """A score has an interval, or says why there is none."""
    assert set(score) - {"no_interval"} == {"point", "lower", "upper"}
    if score["lower"] is None:
        assert score["upper"] is None
        assert score["point"] is None or score["no_interval"]
    else:
        assert score["lower"] <= score["upper"]


def near(expected: Any, **tolerances: float) -> Any:
    """A tree of dicts and lists that equals one whose numbers differ by no more than `pytest.approx` grants."""
    if isinstance(expected, dict):
        return {key: near(value, **tolerances) for key, value in expected.items()}
    if isinstance(expected, list):
        return [near(value, **tolerances) for value in expected]
    return pytest.approx(expected, **tolerances) if isinstance(expected, int | float) else expected
