"""Small models and what they give, what lies on a local Hub, and processes elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_enecg import ECGFeatureExtractor, ECGFounderConfig, ECGFounderModel, EnECGModel
from modeling_enecg.prediction import Predictor
from tests.helpers.training import ECGFOUNDER
from tests.helpers.travelling_files import FILES
from tests.local_hub import LocalHub

SIGNAL = np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4
COMMIT = "POST .*/commit/"
CODE = {f"{name}.py" for name in FILES}
CONFIGS = {"config.json", "preprocessor_config.json"}
ADAPTER = {"README.md", "enecg.json", "adapter_config.json", "adapter_model.safetensors", "preprocessor_config.json"}
SUBPROCESS = {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
IGNORED_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # of the client itself
    pytest.mark.filterwarnings("ignore:It seems that you are about to commit a data file"),
    # peft 0.21 asks for what transformers 5.23 calls deprecated.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


def tiny_expert(seed: int = 0, **fields) -> ECGFounderModel:
    torch.manual_seed(seed)
    known = {key: value for key, value in ECGFOUNDER.items() if key != "model_type"}
    return ECGFounderModel(ECGFounderConfig(**known, **fields)).eval()


def save(model, folder: Path, **options) -> Path:
    expert = model.backbones["cnn"] if isinstance(model, EnECGModel) else model
    model.save_pretrained(folder, **options)
    ECGFeatureExtractor(**expert.config.feature_extractor_settings()).save_pretrained(folder)
    return folder


@torch.inference_mode()
def logits_of(folder: Path) -> dict[str, list]:
    predictor = Predictor(folder)
    inputs = predictor.extractor(SIGNAL, sampling_rate=500, return_tensors="pt")
    return {task: values.tolist() for task, values in predictor.model(**inputs).logits.items()}


def own_files(hub: LocalHub, repo: str, revision: str = "main") -> dict[str, bytes]:
    return {path: content for path, content in hub.files(repo, revision).items() if path != ".gitattributes"}


def num_commits(hub: LocalHub, repo: str) -> int:
    return len(hub.commits(repo)) - 1  # the first is the Hub's own


def run_elsewhere(code: str, environment: dict[str, str], *arguments: str, path: str = ""):
    """Run code in a process that knows the Hub by its environment alone; return the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment | SUBPROCESS | {"PYTHONPATH": path},
        cwd=environment["HF_HOME"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert environment["HF_TOKEN"] not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
