"""Run folders that were not trained: made-up predictions with a description, as a report reads them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from modeling_enecg import Task
from modeling_enecg.runs.info import DatasetInfo, RunInfo
from modeling_enecg.runs.predictions import Predictions

FINDINGS = Task("findings", "multi_label_classification", ["MI", "HYP_&_LVH", "CD"], thresholds=[0.5, 0.4, 0.3])
SEX = Task("sex", "single_label_classification", ["male", "female"])
AGE = Task("age", "regression", unit="years")


def made_up(task: Task, num_records: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets that are the same for every seed, and outputs that know something of them."""
    truth, noise = np.random.default_rng(0), np.random.default_rng(seed)
    shape = (num_records, task.num_outputs)
    if task.is_regression:
        targets = truth.normal(60, 15, size=shape)
        return targets, targets + noise.normal(0, 5, size=shape)
    if task.is_multi_label:
        targets = (truth.random(shape) < [0.5, 0.3, 0.2]).astype(float)
        return targets, np.clip(noise.normal(0.3 + 0.3 * targets, 0.2), 0.01, 0.99)
    targets = truth.integers(2, size=num_records).astype(float)
    chances = np.clip(noise.normal(0.4 + 0.2 * targets, 0.2), 0.01, 0.99)
    return targets, np.stack([1 - chances, chances], axis=1)


def make_run(
    folder: Path, tasks: list[Task], seed: int = 1, num_records: int = 120, validation: bool = True, gaps: bool = False
) -> Path:
    """Write a run of two records per patient; with gaps, every third record lacks the first task's targets."""
    parts = {}
    for split in ["test", "validation"] if validation else ["test"]:
        data = {task.name: made_up(task, num_records, seed) for task in tasks}
        if gaps:
            targets, outputs = data[tasks[0].name]
            targets = targets.copy()
            targets[::3] = np.nan
            data[tasks[0].name] = targets, outputs
        records = pd.DataFrame({"ecg_id": np.arange(num_records), "patient_id": np.arange(num_records) // 2})
        targets, outputs = ({name: pair[index] for name, pair in data.items()} for index in range(2))
        parts[split] = Predictions(records, targets, outputs).to_frame(split, tasks)
    folder.mkdir(parents=True)
    pd.concat(parts.values()).to_parquet(folder / "predictions.parquet", index=False)
    dataset = DatasetInfo("made-up records", 100, dict.fromkeys(parts, num_records))
    info = RunInfo(folder.name, {"only": "random weights"}, dataset, 10, "CPU", 1, {"enecg": "0"})
    (folder / "run_info.json").write_text(json.dumps(info.to_dict()))
    (folder / "config.json").write_text(json.dumps({"tasks": [task.to_dict() for task in tasks]}))
    return folder
