import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import datasets
import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "own_data.md"
LEFT_OUT = {"training"}  # marks of the blocks that are not run
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>\w+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    mark: str | None
    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(*match.group("mark", "language", "text")) for match in BLOCK.finditer(TUTORIAL.read_text("utf-8"))]


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


def test_the_tutorial_runs_from_top_to_bottom_and_prints_what_it_says(root, capfd):
    names: dict[str, object] = {}
    for block in blocks():
        if block.mark in LEFT_OUT:
            continue
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
            subprocess.run(["bash", "-euc", block.text], check=True)
    assert (root / "my_ecgs_parquet").is_dir()
