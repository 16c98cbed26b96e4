"""What a run leaves behind: metrics, predictions, figures and a model card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from transformers.utils import CONFIG_NAME

from ..adapters import ENECG_FILE
from ..configuration_enecg import Task
from ..evaluation.experts import gate_weights_by_class, leave_one_expert_out
from ..evaluation.scoring import evaluate_task, predicted_outputs
from ..figures.experts import plot_gate_weights, plot_gate_weights_by_class, plot_leave_one_out
from ..figures.scores import plot_per_label, plot_training_curves
from ..hub.card import adapter_card, model_card
from ..runs.files import new_file, write_text
from ..runs.folder import EXPERTS, LEAD_SETS, METRICS, PREDICTIONS

ALL_LEADS = "12 leads"


@dataclass
class SplitPredictions:
    """A model's predictions on one split; dicts are keyed by task.

    Attributes:
        records (`pd.DataFrame`): `ecg_id` and `patient_id` of each record, and as far as they are known what a report
            groups records by: `sex`, `age`, `device` and `site`. A task's columns have a dot in their names, so that
            a task `sex` and the column `sex` stand side by side in `predictions.parquet`.
        targets (`dict[str, np.ndarray]`): Labels as in `task_loss`.
        logits (`dict[str, np.ndarray]`): Of shape `(num_records, num_outputs)`.
        gate_weights (`dict[str, np.ndarray]`): Of shape `(num_records, num_experts)`.
        expert_logits (`dict[str, np.ndarray]`): Of shape `(num_records, num_experts, num_outputs)`.
    """

    records: pd.DataFrame
    targets: Mapping[str, np.ndarray]
    logits: Mapping[str, np.ndarray]
    gate_weights: Mapping[str, np.ndarray]
    expert_logits: Mapping[str, np.ndarray]


def write_report(
    folder: str | Path,
    tasks: Sequence[Task],
    experts: Sequence[str],
    predictions: Mapping[str, SplitPredictions],
    history: Mapping[str, list[dict[str, Any]]],
    run_info: Mapping[str, Any],
    num_resamples: int,
    confidence: float,
    on_lead_sets: Mapping[str, SplitPredictions] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write `predictions.parquet`, `figures/`, `README.md` and, last of all, `metrics.json`; of several experts also
    `experts.json`, of lead sets `lead_sets.json`, and of an adapter its own `README.md`.

    Args:
        folder (`str` or `Path`): The run's folder, which holds the model, and its adapter if there is one.
        tasks (`Sequence[Task]`): The model's tasks.
        experts (`Sequence[str]`): The experts' names, in the order of the gate weights.
        predictions (`Mapping[str, SplitPredictions]`): By split.
        history (`Mapping[str, list[dict]]`): By stage, the trainer's log.
        run_info (`Mapping[str, Any]`): How the run was made; see `modeling_enecg.training.run`.
        num_resamples (`int`): Bootstrap resamples of the intervals.
        confidence (`float`): Confidence of the intervals.
        on_lead_sets (`Mapping[str, SplitPredictions]`, *optional*): By lead set, the test fold as if only its leads
            had been recorded.

    Returns:
        `dict[str, Any]`: The metrics, `{split: {task: ...}}` with what `evaluate_task` gives.
    """
    folder = Path(folder)

    def evaluate(predicted: SplitPredictions) -> dict[str, Any]:
        return {
            task.name: evaluate_task(
                task,
                predicted.targets[task.name],
                predicted_outputs(task, predicted.logits[task.name]),
                num_resamples=num_resamples,
                confidence=confidence,
                patients=predicted.records["patient_id"],
            )
            for task in tasks
        }

    metrics = {split: evaluate(predicted) for split, predicted in predictions.items()}
    by_lead_set = {name: evaluate(predicted) for name, predicted in on_lead_sets.items()}
    frame = pd.concat([_frame(split, tasks, experts, predicted) for split, predicted in predictions.items()])
    with new_file(folder / PREDICTIONS) as aside:
        frame.to_parquet(aside, index=False)
    figures = _draw_figures(folder / "figures", tasks, history, metrics)
    inside: dict[str, Any] = {}
    if len(experts) > 1:
        inside = _look_inside(tasks, experts, predictions["test"], num_resamples, confidence)
        write_text(folder / EXPERTS, json.dumps(inside, indent=2) + "\n")
        figures += _draw_experts(folder / "figures", experts, predictions["test"], inside)
    if by_lead_set:
        write_text(folder / LEAD_SETS, json.dumps(by_lead_set, indent=2) + "\n")
        by_lead_set = {ALL_LEADS: metrics["test"], **by_lead_set}
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    paths = [f"figures/{path.name}" for path in figures]
    card = model_card(config, run_info["name"], run_info, metrics, inside, paths, by_lead_set)
    write_text(folder / "README.md", card)
    if (folder / "adapter" / ENECG_FILE).exists():
        write_text(folder / "adapter" / "README.md", adapter_card(folder / "adapter", config, run_info, metrics))
    write_text(folder / METRICS, json.dumps(metrics, indent=2) + "\n")
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


def _look_inside(
    tasks: Sequence[Task],
    experts: Sequence[str],
    predicted: SplitPredictions,
    num_resamples: int,
    confidence: float,
) -> dict[str, Any]:
    """Return, by task, `gate_weights` by class, and `leave_one_out` where every expert has a say in each record."""
    inside: dict[str, Any] = {}
    for task in tasks:
        targets, weights = predicted.targets[task.name], predicted.gate_weights[task.name]
        inside[task.name] = {"gate_weights": gate_weights_by_class(task, targets, weights, experts)}
        if (weights > 0).all():
            inside[task.name]["leave_one_out"] = leave_one_expert_out(
                task,
                targets,
                predicted.expert_logits[task.name],
                weights,
                experts,
                num_resamples=num_resamples,
                confidence=confidence,
                patients=predicted.records["patient_id"],
            )
    return inside


def _draw_figures(
    folder: Path, tasks: Sequence[Task], history: Mapping[str, list[dict[str, Any]]], metrics: Mapping[str, Any]
) -> list[Path]:
    paths = [folder / "training_curves.png"]
    plot_training_curves(history, paths[0])
    for task in tasks:
        scores = metrics["test"][task.name]
        if "per_label" in scores:
            paths.append(folder / f"per_label_{task.name}.png")
            plot_per_label(scores["per_label"], paths[-1], f"{task.name}, test fold, {scores['num_records']} records")
    return paths


def _draw_experts(
    folder: Path, experts: Sequence[str], predicted: SplitPredictions, inside: Mapping[str, Any]
) -> list[Path]:
    paths = [folder / "gate_weights.png"]
    plot_gate_weights(predicted.gate_weights, paths[0], experts)
    for task, tables in inside.items():
        if tables["gate_weights"]["per_label"]:
            paths.append(folder / f"gate_weights_{task}.png")
            plot_gate_weights_by_class(
                tables["gate_weights"], paths[-1], f"{task}, test fold: mean gate weight of each expert"
            )
    differences = {task: tables["leave_one_out"] for task, tables in inside.items() if "leave_one_out" in tables}
    if differences:
        paths.append(folder / "leave_one_out.png")
        plot_leave_one_out(differences, paths[-1])
    return paths
