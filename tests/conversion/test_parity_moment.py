"""MOMENT against the outputs of upstream's own code, through the converter."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from modeling_enecg.conversion import ConversionError, Converter, convert, convert_checkpoint, moment
from modeling_enecg.modeling_moment import MomentConfig, MomentModel, normalize_leads, sinusoid_positions
from tests.helpers.parity import assert_near

# The numbers in each published encoder, and its settings.
SIZES = {
    "small": (18_883_264, {"d_model": 512, "d_ff": 1024, "d_kv": 64, "num_heads": 6, "num_layers": 8}),
    "base": (84_954_240, {"d_model": 768, "d_ff": 2048, "d_kv": 64, "num_heads": 12, "num_layers": 12}),
    "large": (308_332_032, {"d_model": 1024, "d_ff": 2816, "d_kv": 64, "num_heads": 16, "num_layers": 24}),
}


@pytest.fixture
def tiny(parity_dir):
    return parity_dir / "moment" / "tiny"


@pytest.fixture
def hyperparameters(tiny):
    return json.loads((tiny / "config.json").read_text())


@pytest.fixture
def io(tiny):
    return load_file(tiny / "io.safetensors")


@pytest.fixture
def model(tiny, hyperparameters, tmp_path):
    convert_checkpoint("moment", tiny / "state_dict.safetensors", tmp_path / "model", hyperparameters)
    return AutoModel.from_pretrained(tmp_path / "model")


def small_model(**changes):
    """A tiny model of its own with random weights, its biases by distance among them."""
    fields = {
        "num_leads": 2,
        "sequence_length": 64,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "head_dim": 4,
        "intermediate_size": 24,
        "dropout": 0.0,
    }
    torch.manual_seed(0)
    model = MomentModel(MomentConfig(**(fields | changes)))
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor += 0.1 * torch.randn(tensor.shape)
    return model.eval()


def upstream_weights(model):
    """A model's weights under upstream's names, with what the published file holds besides."""
    weights = {"head.linear.weight": torch.zeros(8, 16), "encoder.embed_tokens.weight": torch.zeros(5, 16)}
    weights["patch_embedding.position_embedding.pe"] = sinusoid_positions(10, 16)[None]
    for name, tensor in model.state_dict().items():
        name = name.replace("embeddings.projection", "patch_embedding.value_embedding")
        name = name.replace("embeddings.mask_embedding", "patch_embedding.mask_embedding")
        name = name.replace("attention_norm", "layer.0.layer_norm").replace("mlp_norm", "layer.1.layer_norm")
        name = name.replace(".attention.", ".layer.0.SelfAttention.").replace(".mlp.", ".layer.1.DenseReluDense.")
        name = name.replace("blocks.", "encoder.block.")
        weights["encoder.final_layer_norm.weight" if name == "norm.weight" else name] = tensor
    return weights


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_moment_gives_upstreams_tokens_and_features(model, io, implementation):
    model.set_attn_implementation(implementation)
    output = model(io["input"], output_hidden_states=True)
    assert_near(output.pooler_output, io["embedding_mean"])
    assert_near(output.last_hidden_state.unflatten(1, (3, -1)), io["embedding_none"])
    assert_near(output.hidden_states[0].unflatten(1, (3, -1)), io["hidden_patch_embedding"])
    for index in range(2):
        # (batch, leads * patches, hidden) -> (batch * leads, patches, hidden)
        block = output.hidden_states[index + 1].unflatten(1, (3, -1)).flatten(0, 1)
        assert_near(block, io[f"hidden_block_{index}"])


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_moment_gives_upstreams_tokens_and_features_under_a_mask(model, io, implementation):
    model.set_attn_implementation(implementation)
    output = model(io["input"], input_mask=io["input_mask"])
    assert_near(output.pooler_output, io["masked_embedding_mean"])
    assert_near(output.last_hidden_state.unflatten(1, (3, -1)), io["masked_embedding_none"])


def test_moment_normalises_leads_as_upstream(io):
    observed = torch.ones_like(io["input"][:, :1], dtype=torch.bool)
    patches = normalize_leads(io["input"], observed).unflatten(-1, (-1, 8))
    assert_near(patches, io["hidden_normalized_patches"])


@torch.inference_mode()
def test_moment_tokens_carry_upstreams_heads(model, io, tiny):
    weights = load_file(tiny / "state_dict.safetensors")
    tokens = model(io["input"]).last_hidden_state.unflatten(1, (3, -1))
    reconstructed = torch.nn.functional.linear(tokens, weights["head.linear.weight"], weights["head.linear.bias"])
    observed = ~io["input"].isnan()
    count = observed.sum(-1, keepdim=True)
    mean = io["input"].nan_to_num(0.0).sum(-1, keepdim=True) / count
    deviation = ((io["input"] - mean).where(observed, 0.0).square().sum(-1, keepdim=True) / count).sqrt() + 1e-5
    assert_near(reconstructed.flatten(2) * deviation + mean, io["reconstruction"])
    concatenated = tokens.permute(0, 2, 3, 1).flatten(2)  # (batch, patches, hidden * leads), the lead fastest
    assert_near(concatenated, io["cls_embeddings_concat"])


def test_moment_positions_are_upstreams(io):
    assert_near(sinusoid_positions(4, 32), io["patch_len_pe_first_rows"])


# Sizes and conversion


@pytest.mark.parametrize("size", SIZES)
def test_the_published_settings_give_the_published_number_of_parameters(size):
    encoder, t5_config = SIZES[size]
    published = {"d_model": None, "seq_len": 512, "patch_len": 8, "patch_stride_len": 8, "t5_config": t5_config}
    converter = Converter(**moment.CONVERTER)
    with torch.device("meta"):
        model = MomentModel(
            MomentConfig(**converter.adapt(convert._translate(published, converter.hyperparameters), {}))
        )
    assert model.num_parameters() == encoder + 8 * t5_config["d_model"]
    assert model.config.sequence_length == 512


def test_the_default_is_the_published_small_model():
    with torch.device("meta"):
        assert MomentModel(MomentConfig()).num_parameters() == SIZES["small"][0] + 8 * 512


def test_the_size_is_read_off_the_weights(tmp_path):
    model = small_model(num_leads=12)
    save_file(upstream_weights(model), tmp_path / "model.safetensors")
    report = convert_checkpoint("moment", tmp_path / "model.safetensors", tmp_path / "model")
    assert set(report["dropped"]) == {
        "head.linear.weight",
        "encoder.embed_tokens.weight",
        "patch_embedding.position_embedding.pe",
    }
    loaded = AutoModel.from_pretrained(tmp_path / "model")
    assert loaded.config.sequence_length == 512
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


def test_every_dropped_key_has_a_reason(tiny, hyperparameters, tmp_path):
    report = convert_checkpoint("moment", tiny / "state_dict.safetensors", tmp_path / "model", hyperparameters)
    assert {key.split(".")[0] for key in report["dropped"]} == {"cls_head", "encoder", "head"}
    assert all(report["dropped"].values())


def test_an_unexpected_key_is_an_error(tmp_path):
    weights = upstream_weights(small_model()) | {"normalizer.affine_weight": torch.zeros(1, 2, 1)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match=r"1 keys .* normalizer.affine_weight"):
        convert_checkpoint("moment", tmp_path / "model.safetensors", tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revin_affine": True}, "revin_affine must be False"),
        ({"t5_config": {"feed_forward_proj": "relu"}}, "feed_forward_proj must be 'gated-gelu'"),
        ({"patch_stride_len": 4}, r"patch_stride_len \(4\) must equal patch_len"),
        ({"upstream_config": {"seqlen": 64}}, "Unknown hyperparameter 'seqlen'"),
        ({"t5_config": {"d_model": 24}}, r"another shape .* Pass the checkpoint's own hyperparameters"),
    ],
    ids=["affine", "plain feed-forward", "overlap", "unknown", "other size"],
)
def test_hyperparameters_that_do_not_fit_are_refused(tmp_path, change, message):
    save_file(upstream_weights(small_model()), tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match=message):
        convert_checkpoint("moment", tmp_path / "model.safetensors", tmp_path / "model", change)


# The model alone


@torch.inference_mode()
def test_the_unit_and_offset_of_a_lead_do_not_matter():
    model, inputs = small_model(), torch.randn(3, 2, 64)
    scale = torch.tensor([[[1000.0], [0.01]]])
    torch.testing.assert_close(model(inputs * scale + 7).pooler_output, model(inputs).pooler_output, atol=5e-3, rtol=0)


def test_a_flat_lead_is_exactly_zero():
    observed = torch.ones(1, 1, 500, dtype=torch.bool)
    assert not normalize_leads(torch.full((1, 3, 500), 0.1), observed).any()


def test_missing_samples_become_zero_and_do_not_count():
    inputs = torch.tensor([[[1.0, float("nan"), 3.0, 9.0]]])
    normalised = normalize_leads(inputs, torch.tensor([[[True, True, True, False]]]))
    torch.testing.assert_close(normalised, torch.tensor([[[-1.0, 0.0, 1.0, 7.0]]]), atol=1e-3, rtol=0)


@torch.inference_mode()
def test_padding_does_not_change_the_features():
    model, inputs = small_model(), torch.randn(3, 2, 64)
    padded = torch.cat([inputs, torch.full((3, 2, 16), 50.0)], dim=-1)
    mask = torch.ones(3, 80)
    mask[:, 64:] = 0
    torch.testing.assert_close(
        model(padded, input_mask=mask).pooler_output, model(inputs).pooler_output, atol=1e-5, rtol=1e-5
    )


@torch.inference_mode()
def test_a_wholly_padded_record_is_zero_and_leaves_the_others_alone():
    model, inputs = small_model(), torch.randn(2, 2, 64)
    mask = torch.tensor([[1.0], [0.0]]).expand(2, 64)
    output = model(inputs, input_mask=mask)
    assert output.last_hidden_state.isfinite().all()
    assert not output.pooler_output[1].any()
    torch.testing.assert_close(output.pooler_output[:1], model(inputs[:1]).pooler_output, atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_leads_do_not_interact_before_the_mean():
    model, inputs = small_model(), torch.randn(2, 2, 64)
    changed = inputs.clone()
    changed[:, 1] = torch.randn(2, 64)
    before, after = (model(each).last_hidden_state for each in (inputs, changed))
    torch.testing.assert_close(after[:, :8], before[:, :8], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(after[:, 8:], before[:, 8:], atol=1e-2)


@torch.inference_mode()
def test_moment_takes_any_whole_number_of_patches():
    output = small_model()(torch.randn(1, 2, 1200))
    assert output.last_hidden_state.shape == (1, 2 * 150, 16)


@pytest.mark.parametrize("samples", [0, 7, 63, 65])
def test_moment_refuses_lengths_that_do_not_fill_its_patches(samples):
    with pytest.raises(ValueError, match=f"a multiple of 8 samples; got {samples}"):
        small_model()(torch.zeros(2, 2, samples))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 64\), got \(2, 2, 64\)"):
        small_model()(torch.zeros(2, 2, 64), input_mask=torch.ones(2, 2, 64))


@torch.inference_mode()
def test_moment_gives_attention_weights_of_every_lead_under_eager_attention():
    model = small_model()
    model.set_attn_implementation("eager")
    attentions = model(torch.randn(3, 2, 64), output_attentions=True).attentions
    assert len(attentions) == 2
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3 * 2, 2, 8), atol=1e-5, rtol=0)


def test_the_mask_embedding_is_stored_but_not_trained(tmp_path):
    model = small_model()
    assert "embeddings.mask_embedding" not in dict(model.named_parameters())
    model.save_pretrained(tmp_path)
    loaded = MomentModel.from_pretrained(tmp_path)
    assert torch.equal(loaded.embeddings.mask_embedding, model.embeddings.mask_embedding)
    assert loaded.embeddings.mask_embedding.any()


def test_dropout_acts_in_training_only():
    model, inputs = small_model(dropout=0.5), torch.randn(2, 2, 64)
    assert torch.equal(model(inputs).pooler_output, model(inputs).pooler_output)
    model.train()
    assert not torch.equal(model(inputs).pooler_output, model(inputs).pooler_output)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sequence_length": 500}, r"sequence_length \(500\) must be a multiple of patch_size \(8\)"),
        ({"hidden_size": 33}, "hidden_size must be even, got 33"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_moment_refuses_fields_that_do_not_fit(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        MomentConfig(**fields)
