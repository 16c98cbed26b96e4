"""What every backbone must do; a new one needs only a tiny config and its size in `tests/helpers/tiny_models.py`."""

import copy

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel

from modeling_enecg import BACKBONES, ECGFounderConfig, ECGFounderModel, STMEMConfig, STMEMModel
from modeling_enecg.modeling_backbone import RecordDropout, drop_path, drop_path_ramp, masked_mean
from modeling_enecg.modeling_stmem import sinusoid_positions
from tests.helpers.inputs import WITHOUT_BLOCKS, random_input, with_random_weights
from tests.helpers.tiny_models import PUBLISHED_SIZES


@pytest.fixture(params=sorted(BACKBONES))
def model(request, tiny_configs):
    """A tiny model of each backbone in eval mode, with every parameter at work."""
    torch.manual_seed(0)
    return with_random_weights(BACKBONES[request.param](tiny_configs[request.param]))


@pytest.fixture(params=sorted(BACKBONES.keys() - WITHOUT_BLOCKS))
def residual_model(request, tiny_configs):
    """The same for the backbones that have residual blocks."""
    torch.manual_seed(0)
    return with_random_weights(BACKBONES[request.param](tiny_configs[request.param]))


def test_a_mean_of_many_tokens_stays_within_half_precision():
    tokens = torch.full((1, 1200, 1), 60.0, dtype=torch.float16)  # their sum is beyond what it holds
    assert masked_mean(tokens, torch.ones(1, 1200, 1, dtype=torch.bool), dim=1).tolist() == [[60.0]]


def gradients(model, input_values, seed=0):
    model.zero_grad()
    torch.manual_seed(seed)
    output = model(input_values)
    loss = output.pooler_output.pow(2).mean()
    if getattr(output, "forecast", None) is not None:
        loss = loss + output.forecast.pow(2).mean()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_every_backbone_has_a_tiny_config_and_a_published_size(tiny_configs):
    assert set(tiny_configs) == set(BACKBONES)
    assert set(PUBLISHED_SIZES) == set(BACKBONES)


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_the_published_size_has_the_published_number_of_parameters(model_type):
    model_class = BACKBONES[model_type]
    with torch.device("meta"):
        model = model_class(model_class.config_class())
    assert model.num_parameters() == PUBLISHED_SIZES[model_type]


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_auto_classes_know_the_backbone(model_type, tiny_configs):
    config = AutoConfig.for_model(model_type)
    assert type(config) is BACKBONES[model_type].config_class
    assert type(AutoModel.from_config(tiny_configs[model_type])) is BACKBONES[model_type]


@torch.inference_mode()
def test_outputs_have_the_contracts_shapes(model):
    output = model(random_input(model), output_hidden_states=True)
    assert output.last_hidden_state.ndim == 3
    assert output.last_hidden_state.shape[::2] == (3, model.config.hidden_size)
    assert output.pooler_output.shape == (3, model.config.feature_size)
    stages = getattr(model, "stages", None)
    assert len(output.hidden_states) >= (len(model.residual_blocks) if stages is None else len(stages) + 1)
    if stages is not None:
        assert torch.equal(output.hidden_states[-1], output.last_hidden_state)


def test_what_layers_give_has_the_gradient_of_the_features(model):
    output = model(random_input(model), output_hidden_states=True)
    states = [each for each in output.hidden_states if each.requires_grad]  # but for what stands before any weight
    for each in states:
        each.retain_grad()
    output.pooler_output.sum().backward()
    assert states
    assert all(each.grad is not None for each in states)


@torch.inference_mode()
def test_a_plain_tuple_is_returned_on_request(model):
    inputs = random_input(model)
    tokens, pooled, *_forecast = model(inputs, return_dict=False)
    torch.testing.assert_close(tokens, model(inputs).last_hidden_state, rtol=0, atol=0)
    torch.testing.assert_close(pooled, model(inputs).pooler_output, rtol=0, atol=0)


def test_every_parameter_gets_a_gradient(model):
    for name, gradient in gradients(model.train(), random_input(model)).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


@torch.inference_mode()
def test_a_saved_model_is_bitwise_the_same_after_loading(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert type(loaded) is type(model)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    inputs = random_input(model)
    assert torch.equal(loaded(inputs).last_hidden_state, model(inputs).last_hidden_state)
    assert torch.equal(loaded(inputs).pooler_output, model(inputs).pooler_output)


def test_every_tensor_of_a_saved_model_is_the_same_after_loading(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for tensors in ("named_parameters", "named_buffers"):
        before, after = (dict(getattr(each, tensors)()) for each in (model, loaded))
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert torch.equal(after[name], tensor), name


def test_batch_norm_statistics_are_the_same_after_loading(tmp_path):
    config = ECGFounderConfig(stem_size=16, hidden_sizes=[16], depths=[2], group_width=8, use_batch_norm=True)
    model = ECGFounderModel(config).train()
    model(random_input(model))
    model.save_pretrained(tmp_path)
    loaded = dict(ECGFounderModel.from_pretrained(tmp_path).named_buffers())
    assert len(loaded) == 3 * 6  # of the stem and five of the six activations
    for name, buffer in model.named_buffers():
        assert torch.equal(loaded[name], buffer), name
        assert buffer.abs().max() > 0, name


@torch.inference_mode()
def test_a_records_output_does_not_depend_on_its_batch_mates(model):
    inputs = random_input(model, batch_size=4)
    together = model(inputs)
    others = inputs.clone()
    others[1:] = 1000 * random_input(model, batch_size=3, seed=1)
    for output in (model(others), model(inputs[:1])):
        torch.testing.assert_close(output.pooler_output[0], together.pooler_output[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.last_hidden_state[0], together.last_hidden_state[0], atol=1e-5, rtol=1e-5)


def test_activation_checkpointing_gives_the_same_gradients(residual_model):
    residual_model.set_drop_path_rate(0.5)
    inputs = random_input(residual_model, batch_size=6)
    plain = gradients(residual_model.train(), inputs)
    calls = []
    for block in residual_model.residual_blocks:
        next(block.children()).register_forward_pre_hook(lambda *_: calls.append(1))
    residual_model.activation_checkpointing_enable()
    checkpointed = gradients(residual_model, inputs)
    assert len(calls) == 2 * len(residual_model.residual_blocks)  # every block ran again in the backward pass
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-7, rtol=1e-5, msg=name)


@torch.inference_mode()
def test_sdpa_and_eager_attention_agree(model, tmp_path):
    model.save_pretrained(tmp_path)
    inputs = random_input(model)
    outputs = {}
    for implementation in ("eager", "sdpa"):
        loaded = AutoModel.from_pretrained(tmp_path, attn_implementation=implementation)
        assert loaded.config._attn_implementation == implementation
        outputs[implementation] = loaded(inputs)
    torch.testing.assert_close(outputs["sdpa"].pooler_output, outputs["eager"].pooler_output, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_bfloat16_is_finite_and_near_float32(model_type, tiny_configs):
    torch.manual_seed(0)
    model = BACKBONES[model_type](tiny_configs[model_type]).eval()
    inputs = random_input(model)
    exact = model(inputs).pooler_output
    output = model.to(torch.bfloat16)(inputs.to(torch.bfloat16))
    assert output.last_hidden_state.dtype == output.pooler_output.dtype == torch.bfloat16
    assert output.last_hidden_state.isfinite().all()
    assert (output.pooler_output.float() - exact).norm() < 0.1 * exact.norm()


def test_layer_groups_hold_every_parameter_exactly_once(model):
    groups = model.layer_groups()
    for name, _ in model.named_parameters():
        owners = [group for group in groups if name.startswith(group)]
        assert len(owners) == 1, name
    for group in groups:
        assert any(name.startswith(group) for name, _ in model.named_parameters()), group


def test_layer_groups_go_from_input_to_output(model):
    order = [group for name, _ in model.named_parameters() for group in model.layer_groups() if name.startswith(group)]
    assert list(dict.fromkeys(order)) == model.layer_groups()


@pytest.mark.parametrize("shape", [(2, 11, 150), (2, 13, 150), (2, 150, 12), (12, 150), (2, 1, 12, 150)])
def test_input_of_another_shape_is_refused_with_the_wanted_one(model, shape):
    with pytest.raises(ValueError, match=r"\(batch_size, 12, sequence_length\), leads before samples; got"):
        model(torch.zeros(shape))


# Stochastic depth and dropout


def test_the_ramp_is_linear_from_zero_to_the_rate():
    assert drop_path_ramp(0.4, 5) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert drop_path_ramp(0.4, 1) == [0.0]


def test_every_block_has_its_place_on_the_ramp(model):
    wanted = pytest.approx(drop_path_ramp(0.3, len(model.residual_blocks)))
    configured = type(model)(type(model.config)(**(model.config.to_diff_dict() | {"drop_path_rate": 0.3})))
    assert [block.drop_path_rate for block in configured.residual_blocks] == wanted
    model.set_drop_path_rate(0.3)
    assert [block.drop_path_rate for block in model.residual_blocks] == wanted
    assert model.config.drop_path_rate == 0.3


@pytest.mark.parametrize("rate", [1.0, 1, 1.5, -0.1, float("nan")])
def test_a_drop_path_rate_outside_zero_to_one_is_refused(model, rate):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        model.set_drop_path_rate(rate)


@torch.inference_mode()
def test_without_drop_path_training_equals_evaluation(model):
    inputs = random_input(model)
    evaluated = model.eval()(inputs).pooler_output
    for module in model.train().modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()  # it would take its statistics from the batch
    assert torch.equal(model(inputs).pooler_output, evaluated)


@torch.inference_mode()
def test_drop_path_acts_in_training_only_and_record_by_record(residual_model):
    residual_model.set_drop_path_rate(0.5)
    inputs = random_input(residual_model, batch_size=1).expand(16, -1, -1)
    torch.manual_seed(0)
    trained = residual_model.train()(inputs).pooler_output
    evaluated = residual_model.eval()(inputs).pooler_output
    assert 1 < len(trained.unique(dim=0)) <= 16
    torch.testing.assert_close(evaluated, evaluated[:1].expand_as(evaluated), atol=1e-5, rtol=1e-5)
    residual_model.set_drop_path_rate(0.0)
    assert torch.equal(residual_model(inputs).pooler_output, evaluated)


@torch.inference_mode()
def test_a_dropped_branch_leaves_the_shortcut_alone(residual_model):
    block = residual_model.residual_blocks[-1]
    entering = []
    hook = block.register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    residual_model(random_input(residual_model, batch_size=1))
    hook.remove()
    records = entering[0][:1].expand(64, -1, -1)
    block.train()
    torch.manual_seed(0)
    block.drop_path_rate = 1 - 1e-9  # never keeps a branch
    shortcut = block(records)
    assert torch.equal(shortcut, shortcut[:1].expand_as(shortcut))
    block.drop_path_rate = 0.5
    is_dropped = (block(records) == shortcut).all(dim=(1, 2))
    assert 0 < is_dropped.sum() < 64


def test_drop_path_keeps_the_expectation():
    branch = torch.full((20_000, 2, 3), 2.0)
    torch.manual_seed(0)
    dropped = drop_path(branch, 0.3, training=True)
    assert dropped.unique().tolist() == pytest.approx([0.0, 2 / 0.7])
    assert (dropped == dropped[:, :1, :1]).all()  # a record keeps or loses all of its branch
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.015)
    assert dropped.mean().item() == pytest.approx(2.0, abs=0.04)


def test_drop_path_keeps_the_dtype():
    branch = torch.ones(8, 2, dtype=torch.bfloat16)
    assert drop_path(branch, 0.5, training=True).dtype == torch.bfloat16


def test_record_dropout_keeps_the_expectation_and_evaluates_to_nothing():
    dropout = RecordDropout(0.25)
    units = torch.ones(200, 100)
    torch.manual_seed(0)
    dropped = dropout(units)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert dropout.eval()(units) is units


# ST-MEM alone


def tiny_stmem(tiny_configs, **changes):
    config = copy.deepcopy(tiny_configs["enecg-stmem"])
    for name, value in changes.items():
        setattr(config, name, value)
    return with_random_weights(STMEMModel(config))


@pytest.mark.parametrize("samples", [0, 149, 165, 300])
def test_stmem_refuses_lengths_that_do_not_fill_its_patches(tiny_configs, samples):
    with pytest.raises(ValueError, match=f"a multiple of 15 samples, at most 150; got {samples}"):
        tiny_stmem(tiny_configs)(torch.zeros(2, 12, samples))


@torch.inference_mode()
def test_stmem_takes_shorter_records(tiny_configs):
    output = tiny_stmem(tiny_configs)(torch.randn(2, 12, 45))
    assert output.last_hidden_state.shape == (2, 12 * (3 + 2), 16)


@torch.inference_mode()
def test_stmem_gives_attention_weights_under_eager_attention(tiny_configs):
    model = tiny_stmem(tiny_configs)
    model.set_attn_implementation("eager")
    attentions = model(random_input(model), output_attentions=True).attentions
    assert len(attentions) == 3
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3, 2, 12 * 12), atol=1e-5, rtol=0)


def test_one_full_width_head_has_no_output_projection(tiny_configs):
    without = tiny_stmem(tiny_configs, num_attention_heads=1, head_dim=16, qkv_bias=False)
    names = [name for name, _ in without.named_parameters()]
    assert not any("attention.output" in name or "qkv.bias" in name for name in names)
    assert any("attention.output" in name for name, _ in tiny_stmem(tiny_configs, head_dim=16).named_parameters())


def test_a_new_stmem_starts_with_the_sinusoid_table(tiny_configs):
    model = STMEMModel(tiny_configs["enecg-stmem"])
    assert torch.equal(model.embeddings.position_embeddings, sinusoid_positions(12, 16))
    table = model.embeddings.position_embeddings[0]
    assert not table[[0, -1]].any()  # the separators
    assert table[1].tolist() == [0.0] * 8 + [1.0] * 8  # sin 0 and cos 0
    assert table[2, 1].item() == pytest.approx(torch.tensor(10000.0 ** (-1 / 8)).sin().item(), abs=1e-6)


def test_stmem_refuses_a_length_that_patches_do_not_fill():
    with pytest.raises(StrictDataclassError, match=r"sequence_length \(100\) must be a multiple of patch_size \(15\)"):
        STMEMConfig(sequence_length=100, patch_size=15)


# ECGFounder alone


@torch.inference_mode()
@pytest.mark.parametrize(("samples", "tokens"), [(1, 1), (150, 19), (151, 19), (5000, 625)])
def test_ecgfounder_takes_any_length(tiny_configs, samples, tokens):
    model = with_random_weights(ECGFounderModel(tiny_configs["enecg-ecgfounder"]))
    output = model(torch.randn(2, 12, samples))
    assert output.last_hidden_state.shape == (2, tokens, 24)
    assert output.pooler_output.isfinite().all()


def test_ecgfounder_drops_units_only_where_configured():
    config = ECGFounderConfig(stem_size=16, hidden_sizes=[16, 16], depths=[1, 1], group_width=8, dropout=0.5)
    model = with_random_weights(ECGFounderModel(config)).train()
    inputs = random_input(model)[..., :100]
    assert not torch.equal(model(inputs).pooler_output, model(inputs).pooler_output)
    model.eval()
    assert torch.equal(model(inputs).pooler_output, model(inputs).pooler_output)


@pytest.mark.parametrize(
    "fields",
    [{"hidden_sizes": [64]}, {"hidden_sizes": [], "depths": []}, {"hidden_sizes": [8], "depths": [1]}],
    ids=["unequal", "empty", "narrower than a group"],
)
def test_ecgfounder_refuses_stages_that_do_not_fit(fields):
    with pytest.raises(StrictDataclassError, match="hidden_sizes"):
        ECGFounderConfig(**fields)
