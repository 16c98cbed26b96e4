"""peft's methods, the layers of a backbone that they may adapt, and which of them the docs say to work there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, PeftConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

DOCS = Path(__file__).parents[2] / "docs" / "backbones.md"

# From a method to its config's class and fields, but for the layers.
METHODS: dict[str, tuple[type[PeftConfig], dict[str, Any]]] = {
    "LoRA": (LoraConfig, {"r": 2}),
    "DoRA": (LoraConfig, {"r": 2, "use_dora": True}),
    "LoHa": (LoHaConfig, {"r": 2}),
    "LoKr": (LoKrConfig, {"r": 2}),
    "IA³": (IA3Config, {"feedforward_modules": []}),
}
KINDS: dict[str, Callable[[nn.Module], bool]] = {
    "linear": lambda module: isinstance(module, nn.Linear | Conv1D),
    "convolution": lambda module: type(module) is nn.Conv1d and module.groups == 1 and module.padding_mode == "zeros",
}


def layers(model: nn.Module, kind: str) -> list[str]:
    """Names of a backbone's layers of one kind, but for what only a forecast needs."""
    unused = tuple(getattr(model, "forecast_parameters", ()))
    named = {name: module for name, module in model.named_modules() if not f"{name}.".startswith(unused or "-")}
    return [name for name, module in named.items() if KINDS[kind](module)]


def stated_methods() -> dict[tuple[str, str], list[str]]:
    """The table of the docs: which methods work, by model type and kind of layer."""
    rows = [
        line.strip("| ").split(" | ")
        for line in DOCS.read_text("utf-8").splitlines()
        if re.match(r"\| `\w+` \| (linear|convolution) \|", line)
    ]
    return {(f"enecg-{name.strip('`')}", kind): methods.split(", ") for name, kind, methods in rows}
