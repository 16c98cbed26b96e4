"""S4: each channel of a sequence is filtered by a linear state space model, at a cost near linear in the length.

Gu, Goel, Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", ICLR 2022, arXiv 2111.00396. Each
channel has a state x with `x' = A x + B u` and `y = C x + D u`, discretised by the bilinear rule, which comes to a
convolution with the kernel `K[j] = C Ā^j B̄`. The state is a few complex numbers, each standing for itself and its
conjugate, and A is diagonal but for a product of two vectors: `A = diag(w) - P Qᵀ`. Here real and imaginary parts are
two real entries of the state, so that a kernel is a handful of products of small real matrices, without complex
numbers, and only the convolution takes Fourier transforms.
"""

import math

import numpy as np
import torch
from torch import nn
from transformers import initialization as init

from .modeling_backbone import RecordDropout

SHORTEST_STEP, LONGEST_STEP = 0.001, 0.1  # from token to token, in the time of a new layer's states
_CHUNK = 64  # tokens


class TiedDropout(RecordDropout):
    """Dropout that zeroes whole channels of a record: the same ones at every time."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Drop channels of `hidden_states` of shape `(batch_size, num_tokens, hidden_size)` in training."""
        if self.rate == 0 or not self.training:
            return hidden_states
        return hidden_states * super().forward(torch.ones_like(hidden_states[:, :1]))


class S4Kernel(nn.Module):
    """The convolution kernels of all channels, for any length.

    Only the output matrix C is trained. A, B and the steps in time stay as they start, as in the published models:
    A and B hold the HiPPO-LegS matrices, whose state remembers all of the past.

    Without a gradient to follow, a kernel is computed once and kept for as long as the tensors that it comes from hold
    the same values, however they are changed.

    Args:
        hidden_size (`int`): Number of channels.
        state_size (`int`): Size of a channel's state in real numbers; even.
        num_directions (`int`): 1 for the past, 2 with a second kernel for the future.
    """

    log_step: torch.Tensor
    diagonal: torch.Tensor
    left_vector: torch.Tensor
    right_vector: torch.Tensor
    input_matrix: torch.Tensor

    def __init__(self, hidden_size: int, state_size: int, num_directions: int):
        super().__init__()
        shape = (hidden_size, state_size // 2, 2)  # real and imaginary parts last
        self.register_buffer("log_step", torch.empty(hidden_size))
        for name in ("diagonal", "left_vector", "right_vector", "input_matrix"):  # w, P, Q and B
            self.register_buffer(name, torch.empty(shape))
        self.output_matrix = nn.Parameter(torch.empty(num_directions, *shape))  # C
        self._kept: tuple[torch.Tensor, torch.Tensor] | None = None  # what a kernel comes from, and the kernel
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start from HiPPO-LegS, with steps spread over two orders of magnitude and a random output matrix."""
        diagonal, low_rank, input_matrix = hippo_legs(2 * self.diagonal.shape[1])
        values = {
            "diagonal": diagonal,
            "left_vector": low_rank,
            "right_vector": low_rank.conj().resolve_conj(),
            "input_matrix": input_matrix,
        }
        for name, value in values.items():
            init.copy_(getattr(self, name), torch.view_as_real(value).expand(self.diagonal.shape))
        init.uniform_(self.log_step, math.log(SHORTEST_STEP), math.log(LONGEST_STEP))
        init.normal_(self.output_matrix, std=math.sqrt(0.5))  # 1 as complex numbers

    def forward(self, length: int) -> torch.Tensor:
        """Return the kernels of shape `(num_directions, hidden_size, length)` in float64."""
        follows_gradient = torch.is_grad_enabled() and self.output_matrix.requires_grad
        if follows_gradient or torch.compiler.is_compiling():
            return self._computed(length)
        return self._remembered(length)

    @torch.inference_mode(False)  # a later call may need the kernel for the gradient of its input
    @torch.no_grad()
    def _remembered(self, length: int) -> torch.Tensor:
        # Values tell for sure; tensors' versions and addresses miss changes through `.data` or casts back and forth.
        source = torch.cat([tensor.flatten().double() for tensor in (*self.buffers(), self.output_matrix)])
        if self._kept is not None:
            kept_source, kernel = self._kept
            is_current = kept_source.device == source.device and torch.equal(kept_source, source)
            if is_current and kernel.shape[-1] >= length:
                return kernel[..., :length]
        kernel = self._computed(length)
        self._kept = (source, kernel)
        return kernel

    def _computed(self, length: int) -> torch.Tensor:
        """Compute `C Ā^j B̄` as the product of `C Ā^(m p)` and `Ā^q B̄` with j = m p + q and 0 <= q < m."""
        transition, entry = self.discretise()
        within_chunk = _powers(transition, entry, _CHUNK)  # (channels, state, m)
        of_chunk = torch.linalg.matrix_power(transition, _CHUNK)
        output = _twice_real_part(self.output_matrix.double())
        across_chunks = _powers(of_chunk.mT, output, -(-length // _CHUNK))  # (directions, channels, state, p)
        return (across_chunks.mT @ within_chunk).flatten(-2)[..., :length]

    def discretise(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what one token does to the state: real parts first, then imaginary parts.

        Returns:
            `tuple[torch.DoubleTensor, torch.DoubleTensor]`: Ā of shape `(hidden_size, state_size, state_size)`, and B̄
                of shape `(hidden_size, state_size)`.
        """
        half_step = self.log_step.double().exp()[:, None] / 2
        real, imaginary = (1 - half_step * self.diagonal[..., 0].double(), -half_step * self.diagonal[..., 1].double())
        norm = real.square() + imaginary.square()
        real, imaginary = torch.diag_embed(real / norm), torch.diag_embed(-imaginary / norm)
        # (I - dt/2 diag(w))^-1, and by Sherman and Morrison what it becomes with P Qᵀ.
        inverse = torch.cat([torch.cat([real, -imaginary], dim=-1), torch.cat([imaginary, real], dim=-1)], dim=-2)
        column = inverse @ _stacked(self.left_vector.double())[..., None]
        row = half_step[..., None] * _twice_real_part(self.right_vector.double())[:, None]
        inverse = inverse - column @ (row @ inverse) / (1 + row @ column)
        identity = torch.eye(inverse.shape[-1], dtype=inverse.dtype, device=inverse.device)
        entry = inverse @ _stacked(self.input_matrix.double())[..., None]
        return 2 * inverse - identity, 2 * half_step * entry[..., 0]


def _stacked(pairs: torch.Tensor) -> torch.Tensor:
    """Lay real parts, then imaginary parts, along the last axis: complex numbers as a state holds them."""
    return torch.cat([pairs[..., 0], pairs[..., 1]], dim=-1)


def _twice_real_part(pairs: torch.Tensor) -> torch.Tensor:
    """Return what maps a state to twice the real part of its product with complex numbers: its conjugate is added."""
    return 2 * torch.cat([pairs[..., 0], -pairs[..., 1]], dim=-1)


def _powers(matrix: torch.Tensor, vector: torch.Tensor, count: int) -> torch.Tensor:
    """Return the columns `matrix^j vector` for j = 0 ... count - 1, doubling their number with each product."""
    columns = vector[..., None]
    while columns.shape[-1] < count:
        columns = torch.cat([columns, matrix @ columns], dim=-1)
        matrix = matrix @ matrix
    return columns[..., :count]


def hippo_legs(state_size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the HiPPO-LegS state space in the coordinates in which A is diagonal but for one product of vectors.

    Args:
        state_size (`int`): Number of coordinates; even.

    Returns:
        `tuple`: The diagonal w, the vector P (with Q its conjugate) and B, each complex of shape `(state_size / 2,)`:
            one of each pair of conjugates.
    """
    order = np.arange(state_size)
    input_matrix = np.sqrt(2 * order + 1.0)
    low_rank = np.sqrt(order + 0.5)
    transition = -np.tril(np.outer(input_matrix, input_matrix), -1) - np.diag(order + 1.0)
    # Without its real part, -1/2 on the diagonal, A + P Pᵀ is antisymmetric: i times a Hermitian matrix.
    antisymmetric = transition + np.outer(low_rank, low_rank) + np.eye(state_size) / 2
    frequencies, vectors = np.linalg.eigh(-1j * antisymmetric)
    vectors = vectors[:, frequencies > 0].conj().T
    diagonal = torch.from_numpy(-0.5 + 1j * frequencies[frequencies > 0])
    return diagonal, torch.from_numpy(vectors @ low_rank), torch.from_numpy(vectors @ input_matrix)


def convolve(inputs: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Filter sequences over time, by Fourier transforms of twice their length.

    Args:
        inputs (`torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`): The sequences.
        kernel (`torch.FloatTensor` of shape `(num_directions, hidden_size, num_tokens)`): What a token hands on to
            itself and those after it; and where there is a second direction, to the one before it and further back.

    Returns:
        `torch.FloatTensor` of the inputs' shape.
    """
    num_tokens = inputs.shape[1]
    # Runtimes that take an exported model are fast and exact for powers of two alone.
    size = 2 ** math.ceil(math.log2(2 * num_tokens)) if torch.compiler.is_exporting() else 2 * num_tokens
    past, *future = kernel
    whole = nn.functional.pad(past, (0, size - num_tokens))
    for back in future:  # from the end on: times -1, -2, ...
        whole = whole + nn.functional.pad(back.flip(-1), (size - num_tokens, 0))
    spectrum = torch.fft.rfft(inputs.transpose(1, 2), n=size) * torch.fft.rfft(whole)
    return torch.fft.irfft(spectrum, n=size)[..., :num_tokens].transpose(1, 2)


class S4Layer(nn.Module):
    """State space convolution of each channel, GELU, and a gated linear layer across channels.

    Args:
        hidden_size (`int`): Number of channels.
        state_size (`int`): Size of a channel's state in real numbers; even.
        is_bidirectional (`bool`, *optional*, defaults to `False`): Whether tokens see those after them, too.
        dropout (`float`, *optional*, defaults to 0.0): Dropout after the GELU.
        is_dropout_tied (`bool`, *optional*, defaults to `True`): Whether a channel is dropped at all times or none.
    """

    def __init__(
        self,
        hidden_size: int,
        state_size: int,
        is_bidirectional: bool = False,
        dropout: float = 0.0,
        is_dropout_tied: bool = True,
    ):
        super().__init__()
        self.kernel = S4Kernel(hidden_size, state_size, 2 if is_bidirectional else 1)
        self.skip = nn.Parameter(torch.empty(hidden_size))  # D
        self.dropout = TiedDropout(dropout) if is_dropout_tied else RecordDropout(dropout)
        self.output = nn.Linear(hidden_size, 2 * hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with a random weight of each token for itself; kernel and linear layer have their own start."""
        init.normal_(self.skip)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `(batch_size, num_tokens, hidden_size)` to the same shape."""
        # Fourier transforms take no less than float32, be it by autocast or by the model's own type.
        dtype = torch.float64 if hidden_states.dtype == torch.float64 else torch.float32
        inputs = hidden_states.to(dtype)
        filtered = convolve(inputs, self.kernel(inputs.shape[1]).to(dtype)) + self.skip.to(dtype) * inputs
        activated = nn.functional.gelu(filtered.to(hidden_states.dtype))
        return nn.functional.glu(self.output(self.dropout(activated)), dim=-1)


__all__ = ["S4Kernel", "S4Layer", "TiedDropout"]
