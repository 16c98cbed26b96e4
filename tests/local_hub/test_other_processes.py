"""Real things of this project on the local Hub, in processes that know it by their environment alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local_hub import LocalHub

ROOT = Path(__file__).parents[2]


def run(code: str, hub: LocalHub, path: str = "") -> dict:
    """Run code in a process with the local Hub's environment, and return the JSON that it prints last."""
    environment = os.environ | hub.environment() | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command, folder = [sys.executable, "-c", code], environment["HF_HOME"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


PUSH_MODEL = """
import json
import numpy as np, torch
from modeling_enecg import *
from tests.helpers.tiny_models import RHYTHM, tiny_backbone_configs

expert = ECGFounderModel(tiny_backbone_configs()["enecg-ecgfounder"]).eval()
model = EnECGModel.from_experts({"founder": expert}, [RHYTHM])
extractor = EnECGFeatureExtractor({"founder": expert.config.feature_extractor_settings()})
EnECGConfig.register_for_auto_class()
EnECGModel.register_for_auto_class("AutoModel")
EnECGFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
model.push_to_hub("org/enecg", private=True)
extractor.push_to_hub("org/enecg")
signal = np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4
with torch.inference_mode():
    logits = model(**extractor(signal, sampling_rate=500, return_tensors="pt")).logits["rhythm"]
print(json.dumps({"logits": logits.tolist()}))
"""

LOAD_MODEL = """
import json, sys
sys.modules["modeling_enecg"] = None  # importing the package is an error from here on
import numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModel

model = AutoModel.from_pretrained("org/enecg", trust_remote_code=True)
extractor = AutoFeatureExtractor.from_pretrained("org/enecg", trust_remote_code=True)
signal = np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4
with torch.inference_mode():
    logits = model(**extractor(signal, sampling_rate=500, return_tensors="pt")).logits["rhythm"]
print(json.dumps({"logits": logits.tolist()}))
"""


def test_a_pushed_model_gives_the_same_without_the_package(hub):
    pushed = run(PUSH_MODEL, hub, str(ROOT))
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "gates.py"} <= set(hub.files("org/enecg"))
    (loaded,), (own,) = run(LOAD_MODEL, hub)["logits"], pushed["logits"]
    assert loaded == pytest.approx(own, abs=1e-6)  # the last digit may differ from process to process


DATASET = """
import json, zlib
import datasets, numpy as np

def digests(rows):
    return [zlib.crc32(row["signal"]) for row in rows]

signals = np.random.default_rng(0).integers(-2000, 2000, size=(12, 12000), dtype="<i2")
names = datasets.ClassLabel(names=["NORM", "MI"])
features = datasets.Features({"signal": datasets.Value("binary"), "labels": datasets.List(names)})
rows = [{"signal": signal.tobytes(), "labels": [number % 2]} for number, signal in enumerate(signals)]
splits = {"train": rows[:8], "test": rows[8:]}
made = datasets.DatasetDict({name: datasets.Dataset.from_list(each, features) for name, each in splits.items()})
for config in ("100hz", "500hz"):
    made.push_to_hub("org/ecgs", config, private=True)

loaded = datasets.load_dataset("org/ecgs", "100hz")
streamed = datasets.load_dataset("org/ecgs", "500hz", split="train", streaming=True)
assert loaded["test"].features == streamed.features == features
results = {f"pushed {name}": digests(each) for name, each in made.items()}
results |= {f"loaded {name}": digests(each) for name, each in loaded.items()}
print(json.dumps(results | {"streamed train": digests(streamed)}))
"""


def test_a_pushed_dataset_loads_and_streams(hub):
    # One process for two claims more: a truncated stream goes on, a corrupted Parquet file is not noticed.
    truncated = hub.fault("truncate", r"GET .*500hz/train.*\.parquet")
    corrupted = hub.fault("corrupt", r"GET .*100hz/train.*\.parquet")
    results = run(DATASET, hub)
    assert (truncated.times, corrupted.times) == (0, 0)
    assert results["loaded test"] == results["pushed test"]
    assert results["streamed train"] == results["pushed train"]
    assert sum(a != b for a, b in zip(results["loaded train"], results["pushed train"], strict=True)) == 1
    assert 206 in {each.status for each in hub.requests}
