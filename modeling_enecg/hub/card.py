"""Cards of models and adapters: generated from measured numbers and from what the files say, never typed."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..adapters import ENECG_FILE, LoraSettings
from ..configuration_enecg import Task
from ..evaluation.intervals import has_interval
from ..evaluation.metrics import MAIN_METRICS, METRICS, metric_title
from ..runs.info import RunInfo
from ..runs.portable import is_hub_id, markdown_text, without_machine_paths
from ..runs.run import Run
from ..runs.shipped import source_address, template
from .licences import expert_weights, licence_metadata

PLACE = "path/or/hub-id"  # what a card calls its own place until it is pushed
ADAPTER_STAGE = "lora_heads"
PTBXL = "PTB-XL"  # what `run_info.json` calls its records

_HUB = "https://huggingface.co/"
_TAGS = ["ecg", "electrocardiogram", "12-lead", "enecg"]
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FunctionLoader(template),
    undefined=jinja2.StrictUndefined,
)
_TEMPLATES.filters["plain"] = markdown_text


def model_card(
    config: Mapping[str, Any],
    name: str,
    info: RunInfo | None = None,
    metrics: Mapping[str, Any] | None = None,
    experts: Mapping[str, Any] | None = None,
    figures: Sequence[str] = (),
    lead_sets: Mapping[str, Any] | None = None,
) -> str:
    """Return the card of an EnECG model, or of a backbone.

    Args:
        config (`Mapping[str, Any]`): The content of its `config.json`.
        name (`str`): What to call it.
        info (`RunInfo`, *optional*): What is said of the run, if a run made the model.
        metrics (`Mapping[str, Any]`, *optional*): The content of `metrics.json`.
        experts (`Mapping[str, Any]`, *optional*): The content of `experts.json`; none with one expert.
        figures (`Sequence[str]`, *optional*): The figures' paths, relative to the card.
        lead_sets (`Mapping[str, Any]`, *optional*): By lead set, metrics of the test fold as in `metrics`.
    """
    values = _values_of_model(experts or {}, lead_sets or {}, figures)
    data = _data_of_model(config, info)
    return _render("model.md", name, data, config, config.get("tasks", []), info, metrics or {}, values)


def shipped_card(run: Run, name: str, more: str = "") -> str:
    """Return the card of a run's model as one that comes with the package.

    Args:
        run (`Run`): The run.
        name (`str`): What the shipped model is called.
        more (`str`, *optional*): Markdown to end with: what is known beyond what the run measured.
    """
    values = _values_of_model(run.experts, run.lead_sets, ()) | {"more": more}
    data = _data_of_model(run.config, run.info)
    return _render("shipped.md", name, data, run.config, run.config["tasks"], run.info, run.metrics, values)


def _data_of_model(config: Mapping[str, Any], info: RunInfo | None) -> dict[str, Any]:
    sources = list(dict.fromkeys(_hub_ids(config, info).values()))
    model = None if info is None else (info.recipe or {}).get("model")
    return {
        "library_name": "transformers",
        "tags": _TAGS + list(info.stages if info else ()),
        "base_model": [model] if model and is_hub_id(model) else sources,
    }


def _values_of_model(
    experts: Mapping[str, Any], lead_sets: Mapping[str, Any], figures: Sequence[str]
) -> dict[str, Any]:
    return {
        "expert_rows": _expert_rows(experts),
        "figures": figures,
        "lead_set_rows": _rows_by_lead_set(lead_sets),
    }


def pretraining_card(
    config: Mapping[str, Any],
    info: RunInfo,
    log: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    collapse_rank: float,
    figures: Sequence[str],
) -> str:
    """Return the card of a backbone that a run pre-trained.

    Args:
        config (`Mapping[str, Any]`): The content of its `config.json`.
        info (`RunInfo`): What is said of the run.
        log (`Sequence[Mapping]`): The trainer's log.
        summary (`Mapping[str, Any]`): The content of `metrics.json` under `pretraining`.
        collapse_rank (`float`): Features of a lower effective rank have collapsed.
        figures (`Sequence[str]`): The figures' paths, relative to the card.
    """
    data = {
        "library_name": "transformers",
        "tags": [*_TAGS, "pre-training", *info.stages],
        "base_model": list(_hub_ids(config, info).values()),
    }
    values = {
        "objective": summary["objective"].replace("_", " "),
        "collapsed": summary["collapsed_epochs"],
        "collapse_rank": collapse_rank,
        "log_rows": _log_rows(log),
        "figures": figures,
    }
    return _render("pretraining.md", info.name, data, config, [], info, {}, values)


def adapter_card(folder: str | Path, config: Mapping[str, Any], info: RunInfo, metrics: Mapping[str, Any]) -> str:
    """Return the card of an adapter that a run made.

    Args:
        folder (`str` or `Path`): The adapter's folder.
        config (`Mapping[str, Any]`): The content of the `config.json` of the run's model.
        info (`RunInfo`): What is said of the run.
        metrics (`Mapping[str, Any]`): The content of `metrics.json`; they count if the adapter's stage was kept.
    """
    settings = json.loads(Path(folder, "adapter_config.json").read_text(encoding="utf-8"))
    made_for = json.loads(Path(folder, ENECG_FILE).read_text(encoding="utf-8"))
    is_kept = (info.kept_stage or list(info.stages)[-1]) == ADAPTER_STAGE
    base = made_for["base"]["path"]
    data = {
        "library_name": "peft",
        "tags": [*_TAGS, "lora", "adapter"],
        "base_model": list(_hub_ids(config, info).values()) if base is None else _shown_base(base),
    }
    lora = {
        "rank": settings["r"],
        "alpha": settings["lora_alpha"],
        "dropout": settings["lora_dropout"],
        "scaling": "alpha / sqrt(rank)" if settings["use_rslora"] else "alpha / rank",
        "final_layers": (info.recipe or {})["stages"][ADAPTER_STAGE].get("final_layers", LoraSettings.final_layers),
        "experts": "attention" if "experts" in str(settings["target_modules"]) else "nothing",
    }
    values = {"lora": lora, "stage": info.stages[ADAPTER_STAGE], "base": base_sentence(made_for["base"])}
    measured = metrics if is_kept else {}
    name = f"{info.name}, adapter"
    return _render("adapter.md", name, data, config, made_for["tasks"], info, measured, values)


def cost_rows(info: RunInfo) -> list[dict[str, str]]:
    """Return what each stage of a run trained and what that cost, as texts.

    Args:
        info (`RunInfo`): What is said of the run.

    Returns:
        `list[dict[str, str]]`: By stage `stage`, `num_trainable`, `share` (of all parameters), `num_epochs`,
            `best_epoch`, `seconds`, `peak_mb`, `gpu_peak_mb` and `energy_wh`, with units.
    """
    return [
        {
            "stage": name.replace("_", " "),
            "num_trainable": f"{stage.num_trainable:,}",
            "share": f"{100 * stage.num_trainable / info.num_parameters:.2f} %",
            "num_epochs": str(stage.num_epochs),
            "best_epoch": str(stage.best_epoch or "-"),
            "seconds": _duration(stage.seconds),
            "peak_mb": _measured(stage.peak_mb, "MB"),
            "gpu_peak_mb": _measured(stage.gpu_peak_mb, "MB"),
            "energy_wh": _measured(stage.energy_wh, "Wh"),
        }
        for name, stage in info.stages.items()
    ]


def base_sentence(base: Mapping[str, Any]) -> str:
    """Return the sentence of an adapter's card that names its base, from the `base` of its `enecg.json`."""
    if base["path"] is None:
        return "Its base lies in the folder `base`."
    revision = f", revision `{base['revision']}`" if base["revision"] else ""
    return f"Its base is `{_shown_base(base['path'])}`{revision}."


def rebased_card(card: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return an adapter's card that names another base; both as in `base_sentence`."""
    rebased = ModelCard(card.replace(base_sentence(old), base_sentence(new)))
    rebased.data["base_model"] = new["path"]
    return str(rebased)


def _render(
    template_name: str,
    name: str,
    data: Mapping[str, Any],
    config: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]],
    run: RunInfo | None,
    metrics: Mapping[str, Any],
    values: Mapping[str, Any],
) -> str:
    weights = expert_weights(config)
    licence = licence_metadata(weights)
    results = [] if run is None else _eval_results(metrics, run)
    is_ptbxl = run is not None and run.dataset.name == PTBXL
    metadata: dict[str, Any] = {
        **data,
        **licence,
        "datasets": [PTBXL.lower()] if is_ptbxl else [],
        "metrics": sorted({result.metric_type for result in results}),
        "model_name": name if results else None,
        "eval_results": results,
    }
    given: dict[str, Any] = {key: value for key, value in metadata.items() if value}  # the Hub refuses empty lists
    known_tasks = [Task.from_dict(dict(task)) for task in tasks]
    classifications = [task for task in known_tasks if not task.is_regression]
    references = {expert: place["path"] for expert, place in (config.get("expert_references") or {}).items()}
    return _TEMPLATES.get_template(template_name).render(
        card_data=ModelCardData(**given).to_yaml(),
        name=name,
        place=PLACE,
        tasks=known_tasks,
        experts=weights,
        hub_ids=_hub_ids(config, run),
        licence=licence.get("license_name", licence.get("license")),
        references=without_machine_paths(references),
        run=run,
        is_ptbxl=is_ptbxl,
        calibrated=[task.name for task in classifications if task.calibration is not None],
        uncalibrated=[task.name for task in classifications if task.calibration is None],
        tells_novelty=config.get("novelty_rank") is not None,
        source=source_address(),
        rows=_rows(known_tasks, metrics),
        cost_rows=[] if run is None else cost_rows(run),
        recipe=None if run is None else yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True),
        **values,
    )


def _hub_ids(config: Mapping[str, Any], run: RunInfo | None) -> dict[str, str]:
    """Return, by expert, the repository on the Hub that its weights come from; others are left out."""
    references = config.get("expert_references") or {}
    recipes = {} if run is None or run.recipe is None else run.recipe["experts"]
    places = {
        each.name: references.get(each.name, recipes.get(each.name, {})).get("path")
        or str(each.source).removeprefix(_HUB)
        for each in expert_weights(config)
    }
    return {name: place for name, place in places.items() if is_hub_id(place)}


def _shown_base(path: str) -> str:
    """Return a Hub id as it is, and of a folder its name."""
    return path if is_hub_id(path) else Path(path).name


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.1f} s" if minutes < 2 else f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _measured(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{value:,} {unit}"


def _eval_results(metrics: Mapping[str, Any], info: RunInfo) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="time-series-classification",
            task_name="12-lead ECG",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", info.dataset.name.lower()).strip("-"),
            dataset_name=info.dataset.name,
            dataset_config=None if info.dataset.sampling_rate is None else f"{info.dataset.sampling_rate}hz",
            dataset_split=split,
            metric_type=metric.hub_type,
            metric_name=f"{metric_title(metric.key)}, {task}",
            metric_value=round(scores[metric.key]["point"], 6),
        )
        for split, by_task in metrics.items()
        for task, scores in by_task.items()
        for metric in METRICS.values()
        if metric.hub_type is not None and has_interval(scores.get(metric.key, {}))
    ]


def _rows(tasks: Sequence[Task], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table row per split, task and metric; errors are in the task's unit."""
    units = {task.name: task.unit for task in tasks}
    return [
        {
            "split": split,
            "task": task,
            "metric": metric_title(metric, units.get(task)),
            "num_records": scores["num_records"],
            **{
                key: "undefined" if figure[key] is None else f"{figure[key]:.3f}"
                for key in ("point", "lower", "upper")
            },
            "is_outside": has_interval(figure) and not figure["lower"] <= figure["point"] <= figure["upper"],
        }
        for split, by_task in metrics.items()
        for task, scores in by_task.items()
        for metric, figure in scores.items()
        if isinstance(figure, dict) and "point" in figure
    ]


def _rows_by_lead_set(lead_sets: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one table row per lead set and task: the headline score."""
    return [
        {"lead_set": lead_set, "task": task, "score": _score(metric, scores[metric])}
        for lead_set, by_task in lead_sets.items()
        for task, scores in by_task.items()
        for metric in MAIN_METRICS
        if metric in scores
    ]


def _expert_rows(experts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one table row per task and expert: its mean weight, and what leaving it out changes."""
    rows = []
    for task, tables in experts.items():
        for expert, weight in tables["gate_weights"]["all_records"]["weights"].items():
            row = {"task": task, "expert": expert, "weight": f"{weight:.3f}", "change": "not computed"}
            changes = tables.get("leave_one_out", {}).get(expert, {})
            for metric in MAIN_METRICS:
                if metric in changes:
                    row["change"] = _change(metric, changes[metric])
            rows.append(row)
    return rows


def _log_rows(log: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return one table row per epoch at which features were watched: the loss, their rank, and the probe's score."""
    losses = {round(entry["epoch"]): entry["loss"] for entry in log if "loss" in entry}
    return [
        {
            "epoch": str(epoch),
            "loss": f"{losses[epoch]:.4g}" if epoch in losses else "",
            "rank": f"{entry['effective_rank']:.1f}",
            "probe": f"{entry['probe_score']:.3f}" if "probe_score" in entry else "not probed",
        }
        for entry in log
        if "effective_rank" in entry
        for epoch in [round(entry["epoch"])]
    ]


def _score(metric: str, score: Mapping[str, float | None]) -> str:
    if score["point"] is None:
        return "undefined"
    interval = f"{score['lower']:.3f} to {score['upper']:.3f}" if score["lower"] is not None else "undefined"
    return f"{metric_title(metric)} {score['point']:.3f} ({interval})"


def _change(metric: str, change: Mapping[str, float | None]) -> str:
    if change["point"] is None:
        return "undefined"
    interval = f"{change['lower']:+.3f} to {change['upper']:+.3f}" if change["lower"] is not None else "undefined"
    return f"{metric_title(metric)} {change['point']:+.3f} ({interval})"
