"""LoRA adapters on models: which layers get them, what trains, and by how much outputs change."""

import pytest
import torch
from torch import nn

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.adapters import (
    FINAL_LAYERS,
    LoraSettings,
    adapted_model,
    adapter_base,
    add_lora,
    load_adapter,
    save_adapter,
)
from modeling_enecg.modeling_backbone import RecordDropout
from tests.helpers.adapters import (
    EVERY_WAY,
    LORA_ONLY,
    PAIR,
    PLAIN,
    assert_equal_logits,
    batch,
    brief,
    changed,
    learn,
    logits_of,
    new_model,
    trainable,
    with_lora,
)
from tests.helpers.tiny_models import SEX, TASKS, tiny_backbone_configs

# peft 0.21 asks for what transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

GATE_LAYERS = {
    "features": ([], ["linear"]),
    "leads": (["layers.0"], ["layers.2"]),
    "encoder": (["convolutions.0", "convolutions.4", "convolutions.8"], ["linear"]),
    "uniform": ([], []),
}
ATTENTION = {
    "stmem": ["blocks.{}.attention.qkv", "blocks.{}.attention.output"],
    "ecgfm": [f"blocks.{{}}.attention.{name}" for name in ("query", "key", "value", "output")],
    "ecgjepa": ["blocks.{}.attention.qkv", "blocks.{}.attention.output"],
    "hubertecg": [f"blocks.{{}}.attention.{name}" for name in ("query", "key", "value", "output")],
    "moment": [f"blocks.{{}}.attention.{name}" for name in "qkvo"],
    "tempo": ["decoder.h.{}.attn.c_attn", "decoder.h.{}.attn.c_proj"],
}
WITHOUT_ATTENTION = ("ecgfounder", "dlinear", "timesnet")


# What trains


@pytest.mark.parametrize("final_layers", FINAL_LAYERS)
@pytest.mark.parametrize("gate", GATE_LAYERS)
def test_lora_weights_and_whole_final_layers_train_and_nothing_else(gate, final_layers):
    model = new_model(gate=gate)
    add_lora(model, LoraSettings(final_layers=final_layers))
    names = [task["name"] for task in TASKS]
    hidden, final = GATE_LAYERS[gate]
    lora = [f"heads.{task}.{expert}.layers.1" for task in names for expert in PAIR]
    lora += [f"gates.{task}.{layer}" for task in names for layer in hidden]
    last = [f"heads.{task}.{expert}.layers.4" for task in names for expert in PAIR]
    last += [f"gates.{task}.{layer}" for task in names for layer in final]
    whole = last if final_layers == "whole" else []
    lora += last if final_layers == "lora" else []
    expected = {f"{layer}.lora_{part}.default.weight" for layer in lora for part in "AB"}
    expected |= {f"{layer}.modules_to_save.default.{kind}" for layer in whole for kind in ("weight", "bias")}
    assert sorted(trainable(model)) == sorted(expected)


@pytest.mark.parametrize("experts", [False, True])
def test_training_changes_the_adapter_alone(experts):
    """Batch norm and dropout would move statistics and features if a frozen expert were left in training mode."""
    model = new_model(expert_fields={"ecgfounder": {"use_batch_norm": True, "dropout": 0.5}})
    add_lora(model, LoraSettings(experts=experts))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert any("running_mean" in name for name in before)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-3)
    labels = {"rhythm": torch.eye(4, 3), "sex": torch.tensor([0, 1, 1, 0]), "age": torch.arange(4.0)}
    for _step in range(2):  # at the first LoRA's B is 0 and its A gets no gradient
        model.train()(**batch(model), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sorted(changed(model.state_dict(), before)) == sorted(trainable(model))
    assert not model.experts["ecgfounder"].training
    assert model.experts["stmem"].training == experts


@pytest.mark.parametrize("settings", EVERY_WAY, ids=brief)
def test_a_new_adapter_changes_no_output(settings):
    model = new_model()
    before = logits_of(model)
    adapted = add_lora(model, settings)
    assert trainable(model)
    tolerance = {"atol": 1e-6, "rtol": 1e-6} if settings.use_dora else {}  # it divides by a norm that it multiplies by
    assert_equal_logits(logits_of(model), before, **tolerance)
    assert_equal_logits(logits_of(adapted), before, **tolerance)
    assert adapted_model(adapted) is model


@pytest.mark.parametrize("final_layers", ["whole", "frozen"])
def test_one_expert_with_linear_heads_has_nothing_to_adapt(final_layers):
    model = new_model(names=["stmem"], head_hidden_sizes=[])
    with pytest.raises(ValueError, match=r'these heads are linear.*Set final_layers to "lora", or give the heads hid'):
        add_lora(model, LoraSettings(final_layers=final_layers))
    assert isinstance(model.heads["sex"]["stmem"].layers[1], nn.Linear), "a refusal changed the model"


def test_linear_heads_take_lora_on_their_only_layer():
    model = new_model(names=["stmem"], head_hidden_sizes=[])
    add_lora(model, LORA_ONLY)
    assert with_lora(model) == {f"heads.{task['name']}.stmem.layers.1" for task in TASKS}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("name", ATTENTION)
def test_experts_attention_is_adapted_saved_and_merged(name, tmp_path):
    base = new_model(names=[name], tasks=[SEX])
    base.save_pretrained(tmp_path / "base")
    source, keys = adapter_base(base, ["sex"], str(tmp_path / "base")), list(base.state_dict())
    weights = {key: value.clone() for key, value in base.state_dict().items()}
    adapted = add_lora(base, LoraSettings(experts=True))
    blocks = range(base.backbones[name].config.num_hidden_layers)
    expected = {f"experts.{name}.{layer.format(block)}" for layer in ATTENTION[name] for block in blocks}
    assert {layer for layer in with_lora(base) if layer.startswith("experts.")} == expected
    assert not [each for each in trainable(base) if each.startswith("experts.") and ".lora_" not in each]

    learn(base, seed=3, only=("experts.",))
    trained = logits_of(base)
    save_adapter(adapted, tmp_path / "adapter", source)
    loaded = load_adapter(tmp_path / "adapter")
    assert_equal_logits(logits_of(loaded), trained)
    merged = loaded.merge_and_unload()
    assert_equal_logits(logits_of(merged), trained, atol=1e-5, rtol=1e-5)
    assert list(merged.state_dict()) == keys
    assert set(changed(merged.state_dict(), weights)) == {f"{layer}.weight" for layer in expected}


@pytest.mark.parametrize("name", WITHOUT_ATTENTION)
def test_lora_in_experts_without_attention_is_refused(name):
    model = new_model(names=[name], tasks=[SEX])
    with pytest.raises(ValueError, match=f"none of {name} has attention"):
        add_lora(model, LoraSettings(experts=True))


def test_of_several_experts_those_with_attention_are_adapted():
    model = new_model()
    add_lora(model, LoraSettings(experts=True))
    assert {layer.split(".")[1] for layer in with_lora(model) if layer.startswith("experts.")} == {"stmem"}


@pytest.mark.parametrize("name", ["lora_a", "default", "modules_to_save"])
def test_an_expert_with_a_name_of_pefts_own_is_refused(name):
    """Such words in a weight's name tell what trains, what is saved, and what the base is."""
    stmem = tiny_backbone_configs()["enecg-stmem"]
    experts = {each: BACKBONES["enecg-stmem"](stmem) for each in (name, "other")}
    model = EnECGModel.from_experts(experts, [SEX], head_hidden_sizes=[8])
    with pytest.raises(ValueError, match=name):
        add_lora(model, PLAIN)


# DoRA, rsLoRA, dropout


def test_dora_on_a_layer_of_zeros_is_refused():
    model = new_model()
    nn.init.zeros_(model.gates["sex"].linear.weight)  # as a fresh gate
    with pytest.raises(ValueError, match="DoRA cannot rescale a layer of zeros"):
        add_lora(model, LoraSettings(use_dora=True, final_layers="lora"))
    before = logits_of(model)
    add_lora(model, LoraSettings(use_dora=True))
    assert all(each.isfinite().all() for each in logits_of(model).values())
    assert_equal_logits(logits_of(model), before, atol=1e-6, rtol=1e-6)


def test_dora_learns_magnitudes_apart_from_directions():
    """Twice the magnitudes are twice the weights, whatever the directions are."""
    model = new_model(tasks=[SEX])
    layer = "heads.sex.stmem.layers.1"
    adapted = add_lora(model, LoraSettings(use_dora=True))
    learn(model, seed=3)
    magnitudes = [name for name in trainable(model) if "lora_magnitude" in name]
    assert len(magnitudes) == len(PAIR)
    with torch.no_grad():
        model.get_parameter(next(name for name in magnitudes if layer in name)).copy_(torch.arange(1.0, 9.0))
    weight = adapted.merge_and_unload().get_submodule(layer).weight
    torch.testing.assert_close(weight.norm(dim=1), torch.arange(1.0, 9.0))


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 32 / 4), (True, 32 / 2)])
def test_a_change_is_scaled_by_rank_or_by_its_root(use_rslora, scale):
    model = new_model(tasks=[SEX])
    before = model.heads["sex"]["stmem"].layers[1].weight.clone()
    adapted = add_lora(model, LoraSettings(rank=4, alpha=32, use_rslora=use_rslora))
    learn(model, seed=3)
    layer = model.heads["sex"]["stmem"].layers[1]
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert change.shape == before.shape
    merged = adapted.merge_and_unload().heads["sex"]["stmem"].layers[1].weight
    torch.testing.assert_close(merged - before, scale * change, atol=1e-5, rtol=1e-4)


def test_loras_dropout_drops_the_same_on_two_processes_as_on_one(monkeypatch):
    model = new_model(gate="encoder")
    add_lora(model, LoraSettings(dropout=0.5, experts=True))
    learn(model, seed=3)
    inputs = batch(model)

    def training_logits(rows=slice(None)):
        torch.manual_seed(4)
        return model.train()(**{name: values[rows] for name, values in inputs.items()}).logits

    whole = training_logits()
    assert len(changed(logits_of(model), whole)) == len(TASKS), "no unit was dropped"
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank, rows in enumerate((slice(0, 2), slice(2, 4))):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares = {name: each[rows] for name, each in whole.items()}
        assert_equal_logits(training_logits(rows), shares, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_loras_dropout_has_the_rate_that_was_asked_for(rate):
    model = new_model(tasks=[SEX])
    add_lora(model, LoraSettings(dropout=rate))
    dropouts = {name: module for name, module in model.named_modules() if name.endswith("lora_dropout.default")}
    assert len(dropouts) == len(PAIR)
    for module in dropouts.values():
        assert isinstance(module, RecordDropout if rate else nn.Identity)
        assert getattr(module, "rate", 0.0) == rate
