"""Tuning heads and gates on stored features, against running the frozen experts again in every epoch.

    python benchmarks/head_tuning.py

Recomputing is what the published EnECG script does. Same experts (of published size, random weights), same records
(simulated), same trainer; one process each, so that peak memory is its own. Full fine-tuning, one epoch, is there for
its memory.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from modeling_enecg.data.prepared import FeatureRecords, SignalRecords
from modeling_enecg.data.preparing import load_splits
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.data.sources import find_source
from modeling_enecg.data.targets import dataset_tasks
from modeling_enecg.training import Recipe
from modeling_enecg.training.building import ModelSource, starting_model
from modeling_enecg.training.feature_store import stored_features
from modeling_enecg.training.stages import STAGES, stage_arguments

EXPERTS = ("moment", "timesnet", "dlinear")
NUM_EPOCHS = 5
VARIANTS = {"stored features": "lora_heads", "experts every epoch": "lora_heads", "full fine-tuning": "fine_tuning"}


class EpochTimes(TrainerCallback):
    """Seconds of each epoch, without its evaluation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def train(variant: str, data_dir: str, cache_dir: str) -> dict[str, Any]:
    """Train in one way; return seconds before the first epoch and of each, and the peak memory in MB."""
    stage = VARIANTS[variant]
    num_epochs = 1 if stage == "fine_tuning" else NUM_EPOCHS
    recipe = Recipe(
        data_dir=data_dir,
        output_dir=cache_dir,
        cache_dir=cache_dir,
        experts={name: {"config": {"model_type": f"enecg-{name}"}} for name in EXPERTS},
        tasks=["superdiagnostic"],
        stages={stage: {"num_train_epochs": num_epochs, "global_batch_size": 16, "report_to": "none"}},
    )
    source = find_source(recipe.dataset_options_in_full())
    tasks = dataset_tasks(source.features, recipe.tasks)
    set_seed(0)
    model_start = starting_model(recipe.part(ModelSource), tasks)
    model = model_start.model
    splits = load_splits(source, model_start.extractor, tasks)
    start = time.perf_counter()
    datasets: Any = {name: SignalRecords(split) for name, split in splits.items()}
    if variant == "stored features":
        datasets = {
            name: FeatureRecords(stored_features(model, split, cache_dir), split)
            for name, split in splits.items()
            if name != "test"
        }
    preparation = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        arguments = stage_arguments(stage, recipe.stages[stage], Path(folder), recipe.seed, len(splits["train"]))
        trainer = STAGES[stage].trainer(model, arguments, datasets["train"], datasets["validation"])
        times = EpochTimes()
        trainer.add_callback(times)
        start = time.perf_counter()
        trainer.train()
        seconds = preparation + time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"epochs": times.seconds, "seconds": seconds, "peak": peak, "records": len(splits["train"])}


def main(num_records: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        simulate_ptbxl(Path(folder) / "data", num_records)
        results = {}
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--folder", folder]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[variant] = json.loads(output.splitlines()[-1])
    stored, recomputed, full = results.values()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; torch {torch.__version__}; {', '.join(EXPERTS)}")
    print(f"{stored['records']} training records of 10 s; whole runs with their evaluations")
    for variant, result in results.items():
        later = result["epochs"][1:] or result["epochs"]
        print(
            f"{variant:20} {len(result['epochs'])} epochs in {result['seconds']:7.1f} s, "
            f"{sum(later) / len(later):8.3f} s an epoch, {result['peak']:6.0f} MB at most"
        )
    ratio = sum(recomputed["epochs"][1:]) / sum(stored["epochs"][1:])
    print(f"An epoch from the second on: {ratio:.0f}x as fast with stored features.")
    print(f"{NUM_EPOCHS} whole epochs: {recomputed['seconds'] / stored['seconds']:.1f}x.")
    print(f"Peak memory of full fine-tuning: {full['peak'] / stored['peak']:.1f}x that of stored features.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_records", type=int, default=100)
    parser.add_argument("--variant", choices=VARIANTS, help="used by the benchmark itself")
    parser.add_argument("--folder", help="used by the benchmark itself")
    options = parser.parse_args()
    if options.variant:
        cache_dir = str(Path(options.folder) / options.variant.replace(" ", "_"))
        print("\n" + json.dumps(train(options.variant, str(Path(options.folder) / "data"), cache_dir)))
    else:
        main(options.num_records)
