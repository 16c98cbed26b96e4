"""Heads that pool an expert's tokens by attention: what they read, and that nothing missing is read."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.attention_pool import AttentionPool, flagged_tokens
from tests.helpers.inputs import random_input, with_random_weights
from tests.helpers.masks import mask_of, mixed_masks, padding
from tests.helpers.tiny_models import RHYTHM, SEX, TASKS


@pytest.fixture(params=sorted(BACKBONES))
def backbone(request, tiny_configs):
    torch.manual_seed(0)
    return with_random_weights(BACKBONES[request.param](tiny_configs[request.param]))


def attentive(experts, tasks=TASKS, **fields):
    torch.manual_seed(0)
    return EnECGModel.from_experts(experts, tasks, pooling="attention", pooling_heads=2, **fields)


@pytest.fixture
def ensemble(tiny_experts):
    return attentive(tiny_experts)


@torch.inference_mode()
def test_every_backbone_says_which_tokens_count_where_something_is_missing(backbone):
    inputs, masks = random_input(backbone, batch_size=4), mixed_masks(backbone)
    assert backbone(inputs).token_mask is None
    output = backbone(inputs, **masks)
    if backbone.config.model_type in ("enecg-ecgfounder", "enecg-xresnet1d"):  # what is missing counts as zeros
        assert output.token_mask is None
        return
    assert output.token_mask.dtype == torch.bool
    assert output.token_mask.shape == output.last_hidden_state.shape[:2]
    assert output.token_mask[0].all()
    assert output.token_mask.any(dim=1).all()
    assert not output.token_mask[3].all()  # fewer leads and samples


@torch.inference_mode()
def test_the_tokens_that_count_are_those_that_the_backbone_pools(backbone):
    """Where a backbone's own features are the mean over its tokens, it is the mean over those that count."""
    is_mean = ("enecg-ecgcpc", "enecg-ecgfm", "enecg-ecgjepa", "enecg-hubertecg", "enecg-moment")
    if backbone.config.model_type not in is_mean:
        pytest.skip("its features are no plain mean over tokens")
    output = backbone(random_input(backbone, batch_size=4), **mixed_masks(backbone))
    counts = output.token_mask[..., None]
    mean = (output.last_hidden_state * counts).sum(dim=1) / counts.sum(dim=1)
    torch.testing.assert_close(mean, output.pooler_output, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_rows_of_tokens_divide_them_evenly(backbone):
    tokens = backbone(random_input(backbone)).last_hidden_state
    assert tokens.shape[1] % backbone.num_token_rows == 0


@torch.inference_mode()
def test_a_heads_features_are_its_pool_over_the_experts_tokens(ensemble, inputs):
    tokens = ensemble.backbones["stmem"](inputs).last_hidden_state
    head = ensemble.heads["rhythm"]["stmem"]
    expected = head.layers(head.token_pool(tokens))
    torch.testing.assert_close(ensemble(inputs).expert_logits["rhythm"][:, 1], expected, atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_each_task_has_a_query_of_its_own(ensemble, inputs):
    before = ensemble(inputs).logits
    ensemble.heads["rhythm"]["stmem"].token_pool.value_projection.weight.mul_(3)
    after = ensemble(inputs).logits
    assert not torch.allclose(before["rhythm"], after["rhythm"])
    assert torch.equal(before["sex"], after["sex"])


@torch.inference_mode()
@pytest.mark.parametrize("stride", [1, 4])
def test_missing_leads_and_padding_do_not_change_logits(tiny_experts, stride):
    model = attentive({"stmem": tiny_experts["stmem"]}, token_stride=stride)
    inputs = torch.randn(2, 12, 150)
    masks = {"lead_mask": mask_of(["I", "V2"], ["II"]), "input_mask": padding(tiny_experts["stmem"], 150, 90)}
    expected = model(inputs, **masks).logits
    is_there = masks["lead_mask"][..., None] & masks["input_mask"][:, None]
    for garbage in (float("nan"), 1e6):
        changed = model(inputs.where(is_there, garbage), **masks).logits
        torch.testing.assert_close(changed, expected, rtol=0, atol=0)


@torch.inference_mode()
def test_padding_equals_a_shorter_record(tiny_experts):
    model, inputs = attentive({"stmem": tiny_experts["stmem"]}), torch.randn(2, 12, 150)
    padded = model(inputs, input_mask=padding(tiny_experts["stmem"], 90, 90)).logits
    torch.testing.assert_close(padded, model(inputs[..., :90]).logits, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_tokens_computed_before_give_the_same_logits(ensemble, inputs):
    masks = {"lead_mask": mask_of(["II"], ["I", "II"], *[["V1"]] * 2)}
    tokens = ensemble.extract_features(inputs, **masks)
    assert tokens["stmem"].shape == (4, 12 * (10 + 2), 16 + 1)
    torch.testing.assert_close(
        ensemble(expert_features=tokens).logits, ensemble(inputs, **masks).logits, rtol=0, atol=0
    )


@torch.inference_mode()
def test_experts_that_a_gate_leaves_out_change_nothing(tiny_experts, inputs):
    gate = {"gate": "encoder", "gate_sequence_length": 150}
    sparse, dense = attentive(tiny_experts, top_k=1, **gate), attentive(tiny_experts, **gate)
    output, every = sparse(inputs, gate_values=inputs), dense(inputs, gate_values=inputs)
    chosen = output.gate_weights["sex"][..., None] > 0
    mine = torch.where(chosen, output.expert_logits["sex"], 0.0)
    torch.testing.assert_close(mine, torch.where(chosen, every.expert_logits["sex"], 0.0), atol=1e-5, rtol=1e-5)


def test_every_weight_of_an_attentive_head_learns(ensemble, inputs):
    ensemble.freeze_experts()
    labels = {"sex": torch.tensor([0, 1, 0, 1]), "age": torch.rand(4, 1), "rhythm": torch.eye(4, 3)}
    ensemble.train()(inputs, labels=labels).loss.backward()
    for name, parameter in ensemble.named_parameters():
        assert parameter.requires_grad != name.startswith("experts.")
        assert (parameter.grad is not None) != name.startswith("experts."), name


def test_fine_tuning_leaves_alone_what_only_the_backbones_own_pooling_needs(ensemble, inputs):
    ensemble.unfreeze_experts()
    labels = {"sex": torch.tensor([0, 1, 0, 1]), "age": torch.rand(4, 1), "rhythm": torch.eye(4, 3)}
    ensemble(inputs, labels=labels).loss.backward()
    frozen = [name for name, parameter in ensemble.named_parameters() if not parameter.requires_grad]
    assert frozen == ["experts.stmem.norm.weight", "experts.stmem.norm.bias"]
    unused = [name for name, each in ensemble.named_parameters() if each.requires_grad and each.grad is None]
    assert not unused


@torch.inference_mode()
def test_a_new_task_can_start_with_anothers_pools(ensemble):
    ensemble.add_task(RHYTHM | {"name": "again"}, like="rhythm")
    new, old = (ensemble.heads[name]["stmem"] for name in ("again", "rhythm"))
    assert torch.equal(new.token_pool.query, old.token_pool.query)
    assert not torch.equal(new.layers[-1].weight, old.layers[-1].weight)


def test_strided_tokens_are_means_of_what_counts_in_each_row():
    tokens = torch.tensor([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]])[..., None]  # two rows of three
    mask = torch.tensor([[True, False, True, True, True, False]])
    pooled = flagged_tokens(tokens, mask, num_rows=2, stride=2)
    assert pooled.tolist() == [[[1.0, 1.0], [3.0, 1.0], [15.0, 1.0], [0.0, 0.0]]]
    every = flagged_tokens(tokens, None, num_rows=2, stride=2)
    assert every.tolist() == [[[1.5, 1.0], [3.0, 1.0], [15.0, 1.0], [30.0, 1.0]]]


@torch.inference_mode()
def test_a_saved_model_is_loaded_with_its_pools(ensemble, inputs, tmp_path):
    ensemble.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(inputs).logits, ensemble(inputs).logits, atol=1e-6, rtol=1e-6)
    assert loaded.config.pooling == "attention"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "max"}, "pooling must be one of backbone, attention"),
        ({"pooling": "attention", "pooling_heads": 0}, "pooling_heads must be at least 1"),
        ({"pooling": "attention", "pooling_heads": 5}, r"pooling_heads: hidden_size \(24\) must be a multiple"),
        ({"token_stride": 4}, "token_stride needs tokens that are pooled by attention"),
    ],
)
def test_a_pooling_that_cannot_be_is_refused(tiny_experts, fields, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        EnECGModel.from_experts(tiny_experts, [SEX], **fields)


def test_a_backbone_that_does_not_say_which_tokens_count_is_refused(ensemble, inputs):
    def plain(module, arguments, output):
        return BaseModelOutputWithPooling(output.last_hidden_state, output.pooler_output)

    ensemble.experts["stmem"].register_forward_hook(plain)
    with pytest.raises(ValueError, match="STMEMModel does not say which of its tokens count"):
        ensemble(inputs)


def test_a_pool_starts_alike_wherever_it_is_made(tiny_experts):
    first, second = (attentive(tiny_experts).heads["sex"]["stmem"].token_pool for _ in range(2))
    assert isinstance(first, AttentionPool)
    assert torch.equal(first.query, second.query)
    assert first.query.std() < 0.05
