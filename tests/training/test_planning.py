import json

import pytest

from modeling_enecg.cli import main
from modeling_enecg.data.errors import DatasetError
from modeling_enecg.training import plan as planning
from modeling_enecg.training.plan import scaled
from tests.helpers.pretraining import PREDICTIVE, pretraining_fields
from tests.helpers.training import recipe_fields, tiny_recipe, write_recipe


@pytest.fixture
def short(monkeypatch):
    """Shorter runs than a user's."""
    monkeypatch.setattr(planning, "_BATCHES_A_RUN", (2, 8))


def test_a_line_through_two_measurements_is_followed_upwards():
    assert scaled(10, 20, 100, 200, 1000) == 100
    assert scaled(20, 10, 100, 200, 1000) == 10  # noise: never downwards
    assert scaled(10, 20, 100, 200, 50) == 20


def test_a_plan_has_the_recipes_epochs_and_the_full_datasets_cost(short, tmp_path, capfd):
    stages = {
        "linear_probing": {"num_train_epochs": 7, "global_batch_size": 64},
        "post_training": {"num_train_epochs": 11, "global_batch_size": 64, "early_stopping_patience": 2},
    }
    fields = recipe_fields(tmp_path, tmp_path, tmp_path, stages=stages)
    path = write_recipe(tmp_path / "recipe.yaml", fields)
    main(["plan", "--json", str(path), "--stages.post_training.num_train_epochs", "9"])
    plan = json.loads(capfd.readouterr().out)
    probing, tuning = plan["stages"]["linear_probing"], plan["stages"]["post_training"]
    assert (probing["num_epochs"], tuning["num_epochs"]) == (7, 9)
    assert 0 < probing["num_trainable"] < tuning["num_trainable"] == plan["num_parameters"]
    assert tuning["seconds_an_epoch"] > 17_418 * 1e-5
    epochs = 7 * probing["seconds_an_epoch"] + 9 * tuning["seconds_an_epoch"]
    assert plan["total_seconds"] == pytest.approx(plan["other_seconds"] + epochs)
    assert plan["peak_mb"] == max(probing["peak_mb"], tuning["peak_mb"]) > 100
    assert plan["disk_gb"] > 21_799 * 12 * 1000 * 4 / 1e9  # float32 of 12 leads


def test_a_recipe_that_cannot_be_followed_is_refused(short, tmp_path):
    recipe = tiny_recipe(tmp_path, tmp_path, tasks=["weather"])
    with pytest.raises(DatasetError, match="no labels 'weather'"):
        planning.plan_recipe(recipe)


def test_a_recipe_of_own_data_is_told_to_name_a_task_of_the_simulated_records(fail):
    assert 'as --tasks "[superdiagnostic]"' in fail("plan", "own_data")


def test_a_pre_training_is_planned_by_its_training_records_alone(short, tmp_path, capfd):
    fields = pretraining_fields(PREDICTIVE, tmp_path, tmp_path, tmp_path, num_train_epochs=50, global_batch_size=64)
    main(["plan", "--json", str(write_recipe(tmp_path / "recipe.yaml", fields))])
    plan = json.loads(capfd.readouterr().out)
    stage = plan["stages"][PREDICTIVE]
    assert stage["num_epochs"] == 50
    assert stage["num_trainable"] == plan["num_parameters"] + 8 * 8  # the prediction is thrown away
    assert stage["seconds_an_epoch"] > 17_418 * 1e-5
