"""The artefacts of a run: metrics, predictions, figures and a model card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from transformers.utils import CONFIG_NAME

from ..adapters import ENECG_FILE
from ..configuration_enecg import Task
from ..evaluation import Bootstrap, evaluate_task
from ..evaluation.experts import gate_weights_by_class, leave_one_expert_out
from ..figures.experts import plot_gate_weights, plot_gate_weights_by_class, plot_leave_one_out
from ..figures.labels import plot_per_label
from ..figures.training import plot_training_curves
from ..hub.card import adapter_card, model_card
from ..leads import ALL_LEADS
from ..runs.files import write_text
from ..runs.info import RunInfo
from ..runs.predictions import Predictions
from ..runs.run import CARD, EXPERTS, LEAD_SETS, METRICS, Run


def write_report(
    run: Run,
    tasks: Sequence[Task],
    experts: Sequence[str],
    predictions: Mapping[str, Predictions],
    history: Mapping[str, list[dict[str, Any]]],
    info: RunInfo,
    num_resamples: int,
    confidence: float,
    on_lead_sets: Mapping[str, Predictions] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write `predictions.parquet`, `figures/`, `README.md` and, last of all, `metrics.json`; of several experts also
    `experts.json`, of lead sets `lead_sets.json`, and of an adapter its own `README.md`.

    The tasks in `config.json` get their scores, which travel with the model.

    Args:
        run (`Run`): The run, whose folder holds the model, and its adapter if there is one.
        tasks (`Sequence[Task]`): The model's tasks.
        experts (`Sequence[str]`): The experts' names, in the order of the gate weights.
        predictions (`Mapping[str, Predictions]`): By split.
        history (`Mapping[str, list[dict]]`): By stage, the trainer's log.
        info (`RunInfo`): How the run was made.
        num_resamples (`int`): Bootstrap resamples of the intervals.
        confidence (`float`): Confidence of the intervals.
        on_lead_sets (`Mapping[str, Predictions]`, *optional*): By lead set, the test fold as if only its leads
            had been recorded.

    Returns:
        `dict[str, Any]`: The metrics, `{split: {task: ...}}` with what `evaluate_task` gives.
    """
    bootstrap = Bootstrap(num_resamples, confidence=confidence)

    def evaluate(predicted: Predictions) -> dict[str, Any]:
        return {task.name: evaluate_task(predicted.scored(task), bootstrap) for task in tasks}

    metrics = {split: evaluate(predicted) for split, predicted in predictions.items()}
    by_lead_set = {name: evaluate(predicted) for name, predicted in on_lead_sets.items()}
    run.write_predictions(pd.concat([each.to_frame(split, tasks, experts) for split, each in predictions.items()]))
    figures = _draw_figures(run.figures, tasks, history, metrics)
    inside: dict[str, Any] = {}
    if len(experts) > 1:
        inside = _look_inside(tasks, experts, predictions["test"], bootstrap)
        run.write(EXPERTS, inside)
        figures += _draw_experts(run.figures, experts, predictions["test"], inside)
    if by_lead_set:
        run.write(LEAD_SETS, by_lead_set)
        by_lead_set = {ALL_LEADS: metrics["test"], **by_lead_set}
    _keep_measured(run, by_lead_set or {ALL_LEADS: metrics["test"]})
    paths = [f"{run.figures.name}/{path.name}" for path in figures]
    write_text(run.card, model_card(run.config, info.name, info, metrics, inside, paths, by_lead_set))
    if (run.adapter / ENECG_FILE).exists():
        write_text(run.adapter / CARD, adapter_card(run.adapter, run.config, info, metrics))
    run.write(METRICS, metrics)
    return metrics


def _keep_measured(run: Run, by_lead_set: Mapping[str, Mapping[str, Any]]) -> None:
    """Write each task's scores into the model's config, and into an adapter that has the very same tasks."""
    tasks = json.loads((run.folder / CONFIG_NAME).read_text(encoding="utf-8"))["tasks"]
    measured = [
        task
        | {
            "measured": {
                lead_set: {
                    metric: score["point"]
                    for metric, score in scores[task["name"]].items()
                    if isinstance(score, dict) and score.get("point") is not None
                }
                for lead_set, scores in by_lead_set.items()
            }
        }
        for task in tasks
    ]
    for path in (run.folder / CONFIG_NAME, run.adapter / ENECG_FILE):
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if content.get("tasks") == tasks:  # an adapter of an earlier stage was not what was measured
            write_text(path, json.dumps(content | {"tasks": measured}, indent=2) + "\n")


def _look_inside(
    tasks: Sequence[Task],
    experts: Sequence[str],
    predicted: Predictions,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Return, by task, `gate_weights` by class, and `leave_one_out` where every expert has a say in each record."""
    inside: dict[str, Any] = {}
    for task in tasks:
        scored, weights = predicted.scored(task), predicted.gate_weights[task.name]
        inside[task.name] = {"gate_weights": gate_weights_by_class(scored, weights, experts)}
        if (weights > 0).all():
            logits = predicted.expert_logits[task.name]
            inside[task.name]["leave_one_out"] = leave_one_expert_out(scored, logits, weights, experts, bootstrap)
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
    folder: Path, experts: Sequence[str], predicted: Predictions, inside: Mapping[str, Any]
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
