"""Model cards: generated from a run's measured numbers, never typed."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..configuration_enecg import Task
from ..files import write_text

_METRIC_NAMES = {"macro_auroc": "macro AUROC", "macro_auprc": "macro AUPRC", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
_METRIC_TYPES = {"macro_auroc": "roc_auc", "macro_auprc": "average_precision", "mae": "mae", "r2": "r_squared"}


def write_card(
    path: str | Path,
    tasks: Sequence[Task],
    metrics: Mapping[str, Any],
    experts: Mapping[str, Any],
    run_info: Mapping[str, Any],
    figures: Sequence[str],
) -> None:
    """Write a model card from a run's metrics.

    Args:
        path (`str` or `Path`): Where to write it.
        tasks (`Sequence[Task]`): The model's tasks.
        metrics (`Mapping[str, Any]`): The content of `metrics.json`.
        experts (`Mapping[str, Any]`): The content of `experts.json`; empty with one expert.
        run_info (`Mapping[str, Any]`): The content of `run_info.json`.
        figures (`Sequence[str]`): The figures' paths, relative to the card.
    """
    results = _eval_results(metrics, run_info)
    data = ModelCardData(
        model_name=run_info["name"],
        library_name="transformers",
        tags=["ecg", "electrocardiogram", "12-lead", "enecg", *run_info["stages"]],
        metrics=sorted({result.metric_type for result in results}),
        eval_results=results,
    )
    template = (files("model_cards") / "model.md").read_text(encoding="utf-8")
    recipe = yaml.safe_dump(run_info["recipe"], sort_keys=False, allow_unicode=True)
    card = ModelCard.from_template(
        data,
        template_str=template,
        tasks=tasks,
        rows=_rows(tasks, metrics),
        expert_rows=_expert_rows(experts),
        run=run_info,
        recipe=recipe,
        figures=figures,
    )
    write_text(path, str(card))


def _eval_results(metrics: Mapping[str, Any], run_info: Mapping[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="time-series-classification",
            task_name="12-lead ECG",
            dataset_type="ptb-xl",
            dataset_name=run_info["dataset"]["name"],
            dataset_config=f"{run_info['dataset']['sampling_rate']}hz",
            dataset_split=split,
            metric_type=_METRIC_TYPES[metric],
            metric_name=f"{_METRIC_NAMES[metric]}, {task}",
            metric_value=round(scores[metric]["point"], 6),
        )
        for split, by_task in metrics.items()
        for task, scores in by_task.items()
        for metric in _METRIC_TYPES
        if scores.get(metric, {}).get("point") is not None
    ]


def _rows(tasks: Sequence[Task], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table row a split, task and metric; errors are in the task's unit."""
    units = {task.name: f" ({task.unit})" for task in tasks if task.unit}
    return [
        {
            "split": split,
            "task": task,
            "metric": _METRIC_NAMES.get(metric, metric.replace("_", " "))
            + (units.get(task, "") if metric in ("mae", "rmse") else ""),
            "num_records": scores["num_records"],
            **{
                key: "undefined" if figure[key] is None else f"{figure[key]:.3f}"
                for key in ("point", "lower", "upper")
            },
        }
        for split, by_task in metrics.items()
        for task, scores in by_task.items()
        for metric, figure in scores.items()
        if isinstance(figure, dict) and "point" in figure
    ]


def _expert_rows(experts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one table row a task and expert: its mean weight, and what leaving it out changes."""
    rows = []
    for task, tables in experts.items():
        for expert, weight in tables["gate_weights"]["all_records"]["weights"].items():
            row = {"task": task, "expert": expert, "weight": f"{weight:.3f}", "change": "not computed"}
            changes = tables.get("leave_one_out", {}).get(expert, {})
            for metric in ("macro_auroc", "r2"):
                if metric in changes:
                    row["change"] = _change(metric, changes[metric])
            rows.append(row)
    return rows


def _change(metric: str, change: Mapping[str, float | None]) -> str:
    if change["point"] is None:
        return "undefined"
    interval = f"{change['lower']:+.3f} to {change['upper']:+.3f}" if change["lower"] is not None else "undefined"
    return f"{_METRIC_NAMES[metric]} {change['point']:+.3f} ({interval})"
