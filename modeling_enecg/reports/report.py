"""A report on one run or several: one HTML page, the same as Markdown, its figures, and its numbers as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configuration_enecg import Task
from ..evaluation.records import with_targets
from ..evaluation.resampling import PATIENT
from ..evaluation.subgroups import GROUPS
from ..figures.report import most_frequent, plot_agreement, plot_calibration, plot_subgroups
from ..figures.scores import plot_per_label
from ..runs.files import added_files
from ..runs.run import Run, read_run
from ..version import __version__
from .evaluate import ReportOptions, evaluate_run
from .page import FIGURES, Cell, Picture, Row, Section, Table, render_html, render_markdown
from .run_section import run_section
from .task_section import METRIC_NAMES, few_positives_text, interval_cell

PAGE, MARKDOWN, NUMBERS = "report.html", "report.md", "report.json"
NOTICE = (
    "Research prototype, not a medical device. Nothing here may guide the care of a patient; scores are of the test "
    "records named below, and not of another hospital's."
)


def write_full_report(folders: Sequence[str | Path], output: str | Path, options: ReportOptions) -> Path:
    """Write `report.html`, which needs no other file, `report.md` with `figures/`, and `report.json`.

    Args:
        folders (`Sequence[str | Path]`): The runs' folders, at least one and no two the same.
        output (`str` or `Path`): The folder to write in; files of these names in it are replaced.
        options (`ReportOptions`): How the numbers are made.

    Returns:
        `Path`: The HTML page.

    Raises:
        ValueError: if a folder is given twice, or holds no run that can be read; see `read_run`.
    """
    runs = read_runs(folders)
    evaluations = {name: evaluate_run(run, options) for name, run in runs.items()}
    output = Path(output)
    with added_files(output / FIGURES) as aside:
        pictures = {
            name: {
                task.name: draw_task(run, task, evaluations[name][task.name], aside, f"{index}_{task.name}")
                for task in run.tasks
            }
            for index, (name, run) in enumerate(runs.items(), start=1)
        }
    title = "ECG report: " + ", ".join(runs)
    notices = [NOTICE, *data_notes(runs)]
    sections = [
        _summary(runs, evaluations),
        _how_to_read(options),
        *(run_section(run, name, evaluations[name], pictures[name]) for name, run in runs.items()),
    ]
    numbers = {
        "enecg": __version__,
        "options": vars(options),
        "runs": {
            name: {"stages": run.info.to_dict()["stages"], "tasks": evaluations[name]} for name, run in runs.items()
        },
    }
    with added_files(output) as aside:
        (aside / NUMBERS).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        (aside / MARKDOWN).write_text(render_markdown(title, notices, sections), encoding="utf-8")
        (aside / PAGE).write_text(render_html(title, notices, sections, output), encoding="utf-8")
    return output / PAGE


def read_runs(folders: Sequence[str | Path]) -> dict[str, Run]:
    """Read runs by name; where two have the same, all go by their folders.

    Raises:
        ValueError: if a folder is given twice, or as `read_run` does.
    """
    paths = [Path(folder).resolve() for folder in folders]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise ValueError(f"{folders[index]} is given twice; give each run once.")
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    if len(set(names)) < len(names):
        names = [f"{index}: {name}" for index, name in enumerate(names, start=1)]
    return dict(zip(names, runs, strict=True))


def draw_task(run: Run, task: Task, evaluated: Mapping[str, Any], folder: Path, prefix: str) -> dict[str, Picture]:
    """Draw a task's figures into a folder, and return those by kind.

    Args:
        run (`Run`): The run.
        task (`Task`): One of its tasks.
        evaluated (`Mapping[str, Any]`): What `evaluate_run` gives of the task.
        folder (`Path`): Where the PNG files go.
        prefix (`str`): How their names begin.
    """
    pictures: dict[str, Picture] = {}
    num_records = evaluated["scores"]["num_records"]
    if not num_records:
        return pictures

    def add(kind: str, caption: str) -> Path:
        pictures[kind] = Picture(f"{prefix}_{kind}.png", caption)
        return folder / pictures[kind].name

    title = f"{task.name}, test fold, {num_records} records"
    if task.is_regression:
        test = run.splits["test"]
        truth, predicted, _ = with_targets(task, test.targets[task.name], test.outputs[task.name])
        pairs = zip(truth.reshape(predicted.shape).T, predicted.T, strict=True)
        columns = dict(zip(task.output_names, pairs, strict=True))
        path = add(
            "agreement",
            f"{task.name}: predicted against true values (dashed: equal), and their differences with bias and limits "
            "of agreement; the bands are intervals.",
        )
        plot_agreement(columns, evaluated["agreement"]["per_output"], task.unit, path, title)
    else:
        path = add("per_label", f"{task.name}: AUROC and AUPRC of every label with intervals, the best AUROC on top.")
        plot_per_label(evaluated["scores"]["per_label"], path, title)
        num_shown = len(most_frequent(evaluated["as_predicted"]))
        shown = f"the {num_shown} most frequent of " if num_shown < task.num_outputs else ""
        path = add(
            "calibration",
            f"{task.name}: calibration curves of {shown}{task.num_outputs} labels (positives in brackets), in bins of "
            "about equally many records with Wilson intervals.",
        )
        plot_calibration(evaluated["as_predicted"], evaluated["calibrated"], path, title)
    if evaluated["subgroups"]:
        metric = "mae" if task.is_regression else "macro_auroc"
        unit = f", in {task.unit}" if task.unit else ""
        path = add("subgroups", f"{task.name}: {METRIC_NAMES[metric]}{unit} by group (records in brackets).")
        by_name = {GROUPS[column]: scored for column, scored in evaluated["subgroups"].items()}
        plot_subgroups(by_name, metric, path, f"{task.name}: {METRIC_NAMES[metric]}{unit}")
    return pictures


def data_notes(runs: Mapping[str, Run]) -> list[str]:
    """Return what runs say of their data, each remark once."""
    return list(dict.fromkeys(note for run in runs.values() if (note := run.info.dataset.note)))


def _summary(runs: Mapping[str, Run], evaluations: Mapping[str, Any]) -> Section:
    tasks = {task.name: task for run in runs.values() for task in run.tasks}
    rows = [row for task in tasks.values() for row in _summary_rows(task, runs, evaluations)]
    paragraphs = []
    if len(runs) > 1:
        ids = [set(run.splits["test"].records["ecg_id"]) for run in runs.values()]
        same = all(each == ids[0] for each in ids)
        paragraphs = [
            "Intervals that overlap do not show that runs are alike: enecg compare tests their differences."
            if same
            else "The runs were tested on different records: their scores cannot be compared."
        ]
    table = Table("Test fold, each score with its interval", ["task", "score", *runs], rows, 2)
    return Section("Summary", paragraphs, [table])


def _summary_rows(task: Task, runs: Mapping[str, Run], evaluations: Mapping[str, Any]) -> list[Row]:
    """Return a task's headline scores, one row each, a run a column."""
    scored = {name: _headline(evaluations[name][task.name]) for name in runs if task.name in evaluations[name]}
    kinds = dict.fromkeys(kind for scores in scored.values() for kind in scores)
    title = Cell(task.name, f"in {task.unit}" if task.unit else "")
    return [
        Row([title if first else Cell(""), Cell(kind), *(scored.get(name, {}).get(kind, Cell("–")) for name in runs)])
        for first, kind in zip([True] + [False] * len(kinds), kinds, strict=False)
    ]


def _headline(evaluated: Mapping[str, Any]) -> dict[str, Cell]:
    scores = evaluated["scores"]
    cells = {"records": Cell(str(scores["num_records"]))}
    parts = (scores, evaluated.get("decisions") or {})
    chosen = ("macro_auroc", "macro_auprc", "accuracy", "macro_f1", "macro_sensitivity", "macro_specificity")
    for metric in (*chosen, "mae", "rmse", "r2"):
        for part in parts:
            if metric in part:
                cells[METRIC_NAMES[metric]] = interval_cell(part[metric])
    for part, suffix in (("as_predicted", ""), ("calibrated", ", calibrated")):
        if "macro_brier" in evaluated.get(part, {}):
            cells[METRIC_NAMES["macro_brier"] + suffix] = interval_cell(evaluated[part]["macro_brier"], ".4f")
    return cells


def _how_to_read(options: ReportOptions) -> Section:
    drawn = (
        "patients with all their records were drawn, or records where no patient has several"
        if options.resample == PATIENT
        else "records were drawn one by one, which makes intervals too narrow where a patient has several"
    )
    method = {
        "temperature": "temperature scaling, one number a task",
        "platt": "Platt scaling, label by label, of single-label tasks by temperature",
    }[options.calibration]
    return Section(
        "How to read it",
        [
            f"Intervals hold {100 * options.confidence:g} % of {options.num_resamples} bootstrap resamples of the "
            f"test fold: {drawn}; seed {options.seed}.",
            "Thresholds turn probabilities into yes or no: each was chosen on validation records for "
            f"{options.aim()} of its label there, so that no test record had a say.",
            f"Calibration makes probabilities mean frequencies; it was fitted on the validation fold ({method}).",
            "The Brier score is the mean squared distance of probability and truth; lower is better.",
            few_positives_text(),
            "With many rare labels the macro AUPRC may lie below its own interval: a resample that repeats the few "
            "positives ranks them more easily.",
            f"Numbers were computed by enecg {__version__} from the runs' predictions, but for costs, fewer leads and "
            f"experts, which the runs measured; {NUMBERS} holds them all.",
        ],
    )
