"""A demo page: upload an ECG or choose a simulated one, and see what a model finds and which expert weighed how much.

python app.py --model runs/mine

Without `--model` the variable `ENECG_MODEL` names the model, as on a Hugging Face Space; or else it is `small`, which
comes with the package. Recordings are read in folders of this process that are removed at once, and neither the server
nor the browser asks another machine for anything.
"""

import argparse
import base64
import io
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from safetensors import SafetensorError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeling_enecg import Task
from modeling_enecg.data.measured_print import measured_print
from modeling_enecg.data.ptbxl.labels import describe
from modeling_enecg.data.simulator.ecg import SAMPLING_RATE, simulate_record
from modeling_enecg.evaluation.lead_sets import worth_on_leads
from modeling_enecg.figures.recording import plot_recording
from modeling_enecg.findings import Findings
from modeling_enecg.io import ECGFileError, ECGRecord, read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction import Predictor

logger = logging.getLogger(__name__)

MAX_FILES = 4
MAX_BYTES = 20 * 2**20
MAX_SECONDS = 3600
LIMITS = f"a recording has at most {MAX_FILES} files of {MAX_BYTES // 2**20} MB together"
SHOWN_FINDINGS = 8

SIMULATED_CODES = ("NORM", "AFIB", "SBRAD", "STACH", "PVC", "1AVB", "CLBBB", "CRBBB", "IMI", "ASMI", "LVH", "ISC_")
SIMULATED = {describe(code): code for code in SIMULATED_CODES}

INTRODUCTION = f"""# EnECG

**Research prototype, not a medical device.** What a model finds in a 12-lead ECG, and how much each of its experts
weighs. Uploads stay on the machine that runs this page and are deleted once read; {LIMITS}."""

# The page asks its own server only, whatever a release of Gradio may link to.
CONTENT_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"

STYLE = """
.html-container { padding: 8px 0; }
.ecg-record { margin-bottom: 8px; }
.ecg-record h2 { font-size: 1.4em; font-weight: bold; }
.ecg-paper { overflow-x: auto; margin-bottom: 16px; }
.ecg-paper img { width: 100%; min-width: 760px; max-width: 1280px; border-radius: 8px; }
.ecg-tasks { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; }
.ecg-tasks section { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px 16px; }
.ecg-tasks h3 { font-size: 1.1em; font-weight: bold; }
.ecg-tasks table { width: 100%; margin: 0; padding: 0; }
.ecg-tasks th, .ecg-tasks td { font-weight: normal; text-align: left; padding: 2px 0; }
.ecg-tasks td:nth-child(2) { width: 35%; padding: 0 12px; }
.ecg-tasks td.ecg-cell { width: 1%; white-space: nowrap; padding-left: 8px; font-variant-numeric: tabular-nums; }
.ecg-tasks i { display: block; height: 10px; border-radius: 3px; background: var(--primary-500); }
.ecg-tasks table.ecg-gate { margin-top: 10px; }
.ecg-gate i { background: var(--neutral-400); }
.ecg-gate caption, .ecg-tasks small, .ecg-record p { text-align: left; opacity: 0.75; }
.ecg-quality.ecg-doubtful, .ecg-quality.ecg-unusable { opacity: 1; font-weight: bold; }
.ecg-value { font-size: 1.8em; }
.ecg-error { border-left: 4px solid var(--error-icon-color); padding: 8px 12px; font-weight: bold; }
"""


def read_upload(paths: Sequence[str]) -> tuple[str, ECGRecord]:
    """Read the recording in uploaded files, which are removed whatever comes of it.

    Raises:
        ValueError: if a limit is exceeded, or the files are not one readable ECG.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [_take(Path(path), Path(folder)) for path in paths]
        size = sum(file.stat().st_size for file in files)
        if len(files) > MAX_FILES or size > MAX_BYTES:
            raise ValueError(f"Got {len(files)} files of {size / 2**20:.1f} MB; {LIMITS}.")
        headers = [file for file in files if file.suffix == ".hea"]
        if len(headers or files) != 1:
            names = ", ".join(file.name for file in files)
            raise ValueError(f"Got {names}; expected the files of one recording, for WFDB its .hea and .dat.")
        (main_file,) = headers or files
        try:
            record = read_ecg(main_file)
        except ECGFileError as error:
            raise ECGFileError(str(error).replace(f"{folder}/", "")) from error
    num_samples = record.signal_mv.shape[1]
    if num_samples > MAX_SECONDS * record.sampling_rate:
        raise ValueError(f"Got {num_samples} samples at {record.sampling_rate:g} Hz; a recording has at most an hour.")
    return main_file.stem, record


def _take(upload: Path, folder: Path) -> Path:
    """Move an uploaded file to a folder, under a name of plain characters."""
    name = re.sub(r"[^\w.-]", "_", upload.name, flags=re.ASCII).lstrip(".") or "_"
    taken = Path(shutil.move(upload, folder / name))
    with suppress(OSError):
        upload.parent.rmdir()  # Gradio's folder of this one file
    return taken


def simulate(name: str) -> tuple[str, ECGRecord]:
    """Simulate the recording of a name in `SIMULATED`, always the same."""
    signal_mv = simulate_record([SIMULATED[name]], np.random.default_rng(0))
    return f"Simulated: {name}", ECGRecord(signal_mv, SAMPLING_RATE, list(STANDARD_LEADS))


def respond(predictor: Predictor, read: Callable[[Any], tuple[str, ECGRecord]], source: Any) -> str:
    """Return what is to be seen of a recording as HTML; or one line that says what is wrong with it."""
    try:
        name, record = read(source)
        return result_html(name, record, predictor(record), predictor.model.tasks)
    except ValueError as error:
        message = " ".join(str(error).split())
    except Exception:  # what else a file can provoke in the libraries that read it
        logger.exception("A recording could not be read.")
        message = "This recording cannot be read."
    return f'<p class="ecg-error" role="alert">{escape(message)}</p>'


def result_html(name: str, record: ECGRecord, found: Findings, tasks: Mapping[str, Task]) -> str:
    """Return a recording's plot and the verdict on it above a card for each task."""
    num_leads, num_samples = record.signal_mv.shape
    facts = f"{num_leads} leads, {num_samples / record.sampling_rate:.1f} s at {record.sampling_rate:g} Hz"
    drawing = io.BytesIO()
    plot_recording(record, measured_print(record)).savefig(drawing, format="svg")
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawing.getvalue()).decode()}"
    cards = "".join(task_html(tasks[task], found) for task in found) if found.is_scored else ""
    return (
        f'<div class="ecg-record"><h2>{escape(name)}</h2><p>{facts}</p>{_basis_html(found)}</div>'
        f'<div class="ecg-paper"><img src="{source}" alt="The ECG on paper, its first 10 seconds"></div>'
        f'<div class="ecg-tasks">{cards}</div>'
    )


def _basis_html(found: Findings) -> str:
    """Return what the findings rest on: the quality of the signal, and the leads that were read."""
    quality, reasons = found.quality.verdict, str(found.quality)
    text = f"Signal quality: <b>{quality}</b>{escape(f' ({reasons})' if reasons else '')}"
    basis = f'<p class="ecg-quality ecg-{quality}">{text}</p>'
    if not found.is_scored:
        return f'{basis}<p class="ecg-error" role="alert">Not scored: the signal is unusable.</p>'
    lines = [f"Leads used: {', '.join(found.used_leads)}"]
    if found.missing_leads:
        lines.append(f"Missing: {', '.join(found.missing_leads)}")
    lines += [f"Left out: {channel} ({reason})" for channel, reason in found.left_out.items()]
    if novelty := found.describe_novelty():
        lines.append(novelty.capitalize())
    return basis + "".join(f"<p>{escape(line)}</p>" for line in lines)


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
        rows = "".join(_row_html(expert, weight, f"{weight:.3f}") for expert, weight in weights.items())
        findings += f'<table class="ecg-gate"><caption>Weight of each expert</caption>{rows}</table>'
    title = escape(task.name.replace("_", " "))
    return f'<section id="task-{escape(task.name)}"><h3>{title}</h3>{findings}</section>'


def _value_html(finding: Mapping[str, Any]) -> str:
    interval = f" <small>{finding['lower']:.1f} to {finding['upper']:.1f}</small>" if "lower" in finding else ""
    return f'<p><span class="ecg-value">{finding["value"]:.1f}</span> {escape(finding["unit"] or "")}{interval}</p>'


def _findings_html(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of labels: calibrated probability, threshold, and which are present."""
    rows = []
    for each in findings:
        held = "" if each["threshold"] is None else f" of {each['threshold']:.3f}"
        decision = "present" if each["present"] else "\N{EN DASH}"
        rows.append(_row_html(each["label"], each["score"], f"{each['score']:.3f}{held}", decision))
    return f"<table>{''.join(rows)}</table>"


def _row_html(label: str, share: float, *cells: str) -> str:
    """Return a row with a label, a share between 0 and 1 as a bar, and what is written beside it."""
    meaning = f" <small>{escape(describe(label))}</small>" if describe(label) != label else ""
    bar = f'<i style="width: {share:.1%}"></i>'
    written = "".join(f'<td class="ecg-cell">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{escape(label)}{meaning}</th><td>{bar}</td>{written}</tr>'


def build_page(predictor: Predictor) -> gr.Blocks:
    """Return the page of a model. A new choice clears the other one, and an upload its list of files."""
    with gr.Blocks(title="EnECG", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            upload = gr.File(
                label="Upload a recording (of WFDB both files, .hea and .dat)", file_count="multiple", height=140
            )
            choice = gr.Dropdown(list(SIMULATED), value=None, label="or choose a simulated one")
        result = gr.HTML(apply_default_css=False)

        def show_upload(paths: list[str]) -> tuple[str, None, None]:
            return respond(predictor, read_upload, paths), None, None

        def show_choice(name: str) -> str:
            return respond(predictor, simulate, name)

        upload.upload(show_upload, upload, [result, upload, choice], api_visibility="private")
        choice.input(show_choice, choice, result, api_visibility="private")
    return page


class Guard:
    """A layer of the server: refuses uploads beyond the limit unread, and tells browsers to ask no other server."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = CONTENT_POLICY
            await send(message)

        app = self.app
        is_upload = scope["type"] == "http" and scope["path"].endswith("/upload")
        if is_upload and int(Headers(scope=scope).get("content-length", 0)) > MAX_BYTES:
            app = PlainTextResponse(f"Too large: {LIMITS}.", 413)
        await app(scope, receive, send_with_policy)


def remove_unread(folder: Path, age_s: float = 600, every_s: float = 60) -> None:
    """Remove what has lain in a folder while it exists: uploads broken off, or that no page asked to read."""
    while folder.exists():
        for path in folder.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > age_s:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        time.sleep(every_s)


def main() -> None:
    """Serve the page until interrupted or terminated."""
    parser = argparse.ArgumentParser(description="Demo page of an EnECG model. Not a medical device.")
    parser.add_argument(
        "--model",
        default=os.environ.get("ENECG_MODEL") or "small",
        help="folder, Hub id or shipped name (default: $ENECG_MODEL, or else small)",
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    options = parser.parse_args()
    try:
        predictor = Predictor(options.model)
    except (ValueError, OSError, SafetensorError) as error:
        sys.exit(f"app.py: {' '.join(str(error).split())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="enecg-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        threading.Thread(target=remove_unread, args=[Path(folder)], daemon=True).start()
        build_page(predictor).launch(
            server_name="0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1",
            server_port=options.port,
            max_file_size=MAX_BYTES,
            app_kwargs={"middleware": [Middleware(Guard)]},
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=STYLE,
            footer_links=[],
            share=False,
            ssr_mode=False,
            run_history=False,
        )


if __name__ == "__main__":
    main()
