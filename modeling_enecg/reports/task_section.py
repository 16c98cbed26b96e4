"""The sections of a report on one task: its tables, its pictures and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..configuration_enecg import Task
from ..evaluation.metrics import REGRESSION, headline_metrics, metric_title, metrics_of
from ..evaluation.subgroups import GROUPS, MIN_RECORDS
from ..runs.run import Run
from .cells import MARK, interval_cell
from .page import Cell, Picture, Row, Section, Table
from .probability_sections import Pictures, probability_sections

_LIMITS = {"bias": "bias", "lower_limit": "lower limit", "upper_limit": "upper limit"}
_TYPES = {
    "multi_label_classification": "Multi-label classification",
    "single_label_classification": "Classification with one class per record",
    "regression": "Regression",
}


def task_section(run: Run, task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    """Return the section of one task of a run.

    Args:
        run (`Run`): The run.
        task (`Task`): One of its tasks.
        evaluated (`Mapping[str, Any]`): What `evaluate_run` gives of the task.
        pictures (`Mapping[str, Picture]`): By kind, what `draw_task` gives.
    """
    scores, num_test = evaluated["scores"], len(run.splits["test"])
    kind = _TYPES[task.problem_type] + (f", {task.num_outputs} labels" if task.labels else "")
    unit = f", in {task.unit}" if task.unit else ""
    paragraphs = [f"{kind}{unit}; {scores['num_records']} of {num_test} test records have labels."]
    if not scores["num_records"]:
        return Section(task.name, paragraphs)
    paragraphs[0] += f" Intervals: {scores['resampled_by']}s resampled."
    if scores.get("undefined"):
        paragraphs.append(
            f"Undefined, because none or all of the test records have them, and left out of macro means: "
            f"{', '.join(scores['undefined'])}."
        )
    sections = [_regression_section(task, evaluated, pictures)] if task.is_regression else []
    if not task.is_regression:
        sections = probability_sections(task, evaluated, pictures)
    sections += _subgroup_sections(task, evaluated, pictures)
    if evaluated["lead_sets"]:
        sections.append(_lead_set_section(task, evaluated["lead_sets"], _own_intervals(run)))
    if evaluated["experts"]:
        sections.append(_expert_section(task, evaluated["experts"], _own_intervals(run)))
    if evaluated["published"]:
        sections.append(_published_section(task, evaluated))
    else:
        paragraphs.append(evaluated["why_not_published"])
    return Section(task.name, paragraphs, [], sections)


def _own_intervals(run: Run) -> str:
    confidence, num_resamples = run.info.confidence, run.info.num_resamples
    if confidence is None:
        return ""
    return f"Intervals are those that the run computed itself: {100 * confidence:g} % of {num_resamples} resamples."


def _regression_section(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    unit = f" ({task.unit})" if task.unit else ""
    names = {key: f"{name}{unit}" for key, name in _LIMITS.items()}
    names |= {metric.name: metric_title(metric.name, task.unit) for metric in metrics_of(REGRESSION)}
    rows = [
        Row([Cell(output), *(interval_cell(statistics[key]) for key in names)])
        for output, statistics in evaluated["agreement"]["per_output"].items()
    ]
    text = (
        "Bias is the mean of predicted minus true; 95 % of normally distributed differences lie between the limits of "
        "agreement (Bland-Altman)."
    )
    table = Table("By output", ["output", *names.values()], rows)
    parts: list[Table | Picture] = [table, pictures["agreement"]]
    paragraphs = [text]
    if evaluated["conformal"] is not None:
        paragraphs.append(
            f"Prediction plus and minus the half width below shall hold the true value in "
            f"{100 * evaluated['conformal']['coverage']:g} % of records (split conformal prediction, by the absolute "
            f"errors of {evaluated['conformal']['num_validation']} validation records); the last column is how often "
            "it did."
        )
        parts.append(_half_width_table(task, evaluated["conformal"]))
    return Section("Errors and agreement", paragraphs, parts)


def _half_width_table(task: Task, conformal: Mapping[str, Any]) -> Table:
    rows = [
        Row(
            [
                Cell(output),
                Cell("unbounded" if row["half_width"] is None else f"{row['half_width']:.3f}"),
                interval_cell(row["covered"]),
            ]
        )
        for output, row in conformal["per_output"].items()
    ]
    unit = f" ({task.unit})" if task.unit else ""
    return Table("Prediction intervals", ["output", f"half width{unit}", "measured coverage"], rows)


def _subgroup_sections(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> list[Section]:
    if not evaluated["subgroups"]:
        return []
    metrics = headline_metrics(task)
    names = _with_units(task, metrics)
    parts: list[Table | Picture] = [pictures["subgroups"]]
    for column, scored in evaluated["subgroups"].items():
        rows = [
            Row(
                [
                    Cell(group + (MARK if row["few_records"] else "")),
                    Cell(str(row["num_records"])),
                    Cell("" if row["num_patients"] is None else str(row["num_patients"])),
                    *(interval_cell(row[metric]) for metric in metrics),
                    interval_cell(row["minus_rest"][metrics[0]], "+.3f"),
                ],
                row["few_records"],
            )
            for group, row in scored["groups"].items()
        ]
        columns = [GROUPS[column], "records", "patients", *names, f"{metric_title(metrics[0])} minus the rest's"]
        parts.append(Table(f"By {GROUPS[column]}", columns, rows))
    over = "" if task.is_regression else ", over the labels that both have"
    text = (
        f"Each group is scored alone and against all other records{over}. Groups of fewer "
        f"than {MIN_RECORDS} records are marked{MARK}. Intervals are not corrected for the number of groups: among "
        "many, some differ by chance."
    )
    return [Section("Subgroups", [text], parts)]


def _lead_set_section(task: Task, lead_sets: Mapping[str, Any], own_intervals: str) -> Section:
    metrics = headline_metrics(task)
    rows = [
        Row([Cell(name), Cell(str(scores["num_records"])), *(interval_cell(scores[metric]) for metric in metrics)])
        for name, scores in lead_sets.items()
    ]
    text = (
        "The test records as if fewer leads had been recorded; limb leads that follow from others are derived. "
        + own_intervals
    )
    columns = ["leads", "records", *_with_units(task, metrics)]
    return Section("Fewer leads", [text], [Table("By recorded leads", columns, rows)])


def _expert_section(task: Task, experts: Mapping[str, Any], own_intervals: str) -> Section:
    """Return what the gate gives each expert, and how scores change without it where that was computed."""
    metrics, changes = headline_metrics(task), experts.get("leave_one_out", {})
    rows = [
        Row(
            [
                Cell(expert),
                Cell("undefined" if weight is None else f"{weight:.3f}"),
                *(interval_cell(changes[expert][metric], "+.3f") for metric in (metrics if changes else ())),
            ]
        )
        for expert, weight in experts["gate_weights"]["all_records"]["weights"].items()
    ]
    columns = ["expert", "mean gate weight"]
    text = "What the task's gate gives each expert, averaged over the test records"
    if changes:
        columns += [f"change of {name} without it" for name in _with_units(task, metrics)]
        text += ", and how scores change without it, the others' weights scaled up to 1. " + own_intervals
    else:
        text += ". What leaving an expert out changes was not computed: some record has one expert only."
    return Section("Experts", [text], [Table("By expert", columns, rows)])


def _with_units(task: Task, metrics: Sequence[str]) -> list[str]:
    """Return metrics' names, of errors with the task's unit."""
    return [metric_title(metric, task.unit) for metric in metrics]


def _published_section(task: Task, evaluated: Mapping[str, Any]) -> Section:
    own = evaluated["scores"]["macro_auroc"]
    rows = [(own["point"] or 0.0, Row([Cell("→ this run"), Cell(""), Cell(""), interval_cell(own)]))]
    for result in evaluated["published"]:
        score = {"point": result["value"], "lower": result["lower"], "upper": result["upper"]}
        seen = result["pretraining_data"] or "not known"
        mode = Cell(result["mode"], result["note"])
        cells = [Cell(result["model"], f"pretrained on: {seen}"), mode, Cell(result["source"])]
        value = Cell(f"{score['point']:.3f}") if score["lower"] is None else interval_cell(score)
        rows.append((score["point"], Row([*cells, value])))
    ranked = [row for _, row in sorted(rows, key=lambda pair: -pair[0])]
    text = (
        "Every number stands as its source prints it. Sources differ in protocol and in what their intervals are, so "
        "that small differences between sources say nothing."
    )
    columns = ["model", "training", "source", "macro AUROC"]
    table = Table(f"Macro AUROC of the task {task.name} on PTB-XL's fold 10", columns, ranked, 3)
    return Section("Beside published results", [text], [table])
