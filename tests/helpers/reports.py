"""Runs for the tests of reports and comparisons: trained ones, and copies of them with other content."""

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from modeling_enecg.cli import main
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.training import load_recipe, run_recipe
from tests.helpers.training import ECGFOUNDER, read_json, recipe_fields, write_recipe

TASKS = ["superdiagnostic", "sex", "age"]
LEAD_SETS = ["8 leads", "lead I"]
ONE_STAGE = {"fine_tuning": {"num_train_epochs": 2, "global_batch_size": 32, "learning_rate": 1e-3}}
NUM_RESAMPLES = 100
FILES = ("config.json", "run_info.json", "metrics.json", "predictions.parquet", "lead_sets.json", "experts.json")


def simulated_records(folder: Path) -> Path:
    """Records enough for three superclasses with ten positives in the test fold."""
    return simulate_ptbxl(folder / "ptbxl", num_records=500, seed=0)


def train_run(data_dir: Path, folder: Path, **changes: Any) -> Path:
    """Train a small model of three tasks of different types; return the run's folder."""
    fields = recipe_fields(data_dir, folder / "run", data_dir.parent / "cache", stages=ONE_STAGE, tasks=TASKS)
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
        run_recipe(load_recipe(write_recipe(folder / "recipe.yaml", fields | changes)), folder.name)
    return folder / "run"


def train_ensemble(data_dir: Path, folder: Path) -> Path:
    """Train two experts in two stages, and score lead sets."""
    experts = {"first": {"config": ECGFOUNDER}, "second": {"config": ECGFOUNDER | {"stem_size": 16}}}
    stages = {"linear_probing": {"num_train_epochs": 1, "global_batch_size": 32}, **ONE_STAGE}
    return train_run(data_dir, folder, experts=experts, stages=stages, lead_sets=LEAD_SETS)


def changed_copy(run: Path, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Copy what a run left for reports, with other predictions."""
    folder.mkdir(parents=True)
    for name in FILES:
        if (run / name).exists():
            shutil.copy(run / name, folder)
    change(predictions(run)).to_parquet(folder / "predictions.parquet", index=False)
    return folder


def predictions(run: Path, split: str | None = None) -> pd.DataFrame:
    frame = pd.read_parquet(run / "predictions.parquet")
    return frame if split is None else frame[frame["split"] == split].reset_index(drop=True)


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_report(*folders: Path, output: Path, options: tuple[str, ...] = ()) -> Path:
    main(["report", *map(str, folders), "--output", str(output), "--num_resamples", str(NUM_RESAMPLES), *options])
    return output


def only_task(run: Path, name: str) -> Path:
    """Leave one task of a copied run."""
    tasks = [task for task in read_json(run / "config.json")["tasks"] if task["name"] == name]
    change_json(run / "config.json", tasks=tasks)
    return run


def shown(value: dict, form: str = ".3f") -> tuple[str, str]:
    """A score and its interval as the page shows them."""
    if value["point"] is None:
        return "undefined", ""
    if value["lower"] is None:
        return f"{value['point']:{form}}", f"no interval: {value['no_interval']}"
    return f"{value['point']:{form}}", f"{value['lower']:{form}} to {value['upper']:{form}}"


class TableRow(NamedTuple):
    """A table's row: each cell's text and small print, and whether the row is shown faintly."""

    cells: list[tuple[str, str]]
    is_faint: bool


class Page(HTMLParser):
    """A report's page: its elements with their attributes, its text, and its tables by headings and caption."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[tuple[str, ...], list[TableRow]] = {}
        self._headings: dict[str, str] = {}
        self._caption = ""
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("h2", "h3", "h4"):
            self._headings = {level: text for level, text in self._headings.items() if level < tag} | {tag: ""}
        if tag in ("h2", "h3", "h4", "figcaption", "th", "td", "small"):
            self._inside = tag
        if tag == "figcaption":
            self._caption = ""
        elif tag == "table":
            self.tables[*self._headings.values(), self._caption] = []
        elif tag == "tr":
            self._rows().append(TableRow([], dict(attrs).get("class") == "faint"))
        elif tag in ("th", "td"):
            self._rows()[-1].cells.append(("", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside in self._headings:
            self._headings[self._inside] += data
        elif self._inside == "figcaption":
            self._caption += data
        elif self._inside in ("th", "td", "small"):
            cells = self._rows()[-1].cells
            text, note = cells[-1]
            cells[-1] = (text, note + data) if self._inside == "small" else ((text + data).strip(), note)

    def table(self, *place: str) -> dict[str, TableRow]:
        """The rows of the only table under some headings whose caption begins with the last word, by their first cell.

        Its head is the row `""`; marks are not part of a name.
        """
        (rows,) = (
            rows
            for headings, rows in self.tables.items()
            if headings[: len(place) - 1] == place[:-1] and headings[-1].startswith(place[-1])
        )
        return {"" if row is rows[0] else row.cells[0][0].removesuffix(" †"): row for row in rows}

    def _rows(self) -> list[TableRow]:
        return list(self.tables.values())[-1]
