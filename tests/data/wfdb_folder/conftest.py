"""A folder of records with a table, and a function that prepares it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modeling_enecg.data.folder.wfdb_folder import WFDBFolder
from tests.helpers.ecg_folder import patients, write_folder


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory) -> Path:
    """Twelve records of noise, not to be changed."""
    return write_folder(tmp_path_factory.mktemp("sound") / "ecgs", patients())


@pytest.fixture
def folder(sound_folder, tmp_path) -> Path:
    """A copy of `sound_folder` to change at will."""
    return Path(shutil.copytree(sound_folder, tmp_path / "ecgs"))


@pytest.fixture
def build(tmp_path) -> Callable[..., WFDBFolder]:
    """A function that prepares a dataset, with a cache of its own for each test."""

    def build(data_dir: Path, num_proc: int | None = None, **options: str) -> WFDBFolder:
        options = {"cache_dir": str(tmp_path / "cache")} | options
        builder = WFDBFolder(data_dir=str(data_dir), **options)
        builder.download_and_prepare(num_proc=num_proc)
        return builder

    return build
