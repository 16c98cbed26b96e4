"""Attention pooling: one learned query decides how much of each token a record's features take.

The probe of V-JEPA (Bardes et al., arXiv 2404.08471) in its smallest form, with which Al-Masud et al., arXiv
2509.25095, judge frozen ECG foundation models.
"""

import torch
from torch import nn
from transformers import initialization as init

from .modeling_backbone import masked_mean


def flagged_tokens(
    tokens: torch.Tensor, token_mask: torch.Tensor | None, num_rows: int = 1, stride: int = 1
) -> torch.Tensor:
    """Return tokens each followed by a flag, 1 where it counts; tokens that do not are zeros.

    A backbone's tokens are thus one tensor, to store and to hand on, whether something is missing or not.

    Args:
        tokens (`torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`): A backbone's tokens.
        token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`, *optional*): True for tokens that count;
            all by default.
        num_rows (`int`, *optional*, defaults to 1): How many rows over time the tokens are, as `num_token_rows` says.
        stride (`int`, *optional*, defaults to 1): Take the mean of so many successive tokens of a row, of those that
            count, for one; the last mean of a row may be of fewer.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_pooled_tokens, hidden_size + 1)`.
    """
    counts = tokens.new_ones(tokens.shape[:2]) if token_mask is None else token_mask.to(tokens.dtype)
    if token_mask is not None:
        tokens = tokens.masked_fill(~token_mask[..., None], 0)
    flagged = torch.cat([tokens, counts[..., None]], dim=-1)
    if stride == 1:
        return flagged
    rows = flagged.unflatten(1, (num_rows, -1))  # (batch, rows, times, hidden + 1)
    rows = nn.functional.pad(rows, (0, 0, 0, -rows.shape[2] % stride))
    strides = rows.unflatten(2, (-1, stride))  # (batch, rows, strides, stride, hidden + 1)
    return masked_mean(strides, strides[..., -1:] > 0, dim=3).flatten(1, 2)


class AttentionPool(nn.Module):
    """Multi-head attention of one learned query over a backbone's tokens; without biases, norms or a shortcut.

    Args:
        hidden_size (`int`): Width of a token; a multiple of `num_heads`.
        num_heads (`int`, *optional*, defaults to 16): Attention heads, each with its own weights of the tokens.

    Raises:
        ValueError: if the heads do not divide the width.

    Example:
    ```python
    >>> import torch
    >>> from modeling_enecg.attention_pool import AttentionPool
    >>> AttentionPool(hidden_size=32, num_heads=4)(torch.randn(2, 75, 32)).shape
    torch.Size([2, 32])

    ```
    """

    def __init__(self, hidden_size: int, num_heads: int = 16):
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError(f"hidden_size ({hidden_size}) must be a multiple of num_heads ({num_heads}).")
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(hidden_size))
        self.query_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.value_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with a random query; the projections have their own start."""
        init.normal_(self.query, std=0.02)

    def forward(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool the tokens of a batch of records.

        Args:
            tokens (`torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`): A backbone's tokens.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`, *optional*): True for tokens that
                count; all by default. What stands in the others never matters. A record without any gets zeros.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, hidden_size)`.
        """
        if token_mask is not None:
            tokens = tokens.masked_fill(~token_mask[..., None], 0)
        query = self._heads(self.query_projection(self.query).expand(tokens.shape[0], 1, -1))
        key, value = self._heads(self.key_projection(tokens)), self._heads(self.value_projection(tokens))
        is_key = None if token_mask is None else token_mask[:, None, None]
        pooled = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=is_key)
        return pooled.flatten(1)  # (batch, heads, 1, head_dim) -> (batch, hidden_size)

    def _heads(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Split `(batch_size, num_tokens, hidden_size)` into `(batch_size, num_heads, num_tokens, head_dim)`."""
        return hidden_states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


__all__ = ["AttentionPool", "flagged_tokens"]
