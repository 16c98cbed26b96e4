"""The embedder that tests of tables share, and what is read while a table is made."""

from pathlib import Path

import pytest

from modeling_enecg.data.folder import recordings
from modeling_enecg.io import read_ecg
from modeling_enecg.prediction import files
from modeling_enecg.prediction.embedder import Embedder


@pytest.fixture(scope="session")
def embedder(calibrated_model) -> Embedder:
    """The experts of the calibrated model."""
    return Embedder(calibrated_model)


class Reads:
    """Which recordings were read, by name; an interrupt comes in the place of the next one after `most`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.most: int | None = None

    def read(self, path, *options):
        if len(self.names) == self.most:
            raise KeyboardInterrupt
        self.names.append(Path(path).name)
        return read_ecg(path, *options)


@pytest.fixture
def reads(monkeypatch) -> Reads:
    """What is read of files, which are taken in parts of two."""
    reads = Reads()
    monkeypatch.setattr(files, "FILES_PER_PART", 2)
    monkeypatch.setattr(recordings, "read_ecg", reads.read)
    return reads
