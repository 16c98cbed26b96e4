"""Shipped experiments in their small form, from simulated records to tables and figures.

Each kind of figure and of axis is among them; with ENECG_ALL_EXPERIMENTS set all run, which takes minutes.
That every one comes to legal recipes is tested with the studies.
"""

import os

import pandas as pd
import pytest

from modeling_enecg.cli import main
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.experiments import list_studies, load_study
from tests.helpers.processes import ROOT

CONFIGS = ROOT / "configs"
SOME = [
    "enecg/joint_training",
    "enecg/top_k",
    "post_training/main_table",
    "post_training/training_dynamics",
]


@pytest.fixture(scope="module")
def few_records(tmp_path_factory):
    return simulate_ptbxl(tmp_path_factory.mktemp("simulated") / "ptbxl", num_records=80)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", list_studies(CONFIGS) if "ENECG_ALL_EXPERIMENTS" in os.environ else SOME)
def test_the_small_form_of_an_experiment_ends_in_tables_and_figures(name, few_records, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    places = ["--data_dir", str(few_records), "--output_dir", str(tmp_path), "--cache_dir", str(cache)]
    main(["experiment", name, "--small", "--configs", str(CONFIGS), *places])
    study = load_study(CONFIGS, name, "small")
    folder = tmp_path / study.name
    table = pd.read_csv(folder / "table.csv")
    assert set(table["row"]) >= {run.row for run in study.runs() if run.row not in study.before}
    assert table.loc[table["metric"] == "macro_auroc", "mean"].between(0, 1).all()
    assert "A smoke signal on few records, not a result." in (folder / "table.md").read_text()
    assert list((folder / "figures").glob("*.png"))
