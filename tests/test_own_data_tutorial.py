import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import datasets
import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "own_data.md"
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(*match.group("language", "text")) for match in BLOCK.finditer(TUTORIAL.read_text("utf-8"))]


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder like the repository's root, to write in."""
    for name in ("configs", "dataset_scripts", "train.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))  # of this process
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))  # of those it starts
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return tmp_path


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    if program == "python":  # in this process, which has spent the seconds of importing already
        monkeypatch.setattr(sys, "argv", arguments)
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        subprocess.run(["bash", "-euc", command], check=True)


def test_the_tutorial_runs_from_top_to_bottom_and_prints_what_it_says(root, capfd, monkeypatch):
    names: dict[str, object] = {}
    for block in blocks():
        if block.language == "text":
            assert capfd.readouterr().out == block.text
            continue
        capfd.readouterr()
        if block.language == "yaml":
            path, content = re.fullmatch(r"# (\S+)\n(.*)", block.text, re.DOTALL).groups()
            (root / path).write_text(content)
        elif block.language == "python":
            exec(block.text, names)
        else:
            run(block.text, monkeypatch)
    scores = json.loads((root / "runs/mine/metrics.json").read_text())
    assert scores.keys() == {"validation", "test"}
    assert scores["test"].keys() == {"diagnosis", "lvef", "sex"}
    assert "macro AUROC, diagnosis" in (root / "runs/mine/README.md").read_text("utf-8")
