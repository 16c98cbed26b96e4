"""Attentive probing: stored tokens are what the experts compute, and only pools, heads and gates train."""

import numpy as np
import pytest
import torch

from modeling_enecg.adapters import LoraSettings, add_lora
from modeling_enecg.data.prepared import FeatureRecords, SignalRecords
from modeling_enecg.heads import feature_statistics
from modeling_enecg.runs.run import Run
from modeling_enecg.training import AttentiveProbingTrainer, RecipeError, load_recipe, run_recipe
from modeling_enecg.training import plan as planning
from modeling_enecg.training.arguments import AttentiveProbingArguments
from modeling_enecg.training.feature_store import Precision, stored_features
from modeling_enecg.training.plan import plan_recipe
from tests.helpers.training import (
    STMEM,
    first_records,
    losses,
    recipe_fields,
    stage_arguments,
    tiny_model,
    tiny_recipe,
    tiny_splits,
    write_recipe,
)

EXPERT = {"stmem": {"config": STMEM | {"sequence_length": 900}}}
ATTENTION = {"pooling": "attention", "pooling_heads": 2}
PROBE = {"attentive_probing": {"num_train_epochs": 2, "global_batch_size": 16}}
NUM_TOKENS = 12 * (9 + 2)


@pytest.fixture(scope="module")
def recipe(simulated, training_cache):
    return tiny_recipe(simulated, training_cache, experts=EXPERT, ensemble=ATTENTION, stages=PROBE)


@pytest.fixture(scope="module")
def split(recipe):
    return first_records(tiny_splits(recipe)["train"], 64)


@pytest.fixture
def model(recipe):
    return tiny_model(recipe)


@torch.inference_mode()
def test_stored_tokens_are_what_the_expert_computes(model, split, tmp_path):
    tokens = stored_features(model, split, tmp_path)["stmem"]
    assert isinstance(tokens, np.memmap)
    assert tokens.shape == (64, NUM_TOKENS, 16 + 1)
    records = range(16)
    expected = model.eval().backbones["stmem"](**split.batch(split.views.of_expert(0), records)).last_hidden_state
    np.testing.assert_array_equal(tokens[:16, :, :-1], expected)
    assert (tokens[..., -1] == 1).all()


def test_a_stride_stores_fewer_tokens_beside_the_others(model, split, tmp_path):
    whole = stored_features(model, split, tmp_path)["stmem"]
    model.config.token_stride = 4
    strided = stored_features(model, split, tmp_path, Precision(dtype="float16"))["stmem"]
    assert strided.shape == (64, 12 * 3, 16 + 1)
    assert strided.dtype == np.float16
    first = whole.reshape(64, 12, 11, 17)[:, :, :4].mean(axis=2)
    np.testing.assert_allclose(strided.reshape(64, 12, 3, 17)[:, :, 0], first, atol=2e-3, rtol=2e-3)


def test_statistics_are_those_of_the_tokens_that_count_in_the_records_that_count():
    tokens = np.random.default_rng(0).normal(2.0, 3.0, size=(150, 7, 4)).astype(np.float32)
    tokens[..., -1] = np.arange(7) < 5
    tokens[:, 5:, :-1] = 1e6
    rows = np.arange(10, 150)
    mean, deviation = feature_statistics(tokens, rows)
    counting = tokens[rows, :5, :-1].reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, counting.mean(axis=0), rtol=1e-6)
    variance = counting.var(axis=0)
    np.testing.assert_allclose(deviation, np.sqrt((140 * variance + 10 * variance.mean()) / 150), rtol=1e-6)


def test_features_of_a_record_are_found_by_its_row(split):
    features = {"stmem": np.arange(100.0)[:, None]}
    rows = np.arange(64) + 7
    records = FeatureRecords(features, split, rows)
    assert records[3]["expert_features"]["stmem"].item() == 10


def test_the_store_changes_no_loss_and_no_expert(recipe, split, tmp_path):
    results = []
    for is_stored in (True, False):
        model = tiny_model(recipe)
        before = {name: each.clone() for name, each in model.experts.state_dict().items()}
        data = FeatureRecords(stored_features(model, split, tmp_path), split) if is_stored else SignalRecords(split)
        arguments = stage_arguments(tmp_path / "out", AttentiveProbingArguments, num_train_epochs=2)
        trainer = AttentiveProbingTrainer(model, arguments, data, data)
        start = {name: each.clone() for name, each in model.heads.state_dict().items()}
        trainer.train()
        assert all(torch.equal(each, before[name]) for name, each in model.experts.state_dict().items())
        assert not [name for name, each in model.heads.state_dict().items() if torch.equal(each, start[name])]
        results.append(losses(trainer))
    assert results[0] == pytest.approx(results[1], abs=1e-6)


def test_a_run_probes_then_fine_tunes(simulated, training_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    stages = PROBE | {"fine_tuning": {"num_train_epochs": 1, "global_batch_size": 16}}
    changes = {"experts": EXPERT, "ensemble": ATTENTION | {"token_stride": 3}, "stages": stages}
    fields = recipe_fields(simulated, tmp_path / "run", training_cache, **changes)
    run_recipe(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)))
    run = Run(tmp_path / "run")
    assert list(run.info.stages) == ["attentive_probing", "fine_tuning"]
    pool, head = 16 + 3 * 16 * 16, 16 * 5 + 5
    assert run.info.stages["attentive_probing"].num_trainable == pool + head
    assert run.config["token_stride"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": {}}, "stages.attentive_probing: needs heads that pool tokens by attention"),
        ({"stages": {"linear_probing": {}}}, "stages.linear_probing: heads that pool tokens .* attentive_probing"),
        ({"ensemble": {"pooling": "attention"}, "experts": {"stmem": {"config": STMEM | {"hidden_size": 24}}}}, None),
    ],
)
def test_a_stage_that_does_not_fit_the_heads_is_refused(simulated, training_cache, tmp_path, changes, message):
    stages = {"attentive_probing": {"global_batch_size": 16}}
    fields = {"experts": EXPERT, "ensemble": ATTENTION, "stages": stages} | changes
    for settings in fields["stages"].values():
        settings["global_batch_size"] = 16
    path = write_recipe(tmp_path / "recipe.yaml", recipe_fields(simulated, tmp_path / "run", training_cache, **fields))
    with pytest.raises(RecipeError, match=message or r"hidden_size \(24\) must be a multiple of num_heads \(16\)"):
        run_recipe(load_recipe(path))


def test_lora_adapts_the_pools_of_a_trained_model(recipe):
    model = tiny_model(recipe)
    adapted = add_lora(model, LoraSettings())
    changed = {name for name, each in adapted.named_parameters() if each.requires_grad}
    for part in ("query", "key", "value"):
        assert any(f"token_pool.{part}_projection.lora_A" in name for name in changed)
    assert not any(".experts." in name for name in changed)


def test_a_plan_tells_the_size_of_stored_tokens(recipe, monkeypatch):
    monkeypatch.setattr(planning, "_BATCHES_A_RUN", (3, 4))
    read, prepared, tokens = 12 * 1000 * 2, 12 * 900 * 4, NUM_TOKENS * (16 + 1) * 4  # bytes per record
    assert plan_recipe(recipe).disk_gb == pytest.approx(21_799 * (read + prepared + tokens) / 1e9, rel=0.1)
