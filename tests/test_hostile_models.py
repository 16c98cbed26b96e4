"""Folders of models that anybody may have written: pickles are not read, and what fails names the folder in a line."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_enecg import EnECGModel
from modeling_enecg.prediction import Predictor


@pytest.fixture
def folder(calibrated_model, tmp_path):
    names = ("config.json", "preprocessor_config.json", "model.safetensors")
    for name in names:
        shutil.copy(calibrated_model / name, tmp_path / name)
    return tmp_path


class Code:
    """What runs code when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_pickled_weights_are_never_read(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for content in (weights, Code(folder / "ran")):
        torch.save(content, folder / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle, which may run any code and is not read"):
            EnECGModel.from_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Code(folder / "ran")))
    with pytest.raises(ValueError, match="is not read"):
        Predictor(folder)
    assert not (folder / "ran").exists()


def changed(config, key, value):
    *path, last = key.split(".")
    inside = config
    for step in path:
        inside = inside[int(step) if step.isdigit() else step]
    inside[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "experts.first.hidden_sizes",
            [16, 32],
            "holds no sound model: its weights have other shapes than its config",
        ),
        ("experts.first.hidden_sizes", "x", "holds no sound model: .*Field 'hidden_sizes' expected a list"),
        ("experts", None, "holds no sound model: .*Field 'experts' expected a dict"),
        ("experts.first.model_type", ["x"], r"No backbone has the model type \['x'\]"),
        ("expert_references", {"first": "x"}, "reference needs path, revision and sha256; got 'x'"),
        ("tasks", None, "holds no sound model: .*Field 'tasks' expected a list"),
        ("dtype", "float99", "holds no sound model: .*float99"),
        ("tasks.0.calibration", [1], r"Task 'superdiagnostic': calibration .*got \[1\]"),
        (
            "tasks.1.calibration",
            {"method": "temperature", "temperature": "a"},
            "temperature must be a number; got 'a'",
        ),
        ("tasks.0.thresholds", [float("nan")] * 5, "thresholds must be a number; got nan"),
        ("tasks.2.target_std", [None], "target_std must be a number; got None"),
    ],
)
def test_a_config_that_does_not_fit_is_told_of(folder, key, value, message):
    config = json.loads((folder / "config.json").read_text())
    if key == "expert_references":
        weights = load_file(folder / "model.safetensors")
        own = {name: each for name, each in weights.items() if not name.startswith("experts.first.")}
        save_file(own, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(changed(config, key, value)))
    with pytest.raises(ValueError, match=message):
        Predictor(folder)


@pytest.mark.parametrize("content", ["[1]", '"x"', "[" * 100_000, "{"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_json_that_is_no_mapping_is_told_of(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises((ValueError, OSError), match=str(folder)):
        Predictor(folder)


@pytest.mark.parametrize("key", ["sampling_rate", "sequence_length"])
@pytest.mark.parametrize("value", [0, -1, "x", None])
def test_an_extractor_without_a_length_is_refused(folder, key, value):
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {key: value}))
    with pytest.raises(ValueError, match=f"{key} must be a positive number, got {value!r}"):
        Predictor(folder)


@pytest.mark.parametrize("content", [b"", b"garbage of some bytes", (2**62).to_bytes(8, "little") + b"{}"])
def test_weights_that_are_cut_name_their_folder(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=f"{folder} holds no sound model: SafetensorError"):
        Predictor(folder)


def test_weights_that_are_no_numbers_give_no_finding(folder):
    weights = load_file(folder / "model.safetensors")
    broken = {name: each * float("nan") if each.is_floating_point() else each for name, each in weights.items()}
    save_file(broken, folder / "model.safetensors", {"format": "pt"})
    signal = np.sin(np.linspace(0, 60, 1000)) * np.ones((12, 1))
    with pytest.raises(ValueError, match=r"are no numbers \(nan\): its weights are damaged"):
        Predictor(folder)({"signal": signal, "sampling_rate": 100}, force=True)
