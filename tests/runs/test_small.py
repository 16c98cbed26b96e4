"""The model in the box: it is small, it comes with everything, and it is as good as its card says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from transformers import AutoModel, pipeline

import modeling_enecg
from modeling_enecg import EnECGModel
from modeling_enecg.cli import main
from modeling_enecg.data.sources import DatasetOptions, find_source
from modeling_enecg.data.targets import dataset_tasks, read_targets
from modeling_enecg.evaluation import multilabel_scores
from modeling_enecg.prediction import Predictor
from tests.helpers.processes import ROOT
from tests.helpers.training import read_json

TASKS = ["superdiagnostic", "subdiagnostic", "form", "rhythm", "sex", "age", "rr_interval"]


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(modeling_enecg.builtin("small"))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("small")


def test_it_is_small_and_has_a_card(folder):
    assert (folder / "model.safetensors").stat().st_size <= 3e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Research prototype, not a medical device." in card
    assert "| test | superdiagnostic | macro AUROC |" in card


def test_it_comes_with_all_that_is_decided_on_validation_records(folder):
    model = AutoModel.from_pretrained(folder)
    assert isinstance(model, EnECGModel)
    assert list(model.tasks) == TASKS
    assert model.novelty is not None
    for task in model.tasks.values():
        assert (task.conformal is not None) == (not task.is_multi_label)
        assert (task.thresholds is not None) == task.is_multi_label
    assert set(model.tasks["superdiagnostic"].measured) == {"12 leads", "8 leads", "limb leads", "lead I", "lead II"}


def test_the_recipe_makes_such_a_model(folder):
    recipe = yaml.safe_load((ROOT / "configs" / "small_model.yaml").read_text())
    config = read_json(folder / "config.json")
    assert list(config["expert_order"] or config["experts"]) == list(recipe["experts"])
    for name, expert in recipe["experts"].items():
        own = config["experts"][name]
        assert {key: own[key] for key in expert["config"]} == expert["config"]
    assert read_json(folder / "preprocessor_config.json")["steps"] == recipe["experts"]["wide"]["steps"]


def test_a_pipeline_and_the_command_find_the_same(folder, simulated, capsys):
    record = str(simulated / "records500/00000/00003_hr")
    found = pipeline("ecg-classification", model=modeling_enecg.builtin("small"))(record)
    main(["predict", "small", record, "--json"])
    (result,) = json.loads(capsys.readouterr().out)
    for task in TASKS:
        assert [each["label"] for each in result["tasks"][task]] == [each["label"] for each in found[task]]
    main(["predict", "small", record])
    assert re.search(r"superdiagnostic\n +(present|-) +\d\.\d{3} of \d\.\d{3}", capsys.readouterr().out)


def test_real_records_that_it_has_not_seen_are_ranked_as_well_as_its_card_says(
    folder, predictor, filtered_dir, tmp_path
):
    source = find_source(DatasetOptions(str(filtered_dir), cache_dir=str(tmp_path)))
    rows = source.read(["test"])["test"]
    (task,) = dataset_tasks(source.features, ["superdiagnostic"])
    kept = [index for index, labels in enumerate(rows["superdiagnostic"]) if labels]
    files = [str(filtered_dir / rows[index]["ecg_id"]) for index in kept]
    found = [{each["label"]: each["raw_score"] for each in one[task.name]} for one in predictor.predict(files)]
    scores = np.array([[each[label] for label in task.labels] for each in found])
    said = re.search(
        r"\| band-passed, 100 Hz \| (\d+) \| (0\.\d{3}) ", (folder / "README.md").read_text(encoding="utf-8")
    )
    auroc = multilabel_scores(read_targets(rows, task)[kept], scores)["macro_auroc"]
    assert (len(kept), auroc) == (int(said[1]), pytest.approx(float(said[2]), abs=5e-4))
