"""Random inputs and weights for backbones."""

import pytest
import torch

from modeling_enecg import BACKBONES

WITHOUT_BLOCKS = {"enecg-dlinear"}


@pytest.fixture(params=sorted(BACKBONES))
def model(request, tiny_configs):
    """A tiny model of each backbone in eval mode, with every parameter at work."""
    torch.manual_seed(0)
    return with_random_weights(BACKBONES[request.param](tiny_configs[request.param]))


def with_random_weights(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        for name, statistic in model.named_buffers():
            if ".running_" in name:  # of batch norm
                statistic += 0.1 * torch.rand(statistic.shape, generator=generator)
    return model.eval()


def random_input(model, batch_size=3, seed=0):
    shape = (batch_size, model.config.num_leads, model.config.sequence_length)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
