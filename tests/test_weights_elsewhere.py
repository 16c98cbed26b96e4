"""Models whose weights are not floating-point numbers at hand: offloaded to memory or disk, or packed as integers."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeling_enecg import BACKBONES, EnECGModel
from tests.helpers.inputs import random_input, with_random_weights
from tests.helpers.tiny_models import RHYTHM, tiny_backbone_configs

TYPES = sorted(tiny_backbone_configs())
WITHOUT_LINEAR_LAYERS = {"enecg-dlinear", "enecg-xresnet1d"}


def tiny_model(model_type):
    torch.manual_seed(0)
    return with_random_weights(BACKBONES[model_type](tiny_backbone_configs()[model_type]))


@torch.no_grad()
@pytest.mark.parametrize("model_type", TYPES)
def test_a_backbone_gives_the_same_with_its_weights_in_memory_or_on_disk(model_type, tmp_path):
    model = tiny_model(model_type)
    inputs = random_input(model)
    wanted = model(inputs).to_tuple()
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(parameter.is_meta for parameter in model.parameters())
    for given, each in zip(model(inputs).to_tuple(), wanted, strict=True):
        torch.testing.assert_close(given, each)
    model = tiny_model(model_type)
    disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
    torch.testing.assert_close(model(inputs).pooler_output, wanted[1])


@torch.no_grad()
@pytest.mark.parametrize("settings", [{"pooling": "attention", "pooling_heads": 2}, {"gate": "encoder"}])
def test_an_ensemble_gives_the_same_with_its_weights_on_disk(settings, tmp_path):
    experts = {name: tiny_model(f"enecg-{name}") for name in ("moment", "stmem")}
    model = EnECGModel.from_experts(experts, [RHYTHM], **settings)
    inputs = {"input_values": random_input(experts["moment"]), "gate_values": torch.randn(3, 12, 150)}
    wanted = model(**inputs).logits["rhythm"]
    model.save_pretrained(tmp_path)
    places = dict.fromkeys((name for name, _child in model.named_children()), "disk")
    loaded = EnECGModel.from_pretrained(tmp_path, device_map=places, offload_folder=tmp_path / "offloaded")
    torch.testing.assert_close(loaded(**inputs).logits["rhythm"], wanted)


class PackedLinear(nn.Module):
    """A linear layer with the bytes of its weight in a row, as layers of 8 and 4 bit have it."""

    def __init__(self, layer):
        super().__init__()
        weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
        self.shape, self.scale, self.bias = weight.shape, weight.abs().max() / 127, layer.bias
        codes = (weight / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(codes.reshape(-1, 1).view(torch.uint8), requires_grad=False)

    def forward(self, values):
        assert values.ndim <= 3  # all that bitsandbytes takes in 8 bit
        weight = self.weight.view(torch.int8).reshape(self.shape) * self.scale
        return nn.functional.linear(values.to(weight.dtype), weight, self.bias)


@torch.no_grad()
@pytest.mark.parametrize("model_type", [each for each in TYPES if each not in WITHOUT_LINEAR_LAYERS])
def test_a_backbone_whose_linear_layers_are_packed_gives_nearly_the_same(model_type):
    model = tiny_model(model_type)
    inputs = random_input(model)
    wanted = model(inputs).pooler_output
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear | Conv1D):
            model.set_submodule(name, PackedLinear(module))
    given = model(inputs).pooler_output
    assert torch.corrcoef(torch.stack([given.flatten(), wanted.flatten()]))[0, 1] > 0.99
    assert not torch.equal(given, wanted)
