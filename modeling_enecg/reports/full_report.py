"""A report on one run or several: one HTML page, the same as Markdown, its figures, and its numbers as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configuration_enecg import Task
from ..evaluation.bootstrap import PATIENT
from ..evaluation.metrics import METRICS, metric_title
from ..runs.files import added_files
from ..runs.run import Run, read_run
from ..version import __version__
from .cells import few_positives_text, interval_cell, no_interval_text
from .drawing import draw_task
from .evaluate import AUTO, ReportOptions, evaluate_run
from .page import FIGURES, Cell, Row, Section, Table, render_html, render_latex, render_markdown
from .run_section import run_section

PAGE, MARKDOWN, LATEX, NUMBERS = (f"report.{ending}" for ending in ("html", "md", "tex", "json"))
_NOT_IN_SUMMARY = ("balanced_accuracy", "macro_ppv", "macro_npv")
NOTICE = (
    "Research prototype, not a medical device. Nothing here may guide the care of a patient; scores are of the test "
    "records named below, and not of another hospital's."
)


def write_full_report(folders: Sequence[str | Path], output: str | Path, options: ReportOptions) -> Path:
    """Write `report.html`, which needs no other file, `report.md` with `figures/`, `report.tex` and `report.json`.

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
    bootstrap = options.bootstrap()
    evaluations = {name: evaluate_run(run, options, bootstrap) for name, run in runs.items()}
    output = Path(output)
    with added_files(output / FIGURES) as aside:
        pictures = {
            name: {
                task.name: draw_task(
                    run, task, evaluations[name][task.name], aside, f"{index}_{task.name}", options, bootstrap
                )
                for task in run.tasks
            }
            for index, (name, run) in enumerate(runs.items(), start=1)
        }
    title = "ECG report: " + ", ".join(runs)
    notices = [NOTICE, *data_notes(runs)]
    sections = [
        _summary(runs, evaluations),
        _how_to_read(options, any(len(run.splits["validation"]) for run in runs.values())),
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
        (aside / LATEX).write_text(render_latex(title, sections), encoding="utf-8")
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
    table = Table("Test records, each score with its interval", ["task", "score", *runs], rows, 2)
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
    shown = [key for metric in METRICS.values() for key in (metric.key, f"macro_{metric.name}")]
    for key in dict.fromkeys(shown):
        for part in parts:
            if key in part and key not in _NOT_IN_SUMMARY:
                cells[metric_title(key)] = interval_cell(part[key])
    for part, suffix in (("as_predicted", ""), ("calibrated", ", calibrated")):
        if "macro_brier" in (evaluated.get(part) or {}):
            cells[metric_title("macro_brier") + suffix] = interval_cell(evaluated[part]["macro_brier"], ".4f")
    return cells


def _how_to_read(options: ReportOptions, has_validation: bool) -> Section:
    drawn = (
        "patients with all their records were drawn, or records where no patient has several"
        if options.resample == PATIENT
        else "records were drawn one by one, which makes intervals too narrow where a patient has several"
    )
    method = {
        AUTO: "temperature or Platt scaling, whichever has the lower log loss on validation records that it was not "
        "fitted on; the model's own, if it brought one along",
        "temperature": "temperature scaling, one number per task",
        "platt": "Platt scaling, label by label, of single-label tasks by temperature",
    }[options.calibration]
    return Section(
        "How to read it",
        [
            f"Intervals hold {100 * options.confidence:g} % of {options.num_resamples} bootstrap resamples of the "
            f"test records: {drawn}; seed {options.seed}.",
            no_interval_text(),
            *_validation_texts(options, method, has_validation),
            "The Brier score is the mean squared distance of probability and truth; lower is better.",
            few_positives_text(),
            "With many rare labels the macro AUPRC may lie below its own interval: a resample that repeats the few "
            "positives ranks them more easily.",
            f"Numbers were computed by enecg {__version__} from the runs' predictions, but for costs, fewer leads and "
            f"experts, which the runs measured; {NUMBERS} holds them all.",
        ],
    )


def _validation_texts(options: ReportOptions, method: str, has_validation: bool) -> list[str]:
    """Return what validation records decided, or what was done without any."""
    if not has_validation:
        return [
            "There are no validation records here: thresholds, which turn probabilities into yes or no, are the "
            "model's own, and so is their calibration, if it has one."
        ]
    return [
        "Thresholds turn probabilities into yes or no: each was chosen on validation records for "
        f"{options.aim()} of its label there, so that no test record had a say.",
        f"Calibration makes probabilities mean frequencies; it was fitted on validation records ({method}).",
    ]
