"""The notebooks are their pages' tutorials: written from them, small, and executed in a kernel from top to bottom."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from docs.notebooks import NOTEBOOKS, TUTORIALS, notebook_of, printed
from modeling_enecg.runs.portable import machine_paths
from tests.helpers.pages import DOCS, ROOT

# Commands in the kernel, which has spent the seconds of importing already, and trained for fewer epochs.
IN_THE_KERNEL = """
from tests.helpers.pages import run_commands
few = " --num_resamples 5 --stages.linear_probing.num_train_epochs 1 --stages.post_training.num_train_epochs 1"
def run(line, cell):
    run_commands(cell.rstrip() + (few if " train " in cell else ""))
get_ipython().register_magic_function(run, "cell", "bash")
"""


def saved(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def execute(tmp_path_factory) -> Iterator[Callable[[str], nbformat.NotebookNode]]:
    """A function that executes a tutorial's notebook; one kernel serves all, so that imports are paid for once."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "dataset_scripts").symlink_to(ROOT / "dataset_scripts")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "HF_DATASETS_CACHE": str(folder)}.items():
            patch.setenv(name, value)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        setup = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(IN_THE_KERNEL)])
        first = NotebookClient(setup, timeout=600, resources={"metadata": {"path": str(folder)}})
        with first.setup_kernel():
            first.execute(reset_kc=False, cleanup_kc=False)

            def execute(name: str) -> nbformat.NotebookNode:
                notebook = saved(name)
                client = NotebookClient(notebook, timeout=600, km=first.km)
                client.kc = first.kc
                client.execute(cleanup_kc=False)
                return notebook

            yield execute


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_notebook_is_what_its_page_says(name):
    """`python -m docs.notebooks` writes it anew."""
    cells, expected = saved(name).cells, notebook_of(DOCS / f"{name}.md").cells
    assert [(cell.cell_type, cell.source) for cell in cells] == [(cell.cell_type, cell.source) for cell in expected]


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_notebook_is_small_with_a_picture_and_without_paths_of_a_machine(name):
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 200_000
    outputs = [output for cell in saved(name).cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert list(machine_paths([output.get("text", "") for output in outputs])) == []


@pytest.mark.xdist_group("notebooks")
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_notebook_runs_and_prints_what_its_page_says(execute, name):
    kept, executed = saved(name), execute(name)
    for before, cell in zip(kept.cells, executed.cells, strict=True):
        if cell.source.startswith("%%bash -e\nenecg predict runs/mine my_ecgs/records/001"):
            assert all(f"\n  {task}\n" in printed(cell) for task in ("diagnosis", "lvef", "sex"))
        if "prints" in cell.metadata:
            assert printed(before) == printed(cell) == cell.metadata["prints"]
