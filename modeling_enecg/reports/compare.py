"""Two runs on the same test records: how they differ, label by label, as a page, tables and figures."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..configuration_enecg import Task
from ..evaluation import Bootstrap
from ..evaluation.comparison import compare_predictions
from ..evaluation.intervals import NO_INTERVAL
from ..evaluation.metrics import compared_metrics, find_metric, metric_title
from ..figures.labels import plot_differences
from ..figures.style import number
from ..runs.files import added_files
from ..runs.run import Run
from ..version import __version__
from .cells import few_positives_text, interval_cell, label_cell
from .full_report import NOTICE, data_notes, read_runs
from .page import FIGURES, Cell, Picture, Row, Section, Table, render_html, render_markdown

PAGE, MARKDOWN, TABLE, NUMBERS = (f"comparison.{ending}" for ending in ("html", "md", "csv", "json"))
LEVEL = 0.05  # of the adjusted p-value, below which a label counts as different

_COUNTS = ("num_positives", "few_positives")
_VALUES = ("first", "second", "point", "lower", "upper", NO_INTERVAL, "p_value", "adjusted_p_value")


@dataclass(frozen=True)
class ComparisonOptions:
    """How two runs are compared.

    Attributes:
        task (`str`, *optional*): The only task to compare; by default all that both have.
        metric (`str`, *optional*): The only metric: `"auroc"` or `"auprc"` of classifications, `"mae"`, `"rmse"` or
            `"r2"` of regressions; by default all.
        correction (`str`): Of `CORRECTIONS` in `comparison.py`, over the labels of one metric.
        num_resamples (`int`): Bootstrap resamples.
        seed (`int`): Seed of their draw.
        confidence (`float`): Share of the resamples inside an interval.
    """

    task: str | None = None
    metric: str | None = None
    correction: str = "holm"
    num_resamples: int = 5000
    seed: int = 0
    confidence: float = 0.95

    def metrics(self, task: Task) -> list[str]:
        """Return the names of a task's metrics that are wanted, without `macro_`."""
        return [metric.name for metric in compared_metrics(task) if self.metric in (None, metric.name)]

    def bootstrap(self) -> Bootstrap:
        """Return how intervals are made."""
        return Bootstrap(self.num_resamples, self.seed, self.confidence)


@dataclass(frozen=True)
class RunComparison:
    """How two runs differ, first minus second.

    Attributes:
        names (`list[str]`): Of both runs.
        tasks (`list[Task]`): What was compared.
        results (`Mapping[str, Mapping[str, Any]]`): By task, what `compare_predictions` gives.
        options (`ComparisonOptions`): How.
        notes (`list[str]`): What the runs say of their data.
    """

    names: list[str]
    tasks: list[Task]
    results: Mapping[str, Mapping[str, Any]]
    options: ComparisonOptions
    notes: list[str]


def compare_runs(first: str | Path, second: str | Path, options: ComparisonOptions) -> RunComparison:
    """Compare two runs on their test records: both are scored on the same resamples, of patients where they repeat.

    Args:
        first (`str` or `Path`): A run's folder.
        second (`str` or `Path`): Another's, tested on the same records.
        options (`ComparisonOptions`): How.

    Raises:
        ValueError: if a folder holds no run, the runs have no such task in common, a task's labels or its test records
            differ, no compared task has the metric, or the correction is unknown.
    """
    runs = read_runs([first, second])
    ours, theirs = runs.values()
    tasks = [task for task in _common_tasks(ours, theirs, options.task) if options.metrics(task)]
    if not tasks:
        raise ValueError(
            f"No compared task has the metric {options.metric!r}: auroc and auprc are of classifications, mae, rmse "
            "and r2 of regressions."
        )
    bootstrap = options.bootstrap()
    results = {task.name: _compare_task(task, ours, theirs, bootstrap, options.correction) for task in tasks}
    return RunComparison(list(runs), tasks, results, options, data_notes(runs))


def write_comparison(compared: RunComparison, output: str | Path) -> Path:
    """Write `comparison.html`, which needs no other file, `comparison.md` with `figures/`, and all numbers twice.

    These are in `comparison.csv` and `comparison.json`.

    Args:
        compared (`RunComparison`): The runs.
        output (`str` or `Path`): The folder to write in; files of these names in it are replaced.

    Returns:
        `Path`: The HTML page.
    """
    output = Path(output)
    with added_files(output / FIGURES) as aside:
        pictures = {
            (task.name, metric): _draw(compared, task, metric, aside) for task, metric in _compared_by_label(compared)
        }
    numbers = {
        "enecg": __version__,
        **dict(zip(("first", "second"), compared.names, strict=True)),
        "options": vars(compared.options),
        "tasks": compared.results,
    }
    with added_files(output) as aside:
        (aside / TABLE).write_text(comparison_csv(compared), encoding="utf-8")
        (aside / NUMBERS).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        (aside / MARKDOWN).write_text(comparison_markdown(compared, pictures), encoding="utf-8")
        page = render_html(_title(compared), _notices(compared), _sections(compared, pictures), output)
        (aside / PAGE).write_text(page, encoding="utf-8")
    return output / PAGE


def _cell_text(text: str) -> str:
    """Return a text that a spreadsheet takes for a text, whatever it begins with, and not for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def comparison_csv(compared: RunComparison) -> str:
    """Return every difference as CSV, a metric's mean over the labels in the row without a label."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["task", "metric", "label", *_COUNTS, *_VALUES], lineterminator="\n")
    writer.writeheader()
    for task in compared.tasks:
        for metric in compared.options.metrics(task):
            rows = {"": _overall(compared, task, metric)} | _by_label(compared, task, metric)
            for label, row in rows.items():
                writer.writerow({"task": task.name, "metric": metric, "label": _cell_text(label), **row})
    return stream.getvalue()


def comparison_markdown(compared: RunComparison, pictures: Mapping[tuple[str, str], Picture] | None = None) -> str:
    """Return the comparison as Markdown: what is overall first, then each task's labels.

    Args:
        compared (`RunComparison`): The runs.
        pictures (`Mapping[tuple[str, str], Picture]`, *optional*): The figures by task and metric.
    """
    return render_markdown(_title(compared), _notices(compared), _sections(compared, pictures or {}))


def _title(compared: RunComparison) -> str:
    return " and ".join(compared.names) + " compared"


def _notices(compared: RunComparison) -> list[str]:
    return [NOTICE, *compared.notes]


def _sections(compared: RunComparison, pictures: Mapping[tuple[str, str], Picture]) -> list[Section]:
    """Return what is overall, then each task's labels by each metric."""
    options, (first, second) = compared.options, compared.names
    corrected = (
        "those of labels are not corrected for the number of labels"
        if options.correction == "none"
        else f"those of labels are corrected over the labels of one metric ({options.correction})"
    )
    text = (
        f"Differences are {first} minus {second}. Both were scored on the same {options.num_resamples} resamples of "
        f"the test records (seed {options.seed}), of which the intervals hold {100 * options.confidence:g} %. "
        f"p-values are two-sided; {corrected}. Labels "
        f"below {LEVEL:g} are marked ★, unless they have too few positives: how these vary, resampling cannot tell."
    )
    overall = [
        Row([Cell(task.name), Cell(_name(metric)), *_cells(_overall(compared, task, metric))])
        for task in compared.tasks
        for metric in options.metrics(task)
    ]
    table = Table("Test records", ["task", "score", first, second, "difference", "p"], overall, 2)
    sections = [
        Section(
            f"{task.name}: {find_metric(metric).title} by label",
            [_in_short(compared, task, metric)],
            [*([pictures[task.name, metric]] if pictures else []), _label_table(compared, task, metric)],
        )
        for task, metric in _compared_by_label(compared)
    ]
    return [Section("Overall", [text, few_positives_text()], [table]), *sections]


def _common_tasks(ours: Run, theirs: Run, name: str | None) -> list[Task]:
    names = [task.name for task in ours.tasks if task.name in {other.name for other in theirs.tasks}]
    wanted = names if name is None else [name]
    if not wanted:
        raise ValueError(f"The runs in {ours.folder} and {theirs.folder} have no task in common.")
    pairs = [(ours.task(each), theirs.task(each)) for each in wanted]
    for task, other in pairs:
        if (task.problem_type, task.labels) != (other.problem_type, other.labels):
            raise ValueError(
                f"Task {task.name!r} has {', '.join(task.output_names)} in {ours.folder} and "
                f"{', '.join(other.output_names)} in {theirs.folder}; runs compare on the same labels in equal order."
            )
    return [task for task, _ in pairs]


def _compare_task(task: Task, ours: Run, theirs: Run, bootstrap: Bootstrap, correction: str) -> dict[str, Any]:
    """Compare on the records that have the task's labels: a run of other tasks too holds records without."""
    first, second = (run.splits["test"].scored(task) for run in (ours, theirs))
    try:
        result = compare_predictions(first, second, bootstrap, correction)
    except ValueError as error:
        raise ValueError(f"{ours.folder} and {theirs.folder} cannot be compared. {error}") from error
    if not result["num_records"]:
        raise ValueError(f"No test record has a label of the task {task.name!r}; choose another task.")
    return result


def _compared_by_label(compared: RunComparison) -> list[tuple[Task, str]]:
    """Return tasks and metrics of which there is more than one label to compare."""
    return [
        (task, metric) for task in compared.tasks if task.num_outputs > 1 for metric in compared.options.metrics(task)
    ]


def _overall(compared: RunComparison, task: Task, metric: str) -> dict[str, Any]:
    return compared.results[task.name][find_metric(metric).key]


def _by_label(compared: RunComparison, task: Task, metric: str) -> dict[str, dict[str, Any]]:
    """Return a metric's differences, the highest first and undefined ones last."""
    rows = compared.results[task.name]["per_output" if task.is_regression else "per_label"]
    counts = {label: {key: row[key] for key in _COUNTS if key in row} for label, row in rows.items()}
    order = sorted(rows, key=lambda label: -(rows[label][metric]["point"] or 0.0))
    order.sort(key=lambda label: rows[label][metric]["point"] is None)
    return {label: {**counts[label], **rows[label][metric]} for label in order}


def _name(metric: str) -> str:
    name = metric_title(find_metric(metric).key)
    return name if find_metric(metric).is_higher_better else f"{name}, lower is better"


def _cells(row: Mapping[str, Any], p_value: str = "p_value") -> list[Cell]:
    """Return both scores, their difference and its p-value."""
    p = row[p_value]
    scores = [Cell("undefined" if row[key] is None else f"{row[key]:.3f}") for key in ("first", "second")]
    star = " ★" if p_value == "adjusted_p_value" and _is_different(row) else ""
    return [*scores, interval_cell(row, "+.3f"), Cell("undefined" if p is None else f"{p:.4f}{star}")]


def _is_different(row: Mapping[str, Any]) -> bool:
    return number(row["adjusted_p_value"]) < LEVEL and not row.get("few_positives", False)


def _in_short(compared: RunComparison, task: Task, metric: str) -> str:
    rows, result = _by_label(compared, task, metric).values(), compared.results[task.name]
    signs = [row["point"] > 0 for row in rows if _is_different(row)]
    after = "" if compared.options.correction == "none" else " after correction"
    return (
        f"Different{after}: {len(signs)} of {len(rows)} labels; {signs.count(True)} higher in {compared.names[0]}, "
        f"{signs.count(False)} in {compared.names[1]}. {result['num_records']} records, drawn by "
        f"{result['resampled_by']}."
    )


def _label_table(compared: RunComparison, task: Task, metric: str) -> Table:
    rows = [
        Row(
            [
                label_cell(label, bool(row.get("few_positives"))),
                Cell(str(row.get("num_positives", "–"))),
                *_cells(row, "adjusted_p_value"),
            ],
            bool(row.get("few_positives")),
        )
        for label, row in _by_label(compared, task, metric).items()
    ]
    return Table("By label, sorted", ["label", "positives", *compared.names, "difference", "adjusted p"], rows)


def _draw(compared: RunComparison, task: Task, metric: str, folder: Path) -> Picture:
    name = f"{task.name}_{metric}.png"
    rows, (first, second) = _by_label(compared, task, metric), compared.names
    plot_differences(
        rows,
        _overall(compared, task, metric),
        [label for label, row in rows.items() if _is_different(row)],
        f"{find_metric(metric).title}: {first} minus {second}",
        folder / name,
        f"{task.name}: {find_metric(metric).title}, {compared.results[task.name]['num_records']} records",
    )
    caption = (
        f"{task.name}: difference of {find_metric(metric).title} by label, with intervals; those of labels with few "
        "positives may leave the figure, as arrows show."
    )
    return Picture(name, caption)
