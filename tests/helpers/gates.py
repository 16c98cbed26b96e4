"""Records, labels and what gated models take, for the tests of gates."""

import numpy as np
import torch

from modeling_enecg.data.simulator.ecg import simulate_record
from modeling_enecg.leads import STANDARD_LEADS

NAMES = ("ecgfounder", "stmem", "dlinear")
SIGNAL_GATES = ("leads", "encoder")
LABELS = {
    "rhythm": torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]] * 4),
    "sex": torch.tensor([0, 1, 1, 0] * 2),
    "age": torch.linspace(20, 80, 8),
}
# How the small experts of these tests take a record.
EXPERT_INPUT = {"sampling_rate": 100, "sequence_length": 150}
FINDINGS = (
    *(("NORM", "SR"), ("IMI", "SR"), ("CRBBB", "AFIB"), ("LVH", "STACH")),
    *(("NORM", "SBRAD"), ("ASMI", "SR"), ("CLBBB", "SR"), ("NORM", "AFIB")),
)


@torch.no_grad()
def spread_scores(model, inputs):
    """Give every gate a random last layer whose scores of each expert have mean 0 and deviation 1 over `inputs`."""
    values = arguments(model, inputs).get("gate_values")
    if values is None:
        values = list(model.extract_features(inputs).values())
    for gate in model.gates.values():
        last = [module for module in gate.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight.normal_()
        last.bias.zero_()
        scores = gate(values)
        last.weight.div_(scores.std(0)[:, None])
        last.bias.copy_(-scores.mean(0) / scores.std(0))


def arguments(model, inputs):
    """What the model takes beside labels: `inputs`, and their leads for a gate on the signal."""
    if not model.config.gate_reads_signal:
        return {"input_values": inputs}
    rows = [STANDARD_LEADS.index(lead) for lead in model.config.gate_leads]
    return {"input_values": inputs, "gate_values": inputs[:, rows]}


def record(index=0):
    return simulate_record(FINDINGS[index % len(FINDINGS)], np.random.default_rng(index))


def assert_near(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
