"""The sections of a report on a classification's probabilities: ranking, decisions, calibration, prediction sets."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..configuration_enecg import Task
from ..evaluation.calibration import FEW_NEGATIVES, FEW_POSITIVES, NOT_INCREASING, SEPARABLE
from ..evaluation.metrics import CLASSES, DECISIONS, PROBABILITIES, RANKING, metric_title, metrics_of
from ..evaluation.thresholds import UNINFORMED
from .cells import interval_cell, label_cell, overall_table
from .page import Cell, Picture, Row, Section, Table

_REASONS = {
    FEW_POSITIVES: "too few positives",
    FEW_NEGATIVES: "too few negatives",
    SEPARABLE: "no slope fits best",
    NOT_INCREASING: "frequency does not rise with probability",
}

Pictures = Mapping[str, Picture]


def probability_sections(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> list[Section]:
    """Return what a report says of a classification's probabilities; arguments as of `task_section`."""
    sections = [
        _ranking_section(evaluated, pictures),
        _decision_section(task, evaluated, pictures),
        _calibration_section(task, evaluated, pictures),
    ]
    if evaluated["conformal"] is not None:
        sections.append(_set_section(evaluated))
    return sections


def _ranking_section(evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    scores = evaluated["scores"]
    rows = [
        Row(
            [
                label_cell(label, row["few_positives"]),
                Cell(str(row["num_positives"])),
                Cell(f"{100 * row['num_positives'] / scores['num_records']:.1f} %"),
                *(interval_cell(row[metric.name]) for metric in metrics_of(RANKING)),
            ],
            row["few_positives"],
        )
        for label, row in scores["per_label"].items()
    ]
    columns = ["label", "positives", "prevalence", *(metric.title for metric in metrics_of(RANKING))]
    return Section(
        "Ranking",
        [],
        [
            overall_table({metric.key: scores[metric.key] for metric in metrics_of(RANKING)}),
            Table("By label; chance is an AUROC of 0.5, and an AUPRC of the prevalence", columns, rows),
            *(pictures[kind] for kind in ("per_label", "ranking") if kind in pictures),
        ],
    )


def _decision_section(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    decisions = evaluated["decisions"]
    title = "Decisions"
    if decisions is None:
        text = "Not scored: the model has no thresholds, and no validation record has labels to choose them by."
        return Section(title, [text], [pictures["net_benefit"]])
    is_single = "confusion" in decisions
    rates = metrics_of(DECISIONS)
    counts = ["true_positives", "false_positives", "false_negatives", "true_negatives"]
    rows = [
        Row(
            [
                label_cell(label, row["few_positives"]),
                *([] if is_single else [Cell(f"{row['threshold']:.3g}")]),
                *(interval_cell(row[rate.name]) for rate in rates),
                *(Cell(str(row[count])) for count in counts),
            ],
            row["few_positives"],
        )
        for label, row in decisions["per_label"].items()
    ]
    columns = ["label", *([] if is_single else ["threshold"]), *(rate.title for rate in rates)]
    scores = evaluated["scores"]
    accuracies = {metric.name: scores[metric.name] for metric in metrics_of(CLASSES) if metric.name in scores}
    parts: list[Table | Picture] = [
        overall_table(accuracies | decisions),
        Table("By label", [*columns, "true yes", "false yes", "false no", "true no"], rows),
    ]
    if is_single:
        parts.append(_confusion_table(task, decisions["confusion"]))
    return Section(title, [_decision_rule(is_single, evaluated)], [*parts, pictures["net_benefit"]])


def _decision_rule(is_single: bool, evaluated: Mapping[str, Any]) -> str:
    if is_single:
        return "The class of the highest probability is the yes."
    chosen = "the model's own, as there are no validation records to choose others by"
    if evaluated["conformal"] is not None:
        chosen = f"chosen on validation records; a label that none of these has keeps the threshold {UNINFORMED}"
    return (
        "A probability, calibrated if the model has a calibration of its own, that reaches its label's threshold is a "
        f"yes. Thresholds are {chosen}."
    )


def _confusion_table(task: Task, confusion: Sequence[Sequence[int]]) -> Table:
    rows = [
        Row([Cell(label), *(Cell(str(count), f"{100 * count / max(sum(counts), 1):.0f} %") for count in counts)])
        for label, counts in zip(task.labels, confusion, strict=True)
    ]
    columns = ["true class", *(f"decided {label}" for label in task.labels)]
    return Table("Confusion: records by true and decided class, with the share of the true class", columns, rows)


def _calibration_section(task: Task, evaluated: Mapping[str, Any], pictures: Pictures) -> Section:
    calibration, before, after = (evaluated[key] for key in ("calibration", "as_predicted", "calibrated"))
    both = [before] if after is None else [before, after]
    keys = [key for metric in metrics_of(PROBABILITIES) for key in (metric.key, metric.name) if key in before]
    overall = [Row([Cell(metric_title(key)), *(interval_cell(each[key], ".4f") for each in both)]) for key in keys]
    rows = [
        Row(
            [
                label_cell(label, row["few_positives"]),
                *(
                    interval_cell(each["per_label"][label][metric], ".4f")
                    for metric in ("brier", "ece")
                    for each in both
                ),
                *([] if after is None else [Cell(_fit_text(calibration, label))]),
            ],
            row["few_positives"],
        )
        for label, row in before["per_label"].items()
    ]
    columns = ["label", "Brier", "Brier, calibrated", "error", "error, calibrated", "fit"]
    if after is None:
        columns = ["label", "Brier", "error"]
    return Section(
        "Calibration",
        [_calibration_text(task, calibration)],
        [
            Table("Overall; lower is better", ["score", *["as predicted", "calibrated"][: len(both)]], overall),
            pictures["calibration"],
            Table("By label; error is the expected calibration error", columns, rows),
        ],
    )


def _calibration_text(task: Task, calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return "Nothing was calibrated: no validation record has labels to fit by. Probabilities are as predicted."
    uncalibrated = calibration["uncalibrated"]
    by = (
        "the model's own, which its training chose on its validation records"
        if calibration["is_own"]
        else ("fitted on validation records")
    )
    if calibration["method"] == "platt":
        left = f"; {len(uncalibrated)} of {task.num_outputs} labels are left as they are, for the reason in the table"
        return f"Platt scaling, {by}: a slope and an intercept of each label's logit{left if uncalibrated else ''}."
    if uncalibrated:
        reason = _REASONS[next(iter(uncalibrated.values()))]
        return f"Temperature scaling left the probabilities as they are: {reason} among the validation records."
    temperature = 1 / next(iter(calibration["slopes"].values()))
    if temperature == 1:
        return f"A temperature of 1, {by}, leaves the probabilities as they are."
    sure = "too sure" if temperature > 1 else "not sure enough"
    return f"A temperature of {temperature:.3g}, {by}, divides the logits: the model was {sure} of itself there."


def _fit_text(calibration: Mapping[str, Any], label: str) -> str:
    if label in calibration["uncalibrated"]:
        return f"as is: {_REASONS[calibration['uncalibrated'][label]]}"
    slope, intercept = calibration["slopes"][label], calibration["intercepts"][label]
    line = f"{slope:.3g} · logit"
    if calibration["method"] == "platt":
        line += f" {'−' if intercept < 0 else '+'} {abs(intercept):.3g}"
    return line


def _set_section(evaluated: Mapping[str, Any]) -> Section:
    """Return how often the sets of conformal prediction hold the truth, and how much they decide."""
    conformal = evaluated["conformal"]
    wanted = f"{100 * conformal['coverage']:g} %"
    start = (
        f"Split conformal prediction, by {conformal['num_validation']} validation records, for a coverage of {wanted}"
    )
    if "per_label" not in conformal:
        bound = (
            "every class"
            if conformal["bound"] is None
            else f"the classes from a probability of {conformal['bound']:.3g} on"
        )
        rows = [
            Row([Cell("coverage"), interval_cell(conformal["covered"])]),
            Row([Cell("records with one class in the set"), interval_cell(conformal["single"])]),
        ]
        text = f"{start}: the set of a record holds {bound}. The table shows what was measured on the test records."
        return Section("Prediction sets", [text], [Table("Measured", ["share", "value"], rows)])
    text = (
        f"{start} of the positives, and of the negatives, of each label: it may be present from one probability on, "
        "and absent up to another; between them it is undecided. Shares are those measured on the test records."
    )
    keys = ("covered_positives", "covered_negatives", "decided")
    rows = [
        Row(
            [
                label_cell(label, evaluated["scores"]["per_label"][label]["few_positives"]),
                *(Cell("any" if row[key] is None else f"{row[key]:.3g}") for key in ("present_from", "absent_up_to")),
                *(interval_cell(row[key]) for key in keys),
            ],
            evaluated["scores"]["per_label"][label]["few_positives"],
        )
        for label, row in conformal["per_label"].items()
    ]
    columns = ["label", "present from", "absent up to", "coverage of positives", "of negatives", "decided"]
    return Section("Prediction sets", [text], [Table("By label", columns, rows)])
