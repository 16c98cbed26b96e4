"""Latency of an ensemble that computes two experts a record, against one that computes all five.

    python benchmarks/top_k.py

The paper's five experts at their published sizes, random weights, one record at a time. What `top_k=2` saves depends
on which two the gate takes, so that every pair is timed.
"""

import argparse
import itertools
import os
import platform
import time

import torch
from transformers import set_seed

from modeling_enecg import EnECGModel
from modeling_enecg.backbones import BACKBONES

EXPERTS = ("moment", "tempo", "ecgfm", "dlinear", "timesnet")
TASK = {"name": "sex", "problem_type": "single_label_classification", "labels": ["male", "female"]}


def choose(model: EnECGModel, experts: tuple[str, ...]) -> None:
    """Make the gate take these experts whatever it reads."""
    linear = model.gates["sex"].linear
    assert isinstance(linear, torch.nn.Linear)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([float(name in experts) for name in EXPERTS]))


@torch.inference_mode()
def seconds_a_record(model: EnECGModel, num_records: int) -> float:
    """Return the median latency after a first record that does not count."""
    configs = [expert.config for expert in model.backbones.values()]
    inputs = [torch.randn(1, config.num_leads, config.sequence_length) for config in configs]
    gate_values = torch.randn(1, 12, model.config.gate_sequence_length)
    times = []
    for _ in range(num_records + 1):
        start = time.perf_counter()
        model(input_values=inputs, gate_values=gate_values)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[num_records // 2]


def main(num_records: int) -> None:
    set_seed(0)
    backbones = {}
    for name in EXPERTS:
        model_class = BACKBONES[f"enecg-{name}"]
        backbones[name] = model_class(model_class.config_class())
    model = EnECGModel.from_experts(backbones, [TASK], gate="encoder", top_k=2)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; torch {torch.__version__}, {torch.get_num_threads()} threads")
    model.config.top_k = None
    dense = seconds_a_record(model, num_records)
    print(f"all five: {1e3 * dense:.0f} ms a record (median of {num_records})")
    model.config.top_k = 2
    sparse = []
    for pair in itertools.combinations(EXPERTS, 2):
        choose(model, pair)
        sparse.append(seconds_a_record(model, num_records))
        print(f"{' and '.join(pair):20} {1e3 * sparse[-1]:7.1f} ms: {dense / sparse[-1]:6.1f}x as fast")
    print(f"mean over all pairs  {1e3 * sum(sparse) / len(sparse):7.1f} ms: {dense * len(sparse) / sum(sparse):.1f}x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_records", type=int, default=3)
    main(parser.parse_args().num_records)
