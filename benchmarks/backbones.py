"""Every backbone at its published size: CPU seconds per record, as it is and compiled by torch.compile.

    python benchmarks/backbones.py [MODEL_TYPE ...]

Random weights, batches of records of the length that the published model takes. Both forms run in this one process, in
turns; the CPU seconds of one thread are counted, so that other programs make little difference. Compilation itself, a
minute or so per backbone, is not counted.
"""

import argparse
import gc
import os
import platform
import time
from collections.abc import Callable

import torch
from transformers import set_seed

from modeling_enecg.backbones import BACKBONES, backbone_class

BATCH_SIZE = 4
REPEATS = 5


def seconds_of(model: Callable[[torch.Tensor], object], records: torch.Tensor) -> float:
    """Return the CPU seconds that one pass over the records takes."""
    start = time.process_time()
    model(records)
    return time.process_time() - start


def compare(model_type: str) -> tuple[int, float, float, float]:
    """Return a backbone's number of parameters, its seconds per record, those compiled, and how far features differ.

    The last is a share of the largest feature: random weights make some backbones' features very large.
    """
    kind = backbone_class(model_type)
    model = kind(kind.config_class()).eval()
    config = model.config
    records = torch.randn(BATCH_SIZE, config.num_leads, config.sequence_length)
    compiled = torch.compile(model)
    features = model(records).pooler_output
    difference = ((features - compiled(records).pooler_output).abs().max() / features.abs().max()).item()
    times = [(seconds_of(model, records), seconds_of(compiled, records)) for _ in range(REPEATS)]
    plain, fast = (min(each) / BATCH_SIZE for each in zip(*times, strict=True))
    return model.num_parameters(), plain, fast, difference


@torch.no_grad()
def main(model_types: list[str]) -> None:
    set_seed(0)
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs; torch {torch.__version__}, one thread; batches of {BATCH_SIZE}"
    )
    print(f"{'backbone':20} {'parameters':>12} {'s per record':>13} {'compiled':>9} {'ratio':>6}  difference")
    for model_type in model_types or BACKBONES:
        num_parameters, plain, fast, difference = compare(model_type)
        print(
            f"{model_type:20} {num_parameters:12,} {plain:13.4f} {fast:9.4f} {plain / fast:5.2f}x  {difference:.0e}",
            flush=True,
        )
        torch.compiler.reset()
        gc.collect()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_types", nargs="*", metavar="MODEL_TYPE")
    main(**vars(parser.parse_args()))
