"""Pictures of a study: from its results to what the figures draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..evaluation.metrics import metric_title
from ..figures.studies import CONTROL, MEASURED, PUBLISHED, Bar, Curve, plot_lines, plot_rows, plot_stage_curves
from ..figures.style import number
from .results import COST, RunResult, StudyResults, shown_task
from .study import Study, leading_number
from .tables import measured_on, published_beside, published_row, spread_name


def draw_pictures(study: Study, results: StudyResults, folder: Path) -> list[Path]:
    """Draw a study's figures into a folder: one of each metric, or the training curves.

    Args:
        study (`Study`): What was run; its `figure` says what to draw.
        results (`StudyResults`): What came out.
        folder (`Path`): Where to write.

    Returns:
        `list[Path]`: The files.
    """
    if study.figure == "curves":
        draw_curves(study, results, folder / "curves.png")
        return [folder / "curves.png"]
    summary = results.summary()
    shown = summary[summary["task"] != COST]
    paths = []
    for metric in dict.fromkeys(shown["metric"]):
        paths.append(folder / f"{metric}.png")
        draw = draw_lines if study.figure == "lines" else draw_rows
        draw(study, results, shown[shown["metric"] == metric], paths[-1])
    return paths


def draw_rows(study: Study, results: StudyResults, rows: pd.DataFrame, path: Path) -> Figure:
    """Draw one metric of every row of a study, with the published values that it names below them.

    Args:
        study (`Study`): What was run.
        results (`StudyResults`): Say on what it was measured.
        rows (`pd.DataFrame`): Of the summary, those of one metric.
        path (`Path`): The file to write.
    """
    tasks: dict[str, list[Bar]] = {str(task): [] for task in dict.fromkeys(rows["task"])}
    for _, row in rows.iterrows():
        kind = CONTROL if row["row"] in study.controls else MEASURED
        tasks[row["task"]].append(Bar(row["row"], _interval(row), kind))
    for each in published_beside(study, rows):
        tasks[each.task].append(Bar(published_row(each), {"point": each.value}, PUBLISHED))
    return plot_rows(tasks, str(rows["metric"].iloc[0]), _heading(study, results, rows), path)


def draw_lines(study: Study, results: StudyResults, rows: pd.DataFrame, path: Path) -> Figure:
    """Draw one metric of a study over the numbers of the axis that its `over` names; arguments as of `draw_rows`."""
    over = str(study.over)
    options = {result.run.row: result.run.options for result in results.runs if over in result.run.options}
    tasks: dict[str, dict[str, dict[float, Mapping[str, float]]]] = {}
    for _, row in rows[rows["row"].isin(options.keys())].iterrows():
        line = _line_name(study, options[row["row"]])
        points = tasks.setdefault(str(row["task"]), {}).setdefault(line, {})
        points[leading_number(options[row["row"]][over])] = _interval(row)
    return plot_lines(tasks, over, str(rows["metric"].iloc[0]), _heading(study, results, rows), path)


def draw_curves(study: Study, results: StudyResults, path: Path) -> Figure:
    """Draw the training curves of each run's last stage.

    Args:
        study (`Study`): What was run.
        results (`StudyResults`): What came out.
        path (`Path`): The file to write.
    """
    tasks: dict[str, list[Curve]] = {}
    for result in results.runs:
        tasks.setdefault(shown_task(result.run), []).append(_curve(result))
    remark = "The last stage of each run, one line per seed"
    return plot_stage_curves(tasks, [study.title, remark, *measured_on(results)], path)


def _heading(study: Study, results: StudyResults, rows: pd.DataFrame) -> list[str]:
    """Return the title, what is shown, and on what it was measured."""
    shown = f"{metric_title(str(rows['metric'].iloc[0]))} on the test fold; bars: {spread_name(results, rows)}"
    return [study.title, shown, *measured_on(results)]


def _interval(row: pd.Series) -> dict[str, float]:
    """Return a row's mean and what its bar spans: a deviation over seeds, or the interval of a single run.

    With rare labels a single score may lie outside its interval.
    """
    mean, lower, upper = (number(row[key]) for key in ("mean", "lower", "upper"))
    if row["num_seeds"] > 1:
        lower, upper = mean - number(row["sd"]), mean + number(row["sd"])
    return {"point": mean, "lower": lower, "upper": upper}


def _line_name(study: Study, options: Mapping[str, str]) -> str:
    """Return what tells a line from others: the options but for the task and the axis that it runs over."""
    others = [option for axis, option in options.items() if axis not in (study.over, "task")]
    return ", ".join(others) or study.title


def _curve(result: RunResult) -> Curve:
    history = result.history
    best = None if history["best_epoch"] is None else (history["best_epoch"], history["best_score"])
    losses, validation_losses, scores = (_series(history["log"], key) for key in ("loss", "eval_loss", "eval_score"))
    return Curve(result.run.row, losses, validation_losses, scores, best)


def _series(log: Sequence[Mapping[str, Any]], key: str) -> dict[float, float]:
    """Return a logged value by epoch; the best model, evaluated again at the end, does not count."""
    points: dict[float, float] = {}
    for entry in log:
        if key in entry:
            points.setdefault(entry["epoch"], entry[key])
    return points
