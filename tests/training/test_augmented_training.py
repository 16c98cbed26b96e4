"""Stages that vary their training records: what they read, what they refuse, and that a resumed one is the same."""

import pytest
import torch

from modeling_enecg.cli import main
from modeling_enecg.data.augmentation import Augmentation
from modeling_enecg.data.augmented_records import AugmentedRecords
from modeling_enecg.data.prepared import FeatureRecords, SignalRecords
from modeling_enecg.runs.run import Run
from modeling_enecg.training import FineTuningTrainer, RecipeError, load_recipe, run_recipe
from modeling_enecg.training.arguments import (
    AttentiveProbingArguments,
    FineTuningArguments,
    LinearProbingArguments,
    StageArguments,
)
from modeling_enecg.training.lora import LoraHeadArguments, LoraHeadTrainer
from modeling_enecg.training.run import prepare
from modeling_enecg.training.trainers import AttentiveProbingTrainer, LinearProbingTrainer
from tests.helpers.processes import run_in_two
from tests.helpers.training import (
    first_records,
    follow,
    losses,
    ptbxl_tasks,
    recipe_fields,
    stage_arguments,
    tiny_model,
    tiny_recipe,
    tiny_splits,
    write_recipe,
)

FROZEN = [
    (LinearProbingTrainer, LinearProbingArguments),
    (AttentiveProbingTrainer, AttentiveProbingArguments),
    (LoraHeadTrainer, LoraHeadArguments),
]
NOISE = {"gaussian_noise": 0.05, "time_crop": 1.0, "mixup": 0.3}


@pytest.fixture(scope="module")
def recipe(simulated, training_cache):
    return tiny_recipe(simulated, training_cache, tasks=["superdiagnostic", "sex"])


@pytest.fixture
def training(simulated, training_cache, tmp_path):
    """A function that gives the training of a recipe with one stage, ready to start."""

    def training(stage, settings, **changes):
        stages = {stage: {"global_batch_size": 16} | settings}
        fields = recipe_fields(simulated, tmp_path / "run", training_cache, stages=stages, **changes)
        return prepare(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)), Run(tmp_path / "run"))

    return training


def test_every_augmentation_is_a_setting_that_is_off_by_default(tmp_path):
    names = set(Augmentation.__dataclass_fields__)
    assert names <= set(StageArguments.__dataclass_fields__)
    assert not stage_arguments(tmp_path, FineTuningArguments).augmentation
    for name in names:
        assert getattr(stage_arguments(tmp_path, FineTuningArguments, **{name: 0.5}).augmentation, name) == 0.5


@pytest.mark.parametrize(("trainer", "arguments"), FROZEN)
@pytest.mark.parametrize("name", sorted(Augmentation.__dataclass_fields__))
def test_features_of_varied_records_are_not_stored(trainer, arguments, name, tmp_path):
    plain, varied = stage_arguments(tmp_path, arguments), stage_arguments(tmp_path, arguments, **{name: 0.1})
    assert trainer.freezes_experts(plain)
    assert trainer.freezes_experts(varied)
    assert trainer.repeats_features(plain)
    assert not trainer.repeats_features(varied)


def test_only_training_records_are_varied(training):
    varied = training("linear_probing", {"amplitude_scale": 0.5})
    trainer = varied._trainer("linear_probing")
    assert isinstance(trainer.train_dataset, AugmentedRecords)
    assert type(trainer.eval_dataset) is SignalRecords
    assert type(varied.dataset("linear_probing", "train")) is SignalRecords
    assert type(training("linear_probing", {})._trainer("linear_probing").train_dataset) is FeatureRecords


def test_a_resumed_training_sees_what_an_uninterrupted_one_sees(recipe, tmp_path):
    splits = tiny_splits(recipe)
    train, validation = first_records(splits["train"], 32), SignalRecords(first_records(splits["validation"], 8))

    def trainer():
        options = {"num_train_epochs": 3, "save_total_limit": None, **NOISE}
        arguments = stage_arguments(tmp_path / "out", FineTuningArguments, **options)
        data = AugmentedRecords(train, ptbxl_tasks(recipe.tasks), arguments.augmentation, arguments.seed)
        return FineTuningTrainer(tiny_model(recipe), arguments, data, validation)

    whole, resumed = trainer(), trainer()
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert resumed.train_dataset.epoch == 2
    assert losses(resumed) == losses(whole)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("stage", "settings", "changes", "message"),
    [
        (
            "fine_tuning",
            {"power_line": 0.1},
            {},
            "stages.fine_tuning: power_line: records of 100 Hz cannot hold 60 Hz",
        ),
        (
            "fine_tuning",
            {"time_mask": -1},
            {},
            "stages.fine_tuning.time_mask: expected a number of at least 0, got -1",
        ),
        ("fine_tuning", {"amplitude_scale": 1}, {}, "amplitude_scale: expected a number of at least 0 and below 1"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused_before_anything_is_trained(
    training, stage, settings, changes, message
):
    with pytest.raises(RecipeError, match=message):
        training(stage, settings, **changes)


def test_two_processes_vary_records_as_one_does(simulated, training_cache, tmp_path):
    stages = {"fine_tuning": {"num_train_epochs": 1, "global_batch_size": 16, "lead_dropout": 0.2, **NOISE}}
    fields = recipe_fields(simulated, tmp_path / "one", training_cache, stages=stages)
    path = write_recipe(tmp_path / "recipe.yaml", fields)
    follow(path)
    run_in_two(main, ["train", str(path), "--output_dir", str(tmp_path / "two"), "--num_processes", "2"])
    logs = []
    for name in ("one", "two"):
        log = Run(tmp_path / name).history("fine_tuning")["log"]
        logs.append([entry[key] for entry in log for key in ("loss", "eval_loss") if key in entry])
    assert len(logs[0]) == 2
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)


def test_a_run_trains_on_blended_and_noisy_records(simulated, training_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    stages = {"fine_tuning": {"num_train_epochs": 2, "global_batch_size": 16, "dataloader_num_workers": 1, **NOISE}}
    changes = {"stages": stages, "tasks": ["superdiagnostic", "sex", "age"]}
    fields = recipe_fields(simulated, tmp_path / "run", training_cache, **changes)
    run_recipe(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))
    assert Run(tmp_path / "run").info.recipe["stages"]["fine_tuning"]["mixup"] == 0.3
