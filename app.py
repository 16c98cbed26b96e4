"""A demo page: upload ECGs or choose a simulated one, see what a model finds, and ask why.

python app.py --model runs/mine --among features.parquet

Without `--model` the variable `ENECG_MODEL` names the model, as on a Hugging Face Space; or else it is `small`, which
comes with the package. `--among`, or `ENECG_AMONG`, names a table of `enecg embed` by that model, whose most similar
records are shown. Uploaded files are read in folders of this process that are removed at once, and neither the server
nor the browser asks another machine for anything.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
from safetensors import SafetensorError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modeling_enecg.demo import Demo, Recording, read_uploads, simulate
from modeling_enecg.demo.cards import error_html
from modeling_enecg.demo.neighbours import Neighbours
from modeling_enecg.demo.uploads import LIMITS, MAX_BYTES, SIMULATED
from modeling_enecg.prediction import Predictor

KEPT_S = 3600  # as long as Gradio keeps what a closed page had

INTRODUCTION = f"""# EnECG

**Research prototype, not a medical device.** What a model finds in 12-lead ECGs, how much each of its experts weighs,
and what a finding rests on. Uploads stay on the machine that runs this page: the files are deleted once read, and what
was read is forgotten within an hour; {LIMITS}."""

# The page asks its own server only, whatever a release of Gradio may link to.
CONTENT_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"

Updates = dict[Any, Any]  # by component of the page, what it becomes


class Page:
    """The page of a model. What is chosen anew takes the place of all that was shown."""

    def __init__(self, demo: Demo):
        self.demo = demo
        with gr.Blocks(title="EnECG", analytics_enabled=False) as self.blocks:
            gr.Markdown(INTRODUCTION)
            with gr.Row():
                self.upload = gr.File(
                    label="Upload recordings (WFDB: .hea and .dat)", file_count="multiple", height=140
                )
                self.choice = gr.Dropdown(list(SIMULATED), value=None, label="or choose a simulated one")
            self.recordings, self.shown = gr.State([], time_to_live=KEPT_S), gr.State(time_to_live=KEPT_S)
            with gr.Column(visible=False) as self.batch:
                self.table = gr.HTML(apply_default_css=False)
                self.one = gr.Dropdown([], label="Show one of them")
            self.result = gr.HTML(apply_default_css=False)
            with gr.Column(visible=False) as self.why:
                with gr.Row(equal_height=True):
                    self.output = gr.Dropdown(list(demo.outputs), label="Why? The finding to explain", scale=3)
                    self.ask = gr.Button("Explain (takes a while)")
                self.explanation = gr.HTML(apply_default_css=False)
            self._connect()

    def _connect(self) -> None:
        seen = [self.shown, self.result, self.why, self.output, self.explanation]
        everything = [self.upload, self.choice, self.recordings, self.batch, self.table, self.one, *seen]
        private: dict[str, Any] = {"api_visibility": "private"}
        self.upload.upload(self.show_upload, self.upload, everything, **private)
        self.choice.input(self.show_choice, self.choice, everything, **private)
        self.one.input(self.show_one, [self.one, self.recordings], seen, **private)
        self.ask.click(self.demo.explanation, [self.shown, self.output], self.explanation, **private)

    def show_upload(self, paths: list[str]) -> Updates:
        """Show what is found in uploaded files."""
        try:
            recordings = read_uploads(paths)
        except ValueError as error:
            return self._cleared() | {self.result: error_html(str(error))}
        return self._cleared() | (self._seen(recordings[0]) if len(recordings) == 1 else self._several(recordings))

    def show_choice(self, name: str) -> Updates:
        """Show what is found in a simulated recording."""
        return self._cleared() | {self.choice: name} | self._seen(simulate(name))

    def show_one(self, row: int, recordings: Sequence[Recording]) -> Updates:
        """Show one of several recordings."""
        if not recordings:
            return {self.result: error_html("The recordings are no longer at hand; upload them again.")}
        return self._seen(recordings[row])

    def _several(self, recordings: list[Recording]) -> Updates:
        readable = [(each.name, row) for row, each in enumerate(recordings) if each.record is not None]
        return {
            self.recordings: recordings,
            self.batch: gr.update(visible=True),
            self.table: self.demo.table(recordings),
            self.one: gr.update(choices=readable, value=None),
        }

    def _seen(self, recording: Recording) -> Updates:
        html, output = self.demo.findings(recording)
        return {
            self.shown: recording,
            self.result: html,
            self.why: gr.update(visible=output is not None),
            self.output: output,
            self.explanation: "",
        }

    def _cleared(self) -> Updates:
        nothing: Updates = dict.fromkeys([self.upload, self.choice, self.shown, self.output])
        hidden = {self.batch: gr.update(visible=False), self.why: gr.update(visible=False)}
        return nothing | hidden | {self.recordings: [], self.table: "", self.result: "", self.explanation: ""}


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
    parser.add_argument(
        "--among",
        metavar="FILE.parquet",
        default=os.environ.get("ENECG_AMONG"),
        help="a table of `enecg embed` by this model, whose most similar records are shown (default: $ENECG_AMONG)",
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    options = parser.parse_args()
    try:
        predictor = Predictor(options.model)
        demo = Demo(predictor, Neighbours(predictor, options.among) if options.among else None)
    except (ValueError, OSError, SafetensorError) as error:
        sys.exit(f"app.py: {' '.join(str(error).split())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="enecg-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        threading.Thread(target=remove_unread, args=[Path(folder)], daemon=True).start()
        Page(demo).blocks.launch(
            server_name="0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1",
            server_port=options.port,
            max_file_size=MAX_BYTES,
            app_kwargs={"middleware": [Middleware(Guard)]},
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=files("modeling_enecg.demo").joinpath("style.css").read_text("utf-8"),
            footer_links=[],
            share=False,
            ssr_mode=False,
            run_history=False,
        )


if __name__ == "__main__":
    main()
