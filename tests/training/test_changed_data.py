"""A run goes on with the records and labels that it began with, and is complete with its model, or not at all."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from modeling_enecg.training.training import Training
from tests.helpers.training import recipe_fields, write_recipe

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"


class Killed(BaseException):
    """What ends a run from outside."""


@pytest.fixture
def begun(tmp_path, simulated, training_cache, monkeypatch):
    """The recipe of a run that was killed in its first stage, on records of its own."""

    def kill(_):
        raise Killed

    monkeypatch.setattr(Training, "train", kill)
    shutil.copytree(simulated, tmp_path / "data")
    recipe = load_recipe(
        write_recipe(tmp_path / "recipe.yaml", recipe_fields(tmp_path / "data", tmp_path / "run", training_cache))
    )
    with pytest.raises(Killed):
        run_recipe(recipe)
    return recipe


def test_records_that_are_the_same_are_gone_on_with(begun, tmp_path):
    for file in (tmp_path / "data").rglob("*"):
        file.touch()
    with pytest.raises(Killed):
        run_recipe(begun)


def test_labels_that_changed_are_refused(begun, tmp_path):
    table = tmp_path / "data" / "ptbxl_database.csv"
    rows = pd.read_csv(table)
    is_other = (rows.strat_fold <= 8) & (rows.scp_codes != rows.scp_codes[0])
    rows.loc[is_other.idxmax(), "scp_codes"] = rows.scp_codes[0]
    rows.to_csv(table, index=False)
    with pytest.raises(RecipeError, match="data_dir: labels of the train split have changed since the run in run"):
        run_recipe(begun)


def test_records_that_changed_are_refused(begun, tmp_path):
    rows = pd.read_csv(tmp_path / "data" / "ptbxl_database.csv").set_index("strat_fold")
    one, other = (tmp_path / "data" / name for name in rows.filename_lr[9].head(2))
    for suffix in (".hea", ".dat"):
        content = other.with_suffix(suffix).read_bytes().replace(other.name.encode(), one.name.encode())
        one.with_suffix(suffix).write_bytes(content)
    with pytest.raises(RecipeError, match="data_dir: records of the validation split have changed"):
        run_recipe(begun)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_complete_run_whose_model_is_gone_is_no_complete_run(tmp_path, name):
    folder = shutil.copytree(FINISHED, tmp_path / "run")
    recipe = load_recipe(folder / "recipe.yaml", ["--output_dir", str(folder)])
    assert run_recipe(recipe) == Run(folder).metrics
    (folder / name).unlink()
    with pytest.raises(
        RecipeError, match=r"is complete, and its model is gone; put config.json and model.safetensors"
    ):
        run_recipe(recipe)
