"""A tiny model for the demo page, and a record to show."""

from pathlib import Path

import pytest
import torch

from modeling_enecg import ECGFeatureExtractor, ECGFounderConfig, ECGFounderModel, EnECGModel
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.prediction import Predictor

RHYTHM = {"name": "rhythm", "problem_type": "multi_label_classification", "labels": list(TASK_LABELS["rhythm"])}
AGE = {"name": "age", "problem_type": "regression", "unit": "years", "target_mean": [60.0], "target_std": [15.0]}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """Two tiny experts whose gates weigh them differently; not to be changed."""
    torch.manual_seed(0)
    config = ECGFounderConfig(
        sampling_rate=100, sequence_length=1000, stem_size=8, hidden_sizes=[8, 16], depths=[1, 1], group_width=8
    )
    experts = {name: ECGFounderModel(config) for name in ("first", "second")}
    model = EnECGModel.from_experts(experts, [RHYTHM, AGE], head_hidden_sizes=[])
    for gate in model.gates.parameters():
        torch.nn.init.normal_(gate, std=0.3)
    folder = tmp_path_factory.mktemp("app") / "model"
    model.save_pretrained(folder)
    ECGFeatureExtractor(**config.feature_extractor_settings()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(model_dir) -> Predictor:
    return Predictor(model_dir)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    """A simulated WFDB record, without an ending; not to be changed."""
    folder = simulate_ptbxl(tmp_path_factory.mktemp("simulated") / "ptbxl", num_records=1)
    return folder / "records500" / "00000" / "00001_hr"
