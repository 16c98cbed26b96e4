"""Which of peft's methods work on which backbone: the table of `docs/backbones.md`, found by trying."""

import re
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeling_enecg import BACKBONES
from tests.helpers.inputs import random_input, with_random_weights

DOCS = Path(__file__).parents[2] / "docs" / "backbones.md"
METHODS = {
    "LoRA": lambda targets: LoraConfig(r=2, target_modules=targets),
    "DoRA": lambda targets: LoraConfig(r=2, use_dora=True, target_modules=targets),
    "LoHa": lambda targets: LoHaConfig(r=2, target_modules=targets),
    "LoKr": lambda targets: LoKrConfig(r=2, target_modules=targets),
    "IA³": lambda targets: IA3Config(target_modules=targets, feedforward_modules=[]),
}
KINDS = {
    "linear": lambda module: isinstance(module, nn.Linear | Conv1D),
    "convolution": lambda module: type(module) is nn.Conv1d and module.groups == 1 and module.padding_mode == "zeros",
}

# peft 0.21 asks for what transformers 5.23 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def layers(model, kind):
    unused = tuple(model.forecast_parameters)
    named = {name: module for name, module in model.named_modules() if not f"{name}.".startswith(unused or "-")}
    return [name for name, module in named.items() if KINDS[kind](module)]


def works(model_type, configs, kind, method):
    """Whether a method's adapter trains, and merges to a model of the same output."""
    model = with_random_weights(BACKBONES[model_type](configs[model_type]))
    targets = "|".join(map(re.escape, layers(model, kind)))
    torch.manual_seed(0)
    try:
        adapted = get_peft_model(model, METHODS[method](targets))
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


def stated():
    """The table: which methods work, by backbone and kind of layer."""
    rows = [
        line.strip("| ").split(" | ")
        for line in DOCS.read_text("utf-8").splitlines()
        if re.match(r"\| `\w+` \| (linear|convolution) \|", line)
    ]
    return {(f"enecg-{name.strip('`')}", kind): methods.split(", ") for name, kind, methods in rows}


def test_the_table_has_every_backbone_that_has_such_layers(tiny_configs):
    found = {
        (model_type, kind)
        for model_type, config in tiny_configs.items()
        for kind in KINDS
        if layers(BACKBONES[model_type](config), kind)
    }
    assert set(stated()) == found


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_the_methods_that_are_said_to_work_do_and_others_do_not(model_type, tiny_configs):
    for (backbone, kind), methods in stated().items():
        if backbone == model_type:
            assert methods == ([name for name in METHODS if works(model_type, tiny_configs, kind, name)] or ["none"])
