"""How `enecg predict` says that a recording is unlike the records that the model knows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from modeling_enecg import EnECGModel
from modeling_enecg.io import read_ecg
from tests.helpers.ecg_folder import write_record
from tests.helpers.prediction import save_calibrated_model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, simulated) -> Path:
    """A model that knows some simulated records, not to be changed."""
    folder = save_calibrated_model(tmp_path_factory.mktemp("novelty") / "model")
    model = EnECGModel.from_pretrained(folder)
    paths = sorted((simulated / "records100").rglob("*_lr.hea"))[:120]
    inputs = model.feature_extractor()([read_ecg(path).signal_mv for path in paths], 100, return_tensors="pt")
    with torch.no_grad():
        features = {name: each.numpy() for name, each in model.extract_features(**inputs).items()}
    model.fit_novelty(*({name: each[start::2] for name, each in features.items()} for start in (0, 1)))
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def recordings(tmp_path, simulated) -> Path:
    """A record of the kind that the model knows, and one whose samples are independent of each other."""
    write_record(tmp_path / "known", read_ecg(simulated / "records500/00000/00001_hr").signal_mv, 500)
    write_record(tmp_path / "foreign", (np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4).round(3), 500)
    return tmp_path


def test_novelty_is_printed_and_a_foreign_signal_is_doubtful(run, model_dir, recordings):
    foreign, known = json.loads(run("predict", model_dir, recordings, "--json"))
    assert (known["quality"]["verdict"], foreign["quality"]["verdict"]) == ("ok", "doubtful")
    assert "unlike the records that the model knows" in foreign["quality"]["reasons"]
    assert 0 <= known["novelty"]["rank"] <= 0.99 < foreign["novelty"]["rank"] <= 1
    for result in (foreign, known):
        distance, rank = result["novelty"]["distance"], result["novelty"]["rank"]
        line = f"  novelty: distance {distance:.2f}, further than {rank:.1%} of the validation records"
        assert line in run("predict", model_dir, result["record"]).splitlines()


def test_a_table_has_a_column_of_novelty(run, model_dir, recordings, simulated):
    write_record(recordings / "flat", np.zeros((12, 5000)), 500)
    run("predict", model_dir, recordings, "--output", recordings / "table.parquet")
    table = pd.read_parquet(recordings / "table.parquet").set_index("file")
    found = {path: json.loads(run("predict", model_dir, path, "--json"))[0]["novelty"] for path in table.index}
    ranks = {path: None if novelty is None else novelty["rank"] for path, novelty in found.items()}
    assert ranks[str(recordings / "flat")] is None
    pd.testing.assert_series_equal(table["novelty"], pd.Series(ranks, name="novelty"), check_names=False, atol=1e-3)
    run("predict", model_dir, "--dataset", simulated, "--split", "test", "--output", recordings / "test.parquet")
    assert pd.read_parquet(recordings / "test.parquet")["novelty"].between(0, 1).all()
