"""An S4 layer against a loop over time and against attention of the same width, at 10 seconds and at 5 minutes.

    python benchmarks/s4.py

One record, random weights, tokens as many as ECG-CPC makes (120 per second). The loop takes the layer's own state from
token to token; attention is torch's fused one between two linear layers. All run in this one process; the CPU seconds
of one thread are counted, so that other programs make no difference.
"""

import argparse
import os
import platform
import time

import torch
from torch import nn
from transformers import set_seed

from modeling_enecg.s4 import S4Layer

TOKENS_PER_SECOND = 120
DURATIONS_S = (10, 300)
STATE_SIZE = 8


class LoopedS4(nn.Module):
    """The same layer, token by token."""

    def __init__(self, layer: S4Layer):
        super().__init__()
        self.layer = layer
        self.transition, entry = (each.float() for each in layer.kernel.discretise())
        self.entry = entry[..., None]
        matrix = layer.kernel.output_matrix[0]
        self.readout = 2 * torch.cat([matrix[..., 0], -matrix[..., 1]], dim=-1)[:, None]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(1, num_tokens, hidden_size)` to the same shape."""
        state = torch.zeros_like(self.entry)
        filtered = torch.empty_like(hidden_states)
        for index, token in enumerate(hidden_states[0]):
            state = self.transition @ state + self.entry * token[:, None, None]
            filtered[0, index] = (self.readout @ state).flatten()
        activated = nn.functional.gelu(filtered + self.layer.skip * hidden_states)
        return nn.functional.glu(self.layer.output(activated), dim=-1)


class Attention(nn.Module):
    """Multi-head attention."""

    def __init__(self, hidden_size: int, head_dim: int = 32):
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(1, num_tokens, hidden_size)` to the same shape."""
        heads = self.qkv(hidden_states).unflatten(-1, (3, -1, self.head_dim))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (1, heads, tokens, head_dim)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.output(attended.transpose(1, 2).flatten(2))


def seconds_for(module: nn.Module, tokens: torch.Tensor, repeats: int = 1) -> float:
    """Return the least of several times on the CPU."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        module(tokens)
        times.append(time.process_time() - start)
    return min(times)


@torch.no_grad()
def main(hidden_size: int) -> None:
    set_seed(0)
    torch.set_num_threads(1)
    layer = S4Layer(hidden_size, STATE_SIZE).eval()
    peers = {"loop over time": LoopedS4(layer), "attention": Attention(hidden_size)}
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; torch {torch.__version__}, one thread")
    print(f"width {hidden_size}, state {STATE_SIZE}, one record")
    seconds: dict[str, list[float]] = {name: [] for name in ("S4", *peers)}
    for duration in DURATIONS_S:
        tokens = torch.randn(1, duration * TOKENS_PER_SECOND, hidden_size)
        first = seconds_for(layer, tokens)
        seconds["S4"].append(seconds_for(layer, tokens, repeats=5))
        difference = (peers["loop over time"](tokens) - layer(tokens)).abs().max()
        print(f"{duration} s, {tokens.shape[1]} tokens (S4 and loop differ by at most {difference:.0e})")
        print(f"  {'S4':15} {1e3 * seconds['S4'][-1]:9.2f} ms; with a new kernel {1e3 * first:.2f} ms")
        for name, peer in peers.items():
            seconds[name].append(seconds_for(peer, tokens))
            print(
                f"  {name:15} {1e3 * seconds[name][-1]:9.2f} ms: {seconds[name][-1] / seconds['S4'][-1]:.1f}x as long"
            )
    growth = ", ".join(f"{name} {long / short:.0f}x" for name, (short, long) in seconds.items())
    print(f"{DURATIONS_S[1] / DURATIONS_S[0]:.0f} times as many tokens cost: {growth}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden_size", type=int, default=64)
    main(**vars(parser.parse_args()))
