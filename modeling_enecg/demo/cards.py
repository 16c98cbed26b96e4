"""One recording's findings as HTML: its plot, the verdict on it, and a card for each task."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from ..configuration_enecg import Task
from ..data.measured_print import measured_print
from ..data.ptbxl.labels import describe
from ..evaluation.lead_sets import worth_on_leads
from ..figures.recording import plot_recording
from ..findings import Findings
from ..recording import ECGRecord

SHOWN_FINDINGS = 8


def error_html(message: str) -> str:
    """Return a line that says what is wrong."""
    return f'<p class="ecg-error" role="alert">{escape(message)}</p>'


def result_html(name: str, record: ECGRecord, found: Findings, tasks: Mapping[str, Task]) -> str:
    """Return a recording's plot and the verdict on it above a card for each task."""
    num_leads, num_samples = record.signal_mv.shape
    facts = f"{num_leads} leads, {num_samples / record.sampling_rate:.1f} s at {record.sampling_rate:g} Hz"
    paper = figure_html(plot_recording(record, measured_print(record)), "The ECG on paper, its first 10 seconds")
    cards = "".join(task_html(tasks[task], found) for task in found) if found.is_scored else ""
    return (
        f'<div class="ecg-record"><h2>{escape(name)}</h2><p>{facts}</p>{_basis_html(found)}</div>'
        f'{paper}<div class="ecg-tasks">{cards}</div>'
    )


def figure_html(figure: Figure, text: str) -> str:
    """Return a figure that stands in the page itself; on a narrow screen it is scrolled."""
    drawing = io.BytesIO()
    figure.savefig(drawing, format="svg")
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawing.getvalue()).decode()}"
    return f'<div class="ecg-paper"><img src="{source}" alt="{escape(text)}"></div>'


def task_html(task: Task, found: Findings) -> str:
    """Return a card with a task's findings, what its leads are worth, and, of several experts, the weights."""
    results = found[task.name]
    if task.is_regression:
        findings = "".join(map(_value_html, results))
    else:
        ranked = sorted(results, key=lambda each: (not each["present"], -each["score"]))
        num_shown = max(SHOWN_FINDINGS, sum(each["present"] for each in ranked))
        findings = _findings_html(ranked[:num_shown])
        if rest := ranked[num_shown:]:
            findings += f"<details><summary>{len(rest)} less probable</summary>{_findings_html(rest)}</details>"
    worth = worth_on_leads(task, found.missing_leads)
    findings += f"<p>{escape(worth)}</p>" if worth else ""
    weights = found.gate_weights[task.name]
    if len(weights) > 1:
        rows = "".join(row_html(expert, weight, f"{weight:.3f}") for expert, weight in weights.items())
        findings += f'<table class="ecg-gate"><caption>Weight of each expert</caption>{rows}</table>'
    return card_html(task.name.replace("_", " "), findings, f"task-{task.name}")


def card_html(title: str, content: str, name: str) -> str:
    """Return a framed part of the page."""
    return f'<section id="{escape(name)}"><h3>{escape(title)}</h3>{content}</section>'


def row_html(label: str, share: float, *cells: str) -> str:
    """Return a row with a label, a share between 0 and 1 as a bar, and what is written beside it."""
    meaning = f" <small>{escape(describe(label))}</small>" if describe(label) != label else ""
    bar = f'<i style="width: {share:.1%}"></i>'
    written = "".join(f'<td class="ecg-cell">{escape(cell)}</td>' for cell in cells)
    return f'<tr><th scope="row">{escape(label)}{meaning}</th><td>{bar}</td>{written}</tr>'


def _basis_html(found: Findings) -> str:
    """Return what the findings rest on: the quality of the signal, and the leads that were read."""
    quality, reasons = found.quality.verdict, str(found.quality)
    text = f"Signal quality: <b>{quality}</b>{escape(f' ({reasons})' if reasons else '')}"
    basis = f'<p class="ecg-quality ecg-{quality}">{text}</p>'
    if not found.is_scored:
        return basis + error_html("Not scored: the signal is unusable.")
    lines = [f"Leads used: {', '.join(found.used_leads)}"]
    if found.missing_leads:
        lines.append(f"Missing: {', '.join(found.missing_leads)}")
    lines += [f"Left out: {channel} ({reason})" for channel, reason in found.left_out.items()]
    if novelty := found.describe_novelty():
        lines.append(novelty.capitalize())
    return basis + "".join(f"<p>{escape(line)}</p>" for line in lines)


def _value_html(finding: Mapping[str, Any]) -> str:
    interval = f" <small>{finding['lower']:.1f} to {finding['upper']:.1f}</small>" if "lower" in finding else ""
    return f'<p><span class="ecg-value">{finding["value"]:.1f}</span> {escape(finding["unit"] or "")}{interval}</p>'


def _findings_html(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of labels: calibrated probability, threshold, and which are present."""
    rows = []
    for each in findings:
        held = "" if each["threshold"] is None else f" of {each['threshold']:.3f}"
        decision = "present" if each["present"] else "\N{EN DASH}"
        rows.append(row_html(each["label"], each["score"], f"{each['score']:.3f}{held}", decision))
    return f"<table>{''.join(rows)}</table>"


__all__ = ["card_html", "error_html", "figure_html", "result_html", "row_html", "task_html"]
