"""A tiny model behind the demo page, and a record to show it."""

from pathlib import Path

import pytest

from modeling_enecg.demo import Demo
from modeling_enecg.prediction import Predictor
from tests.helpers.demo_page import save_demo_model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """Not to be changed."""
    return save_demo_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def demo(model_dir) -> Demo:
    return Demo(Predictor(model_dir))


@pytest.fixture(scope="module")
def record(simulated) -> Path:
    """A simulated WFDB record, without an ending; not to be changed."""
    return simulated / "records500" / "00000" / "00001_hr"
