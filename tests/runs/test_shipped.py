"""Models that come with the package, by name."""

import os
import subprocess
import sys

import pytest
from transformers import AutoModel

import modeling_enecg
from modeling_enecg import Task
from modeling_enecg.adapters import LoraSettings, add_lora, save_adapter
from modeling_enecg.prediction import Predictor
from modeling_enecg.runs import shipped
from modeling_enecg.training.building import ModelSource, starting_model
from tests.helpers.prediction import FINDINGS, save_calibrated_model
from tests.helpers.processes import ROOT


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of shipped models with one in it."""
    monkeypatch.setattr(shipped, "MODELS", tmp_path / "models")
    save_calibrated_model(tmp_path / "models" / "little")
    return tmp_path / "models"


def test_a_shipped_model_is_found_by_its_name(models):
    folder = modeling_enecg.builtin("little")
    assert folder == str(models / "little")
    loaded = AutoModel.from_pretrained(folder)
    assert Predictor("little").model.state_dict().keys() == loaded.state_dict().keys()


def test_an_unknown_name_is_refused_with_those_that_are_shipped(models, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"There is no shipped model 'tall'; shipped are: little\."):
        modeling_enecg.builtin("tall")
    monkeypatch.setattr(shipped, "MODELS", models / "nothing")
    with pytest.raises(FileNotFoundError, match=r"no shipped model 'little'; this installation has none\."):
        modeling_enecg.builtin("little")
    with pytest.raises(FileNotFoundError, match="no folder little, and no shipped model of that name"):
        Predictor("little")


def test_an_adapter_names_the_shipped_model_that_it_was_made_for(models, tmp_path):
    tasks = [Task("superdiagnostic", "multi_label_classification", FINDINGS)]
    start = starting_model(ModelSource(model="little"), tasks)
    assert start.base.path == "little"
    save_adapter(add_lora(start.model, LoraSettings(final_layers="lora")), tmp_path / "adapter", start.base)
    assert str(models) not in (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert list(Predictor(tmp_path / "adapter").model.tasks) == list(Predictor("little").model.tasks)


def test_folders_and_hub_ids_stay_what_they_are(models):
    assert shipped.find_model("org/little") == "org/little"
    assert shipped.find_model("org/little@main") == "org/little@main"
    assert shipped.find_model(models / "little") == str(models / "little")
    with pytest.raises(FileNotFoundError, match="no folder /nowhere/little"):
        shipped.find_model("/nowhere/little")


def test_asking_for_a_shipped_model_does_not_load_torch_in_the_command():
    code = "import sys; sys.argv[0] = 'enecg'; import modeling_enecg\n"
    code += "try: modeling_enecg.builtin('none')\nexcept FileNotFoundError: print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
