"""What each row of a study scores more than another, paired by patient and averaged over the seeds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ..evaluation import Bootstrap, Scored
from ..evaluation.comparison import compare_over_runs
from ..runs.run import Run
from .results import RunResult, StudyResults
from .study import Study

BOOTSTRAP = Bootstrap()
COLUMNS = ["row", "task", "metric", "mean", "lower", "upper"]


def differences(study: Study, results: StudyResults) -> pd.DataFrame:
    """Compare the rows of a study as its `against` says, on the test fold.

    Args:
        study (`Study`): What was run.
        results (`StudyResults`): What came out.

    Returns:
        `pd.DataFrame`: One row per row of the study, task and metric: `row`, `task`, `metric`, the `mean` over seeds
            of what it scores more, and the paired interval by patient from `lower` to `upper`. Empty where the study
            has no `against`.
    """
    if study.against is None:
        return pd.DataFrame(columns=COLUMNS)
    return pd.DataFrame(_rows(study, _scored(results.runs)), columns=COLUMNS)


def _scored(runs: Sequence[RunResult]) -> dict[tuple[str, str], list[Scored]]:
    """Return by row and task the test records of each run."""
    scored: dict[tuple[str, str], list[Scored]] = {}
    for result in runs:
        done = Run(result.folder)
        for task in done.tasks:
            scored.setdefault((result.run.row, task.name), []).append(done.splits["test"].scored(task))
    return scored


def _rows(study: Study, scored: Mapping[tuple[str, str], Sequence[Scored]]) -> Iterator[dict[str, Any]]:
    others = study.compared_rows()
    for (row, task), runs in scored.items():
        if row not in others or (others[row], task) not in scored:
            continue
        for metric, difference in compare_over_runs(runs, scored[others[row], task], BOOTSTRAP).items():
            if metric in study.metrics:
                interval = {key: difference[key] for key in ("lower", "upper")}
                yield {"row": row, "task": task, "metric": metric, "mean": difference["point"], **interval}
