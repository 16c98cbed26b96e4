"""Model cards: generated from a run's measured numbers, never typed."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..configuration_enecg import Task
from ..files import write_text

_METRIC_NAMES = {"macro_auroc": "macro AUROC", "macro_auprc": "macro AUPRC"}


def write_card(
    path: str | Path,
    tasks: Sequence[Task],
    metrics: Mapping[str, Any],
    run_info: Mapping[str, Any],
    figures: Sequence[str],
) -> None:
    """Write a model card from a run's metrics.

    Args:
        path (`str` or `Path`): Where to write it.
        tasks (`Sequence[Task]`): The model's tasks.
        metrics (`Mapping[str, Any]`): The content of `metrics.json`.
        run_info (`Mapping[str, Any]`): The content of `run_info.json`.
        figures (`Sequence[str]`): The figures' paths, relative to the card.
    """
    data = ModelCardData(
        model_name=run_info["name"],
        library_name="transformers",
        tags=["ecg", "electrocardiogram", "12-lead", "enecg", *run_info["stages"]],
        metrics=["roc_auc"],
        eval_results=list(_eval_results(metrics, run_info)),
    )
    template = (files("model_cards") / "model.md").read_text(encoding="utf-8")
    recipe = yaml.safe_dump(run_info["recipe"], sort_keys=False, allow_unicode=True)
    card = ModelCard.from_template(
        data,
        template_str=template,
        tasks=tasks,
        rows=list(_rows(metrics)),
        run=run_info,
        recipe=recipe,
        figures=figures,
    )
    write_text(path, str(card))


def _eval_results(metrics: Mapping[str, Any], run_info: Mapping[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="time-series-classification",
            task_name=f"ECG classification ({task})",
            dataset_type="ptb-xl",
            dataset_name=run_info["dataset"]["name"],
            dataset_config=f"{run_info['dataset']['sampling_rate']}hz",
            dataset_split=split,
            metric_type="roc_auc" if metric == "macro_auroc" else "average_precision",
            metric_name=f"{_METRIC_NAMES[metric]}, {task}",
            metric_value=round(scores[metric]["point"], 6),
        )
        for split, by_task in metrics.items()
        for task, scores in by_task.items()
        for metric in _METRIC_NAMES
        if scores.get(metric, {}).get("point") is not None
    ]


def _rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table row a split, task and metric."""
    return [
        {
            "split": split,
            "task": task,
            "metric": _METRIC_NAMES.get(metric, metric),
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
