"""A tiny model for the demo page, and a record to show."""

from pathlib import Path

import pytest

from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.prediction import Predictor
from tests.helpers.demo_page import save_demo_model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """Not to be changed."""
    return save_demo_model(tmp_path_factory.mktemp("app") / "model")


@pytest.fixture(scope="module")
def predictor(model_dir) -> Predictor:
    return Predictor(model_dir)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    """A simulated WFDB record, without an ending; not to be changed."""
    folder = simulate_ptbxl(tmp_path_factory.mktemp("simulated") / "ptbxl", num_records=2)
    return folder / "records500" / "00000" / "00001_hr"
