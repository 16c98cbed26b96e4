"""The results of a study's runs: their scores, their costs, and on what they were measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..runs.info import RunInfo
from ..runs.run import Run
from .study import TASK_AXIS, Study, StudyRun

COST = "cost"  # stands for the task of what a run cost


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        run (`StudyRun`): The run.
        metrics (`dict[str, Any]`): `metrics.json`.
        info (`RunInfo`): What is said of it.
        history (`dict[str, Any]`): `history.json` of its last stage.
        folder (`Path`): Where it lies.
    """

    run: StudyRun
    metrics: dict[str, Any]
    info: RunInfo
    history: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class StudyResults:
    """A study's finished runs.

    Attributes:
        runs (`list[RunResult]`): All of them, but for those that only come before others.
        scores (`pd.DataFrame`): One row per run, task and metric on the test fold: `run`, `row`, `seed`, `task`,
            `metric`, `point`, `lower`, `upper`; costs have the task `"cost"`.
    """

    runs: list[RunResult]
    scores: pd.DataFrame

    def summary(self) -> pd.DataFrame:
        """Return one row a table row, task and metric: `mean`, `sd`, `num_seeds`, and of one seed the interval.

        `sd` is the standard deviation over seeds (nan of one), `lower` and `upper` are nan of several.
        """
        groups = self.scores.groupby(["row", "task", "metric"], sort=False)["point"]
        summary = groups.agg(mean="mean", sd="std", num_seeds="count").reset_index()
        first = self.scores.drop_duplicates(["row", "task", "metric"])[["row", "task", "metric", "lower", "upper"]]
        summary = summary.merge(first, on=["row", "task", "metric"], how="left")
        summary.loc[summary["num_seeds"] > 1, ["lower", "upper"]] = float("nan")
        return summary[summary["num_seeds"] > 0].reset_index(drop=True)


def read_results(study: Study, runs: Sequence[StudyRun], folder: Path) -> StudyResults:
    """Read a study's finished runs.

    Args:
        study (`Study`): Says which metrics and costs count.
        runs (`Sequence[StudyRun]`): Its runs.
        folder (`Path`): Holds theirs.
    """
    results = [_read_run(run, folder / run.name) for run in runs if run.row not in study.before]
    rows = [row for result in results for row in [*_score_rows(study, result), *_cost_rows(study, result)]]
    columns = ["run", "row", "seed", "task", "metric", "point", "lower", "upper"]
    return StudyResults(results, pd.DataFrame(rows, columns=columns).astype({"point": float}))


def run_costs(info: RunInfo) -> dict[str, float | None]:
    """Return what a run cost, the share of weights that train, seconds, MB."""
    stages = info.stages.values()
    gpu_peaks = [stage.gpu_peak_mb for stage in stages if stage.gpu_peak_mb is not None]
    return {
        "trainable_share": max(stage.num_trainable for stage in stages) / info.num_parameters,
        "seconds": sum(stage.seconds for stage in stages),
        "peak_mb": max((stage.peak_mb for stage in stages if stage.peak_mb is not None), default=None),
        "gpu_peak_mb": max(gpu_peaks, default=None),
    }


def _read_run(run: StudyRun, folder: Path) -> RunResult:
    done = Run(folder)
    return RunResult(run, done.metrics, done.info, done.history(list(done.info.stages)[-1]), folder)


def _score_rows(study: Study, result: RunResult) -> list[dict[str, Any]]:
    return [
        {**_names(result.run), "task": task, "metric": metric, **scores[metric]}
        for task, scores in result.metrics["test"].items()
        for metric in study.metrics
        if metric in scores
    ]


def _cost_rows(study: Study, result: RunResult) -> list[dict[str, Any]]:
    costs = run_costs(result.info)
    return [{**_names(result.run), "task": COST, "metric": cost, "point": costs[cost]} for cost in study.costs]


def _names(run: StudyRun) -> dict[str, Any]:
    return {"run": run.name, "row": run.row, "seed": run.seed}


def shown_task(run: StudyRun) -> str:
    """Return the task of a run whose study has an axis of tasks, or nothing."""
    return run.options.get(TASK_AXIS, "")
