"""Models with adapters, what they give and what of them trains, for the tests of adapters."""

from dataclasses import dataclass
from pathlib import Path

import torch

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.adapters import LoraSettings, adapted_model
from tests.helpers.tiny_models import TASKS, tiny_backbone_configs

PAIR = ("ecgfounder", "stmem")
SHALLOW = {"ecgfounder": {"depths": [1, 1]}, "stmem": {"num_hidden_layers": 2}}
PLAIN = LoraSettings()
LORA_ONLY = LoraSettings(final_layers="lora")
EVERY_WAY = [
    PLAIN,
    LORA_ONLY,
    LoraSettings(final_layers="frozen"),
    LoraSettings(use_dora=True),
    LoraSettings(use_rslora=True),
    LoraSettings(use_dora=True, use_rslora=True, experts=True),
]


def brief(settings: LoraSettings) -> str:
    other = {key: value for key, value in vars(settings).items() if value != getattr(LoraSettings, key)}
    return "-".join(f"{key}={value}" for key, value in other.items()) or "default"


def new_model(names=PAIR, tasks=TASKS, gate="features", expert_fields=None, **fields) -> EnECGModel:
    """An ensemble of tiny experts whose heads and gates have learnt something."""
    torch.manual_seed(0)
    configs = tiny_backbone_configs()
    experts = {}
    for name in names:
        config = configs[f"enecg-{name}"]
        for key, value in (SHALLOW.get(name, {}) | (expert_fields or {}).get(name, {})).items():
            setattr(config, key, value)
        experts[name] = BACKBONES[config.model_type](config)
    fields = {"head_hidden_sizes": [8], "gate_sequence_length": 100, "gate_hidden_size": 6} | fields
    model = EnECGModel.from_experts(experts, tasks, gate=gate, **fields)
    return learn(model.requires_grad_(True), seed=1, only=("heads.", "gates."))


@torch.no_grad()
def learn(model, seed: int, only: tuple[str, ...] = ("",)):
    """Move all that trains, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.startswith(only):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def batch(model: EnECGModel) -> dict[str, torch.Tensor]:
    samples = min(expert.config.sequence_length for expert in model.backbones.values())
    generator = torch.Generator().manual_seed(2)
    inputs = {"input_values": torch.randn(4, 12, samples, generator=generator)}
    if model.config.gate_reads_signal:
        inputs["gate_values"] = torch.randn(4, len(model.config.gate_leads), 100, generator=generator)
    return inputs


@torch.inference_mode()
def logits_of(model) -> dict[str, torch.Tensor]:
    plain = model if isinstance(model, EnECGModel) else adapted_model(model)
    return {name: each.clone() for name, each in model.eval()(**batch(plain)).logits.items()}


def assert_equal_logits(ours, theirs, **tolerance):
    for name, logits in theirs.items():
        torch.testing.assert_close(ours[name], logits, **({"atol": 0, "rtol": 0} | tolerance), msg=name)


def changed(ours, theirs) -> list[str]:
    return [name for name in theirs if not torch.equal(ours[name], theirs[name])]


def trainable(model) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def with_lora(model) -> set[str]:
    """The names of the layers that have LoRA weights."""
    return {name.split(".lora_")[0] for name in model.state_dict() if ".lora_" in name}


@dataclass
class Trained:
    """An adapter's folder, and the logits of its tasks when it was saved."""

    folder: Path
    logits: dict[str, torch.Tensor]
    num_trainable: int
