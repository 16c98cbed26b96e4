"""ECG-FM against the outputs of upstream's own code, through its converter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file

from modeling_enecg import ECGFeatureExtractor
from modeling_enecg.conversion import CONVERTERS, ConversionError, convert_checkpoint
from modeling_enecg.conversion.convert import rename_weights
from modeling_enecg.modeling_ecgfm import ECGFMConfig, ECGFMModel
from tests.helpers.parity import assert_near

FORMS = ("state_dict", "pretrained_format_state_dict", "pretrained_format_legacy_weightnorm_state_dict")
# Upstream's classifier encoder has 90 373 248; merging the weight norm leaves out a gain for each of 128 positions.
NUM_PARAMETERS = 90_373_248 - 128


@pytest.fixture
def folder(parity_dir):
    return parity_dir / "ecgfm"


@pytest.fixture
def convert(folder, tmp_path):
    """A function that converts a checkpoint of a fixture: the model, and the report."""

    def convert(fixture: str, checkpoint: str | Path = "state_dict.safetensors", **changes):
        hyperparameters = json.loads((folder / fixture / "config.json").read_text()) | changes
        target = tmp_path / f"{fixture}-{Path(checkpoint).stem}"
        report = convert_checkpoint("ecgfm", folder / fixture / checkpoint, target, hyperparameters)
        return ECGFMModel.from_pretrained(target), report

    return convert


TOLERANCE = 2e-5


def sample_mask(lengths, samples):
    return (torch.arange(samples) < lengths[:, None]).long()


def small_config(**changes):
    fields = {
        "conv_dim": [8, 8],
        "conv_kernel": [3, 2],
        "conv_stride": [2, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_conv_pos_embeddings": 7,
        "num_conv_pos_embedding_groups": 4,
    }
    return ECGFMConfig(**(fields | changes))


def test_ecgfm_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = ECGFMModel(ECGFMConfig())
    assert model.num_parameters() == NUM_PARAMETERS
    assert model._num_tokens(2500) == 156


@torch.inference_mode()
@pytest.mark.parametrize("fixture", ["tiny", "tiny_opt"])
def test_ecgfm_gives_upstreams_tokens_and_features(convert, folder, fixture):
    model, _ = convert(fixture)
    io = load_file(folder / fixture / "io.safetensors")
    output = model(io["input"], output_hidden_states=True)
    assert_near(output.last_hidden_state, io["features"], TOLERANCE)
    assert_near(output.pooler_output, io["pooled"], TOLERANCE)
    assert_near(output.hidden_states[0], io["hidden_4_encoder_input"], TOLERANCE)
    for index, block in enumerate(output.hidden_states[1:]):
        assert_near(block, io[f"hidden_6_layer{index}"], TOLERANCE)


@torch.inference_mode()
def test_an_ecgfm_head_on_our_features_gives_upstreams_logits(convert, folder):
    model, _ = convert("tiny")
    io = load_file(folder / "tiny" / "io.safetensors")
    head = load_file(folder / "tiny" / "state_dict.safetensors")
    for prefix in ("", "zero_leads."):
        logits = model(io[f"{prefix}input"]).pooler_output @ head["proj.weight"].T + head["proj.bias"]
        assert_near(logits, io[f"{prefix}logits"], TOLERANCE)


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padded_ecgfm_records_give_upstreams_tokens_and_logits(convert, folder, implementation):
    model, _ = convert("tiny")
    model.set_attn_implementation(implementation)
    io = load_file(folder / "tiny" / "io.safetensors")
    head = load_file(folder / "tiny" / "state_dict.safetensors")
    output = model(io["padded.input"], input_mask=sample_mask(io["padded.lengths"], 400))
    assert_near(output.last_hidden_state, io["padded.features"], TOLERANCE)
    assert torch.equal((output.last_hidden_state == 0).all(dim=2), io["padded.token_padding_mask"].bool())
    assert_near(output.pooler_output @ head["proj.weight"].T + head["proj.bias"], io["padded.logits"], TOLERANCE)


@torch.inference_mode()
def test_ecgfm_attention_weights_are_upstreams_saliency(convert, folder):
    model, _ = convert("tiny")
    model.set_attn_implementation("eager")
    io = load_file(folder / "tiny" / "io.safetensors")
    attentions = model(io["input"], output_attentions=True).attentions
    assert_near(torch.stack([weights.mean(dim=1) for weights in attentions], dim=1), io["saliency"])


# Conversion


PUBLISHED = {
    "conv_feature_layers": "[(256, 2, 2)] * 4",
    "in_d": 12,
    "conv_bias": False,
    "extractor_mode": "default",
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "num_labels": 17,
}


def linear(name, *shape):
    return {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}


def norm(name, size):
    return {f"{name}.weight": torch.randn(size), f"{name}.bias": torch.randn(size)}


def ecgfm_weights(h=PUBLISHED):
    """ECG-FM's fine-tuned state dict under upstream's names, as its specification lists them."""
    width, inner, positions = h["encoder_embed_dim"], h["encoder_ffn_embed_dim"], h["conv_pos"]
    weights, size = {}, h["in_d"]
    convolutions = CONVERTERS["ecgfm"].adapt({"convolutions": h["conv_feature_layers"]}, {})
    for index, (out, kernel) in enumerate(zip(convolutions["conv_dim"], convolutions["conv_kernel"], strict=True)):
        weights[f"feature_extractor.conv_layers.{index}.0.weight"] = torch.randn(out, size, kernel)
        size = out
    weights |= norm("feature_extractor.conv_layers.0.2", convolutions["conv_dim"][0])
    weights |= norm("layer_norm", size) | linear("post_extract_proj", width, size) | norm("encoder.layer_norm", width)
    weights["conv_pos.pos_conv.0.bias"] = torch.randn(width)
    weights["conv_pos.pos_conv.0.parametrizations.weight.original0"] = torch.randn(1, 1, positions)
    direction = torch.randn(width, width // h["conv_pos_groups"], positions)
    weights["conv_pos.pos_conv.0.parametrizations.weight.original1"] = direction
    for layer in (f"encoder.layers.{index}" for index in range(h["encoder_layers"])):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            weights |= linear(f"{layer}.self_attn.{name}", width, width)
        weights |= norm(f"{layer}.self_attn_layer_norm", width) | norm(f"{layer}.final_layer_norm", width)
        weights |= linear(f"{layer}.fc1", inner, width) | linear(f"{layer}.fc2", width, inner)
    return {f"encoder.{key}": tensor for key, tensor in weights.items()} | linear("proj", h["num_labels"], width)


def test_every_published_ecgfm_key_has_its_place_without_hyperparameters():
    converter = CONVERTERS["ecgfm"]
    with torch.device("meta"):
        upstream = ecgfm_weights()
        wanted = ECGFMModel(ECGFMConfig()).state_dict()
    assert len(upstream) == 209
    assert sum(tensor.numel() for tensor in upstream.values()) == 90_386_321
    weights, dropped = rename_weights(converter.prepare(upstream), converter, set(wanted))
    assert {key: tensor.shape for key, tensor in weights.items()} == {key: wanted[key].shape for key in wanted}
    assert set(dropped) == {"proj.weight", "proj.bias"}


def test_all_forms_of_a_checkpoint_convert_to_the_same_ecgfm(convert):
    (model, report), *others = (convert("tiny", f"{form}.safetensors") for form in FORMS)
    assert set(report["dropped"]) == {"proj.weight", "proj.bias"}
    assert not any("parametrizations" in name for name in model.state_dict())
    for other, other_report in others:
        assert len(other_report["dropped"]) == 8
        for name, tensor in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor), name


def test_a_published_ecgfm_file_converts_to_the_same_model(convert, folder, tmp_path):
    weights = load_file(folder / "tiny" / "state_dict.safetensors")
    file = {"args": None, "cfg": {"model": {"_name": "ecg_transformer_classifier"}}, "model": weights, "criterion": {}}
    torch.save(file, tmp_path / "published.pt")
    published, _ = convert("tiny", tmp_path / "published.pt")
    model, _ = convert("tiny")
    for name, tensor in model.state_dict().items():
        assert torch.equal(published.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    "convolutions", ["[(16, 2, 2)] * 4", "2 * [(16, 2, 2)] + [(16,2,2), (16,2,2)]", [[16, 2, 2]] * 4]
)
def test_every_spelling_of_the_ecgfm_convolutions_is_read(convolutions):
    fields = CONVERTERS["ecgfm"].adapt({"convolutions": convolutions}, {})
    assert fields == {"conv_dim": [16] * 4, "conv_kernel": [2] * 4, "conv_stride": [2] * 4}


@pytest.mark.parametrize("convolutions", ["__import__('os').getcwd()", "[(16, 2)]", "[(16, 2, 2)", "3", 3, "'ab' * 2"])
def test_ecgfm_convolutions_of_another_form_are_refused_unexecuted(convert, convolutions):
    with pytest.raises(ConversionError, match="must be a list of \\(channels, kernel, stride\\)"):
        convert("tiny", conv_feature_layers=convolutions)


def test_the_extractor_that_upstream_cannot_build_is_refused(convert):
    with pytest.raises(ConversionError, match="extractor_mode 'default'"):
        convert("tiny", extractor_mode="layer_norm")


def test_a_weight_norm_of_another_shape_is_refused(folder):
    weights = load_file(folder / "tiny" / "state_dict.safetensors")
    gain = "encoder.conv_pos.pos_conv.0.parametrizations.weight.original0"
    weights[gain] = weights[gain].reshape(16, 1, 1)
    with pytest.raises(ConversionError, match="one gain for each position"):
        CONVERTERS["ecgfm"].prepare(weights)


def test_ecgfm_pre_processing_equals_upstreams(folder):
    upstream = load_file(folder / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(**ECGFMConfig().feature_extractor_settings())
    raw = upstream["raw"].numpy()
    ours = extractor(raw, sampling_rate=500)["input_values"][0]
    np.testing.assert_allclose(ours, middle_of(upstream["output_segments"]), atol=2e-6, rtol=0)
    ours = extractor(raw[:, :4000], sampling_rate=400)["input_values"][0]
    np.testing.assert_allclose(ours, middle_of(upstream["output_first4000_as_400hz_segments"]), atol=2e-6, rtol=0)


def middle_of(segments):
    """The middle 5 s of the 10 s that upstream cuts in two."""
    return torch.cat(list(segments), dim=1)[:, 1250:3750]


# The model alone


@torch.inference_mode()
@pytest.mark.parametrize(("samples", "tokens"), [(5, 1), (8, 1), (9, 2), (5000, 1249)])
def test_ecgfm_takes_any_length_that_makes_a_token(samples, tokens):
    output = ECGFMModel(small_config()).eval()(torch.randn(2, 12, samples))
    assert output.last_hidden_state.shape == (2, tokens, 16)
    assert output.pooler_output.isfinite().all()


@pytest.mark.parametrize("samples", [0, 1, 4])
def test_ecgfm_refuses_lengths_that_make_no_token(samples):
    with pytest.raises(ValueError, match=f"no token of {samples} samples"):
        ECGFMModel(small_config())(torch.zeros(2, 12, samples))


@torch.inference_mode()
def test_a_mask_without_padding_changes_nothing():
    model = ECGFMModel(small_config()).eval()
    inputs = torch.randn(3, 12, 60)
    masked = model(inputs, input_mask=torch.ones(3, 60))
    assert_near(masked.last_hidden_state, model(inputs).last_hidden_state, 1e-6)
    assert_near(masked.pooler_output, model(inputs).pooler_output, 1e-6)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_record_of_padding_alone_gives_zeros_and_finite_gradients(implementation):
    model = ECGFMModel(small_config())
    model.set_attn_implementation(implementation)
    pooled = model(torch.randn(2, 12, 60), input_mask=sample_mask(torch.tensor([60, 0]), 60)).pooler_output
    assert not pooled[1].any()
    pooled.pow(2).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_mask_of_another_shape_is_refused_with_the_wanted_one():
    with pytest.raises(ValueError, match=r"input_mask must have the shape \(2, 60\), got \(2, 59\)"):
        ECGFMModel(small_config())(torch.zeros(2, 12, 60), input_mask=torch.ones(2, 59))


@pytest.mark.parametrize("layer_norm_first", [False, True])
def test_ecgfm_layer_groups_go_from_input_to_output(layer_norm_first):
    model = ECGFMModel(small_config(layer_norm_first=layer_norm_first))
    groups = model.layer_groups()
    order = [group for name, _ in model.named_parameters() for group in groups if name.startswith(group)]
    assert len(order) == len(list(model.parameters()))
    assert list(dict.fromkeys(order)) == groups


def test_a_new_ecgfm_starts_as_upstreams():
    torch.manual_seed(0)
    model = ECGFMModel(small_config(hidden_size=64, num_conv_pos_embeddings=16))
    positions = model.embeddings.positions
    assert positions.weight.std().item() == pytest.approx((4 / (16 * 64)) ** 0.5, rel=0.05)
    assert not positions.bias.any()
    assert model.embeddings.convolutions[0].conv.weight.std().item() == pytest.approx((2 / 36) ** 0.5, rel=0.15)
    assert model.blocks[0].mlp.up.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("name", ["feat_proj_dropout", "hidden_dropout", "attention_dropout", "activation_dropout"])
def test_every_ecgfm_dropout_acts_in_training_only(name):
    torch.manual_seed(0)
    model = ECGFMModel(small_config(**{name: 0.5}, initializer_range=0.5))
    inputs = torch.randn(2, 12, 60)
    assert not torch.equal(model.train()(inputs).pooler_output, model(inputs).pooler_output)
    model.eval()
    assert torch.equal(model(inputs).pooler_output, model(inputs).pooler_output)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_kernel": [2]}, "need one positive entry a convolution"),
        ({"conv_dim": [], "conv_kernel": [], "conv_stride": []}, "need one positive entry a convolution"),
        ({"conv_stride": [2, 0]}, "need one positive entry a convolution"),
        ({"num_attention_heads": 3}, r"hidden_size \(16\) must be a multiple of num_attention_heads \(3\)"),
        ({"num_conv_pos_embedding_groups": 5}, "must be a multiple of num_conv_pos_embedding_groups"),
        ({"activation_dropout": 1.0}, r"activation_dropout must be in \[0, 1\)"),
    ],
)
def test_ecgfm_refuses_an_illegal_architecture(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        small_config(**changes)
