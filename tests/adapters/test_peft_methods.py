"""Which of peft's methods work on which backbone: the table of `docs/backbones.md`, found by trying."""

import re

import pytest
import torch
from peft import LoraConfig, get_peft_model

from modeling_enecg import BACKBONES
from tests.helpers.inputs import random_input, with_random_weights
from tests.helpers.peft_methods import KINDS, METHODS, layers, stated_methods

# peft 0.21 asks for what transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def works(model_type, configs, kind, method):
    """Whether a method's adapter trains, and merges to a model of the same output."""
    model = with_random_weights(BACKBONES[model_type](configs[model_type]))
    targets = "|".join(map(re.escape, layers(model, kind)))
    config_class, fields = METHODS[method]
    torch.manual_seed(0)
    try:
        adapted = get_peft_model(model, config_class(target_modules=targets, **fields))
        adapted(random_input(model)).pooler_output.pow(2).mean().backward()
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter += 0.02 * torch.randn_like(parameter)
            learnt = adapted(random_input(model)).pooler_output
            merged = adapted.merge_and_unload()(random_input(model)).pooler_output
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return False
    return torch.allclose(learnt, merged, atol=1e-3, rtol=1e-3)


def test_the_table_has_every_backbone_that_has_such_layers(tiny_configs):
    found = {
        (model_type, kind)
        for model_type, config in tiny_configs.items()
        for kind in KINDS
        if layers(BACKBONES[model_type](config), kind)
    }
    assert set(stated_methods()) == found


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_the_methods_that_are_said_to_work_do_and_others_do_not(model_type, tiny_configs):
    for (backbone, kind), methods in stated_methods().items():
        if backbone == model_type:
            assert methods == ([name for name in METHODS if works(model_type, tiny_configs, kind, name)] or ["none"])


@pytest.mark.parametrize("model_type", ["enecg-ecgcpc", "enecg-xresnet1d"])
def test_training_an_adapter_leaves_the_batch_norm_of_its_base_as_it_was(model_type, tiny_configs):
    model = with_random_weights(BACKBONES[model_type](tiny_configs[model_type]))
    statistics = {name: each.clone() for name, each in model.named_buffers() if ".running_" in name}
    with_adapter = get_peft_model(model, LoraConfig(target_modules=layers(model, "convolution")))
    with_adapter.train()(random_input(model))
    kept = dict(with_adapter.get_base_model().named_buffers())
    assert statistics
    assert all(torch.equal(kept[name], each) for name, each in statistics.items())
    with_adapter.requires_grad_(True).train()(random_input(model))  # trained itself, it has statistics of its own
    assert not any(torch.equal(kept[name], each) for name, each in statistics.items())
