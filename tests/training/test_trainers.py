import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EvalPrediction

from modeling_enecg import EnECGModel, Task
from modeling_enecg.data.prepared import SignalRecords
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.data.targets import balanced_class_weights
from modeling_enecg.training import FineTuningTrainer, LinearProbingTrainer
from modeling_enecg.training.arguments import FineTuningArguments, LinearProbingArguments, PostTrainingArguments
from modeling_enecg.training.trainers import evaluation_scores, parameter_groups
from tests.helpers.training import (
    ECGFOUNDER,
    STMEM,
    first_records,
    losses,
    stage_arguments,
    tiny_model,
    tiny_recipe,
    tiny_splits,
)

BOTH = {"ecgfounder": {"config": ECGFOUNDER}, "stmem": {"config": STMEM}}
# Batch norm and dropout would change features if a frozen expert were left in training mode.
NORMED = {"ecgfounder": {"config": ECGFOUNDER | {"use_batch_norm": True, "dropout": 0.5}}}


class CountedRecords(SignalRecords):
    """Records that note in which order they were read."""

    def __init__(self, split):
        super().__init__(split)
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return super().__getitem__(index)


@pytest.fixture(scope="module")
def recipe(simulated, training_cache):
    return tiny_recipe(simulated, training_cache)


@pytest.fixture(scope="module")
def splits(recipe):
    return tiny_splits(recipe)


@pytest.fixture(scope="module")
def both(simulated, training_cache):
    """A recipe of two experts and two tasks, and its records."""
    recipe = tiny_recipe(simulated, training_cache, experts=BOTH, tasks=["superdiagnostic", "rhythm"])
    return recipe, tiny_splits(recipe)


@pytest.fixture
def trainer(recipe, splits, tmp_path):
    """A function that makes a trainer of 64 records; its options are the stage's settings."""

    def trainer(trainer_class, arguments_class, model=None, data=splits, number=64, **settings):
        return trainer_class(
            tiny_model(recipe) if model is None else model,
            stage_arguments(tmp_path / "checkpoints", arguments_class, **settings),
            SignalRecords(first_records(data["train"], number)),
            SignalRecords(data["validation"]),
        )

    return trainer


def trained(trainer):
    """Train at once: a trainer seeds dropout and stochastic depth when it is made."""
    trainer.train()
    return trainer


def weights_of(model, prefix):
    return {name: value.clone() for name, value in model.state_dict().items() if name.startswith(prefix)}


def assert_same_weights(before, after):
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert not changed


def test_linear_probing_leaves_experts_bit_equal_and_trains_every_head(trainer, simulated, training_cache):
    model = tiny_model(tiny_recipe(simulated, training_cache, experts=NORMED))
    experts, heads = weights_of(model, "experts."), weights_of(model, "heads.")
    assert any("running_mean" in name for name in experts)
    probe = trainer(LinearProbingTrainer, LinearProbingArguments, model, num_train_epochs=2)
    probe.train()
    assert_same_weights(experts, weights_of(model, "experts."))
    after = weights_of(model, "heads.")
    assert heads
    assert not [name for name in heads if torch.equal(heads[name], after[name])]


def test_linear_probing_trains_heads_and_gates_only(trainer, both):
    recipe, splits = both
    model = tiny_model(recipe)
    trainer(LinearProbingTrainer, LinearProbingArguments, model, splits).train()
    trainable = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {"heads", "gates"}


def test_checkpoints_of_linear_probing_hold_no_experts_and_resume(trainer, tmp_path, recipe):
    probe = trainer(LinearProbingTrainer, LinearProbingArguments, num_train_epochs=2, save_total_limit=None)
    probe.train()
    stored = load_file(tmp_path / "checkpoints" / "checkpoint-4" / "model.safetensors")
    assert set(stored) == {name for name in probe.model.state_dict() if not name.startswith("experts.")}
    assert stored

    resumed = trainer(LinearProbingTrainer, LinearProbingArguments, num_train_epochs=2, save_total_limit=None)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-4"))
    assert_same_weights(probe.model.state_dict(), resumed.model.state_dict())
    assert losses(resumed) == losses(probe)


@pytest.mark.parametrize("fault", ["lacking", "unknown"])
def test_a_checkpoint_of_other_heads_is_refused(trainer, tmp_path, fault):
    trainer(LinearProbingTrainer, LinearProbingArguments, num_train_epochs=2).train()
    file = next((tmp_path / "checkpoints").glob("checkpoint-*")) / "model.safetensors"
    stored = load_file(file)
    if fault == "lacking":
        stored.popitem()
    else:
        stored["heads.rhythm.bias"] = torch.zeros(2)
    save_file(stored, file, metadata={"format": "pt"})
    resumed = trainer(LinearProbingTrainer, LinearProbingArguments, num_train_epochs=3)
    with pytest.raises(RuntimeError, match="does not fit the model"):
        resumed.train(resume_from_checkpoint=str(file.parent))


def test_fine_tuning_changes_every_weight(trainer, simulated, training_cache):
    model = tiny_model(tiny_recipe(simulated, training_cache, experts=NORMED))
    model.freeze_experts()  # as a stage of linear probing leaves it
    before = copy.deepcopy(model.state_dict())
    trainer(FineTuningTrainer, FineTuningArguments, model, num_train_epochs=2).train()
    after = model.state_dict()
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith("feature_norms.")}  # fixed statistics


def test_post_training_sets_stochastic_depth_and_saves_it(trainer, both, tmp_path):
    recipe, splits = both
    model = tiny_model(recipe)
    post = trainer(FineTuningTrainer, PostTrainingArguments, model, splits, drop_path_rate=0.4, dropout=0.1)
    post.model.save_pretrained(tmp_path / "model")
    for saved in (model, EnECGModel.from_pretrained(tmp_path / "model")):
        assert saved.config.head_dropout == 0.1
        for name, expert in saved.backbones.items():
            assert saved.config.experts[name]["drop_path_rate"] == 0.4
            assert [block.drop_path_rate for block in expert.residual_blocks] == [0, 0.4]
        rates = [module.rate for module in saved.heads.modules() if hasattr(module, "rate")]
        assert rates
        assert set(rates) == {0.1}


def test_stochastic_depth_changes_training_and_not_evaluation(trainer):
    still = {"learning_rate": 0.0, "lr_scheduler_type": "constant", "lr_scheduler_kwargs": None}
    plain, deep = (
        trained(trainer(FineTuningTrainer, FineTuningArguments, drop_path_rate=rate, **still)) for rate in (0.0, 0.5)
    )
    (plain_loss, plain_eval), (deep_loss, deep_eval) = losses(plain), losses(deep)
    assert plain_loss != deep_loss
    assert plain_eval == deep_eval


def test_every_trainable_parameter_is_in_exactly_one_group(both):
    model = tiny_model(both[0])
    for freeze in (False, True):
        if freeze:
            model.freeze_experts()
        grouped = [id(p) for group in parameter_groups(model, 1e-3, 0.1, 0.5) for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_learning_rates_fall_from_heads_to_first_layers(both):
    model = tiny_model(both[0])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in parameter_groups(model, 1.0, 0.1, 0.5) for p in group["params"]}
    expected = {
        "heads.superdiagnostic.ecgfounder.layers.1.weight": 1,
        "gates.rhythm.linear.weight": 1,
        "experts.ecgfounder.stages.1.0.conv1.weight": 0.5,
        "experts.ecgfounder.stages.0.0.conv1.weight": 0.25,
        "experts.ecgfounder.stem.weight": 0.125,
        "experts.stmem.norm.weight": 0.5,
        "experts.stmem.blocks.1.mlp.up.weight": 0.5,
        "experts.stmem.blocks.0.mlp.up.weight": 0.25,
        "experts.stmem.embeddings.position_embeddings": 0.125,
    }
    assert {name: rates[name] for name in expected} == expected
    assert set(rates.values()) == {1, 0.5, 0.25, 0.125}


def test_vectors_and_embeddings_do_not_decay(both):
    model = tiny_model(both[0])
    groups = parameter_groups(model, 1e-3, 0.1, 1.0)
    assert len(groups) == 2
    decayed = {id(p) for group in groups if group["weight_decay"] == 0.1 for p in group["params"]}
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim > 1 and not name.endswith(("position_embeddings", "lead_embeddings"))
        assert (id(parameter) in decayed) == is_matrix, name


def test_the_optimizer_takes_the_groups_and_keeps_their_ratios(trainer):
    tuning = trainer(FineTuningTrainer, FineTuningArguments, learning_rate=1e-3, layer_decay=0.5, num_train_epochs=2)
    groups = tuning.create_optimizer().param_groups
    assert sorted({group["lr"] for group in groups}) == pytest.approx([1.25e-4, 2.5e-4, 5e-4, 1e-3])
    assert {group["weight_decay"] for group in groups} == {0.05, 0.0}
    tuning.train()
    for group in tuning.optimizer.param_groups:
        assert group["lr"] < group["initial_lr"]


def test_training_reads_whole_batches_and_prediction_every_record_once(recipe, splits, tmp_path):
    train, validation = (CountedRecords(first_records(splits[name], n)) for name, n in (("train", 45), ("test", 19)))
    no_best = {"load_best_model_at_end": False}
    arguments = stage_arguments(tmp_path, LinearProbingArguments, eval_strategy="no", save_strategy="no", **no_best)
    tuning = LinearProbingTrainer(tiny_model(recipe), arguments, train, validation)
    tuning.train()
    assert tuning.state.global_step == 2
    assert len(train.read) == len(set(train.read)) == 32
    for dataset, expected in ((validation, range(19)), (train, range(45))):
        dataset.read.clear()
        output = tuning.predict(dataset)
        assert dataset.read == list(expected)
        np.testing.assert_array_equal(output.label_ids["superdiagnostic"], dataset.split.labels["superdiagnostic"])
        assert output.predictions[0]["superdiagnostic"].shape == (len(expected), 5)
        assert output.predictions[1]["superdiagnostic"].shape == (len(expected), 1)


def test_prediction_gives_every_record_its_own_logits(recipe, splits, tmp_path):
    split = splits["test"]
    arguments = stage_arguments(tmp_path, LinearProbingArguments)
    probe = LinearProbingTrainer(tiny_model(recipe), arguments, SignalRecords(splits["train"]), SignalRecords(split))
    logits = probe.predict(SignalRecords(split)).predictions[0]["superdiagnostic"]
    with torch.inference_mode():
        for index in (0, len(split) - 1):
            alone = probe.model.eval()(split.model_inputs(index)["input_values"][None]).logits["superdiagnostic"][0]
            np.testing.assert_allclose(logits[index], alone, atol=1e-5)


@pytest.mark.parametrize("number", [70, 75], ids=["remainder_below_a_part", "remainder_above_a_part"])
def test_two_accumulated_batches_train_as_one_of_twice_the_size(trainer, number):
    settings = {"num_train_epochs": 2, "learning_rate": 1e-3}
    whole, parts = (
        trained(
            trainer(
                *(FineTuningTrainer, FineTuningArguments),
                number=number,
                per_device_train_batch_size=16 // steps,
                gradient_accumulation_steps=steps,
                **settings,
            )
        )
        for steps in (1, 2)
    )
    assert parts.state.global_step == whole.state.global_step == 8
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-6)
    norms = [[e["grad_norm"] for e in each.state.log_history if "grad_norm" in e] for each in (whole, parts)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_bfloat16_trains_close_to_float32_and_keeps_float32_weights(trainer, both):
    recipe, splits = both
    full, half = (
        trainer(FineTuningTrainer, FineTuningArguments, tiny_model(recipe), splits, bf16=bf16)
        for bf16 in (False, True)
    )
    for each in (full, half):
        each.train()
    assert losses(half) == pytest.approx(losses(full), abs=0.02)
    assert losses(half) != losses(full)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}
    logits = half.predict(half.eval_dataset).predictions[0]["rhythm"]
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_activation_checkpointing_changes_no_loss(trainer, both):
    """Dropped paths and units are drawn again as they were."""
    recipe, splits = both
    settings = {"drop_path_rate": 0.5, "dropout": 0.1, "num_train_epochs": 2, "learning_rate": 1e-2}
    plain, saving = (
        trained(
            trainer(
                *(FineTuningTrainer, PostTrainingArguments, tiny_model(recipe), splits),
                activation_checkpointing=checkpointing,
                **settings,
            )
        )
        for checkpointing in (False, True)
    )
    assert all(expert.is_activation_checkpointing for expert in saving.model.backbones.values())
    assert losses(saving) == pytest.approx(losses(plain), abs=1e-6)


def test_training_stops_early_and_ends_with_the_best_epoch(trainer):
    stuck = trainer(
        *(LinearProbingTrainer, LinearProbingArguments),
        learning_rate=0.0,
        num_train_epochs=20,
        early_stopping_patience=2,
    )
    stuck.train()
    assert stuck.state.epoch == 3  # the first scores best, and two more without a better one
    assert stuck.state.best_global_step == 4
    with_patience = trainer(LinearProbingTrainer, LinearProbingArguments, num_train_epochs=2, learning_rate=0.0)
    with_patience.train()
    assert with_patience.state.epoch == 2


def test_a_seed_repeats_a_training_and_another_does_not(trainer):
    results = [losses(trained(trainer(FineTuningTrainer, PostTrainingArguments, seed=seed))) for seed in (1, 1, 2)]
    assert results[0] == results[1]
    assert results[0] != results[2]


@pytest.mark.parametrize("tasks", [["superdiagnostic"], ["superdiagnostic", "rhythm"]])
def test_validation_metrics_are_macro_means_and_each_tasks_own(simulated, training_cache, tasks):
    model = tiny_model(tiny_recipe(simulated, training_cache, tasks=tasks))
    rng = np.random.default_rng(0)
    shapes = {task: (50, len(TASK_LABELS[task])) for task in tasks}
    logits = {task: rng.normal(size=shape) for task, shape in shapes.items()}
    labels = {task: (rng.random(shape) < 0.4).astype(np.float32) for task, shape in shapes.items()}
    scores = evaluation_scores(list(model.tasks.values()), EvalPrediction((logits, {}), labels), range(50))
    own = {f"{task}_{metric}" for task in tasks for metric in ("macro_auroc", "macro_auprc")}
    assert set(scores) == {"macro_auroc", "macro_auprc", "score"} | (own if len(tasks) > 1 else set())
    if len(tasks) > 1:
        aurocs = [scores[f"{task}_macro_auroc"] for task in tasks]
        assert scores["macro_auroc"] == pytest.approx(np.mean(aurocs))


def test_class_weights_are_negatives_per_positive_of_the_given_labels():
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1], [np.nan] * 3])
    task = Task("findings", "multi_label_classification", ["a", "b", "c"])
    assert balanced_class_weights(task, labels) == [3.0, 1.0, 0.0]


def test_class_weights_of_a_single_label_task_are_the_mean_count_per_count():
    task = Task("rhythm", "single_label_classification", ["a", "b", "c"])
    assert balanced_class_weights(task, np.array([0, 0, 0, 1, np.nan])) == pytest.approx([4 / 9, 4 / 3, 1.0])
