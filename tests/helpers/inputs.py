"""Random inputs and weights for backbones."""

import torch

WITHOUT_BLOCKS = {"enecg-dlinear"}


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
