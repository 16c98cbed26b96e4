"""What a run leaves behind: metrics, predictions, figures and a model card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..configuration_enecg import Task
from ..files import new_file, write_text
from .card import write_card
from .figures import plot_gate_weights, plot_per_label, plot_training_curves
from .scoring import evaluate_task, predicted_outputs


@dataclass
class SplitPredictions:
    """A model's predictions on one split; dicts are keyed by task.

    Attributes:
        records (`pd.DataFrame`): `ecg_id` and `patient_id` of each record.
        targets (`dict[str, np.ndarray]`): Labels as in `task_loss`.
        logits (`dict[str, np.ndarray]`): Of shape `(num_records, num_outputs)`.
        gate_weights (`dict[str, np.ndarray]`): Of shape `(num_records, num_experts)`.
    """

    records: pd.DataFrame
    targets: Mapping[str, np.ndarray]
    logits: Mapping[str, np.ndarray]
    gate_weights: Mapping[str, np.ndarray]


def write_report(
    folder: str | Path,
    tasks: Sequence[Task],
    experts: Sequence[str],
    predictions: Mapping[str, SplitPredictions],
    history: Mapping[str, list[dict[str, Any]]],
    run_info: Mapping[str, Any],
    num_resamples: int,
    confidence: float,
) -> dict[str, Any]:
    """Write `predictions.parquet`, `figures/`, `README.md` and, last of all, `metrics.json`.

    Args:
        folder (`str` or `Path`): The run's folder.
        tasks (`Sequence[Task]`): The model's tasks.
        experts (`Sequence[str]`): The experts' names, in the order of the gate weights.
        predictions (`Mapping[str, SplitPredictions]`): By split.
        history (`Mapping[str, list[dict]]`): By stage, the trainer's log.
        run_info (`Mapping[str, Any]`): How the run was made; see `modeling_enecg.training.run`.
        num_resamples (`int`): Bootstrap resamples of the intervals.
        confidence (`float`): Confidence of the intervals.

    Returns:
        `dict[str, Any]`: The metrics, `{split: {task: ...}}` with what `evaluate_task` gives.
    """
    folder = Path(folder)
    metrics = {
        split: {
            task.name: evaluate_task(
                task,
                predicted.targets[task.name],
                predicted_outputs(task, predicted.logits[task.name]),
                num_resamples=num_resamples,
                confidence=confidence,
            )
            for task in tasks
        }
        for split, predicted in predictions.items()
    }
    frame = pd.concat([_frame(split, tasks, experts, predicted) for split, predicted in predictions.items()])
    with new_file(folder / "predictions.parquet") as aside:
        frame.to_parquet(aside, index=False)
    figures = _draw_figures(folder / "figures", tasks, experts, predictions, history, metrics)
    write_card(folder / "README.md", tasks, metrics, run_info, [f"figures/{path.name}" for path in figures])
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics


def _frame(split: str, tasks: Sequence[Task], experts: Sequence[str], predicted: SplitPredictions) -> pd.DataFrame:
    """Return one row a record: ids, and by task each output's target and prediction and each expert's weight."""
    columns: dict[str, Any] = {"split": split, **{str(name): values for name, values in predicted.records.items()}}
    for task in tasks:
        targets = predicted.targets[task.name]
        outputs = predicted_outputs(task, predicted.logits[task.name])
        if task.problem_type == "single_label_classification":
            columns[f"{task.name}.target"] = targets
        else:
            targets = targets.reshape(outputs.shape)
        for index, output in enumerate(task.output_names):
            if task.problem_type != "single_label_classification":
                columns[f"{task.name}.{output}.target"] = targets[:, index]
            columns[f"{task.name}.{output}.predicted"] = outputs[:, index]
        for index, expert in enumerate(experts):
            columns[f"{task.name}.{expert}.gate_weight"] = predicted.gate_weights[task.name][:, index]
    return pd.DataFrame(columns)


def _draw_figures(
    folder: Path,
    tasks: Sequence[Task],
    experts: Sequence[str],
    predictions: Mapping[str, SplitPredictions],
    history: Mapping[str, list[dict[str, Any]]],
    metrics: Mapping[str, Any],
) -> list[Path]:
    paths = [folder / "training_curves.png"]
    plot_training_curves(history, paths[0])
    for task in tasks:
        if "per_label" in metrics["test"][task.name]:
            paths.append(folder / f"per_label_{task.name}.png")
            scores = metrics["test"][task.name]["per_label"]
            plot_per_label(
                scores, paths[-1], f"{task.name}, test fold, {metrics['test'][task.name]['num_records']} records"
            )
    if len(experts) > 1:
        paths.append(folder / "gate_weights.png")
        plot_gate_weights(predictions["test"].gate_weights, paths[-1], experts)
    return paths
