"""The attentive probe: one learned query over a backbone's tokens."""

import json

import pytest
import torch
from safetensors.torch import load_file

from modeling_enecg.attention_pool import AttentionPool


@pytest.fixture
def pool():
    torch.manual_seed(0)
    return AttentionPool(hidden_size=12, num_heads=3)


@torch.inference_mode()
@pytest.mark.parametrize("fixture", ["tiny", "tiny_bn", "tiny_opt"])
def test_pooled_tokens_give_upstreams_logits(parity_dir, fixture):
    folder = parity_dir / "ecgcpc" / fixture
    weights, io = load_file(folder / "state_dict.safetensors"), load_file(folder / "io.safetensors")
    hyperparameters = json.loads((folder / "config.json").read_text())
    pool = AttentionPool(hyperparameters["model_dim"], hyperparameters["attn_pool_heads"])
    own = {"query": weights["attn_head.head.query"].flatten()}
    for name in ("query", "key", "value"):
        own[f"{name}_projection.weight"] = weights[f"attn_head.head.{name[0]}_proj.weight"]
    pool.load_state_dict(own)
    logits = pool(io["sequence_features"]) @ weights["attn_head.head.c_proj.weight"].T
    torch.testing.assert_close(logits, io["logits_attention_pool"], atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e6])
def test_tokens_that_do_not_count_change_nothing(pool, garbage):
    tokens, mask = torch.randn(3, 10, 12), torch.arange(10) < torch.tensor([10, 7, 1])[:, None]
    pooled = pool(tokens.where(mask[..., None], garbage), mask)
    for record, length in enumerate([10, 7, 1]):
        alone = pool(tokens[record : record + 1, :length])
        torch.testing.assert_close(pooled[record : record + 1], alone, atol=1e-6, rtol=0)


def test_a_record_without_tokens_gets_zeros_and_finite_gradients(pool):
    tokens = torch.randn(2, 5, 12, requires_grad=True)
    pooled = pool(tokens, torch.tensor([[True] * 5, [False] * 5]))
    assert not pooled[1].any()
    pooled.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in pool.parameters())


@torch.inference_mode()
def test_the_order_of_tokens_does_not_matter(pool):
    tokens = torch.randn(2, 9, 12)
    torch.testing.assert_close(pool(tokens.flip(1)), pool(tokens), atol=1e-6, rtol=0)


def test_every_parameter_gets_a_gradient(pool):
    pool(torch.randn(2, 9, 12)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in pool.parameters())


def test_the_papers_sixteen_heads_are_the_default():
    assert AttentionPool(512).num_heads == 16


@pytest.mark.parametrize("num_heads", [0, 5])
def test_heads_that_do_not_divide_the_width_are_refused(num_heads):
    with pytest.raises(ValueError, match=rf"hidden_size \(12\) must be a multiple of num_heads \({num_heads}\)"):
        AttentionPool(12, num_heads)
