"""Ensembles whose gates tell the records of a batch apart."""

import pytest
import torch

from modeling_enecg import BACKBONES, EnECGModel
from tests.helpers.gates import NAMES, spread_scores
from tests.helpers.tiny_models import TASKS


@pytest.fixture
def inputs():
    return torch.randn(8, 12, 150, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def build(tiny_configs, inputs):
    """A function that builds an ensemble of three experts whose gates tell `inputs` apart."""

    def build(gate, tasks=TASKS, **fields):
        torch.manual_seed(0)
        experts = {name: BACKBONES[f"enecg-{name}"](tiny_configs[f"enecg-{name}"]) for name in NAMES}
        fields = {"head_hidden_sizes": [8], "gate_hidden_size": 16, "gate_sequence_length": 150} | fields
        model = EnECGModel.from_experts(experts, tasks, gate=gate, **fields)
        if gate != "uniform":
            spread_scores(model, inputs)
        return model

    return build
