"""A folder of the Challenge through the whole road: train on it, embed it, evaluate on it."""

import json

import pandas as pd

from modeling_enecg.data.sources import DatasetOptions
from modeling_enecg.prediction import Predictor
from modeling_enecg.prediction.labelled import evaluate_model
from tests.helpers.public_sets import write_challenge
from tests.helpers.training import recipe_fields, write_recipe


def test_a_recipe_trains_on_a_folder_of_the_challenge_and_the_model_reads_it(run, tmp_path):
    folder = write_challenge(tmp_path / "ecgs")
    stages = {"fine_tuning": {"num_train_epochs": 1, "global_batch_size": 16, "disable_tqdm": True}}
    fields = recipe_fields(folder, tmp_path / "run", tmp_path / "cache", stages=stages, tasks=["scp", "sex"])
    run("train", write_recipe(tmp_path / "tiny.yaml", fields | {"num_resamples": 5}))
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    assert set(scores) == {"scp", "sex"}
    assert set(scores["scp"]["per_label"]) == {"AFIB", "CRBBB", "SR"}
    assert "PhysioNet Challenge 2020/2021" in (tmp_path / "run/README.md").read_text()

    table, cache = tmp_path / "features.parquet", tmp_path / "cache"
    wanted = ["--split", "test", "--label", "scp", "--cache_dir", cache]
    run("embed", tmp_path / "run", folder, "--output", table, *wanted)
    assert {"ecg_id", "scp"} <= set(pd.read_parquet(table))

    options = DatasetOptions(str(folder), cache_dir=str(cache))
    evaluated = evaluate_model(Predictor(str(tmp_path / "run")), "it", options, tmp_path / "evaluated")
    assert len(pd.read_parquet(evaluated / "predictions.parquet")) == 8  # validation and test
