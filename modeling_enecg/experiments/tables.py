"""Tables of a study: `runs.csv`, `table.csv` and `table.md`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ..data.ptbxl.labels import TASK_NAMES
from ..evaluation.metrics import metric_title
from ..reports.published import PublishedResult, published_results
from ..runs.files import new_file, write_text
from .differences import BOOTSTRAP, differences
from .results import COST, RunResult, StudyResults
from .study import Study

COST_TITLES = {
    "trainable_share": "trained share of the weights",
    "seconds": "seconds of training",
    "peak_mb": "peak memory, MB",
    "gpu_peak_mb": "peak memory of the GPU, MB",
}

_DIFFERENCES = (
    f"Mean over the seeds of the difference, with the {100 * BOOTSTRAP.confidence:.0f} % interval over patients, who "
    f"are drawn alike for both ({BOOTSTRAP.num_resamples} resamples); in bold where it leaves 0 out. It does not tell "
    "what other seeds would change."
)


def write_tables(study: Study, results: StudyResults, folder: Path) -> None:
    """Write `runs.csv`, each run's scores; `table.csv`, means, spreads and published values; and `table.md`.

    Where the study compares its rows with one of them, `differences.csv` has these.

    Args:
        study (`Study`): What was run.
        results (`StudyResults`): What came out.
        folder (`Path`): Where to write.
    """
    summary = results.summary()
    published = published_beside(study, summary)
    _write_csv(results.scores, folder / "runs.csv")
    _write_csv(pd.concat([summary, _published_frame(published)]), folder / "table.csv")
    compared = differences(study, results)
    if len(compared):
        _write_csv(compared, folder / "differences.csv")
    write_text(folder / "table.md", _markdown(study, results, summary, published, compared))


def measured_on(results: StudyResults) -> list[str]:
    """Return sentences that say on what a study was measured."""
    runs = results.runs
    counts = {split: _range([run.info.dataset.num_records[split] for run in runs]) for split in _splits(runs)}
    records = ", ".join(f"{count} {split}" for split, count in counts.items())
    seeds = ", ".join(map(str, sorted({result.run.seed for result in runs})))
    remarks = sorted({result.info.dataset.note for result in runs} - {""})
    names = " and ".join(sorted({result.info.dataset.name for result in runs}))
    devices = " and ".join(sorted({result.info.device for result in runs}))
    return [f"Measured on {names}, records: {records}; seeds: {seeds}; {devices}.", *remarks]


def spread_name(results: StudyResults, summary: pd.DataFrame) -> str:
    """Return what the spread of a study's scores is: over seeds, or of a single run."""
    if (summary["num_seeds"] > 1).any():
        return "standard deviation over the seeds"
    return f"{results.runs[0].info.confidence:.0%} interval of the bootstrap".replace("%", " %")


def _splits(runs: list[RunResult]) -> list[str]:
    return list(runs[0].info.dataset.num_records)


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def published_beside(study: Study, summary: pd.DataFrame) -> list[PublishedResult]:
    """Return the published results that the study names, of the tasks and metrics that it has."""
    wanted = [(each["model"], each["mode"]) for each in study.published]
    shown = summary[summary["task"].isin(TASK_NAMES)][["task", "metric"]].drop_duplicates()
    found = [each for row in shown.itertuples() for each in published_results(str(row.task), str(row.metric))]
    return [each for name in wanted for each in found if (each.model, each.mode) == name]


def _published_frame(published: list[PublishedResult]) -> pd.DataFrame:
    rows = [
        {
            "row": published_row(each),
            "task": each.task,
            "metric": each.metric,
            "mean": each.value,
            "lower": each.lower,
            "upper": each.upper,
            "source": each.source,
        }
        for each in published
    ]
    return pd.DataFrame(rows, columns=["row", "task", "metric", "mean", "lower", "upper", "source"], dtype=object)


def published_row(result: PublishedResult) -> str:
    """Return what the row of a published result is called."""
    return ", ".join(part for part in (f"published: {result.model}", result.mode, result.note) if part)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with new_file(path) as aside:
        frame.to_csv(aside, index=False, float_format="%.6g")


def _markdown(
    study: Study,
    results: StudyResults,
    summary: pd.DataFrame,
    published: list[PublishedResult],
    compared: pd.DataFrame,
) -> str:
    spread = spread_name(results, summary)
    cells = f"value ({spread})" if "interval" in spread else f"mean ± {spread}"
    parts = [f"# {study.title}", *measured_on(results), f"Cells: {cells}; on the test fold."]
    for metric in study.metrics:
        rows = summary[(summary["metric"] == metric) & (summary["task"] != COST)]
        if len(rows):
            parts += [
                f"## {metric_title(metric)}",
                _grid(rows, "task", _cell, [p for p in published if p.metric == metric]),
            ]
    for metric in study.metrics:
        rows = compared[compared["metric"] == metric]
        if len(rows):
            parts += [
                f"## {metric_title(metric)}: more than {study.against}",
                _DIFFERENCES,
                _grid(rows, "task", _difference_cell),
            ]
    costs = summary[summary["task"] == COST]
    if len(costs):
        parts += ["## Cost", _grid(costs, "metric", _cell)]
    sources = dict.fromkeys(f"- {published_row(each)}: {each.source}" for each in published)
    if sources:
        parts += ["## Published values", "\n".join(sources)]
    if study.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in study.notes)]
    return "\n\n".join(parts) + "\n"


def _grid(
    rows: pd.DataFrame,
    columns: str,
    cell: Callable[[pd.Series], str],
    published: Sequence[PublishedResult] = (),
) -> str:
    """Return a Markdown table of one line per row, with published values below."""
    heads = list(dict.fromkeys(rows[columns]))
    cells = {(row["row"], row[columns]): cell(row) for _, row in rows.iterrows()}
    cells |= {(published_row(each), each.task): f"{each.value:.3f}" for each in published}
    names = list(dict.fromkeys(name for name, _ in cells))
    lines = [["", *(COST_TITLES.get(head, head) for head in heads)], ["---"] * (len(heads) + 1)]
    lines += [[name, *(cells.get((name, head), "–") for head in heads)] for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference_cell(row: pd.Series) -> str:
    """Return a difference with its interval, in bold if that leaves 0 out."""
    if pd.isna(row["mean"]):
        return "–"
    if pd.isna(row["lower"]):
        return f"{row['mean']:+.3f}"
    text = f"{row['mean']:+.3f} ({row['lower']:+.3f} to {row['upper']:+.3f})"
    return f"**{text}**" if row["lower"] > 0 or row["upper"] < 0 else text


def _cell(row: pd.Series) -> str:
    mean = _shown(row["mean"], row["metric"])
    if row["num_seeds"] > 1:
        return f"{mean} ± {_shown(row['sd'], row['metric'])}"
    if pd.isna(row["lower"]):
        return mean
    return f"{mean} ({_shown(row['lower'], row['metric'])}-{_shown(row['upper'], row['metric'])})"


def _shown(value: float, metric: str) -> str:
    if metric == "trainable_share":
        return f"{100 * value:.3g} %"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
