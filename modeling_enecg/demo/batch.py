"""The findings in several recordings: a table to look at, and one to download."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from ..configuration_enecg import Task
from ..findings import Findings
from ..prediction.files import findings_of_files
from ..signal_quality import UNUSABLE
from .uploads import Recording

FILE_NAME = "findings.csv"


def batch_html(recordings: Sequence[Recording], results: Sequence[Findings | None], tasks: Sequence[Task]) -> str:
    """Return a row per recording, and a link to the same table as `enecg predict --output` writes, as CSV.

    Args:
        recordings (`Sequence[Recording]`): The recordings.
        results (`Sequence[Findings]`): What was found in each; None where its `error` says why it was not read.
        tasks (`Sequence[Task]`): The model's tasks.
    """
    names, errors = [each.name for each in recordings], [each.error for each in recordings]
    table = findings_of_files(tasks, names, results, errors).to_pandas().to_csv(index=False)
    link = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(table.encode()).decode()}"
    titles = ["Recording", "Quality", *(task.name.replace("_", " ") for task in tasks)]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    rows = "".join(_row_html(each, found, tasks) for each, found in zip(recordings, results, strict=True))
    return (
        f'<div class="ecg-record"><h2>{len(recordings)} recordings</h2></div>'
        f'<div class="ecg-batch"><table><tr>{head}</tr>{rows}</table></div>'
        f'<p><a class="ecg-download" download="{FILE_NAME}" href="{link}">Download all numbers as {FILE_NAME}</a></p>'
    )


def _row_html(recording: Recording, found: Findings | None, tasks: Sequence[Task]) -> str:
    if found is None or not found.is_scored:
        verdict, reason = UNUSABLE, recording.error if found is None else str(found.quality)
        cells = f'<td class="ecg-{verdict}">{verdict}</td><td colspan="{len(tasks)}">{escape(reason)}</td>'
    else:
        quality = found.quality
        cells = f'<td class="ecg-{quality.verdict}" title="{escape(str(quality))}">{quality.verdict}</td>'
        cells += "".join(f"<td>{escape(_summary(found[task.name]))}</td>" for task in tasks)
    return f'<tr><th scope="row">{escape(recording.name)}</th>{cells}</tr>'


def _summary(findings: Sequence[dict[str, Any]]) -> str:
    """Return the labels that are present with their probabilities, or a regression's values."""
    if "value" in findings[0]:
        return ", ".join(f"{each['value']:.1f} {each['unit'] or ''}".rstrip() for each in findings)
    present = sorted((each for each in findings if each["present"]), key=lambda each: -each["score"])
    return ", ".join(f"{each['label']} {each['score']:.2f}" for each in present) or "\N{EN DASH}"


__all__ = ["batch_html"]
