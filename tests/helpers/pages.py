"""The pages of the documentation: their blocks of code, their links, and running what a reader would run."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from modeling_enecg.cli import main
from tests.helpers.processes import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
FILE = re.compile(r"# (?P<path>\S+\.(py|yaml))\n")  # the first line of a block that is a file's content


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language (`str`): As the page says; `text` is what the block before it prints.
        text (`str`): The code.
        reason (`str`, *optional*): Why a test does not run it, as the page says in a comment before it.
    """

    language: str
    text: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    return [Block(*found.group("language", "text", "reason")) for found in BLOCK.finditer(page.read_text("utf-8"))]


def navigation() -> dict[str, list[str]]:
    """The pages of each part of the site, as mkdocs.yml orders them."""
    parts = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    return {title: list(_pages(inside)) for part in parts for title, inside in part.items()}


def _pages(inside: Any) -> list[str]:
    if isinstance(inside, str):
        return [inside]
    return [page for entry in inside for each in entry.values() for page in _pages(each)]


def run_page(page: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Run a page from top to bottom in a folder; a block of text must be what the one before it printed."""
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.reason is not None:
            continue
        if block.language == "text":
            assert capfd.readouterr().out == block.text
            continue
        capfd.readouterr()
        if named := FILE.match(block.text):
            (root / named["path"]).write_text(block.text, "utf-8")
        elif block.language == "python":
            exec(block.text, names)
        else:
            run_commands(block.text)


def run_commands(commands: str) -> None:
    """Run commands; those of Python in this process, which has spent the seconds of importing already."""
    for command in commands.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(command, comments=True)
        if program == "enecg":
            main(arguments)
        elif program == "python":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", arguments)
                runpy.run_path(arguments[0], run_name="__main__")
        else:
            print(subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout, end="")
