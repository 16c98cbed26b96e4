"""The tutorials run from top to bottom, and print what they say; what cannot run here says why."""

import os
import shutil
import sys
from pathlib import Path

import datasets
import pytest

from docs.notebooks import TUTORIALS
from modeling_enecg import BACKBONES
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from tests.helpers.pages import DOCS, ROOT, blocks, navigation, run_page


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder like the repository's root, to write in."""
    for name in ("configs", "dataset_scripts", "train.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))  # of this process
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))  # of those it starts
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return tmp_path


@pytest.fixture
def follow(root, capfd):
    """A function that runs a tutorial."""
    return lambda page: run_page(DOCS / page, root, capfd)


@pytest.fixture
def known_backbones():
    """Forget afterwards what a page registers."""
    before = dict(BACKBONES)
    yield
    BACKBONES.clear()
    BACKBONES.update(before)
    sys.modules.pop("modeling_mine", None)


def test_the_model_in_the_box(root, follow):
    follow("small.md")
    assert (root / "ecg.png").is_file()
    assert "On validation, before lora heads" in (root / "runs/adapted/README.md").read_text("utf-8")


def test_ptbxl_with_published_weights_as_far_as_it_goes_without_them(root, follow):
    follow("ptbxl.md")
    assert (root / "PTB-XL" / "ptbxl_database.csv").is_file()


def test_an_ensemble(root, follow):
    follow("ensemble.md")
    assert (root / "my-enecg" / "preprocessor_config.json").is_file()


def test_an_adapter_for_another_hospital(root, follow):
    follow("adapter.md")
    assert (root / "runs/there/adapter/adapter_model.safetensors").stat().st_size < 400_000
    assert "before lora heads" in (root / "runs/there/README.md").read_text("utf-8")


def test_a_backbone_of_ones_own(root, follow, known_backbones):
    follow("own_backbone.md")
    assert (root / "my_model" / "modeling_mine.py").is_file()


def test_serving_with_onnx(root, follow):
    shutil.copytree(ROOT / "tests" / "fixtures" / "finished_run", root / "runs" / "smoke")
    simulate_ptbxl(root / "PTB-XL", num_records=1)
    follow("onnx.md")
    assert (root / "smoke.onnx").is_file()


@pytest.mark.parametrize("page", navigation()["Tutorials"])
def test_every_tutorial_runs_some_code(page):
    found = blocks(DOCS / page)
    assert any(block.reason is None and block.language in ("python", "bash") for block in found)
    is_notebook = page.removesuffix(".md") in TUTORIALS  # which tests/docs/test_notebooks.py runs
    assert is_notebook or f'follow("{page}")' in Path(__file__).read_text("utf-8")
