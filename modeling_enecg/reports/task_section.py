"""The sections of a report on one task: its tables, its pictures and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..configuration_enecg import Task
from ..data.ptbxl.labels import describe
from ..evaluation.calibration import FEW_NEGATIVES, FEW_POSITIVES, NOT_INCREASING, SEPARABLE
from ..evaluation.metrics import MIN_POSITIVES
from ..evaluation.samples import CLASSIFICATION_METRICS, headline_metrics
from ..evaluation.subgroups import GROUPS, MIN_RECORDS
from ..evaluation.thresholds import UNINFORMED
from ..runs.run import Run
from .page import Cell, Picture, Row, Section, Table

MARK = " †"  # behind what rests on too few positives or records
METRIC_NAMES = {
    "macro_auroc": "macro AUROC",
    "macro_auprc": "macro AUPRC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "macro_sensitivity": "macro sensitivity",
    "macro_specificity": "macro specificity",
    "macro_ppv": "macro PPV",
    "macro_npv": "macro NPV",
    "macro_brier": "macro Brier score",
    "macro_log_loss": "macro log loss",
    "macro_ece": "macro calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}
_STATISTICS = {"bias": "bias", "lower_limit": "lower limit", "upper_limit": "upper limit"} | {
    metric: METRIC_NAMES[metric] for metric in ("mae", "rmse", "r2")
}
_TYPES = {
    "multi_label_classification": "Multi-label classification",
    "single_label_classification": "Classification with one class a record",
    "regression": "Regression",
}
_REASONS = {
    FEW_POSITIVES: "too few positives",
    FEW_NEGATIVES: "too few negatives",
    SEPARABLE: "no slope fits best",
    NOT_INCREASING: "frequency does not rise with probability",
}

Pictures = Mapping[str, Picture]


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
        sections = [
            _ranking_section(evaluated, pictures),
            *_decision_sections(task, evaluated),
            _calibration_section(task, evaluated, pictures),
        ]
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


def interval_cell(value: Mapping[str, float | None], form: str = ".3f") -> Cell:
    """Return a score with its interval, as numbers of a form such as `"+.3f"`."""
    if value["point"] is None:
        return Cell("undefined")
    if value["lower"] is None or value["upper"] is None:
        return Cell(f"{value['point']:{form}}", "interval undefined")
    return Cell(f"{value['point']:{form}}", f"{value['lower']:{form}} to {value['upper']:{form}}")


def label_cell(label: str, is_faint: bool) -> Cell:
    """Return a label, marked where it is faint, with what it means."""
    meaning = describe(label)
    return Cell(label + (MARK if is_faint else ""), "" if meaning == label else meaning)


def _ranking_section(evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    scores = evaluated["scores"]
    rows = [
        Row(
            [
                label_cell(label, row["few_positives"]),
                Cell(str(row["num_positives"])),
                Cell(f"{100 * row['num_positives'] / scores['num_records']:.1f} %"),
                interval_cell(row["auroc"]),
                interval_cell(row["auprc"]),
            ],
            row["few_positives"],
        )
        for label, row in scores["per_label"].items()
    ]
    columns = ["label", "positives", "prevalence", "AUROC", "AUPRC"]
    return Section(
        "Ranking",
        [],
        [
            _overall_table({metric: scores[metric] for metric in CLASSIFICATION_METRICS}),
            Table("By label; chance is an AUROC of 0.5, and an AUPRC of the prevalence", columns, rows),
            pictures["per_label"],
        ],
    )


def _decision_sections(task: Task, evaluated: Mapping[str, Any]) -> list[Section]:
    decisions = evaluated["decisions"]
    title = "Decisions"
    if decisions is None:
        return [Section(title, ["Not scored: no validation record has labels to choose thresholds by."])]
    is_single = "confusion" in decisions
    rule = (
        "The class of the highest probability is the yes."
        if is_single
        else "A calibrated probability that reaches its label's threshold, chosen on the validation fold, is a yes; a "
        f"label that no validation record has keeps the threshold {UNINFORMED}."
    )
    rates = ["f1", "sensitivity", "specificity", "ppv", "npv"]
    counts = ["true_positives", "false_positives", "false_negatives", "true_negatives"]
    rows = [
        Row(
            [
                label_cell(label, row["few_positives"]),
                *([] if is_single else [Cell(f"{row['threshold']:.3g}")]),
                *(interval_cell(row[rate]) for rate in rates),
                *(Cell(str(row[count])) for count in counts),
            ],
            row["few_positives"],
        )
        for label, row in decisions["per_label"].items()
    ]
    columns = ["label", *([] if is_single else ["threshold"]), "F1", "sensitivity", "specificity", "PPV", "NPV"]
    scores = evaluated["scores"]
    accuracies = {metric: scores[metric] for metric in ("accuracy", "balanced_accuracy") if metric in scores}
    parts: list[Table | Picture] = [
        _overall_table(accuracies | decisions),
        Table("By label", [*columns, "true yes", "false yes", "false no", "true no"], rows),
    ]
    if is_single:
        parts.append(_confusion_table(task, decisions["confusion"]))
    return [Section(title, [rule], parts)]


def _confusion_table(task: Task, confusion: Sequence[Sequence[int]]) -> Table:
    rows = [
        Row([Cell(label), *(Cell(str(count), f"{100 * count / max(sum(counts), 1):.0f} %") for count in counts)])
        for label, counts in zip(task.labels, confusion, strict=True)
    ]
    columns = ["true class", *(f"decided {label}" for label in task.labels)]
    return Table("Confusion: records by true and decided class, with the share of the true class", columns, rows)


def _calibration_section(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    calibration, before, after = (evaluated[key] for key in ("calibration", "as_predicted", "calibrated"))
    metrics = [metric for metric in METRIC_NAMES if metric in before]
    overall = [
        Row([Cell(METRIC_NAMES[metric]), *(interval_cell(each[metric], ".4f") for each in (before, after))])
        for metric in metrics
    ]
    rows = [
        Row(
            [
                label_cell(label, row["few_positives"]),
                *(
                    interval_cell(each["per_label"][label][metric], ".4f")
                    for metric in ("brier", "ece")
                    for each in (before, after)
                ),
                Cell(_fit_text(calibration, label)),
            ],
            row["few_positives"],
        )
        for label, row in before["per_label"].items()
    ]
    columns = ["label", "Brier", "Brier, calibrated", "error", "error, calibrated", "fit"]
    return Section(
        "Calibration",
        [_calibration_text(task, calibration)],
        [
            Table("Overall; lower is better", ["score", "as predicted", "calibrated"], overall),
            pictures["calibration"],
            Table("By label; error is the expected calibration error", columns, rows),
        ],
    )


def _calibration_text(task: Task, calibration: Mapping[str, Any]) -> str:
    uncalibrated = calibration["uncalibrated"]
    if calibration["method"] == "platt":
        return (
            f"Platt scaling, fitted on the validation fold: a slope and an intercept of each label's logit; "
            f"{len(uncalibrated)} of {task.num_outputs} labels are left as they are, for the reason in the table."
        )
    if uncalibrated:
        reason = _REASONS[next(iter(uncalibrated.values()))]
        return f"Temperature scaling left the probabilities as they are: {reason} in the validation fold."
    temperature = 1 / next(iter(calibration["slopes"].values()))
    sure = "too sure" if temperature > 1 else "not sure enough"
    return (
        f"A temperature of {temperature:.3g}, fitted on the validation fold, divides the logits: the model was {sure} "
        "of itself there."
    )


def _fit_text(calibration: Mapping[str, Any], label: str) -> str:
    if label in calibration["uncalibrated"]:
        return f"as is: {_REASONS[calibration['uncalibrated'][label]]}"
    slope, intercept = calibration["slopes"][label], calibration["intercepts"][label]
    line = f"{slope:.3g} · logit"
    if calibration["method"] == "platt":
        line += f" {'−' if intercept < 0 else '+'} {abs(intercept):.3g}"
    return line


def _regression_section(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    unit = f" ({task.unit})" if task.unit else ""
    names = {key: name + ("" if key == "r2" else unit) for key, name in _STATISTICS.items()}
    rows = [
        Row([Cell(output), *(interval_cell(statistics[key]) for key in _STATISTICS)])
        for output, statistics in evaluated["agreement"]["per_output"].items()
    ]
    text = (
        "Bias is the mean of predicted minus true; 95 % of normally distributed differences lie between the limits of "
        "agreement (Bland-Altman)."
    )
    table = Table("By output", ["output", *names.values()], rows)
    return Section("Errors and agreement", [text], [table, pictures["agreement"]])


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
        columns = [GROUPS[column], "records", "patients", *names, f"{METRIC_NAMES[metrics[0]]} minus the rest's"]
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
        "The test fold as if fewer leads had been recorded; limb leads that follow from others are derived. "
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
    unit = f" ({task.unit})" if task.unit else ""
    return [METRIC_NAMES[metric] + (unit if metric in ("mae", "rmse") else "") for metric in metrics]


def _published_section(task: Task, evaluated: Mapping[str, Any]) -> Section:
    own = evaluated["scores"]["macro_auroc"]
    rows = [(own["point"] or 0.0, Row([Cell("→ this run"), Cell(""), Cell(""), interval_cell(own)]))]
    for result in evaluated["published"]:
        score = {"point": result["value"], "lower": result["lower"], "upper": result["upper"]}
        seen = result["pretraining_data"] or "not known"
        cells = [Cell(result["model"], f"pretrained on: {seen}"), Cell(result["mode"]), Cell(result["source"])]
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


def _overall_table(scores: Mapping[str, Any]) -> Table:
    rows = [
        Row([Cell(name), interval_cell(scores[metric])]) for metric, name in METRIC_NAMES.items() if metric in scores
    ]
    return Table("Overall", ["score", "value"], rows)


def few_positives_text() -> str:
    """Return the sentence that says what the mark behind a label means."""
    return (
        f"Labels with fewer than {MIN_POSITIVES} positives among the test records are marked{MARK} and faint: their "
        "scores say little, though macro means count every label that is defined."
    )
