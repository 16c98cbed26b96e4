"""How models start: every weight by the model's own rule, wherever and in whatever precision it is built."""

import pytest
import torch
from transformers.initialization import no_init_weights

from modeling_enecg import BACKBONES, EnECGModel
from tests.helpers.tiny_models import TASKS

RANDOM_BUFFERS = ("log_step",)  # of S4, whose steps are drawn


def not_started(model_class, config):
    """Names of what is left as it was found in memory, where a model is first built without any."""
    with torch.device("meta"):
        model = model_class(config)
    model.to_empty(device="cpu")
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
    model.init_weights()
    return [name for name, tensor in tensors.items() if (tensor.isnan() | (tensor == -1)).any()]


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_every_weight_of_a_backbone_built_without_memory_is_started(model_type, tiny_configs):
    assert not_started(BACKBONES[model_type], tiny_configs[model_type]) == []


def test_every_weight_of_an_ensemble_built_without_memory_is_started(tiny_experts):
    config = EnECGModel.from_experts(tiny_experts, TASKS, novelty_rank=2, pooling="attention", pooling_heads=2).config
    assert not_started(EnECGModel, config) == []


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_tables_that_are_not_trained_are_there_even_if_no_weight_is_started(model_type, tiny_configs):
    wanted = dict(BACKBONES[model_type](tiny_configs[model_type]).named_buffers())
    with no_init_weights():
        model = BACKBONES[model_type](tiny_configs[model_type])
    for name, buffer in model.named_buffers():
        if not name.endswith(RANDOM_BUFFERS):
            assert torch.equal(buffer, wanted[name]), name


@torch.inference_mode()
@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_a_backbone_loads_in_half_precision_and_computes_in_it(model_type, tiny_configs, tmp_path):
    BACKBONES[model_type](tiny_configs[model_type]).save_pretrained(tmp_path)
    model = BACKBONES[model_type].from_pretrained(tmp_path, dtype=torch.bfloat16)
    config = model.config
    inputs = torch.randn(2, config.num_leads, config.sequence_length, dtype=torch.bfloat16)
    assert model(inputs).pooler_output.dtype == torch.bfloat16
