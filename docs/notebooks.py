"""Tutorials as notebooks with outputs, written from their pages: `python -m docs.notebooks` in the checkout.

A block of code becomes a cell; one that a page says is not run stays text; what a block prints is left to its cell.
A comment `<!-- notebook:` on a page holds code for the notebook alone, such as a picture.
"""

import os
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from modeling_enecg.runs.portable import without_machine_paths
from tests.helpers.pages import BLOCK, DOCS, FILE

NOTEBOOKS = DOCS / "notebooks"
TUTORIALS = ("own_data", "ensemble", "own_backbone")
ONLY_HERE = re.compile(r"^<!-- notebook:\n(?P<code>.*?)^-->\n", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)")
WIDTH = 119  # characters of a line that is kept; a progress bar or a log is longer
NOTE = (
    "Written from [the page]({page}) by `python -m docs.notebooks`; change that. "
    "What follows writes into a new folder."
)
START = """\
import os
import sys
import tempfile
from pathlib import Path

checkout = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "dataset_scripts").is_dir())
os.chdir(tempfile.mkdtemp())
os.symlink(checkout / "dataset_scripts", "dataset_scripts")
sys.path.insert(0, os.getcwd())"""


def notebook_of(page: Path) -> nbformat.NotebookNode:
    """Return a page as a notebook without outputs; a cell's `metadata.prints` is what it prints, as the page says."""
    text = ONLY_HERE.sub(lambda found: f"```python\n{found['code']}```\n", page.read_text("utf-8"))
    title, _, text = text.partition("\n")
    cells = [_markdown(f"{title}\n\n{NOTE.format(page=page.name)}"), new_code_cell(START)]
    written = 0
    for block in BLOCK.finditer(text):
        if block["reason"] is not None or (block["language"] == "text" and cells[-1].cell_type != "code"):
            continue
        if between := text[written : block.start()].strip():
            cells.append(_markdown(between))
        written = block.end()
        if block["language"] == "text":
            cells[-1].metadata["prints"] = block["text"]
        else:
            cells.append(new_code_cell(_code(block["language"], block["text"])))
    cells.append(_markdown(text[written:].strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"{page.stem}-{number}"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=[cell for cell in cells if cell.source], metadata=kernel)


def _markdown(text: str) -> Any:
    return new_markdown_cell(LINK.sub("](../", text))


def _code(language: str, text: str) -> str:
    if named := FILE.match(text):
        return f"%%writefile {named['path']}\n{text.rstrip()}"
    return f"%%bash -e\n{text.rstrip()}" if language == "bash" else text.rstrip()


def printed(cell: nbformat.NotebookNode) -> str:
    """Return what a cell that was executed wrote to its standard output."""
    return "".join(each.text for each in cell.outputs if each.output_type == "stream" and each.name == "stdout")


def keep_outputs(notebook: nbformat.NotebookNode) -> None:
    """Leave of the outputs what a reader wants: no progress, logs or places on this machine; in place."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            lines = [line for line in printed(cell).splitlines(keepends=True) if len(line) <= WIDTH]
            shown = [each for each in cell.outputs if each.output_type in ("display_data", "execute_result")]
            is_text = lines and not cell.source.startswith("%%writefile")
            text = without_machine_paths("".join(lines))
            stream = [nbformat.v4.new_output("stream", text=text)] if is_text else []
            cell.outputs = stream + shown


def main() -> None:
    """Execute the notebooks and write them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in TUTORIALS:
        notebook = notebook_of(DOCS / f"{name}.md")
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        keep_outputs(notebook)
        nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")


if __name__ == "__main__":
    main()
