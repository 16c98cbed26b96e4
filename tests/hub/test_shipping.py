"""Putting a run's model among those that come with the package."""

import json

import pytest
from transformers import pipeline

import modeling_enecg
from modeling_enecg.hub import shipping
from modeling_enecg.prediction import Predictor
from modeling_enecg.runs import shipped
from tests.helpers.processes import ROOT

RUN = ROOT / "tests/fixtures/finished_run"
SIGNAL = "records500/00000/00003_hr"


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "MODELS", tmp_path / "models")
    return tmp_path / "models"


def test_a_shipped_model_finds_what_the_runs_model_finds(models, simulated):
    folder = shipping.ship(RUN, "little", models)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "config.json", "model.safetensors", "preprocessor_config.json")
    ]
    record = str(simulated / SIGNAL)
    wanted = Predictor(RUN)(record)
    assert Predictor("little")(record) == wanted
    for options in ({}, {"trust_remote_code": True}):
        found = pipeline("ecg-classification", model=modeling_enecg.builtin("little"), **options)(record)
        assert found == wanted


def test_its_card_says_how_it_is_called_and_refers_to_no_file_that_is_not_there(models):
    text = (shipping.ship(RUN, "little", models) / "README.md").read_text()
    assert 'pipeline("ecg-classification", model=modeling_enecg.builtin("little"))' in text
    assert "from transformers import pipeline\n\nimport modeling_enecg\n" in text
    assert "enecg predict little RECORD" in text
    assert "| test | superdiagnostic | macro AUROC |" in text
    assert "figures/" not in text
    assert "trust_remote_code" not in text
    assert "path/or/hub-id" not in text


def test_it_has_no_code_of_its_own(models):
    folder = shipping.ship(RUN, "little", models)
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" not in json.loads((folder / name).read_text())


def test_large_weights_and_a_model_that_is_there_are_refused(models, monkeypatch):
    shipping.ship(RUN, "little", models)
    with pytest.raises(FileExistsError):
        shipping.ship(RUN, "little", models)
    monkeypatch.setattr(shipping, "MOST_MB", 0.001)
    with pytest.raises(ValueError, match=r"the weights take .* MB; a shipped model has 0\.001 MB at most"):
        shipping.ship(RUN, "other", models)
    assert [path.name for path in models.iterdir()] == ["little"]
