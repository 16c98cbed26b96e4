"""What trackers of experiments are told of a run, with a stand-in for W&B; and which trackers are refused."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from modeling_enecg.runs.portable import machine_paths
from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from modeling_enecg.training import tracking as tracking_module
from tests.helpers.training import recipe_fields, write_recipe

PROBE = {"num_train_epochs": 1, "global_batch_size": 16}
RUINOUS = {"num_train_epochs": 2, "global_batch_size": 16, "learning_rate": 1e30, "max_grad_norm": 0.0}


@pytest.fixture
def told(monkeypatch) -> list[tuple]:
    """What a stand-in for W&B is told; like W&B it begins a run when a training does, unless one goes on."""
    told: list[tuple] = []
    wandb = SimpleNamespace(run=None)

    class Callback(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            wandb.run = wandb.run or args.run_name
            config = model.config.to_dict() if hasattr(model, "config") else {}
            told.append(("begin", args.run_name, config | args.to_dict()))

        def on_log(self, args, state, control, logs=None, **kwargs):
            told.append(("log", *logs))

        def on_predict(self, args, state, control, metrics, **kwargs):
            told.append(("predict", *metrics))

    def finish(exit_code):
        wandb.run = None
        told.append(("finish", exit_code))

    wandb.finish = finish
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "wandb", Callback)
    monkeypatch.setattr(tracking_module, "get_available_reporting_integrations", lambda: ["wandb"])
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    return told


@pytest.fixture
def follow(tmp_path, simulated, training_cache):
    """A function that runs a recipe of some stages, all of them tracked; it returns the run."""

    def follow(stages, name="run", **changes) -> Run:
        tracked = {stage: settings | {"report_to": "wandb"} for stage, settings in stages.items()}
        fields = recipe_fields(simulated, tmp_path / name, training_cache, stages=tracked, num_resamples=5) | changes
        run_recipe(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))
        return Run(tmp_path / name)

    return follow


def kinds(told):
    return [entry[:2] for entry in told if entry[0] in ("begin", "finish", "predict")]


def test_each_stage_is_a_run_of_its_own_without_the_predictions(follow, told):
    """W&B would log the predictions of both splits under `test`, and one stage's steps over the other's."""
    follow({"linear_probing": PROBE, "fine_tuning": PROBE})
    assert kinds(told) == [
        ("begin", "run/linear_probing"),
        ("finish", 0),
        ("begin", "run/fine_tuning"),
        ("finish", 0),
    ]
    assert any("eval_score" in entry for entry in told if entry[0] == "log")


def test_no_path_of_this_machine_is_told_also_of_a_model_that_is_adapted(follow, told):
    base = follow({"linear_probing": PROBE})
    follow({"fine_tuning": PROBE}, "adapted", model=str(base.folder), experts={})
    settings = [entry[2] for entry in told if entry[0] == "begin"]
    assert len(settings) == 2
    assert list(machine_paths(settings)) == []


def test_a_stage_that_diverges_ends_its_run_as_failed(follow, told):
    with pytest.raises(RecipeError, match="diverged"):
        follow({"fine_tuning": RUINOUS})
    assert kinds(told) == [("begin", "run/fine_tuning"), ("finish", 1)]


def test_a_run_that_the_caller_began_goes_on(follow, told):
    sys.modules["wandb"].run = "mine"
    follow({"linear_probing": PROBE | {"run_name": "probe"}})
    assert kinds(told) == [("begin", "probe")]


def test_a_run_goes_on_with_another_tracker(follow, told):
    run = follow({"linear_probing": PROBE})
    recipe = load_recipe(run.folder / "recipe.yaml", ["--stages.linear_probing.report_to", "none"])
    assert run_recipe(recipe) == run.metrics


@pytest.mark.parametrize(
    ("report_to", "message"),
    [
        ("wandbb", r"stages\.linear_probing\.report_to: 'wandbb' is not one of .* Did you mean wandb\?$"),
        ("comet_ml", r"stages\.linear_probing\.report_to: comet_ml is not installed here: install its package, .*"),
        (["wandb", "clearml"], r".*: clearml is not installed here: .*"),
        (None, r".*: None is not one of .*"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_at_once(tmp_path, told, report_to, message):
    stages = {"linear_probing": PROBE | {"report_to": report_to}}
    fields = recipe_fields(Path("nowhere"), tmp_path / "run", tmp_path, stages=stages)
    with pytest.raises(RecipeError, match=message):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", fields))
