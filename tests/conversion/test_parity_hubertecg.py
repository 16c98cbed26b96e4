"""HuBERT-ECG against the outputs of upstream's own code, through its converter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import HubertConfig

from modeling_enecg import ECGFeatureExtractor, HuBERTECGConfig, HuBERTECGModel
from modeling_enecg.conversion import CONVERTERS, ConversionError, convert_checkpoint
from modeling_enecg.conversion.convert import rename_weights
from tests.helpers.parity import assert_near

POSITIONS = "encoder.pos_conv_embed.conv."
SIZES = {  # width, layers, heads, inner width, parameters of upstream's encoder
    "small": (512, 8, 8, 2048, 30_209_664),
    "base": (768, 12, 12, 3072, 92_798_848),
    "large": (960, 16, 12, 3840, 187_644_736),
}


@pytest.fixture
def folder(parity_dir):
    return parity_dir / "hubertecg"


@pytest.fixture
def weights(folder):
    """The fixture's state dict."""
    return load_file(folder / "tiny" / "state_dict.safetensors")


@pytest.fixture
def io(folder):
    """The fixture's input, and upstream's outputs."""
    return load_file(folder / "tiny" / "io.safetensors")


@pytest.fixture
def convert(folder, weights, tmp_path):
    """A function that converts the fixture, or other weights of its size: the model, and the report."""

    def convert(given: dict[str, torch.Tensor] | Path = weights, **changes):
        hyperparameters = json.loads((folder / "tiny" / "config.json").read_text()) | changes
        if isinstance(given, dict):
            save_file(given, tmp_path / "checkpoint.safetensors")
            given = tmp_path / "checkpoint.safetensors"
        target = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        report = convert_checkpoint("hubertecg", given, target, hyperparameters)
        return HuBERTECGModel.from_pretrained(target), report

    return convert


def of_leads(flat):
    """Upstream's flat records as 12 leads."""
    return flat.unflatten(1, (12, -1))


def head(weights, features):
    return features @ weights["classifier.weight"].T + weights["classifier.bias"]


def small_config(**changes):
    fields = {
        "conv_dim": [8, 8],
        "conv_kernel": [10, 3],
        "conv_stride": [4, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_conv_pos_embeddings": 7,
        "num_conv_pos_embedding_groups": 4,
    }
    return HuBERTECGConfig(**(fields | changes))


def small_model(**changes):
    torch.manual_seed(0)
    return HuBERTECGModel(small_config(**changes)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_hubertecg_gives_upstreams_tokens_features_and_logits(convert, weights, io, implementation):
    model, _ = convert()
    model.set_attn_implementation(implementation)
    output = model(of_leads(io["input"]), output_hidden_states=True)
    assert_near(output.last_hidden_state, io["sequence_features"])
    assert_near(output.pooler_output, io["features"])
    assert_near(head(weights, output.pooler_output), io["logits"])
    assert_near(output.hidden_states[0], io["hidden_3_encoder_input_after_norm"])
    for index, block in enumerate(output.hidden_states[1:]):
        assert_near(block, io[f"hidden_4_layer{index}_out"])


@torch.inference_mode()
def test_hubertecg_gives_upstreams_convolutions(convert, io):
    model, _ = convert()
    hidden = io["input"][:, None]
    for index, convolution in enumerate(model.embeddings.convolutions):
        hidden = convolution(hidden)
        assert_near(hidden, io[f"hidden_0_conv{index}"])
    assert_near(model.embeddings(of_leads(io["input"])), io["hidden_1_feature_projection"])


@torch.inference_mode()
def test_hubertecg_gives_upstreams_outputs_of_any_flat_length(convert, weights, io):
    model, _ = convert()
    model.config.num_leads = 1  # 713 samples are no 12 leads
    output = model(io["short.input"][:, None])
    assert_near(output.last_hidden_state, io["short.sequence_features"])
    assert_near(head(weights, output.pooler_output), io["short.logits"])


@torch.inference_mode()
def test_six_of_twelve_leads_are_masked_as_upstream_masks_the_second_half(convert, weights, io, monkeypatch):
    model, _ = convert()
    mask = of_leads(io["padding.attention_mask"].bool())
    lead_mask = mask.any(dim=2)
    assert torch.equal(lead_mask, mask.all(dim=2))
    # Upstream's convolutions see what stands there; ours see zeros.
    monkeypatch.setattr(model, "prepare_input", lambda values, *masks: (values, *masks))
    output = model(of_leads(io["input"]), lead_mask=lead_mask)
    assert_near(output.pooler_output, io["padding.features"])
    assert_near(head(weights, output.pooler_output), io["padding.logits"])


def test_the_gradients_are_upstreams(convert, folder, weights, io):
    model, _ = convert()
    head(weights, model(of_leads(io["input"])).pooler_output).square().mean().backward()
    norms = json.loads((folder / "train_mode.json").read_text())["gradient_check_tiny"]["grad_l2"]
    given = {name: torch.tensor(norm) for name, norm in norms.items() if norm is not None}
    wanted, _ = rename_weights(
        {name: norm for name, norm in given.items() if "parametrizations" not in name},
        CONVERTERS["hubertecg"],
        {name for name, _ in model.named_parameters()},
    )
    assert len(wanted) == len(list(model.parameters())) - 1  # the weight norm has two for one
    for name, norm in wanted.items():
        gradient = model.get_parameter(name).grad
        torch.testing.assert_close(gradient.norm(), norm, atol=1e-6, rtol=1e-4, msg=name)


def test_hubertecg_pre_processing_equals_upstreams(folder):
    upstream = load_file(folder / "preprocess.safetensors")
    settings = HuBERTECGConfig().feature_extractor_settings()
    raw = upstream["raw"].numpy()
    inputs = ECGFeatureExtractor(**settings)(raw, sampling_rate=500)
    assert set(inputs) == {"input_values"}
    np.testing.assert_array_equal(inputs["input_values"][0], of_leads(upstream["output"][None])[0].numpy())
    at_500_hz = settings | {"steps": settings["steps"][:3], "sequence_length": 5000, "sampling_rate": 500}
    scaled = ECGFeatureExtractor(**at_500_hz)(raw, sampling_rate=500)["input_values"][0]
    np.testing.assert_allclose(scaled, upstream["preprocessed_500hz"].numpy(), atol=1e-6, rtol=0)


def test_a_short_record_is_padded_with_a_mask_at_the_last_rate():
    extractor = ECGFeatureExtractor(**HuBERTECGConfig().feature_extractor_settings())
    signal = np.random.default_rng(0).normal(size=(12, 1800))
    inputs = extractor(signal, sampling_rate=600)  # 3 s
    assert inputs["input_values"].shape == (1, 12, 500)
    assert inputs["input_mask"][0].tolist() == [True] * 300 + [False] * 200
    assert set(extractor(signal, sampling_rate=250)) == {"input_values"}


def test_a_rate_that_no_decimation_gives_is_refused():
    steps = [{"name": "resample", "method": "decimate_end_to_end"}]
    extractor = ECGFeatureExtractor(100, 100, ["I"], steps)
    signal = np.random.default_rng(0).normal(size=(1, 501))
    assert extractor(signal[:, :500], 500)["input_values"].shape == (1, 1, 100)
    for samples, rate in ((500, 250), (501, 500)):
        with pytest.raises(ValueError, match="no multiples of those at 100 Hz"):
            extractor(signal[:, :samples], rate)


def test_every_lead_is_scaled_to_one_range():
    extractor = ECGFeatureExtractor(100, 100, steps=[{"name": "scale_to_range"}])
    values = extractor(np.random.default_rng(0).normal(size=(12, 100)), 100)["input_values"][0]
    np.testing.assert_allclose(values.min(axis=1), -1, atol=1e-6)
    np.testing.assert_allclose(values.max(axis=1), 1, atol=1e-6)


# Conversion


def published_weights(width, layers, inner):
    """A self-supervised state dict under upstream's names, as its specification lists them."""

    def vectors(name, *shape):
        return {f"{name}.weight": torch.empty(shape), f"{name}.bias": torch.empty(shape[0])}

    kernels = (10, 3, 3, 2, 2)
    weights = {
        f"feature_extractor.conv_layers.{index}.conv.weight": torch.empty(512, 512 if index else 1, kernel)
        for index, kernel in enumerate(kernels)
    }
    weights |= vectors("feature_extractor.conv_layers.0.layer_norm", 512)
    weights |= vectors("feature_projection.layer_norm", 512) | vectors("feature_projection.projection", width, 512)
    weights |= vectors("encoder.layer_norm", width) | {f"{POSITIONS}bias": torch.empty(width)}
    weights[f"{POSITIONS}parametrizations.weight.original0"] = torch.empty(1, 1, 128)
    weights[f"{POSITIONS}parametrizations.weight.original1"] = torch.empty(width, width // 16, 128)
    weights["masked_spec_embed"] = torch.empty(width)
    for layer in (f"encoder.layers.{index}" for index in range(layers)):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            weights |= vectors(f"{layer}.attention.{name}", width, width)
        weights |= vectors(f"{layer}.layer_norm", width) | vectors(f"{layer}.final_layer_norm", width)
        weights |= vectors(f"{layer}.feed_forward.intermediate_dense", inner, width)
        weights |= vectors(f"{layer}.feed_forward.output_dense", width, inner)
    return weights


@pytest.mark.parametrize("size", SIZES)
def test_every_published_size_is_recognised_from_its_weights(size):
    converter = CONVERTERS["hubertecg"]
    width, layers, heads, inner, num_parameters = SIZES[size]
    with torch.device("meta"):
        upstream = published_weights(width, layers, inner)
        head = {"final_proj.0.weight": torch.empty(256, width), "label_embedding.0.weight": torch.empty(500, 256)}
        prepared = converter.prepare(upstream | head)
        config = HuBERTECGConfig(**converter.adapt({}, prepared))
        wanted = HuBERTECGModel(config).state_dict()
    assert sum(tensor.numel() for tensor in upstream.values()) == num_parameters
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (width, layers, heads)
    weights, dropped = rename_weights(prepared, converter, set(wanted))
    assert {key: tensor.shape for key, tensor in weights.items()} == {key: wanted[key].shape for key in wanted}
    assert set(dropped) == {*head, "masked_spec_embed"}


def test_another_width_without_hyperparameters_is_refused(folder, tmp_path):
    with pytest.raises(ConversionError, match="No published size is 24 wide: pass hyperparameters"):
        convert_checkpoint("hubertecg", folder / "tiny" / "state_dict.safetensors", tmp_path / "model")


def test_all_forms_of_a_checkpoint_convert_to_the_same_model(convert, weights, tmp_path):
    old = dict(weights)
    for ours, theirs in (("weight_g", "original0"), ("weight_v", "original1")):
        old[POSITIONS + ours] = old.pop(f"{POSITIONS}parametrizations.weight.{theirs}")
    pre_training = ("final_proj.", "label_embedding.", "masked_spec_embed", "classifier.")
    tuned = {f"hubert_ecg.{key}": each for key, each in weights.items() if not key.startswith(pre_training)}
    heads = ({"classifier.0.weight": torch.ones(2, 2)}, {"label_embedding.weight": torch.ones(2, 2)})
    torch.save({"model_state_dict": weights, "pretraining_vocab_sizes": [7, 5]}, tmp_path / "file.pt")
    model, report = convert()
    assert len(report["dropped"]) == 9
    assert report["num_parameters"] == 16_840 - 24 - 8
    assert not any("parametrizations" in name for name in model.state_dict())
    for given in (old, tmp_path / "file.pt", *(tuned | head for head in heads)):
        for name, tensor in convert(given)[0].state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_description_of_a_hugging_face_folder_serves_as_hyperparameters(convert, folder, io):
    described = HubertConfig(architectures=["HuBERTECG"]).to_dict() | {"torch_dtype": "float32", "auto_map": {}}
    tiny = json.loads((folder / "tiny" / "config.json").read_text())
    model, _ = convert(**(described | tiny))
    assert model.config.hidden_dropout == 0.1
    assert_near(model.eval()(of_leads(io["input"])).pooler_output, io["features"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"do_stable_layer_norm": True}, "do_stable_layer_norm must be False, as in every published HuBERT-ECG"),
        ({"feat_extract_norm": "layer"}, "feat_extract_norm must be 'group'"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu'"),
        ({"num_attention_heads": 5}, r"hidden_size \(24\) must be a multiple of num_attention_heads \(5\)"),
        ({"conv_kernel": [10, 3, 3, 2]}, "need one positive entry a convolution"),
        ({"conv_kernel": [9, 3, 3, 2, 2]}, r"convolutions\.0\.conv\.weight \(8, 1, 10\) instead of \(8, 1, 9\)"),
        ({"conv_bias": True}, "lacks 5 weights"),
        ({"num_hidden_layers": 2}, r"does not know: encoder\.layers\.2\."),
        ({"depth": 3}, "Unknown hyperparameter 'depth'"),
    ],
    ids=str,
)
def test_hyperparameters_of_another_network_are_refused(convert, wrong, message):
    with pytest.raises(ConversionError, match=message):
        convert(**wrong)


# The model alone


@torch.inference_mode()
def test_the_leads_are_laid_end_to_end():
    model, inputs = small_model(), torch.randn(2, 12, 20)
    output = model(inputs)
    model.config.num_leads = 1
    assert torch.equal(model(inputs.reshape(2, 1, 240)).last_hidden_state, output.last_hidden_state)


@torch.inference_mode()
def test_the_published_models_make_93_tokens_of_5_s():
    config = HuBERTECGConfig(num_hidden_layers=1, hidden_size=32, intermediate_size=8, num_attention_heads=2)
    assert HuBERTECGModel(config).eval()(torch.randn(1, 12, 500)).last_hidden_state.shape == (1, 93, 32)


def test_hubertecg_refuses_lengths_that_make_no_token():
    model = small_model()  # a token needs 18 samples in all leads together
    assert model(torch.zeros(2, 12, 2)).last_hidden_state.shape[1] == 1
    for samples in (0, 1):
        with pytest.raises(ValueError, match=f"no token of {samples} samples of each lead"):
            model(torch.zeros(2, 12, samples))


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_tokens_with_anything_missing_are_neither_attended_to_nor_pooled(implementation):
    model, inputs = small_model(), torch.randn(1, 12, 30)
    model.set_attn_implementation(implementation)
    lead_mask = torch.ones(1, 12, dtype=torch.bool)
    lead_mask[0, [0, 7]] = False
    input_mask = (torch.arange(30) < 27)[None]
    output = model(inputs, lead_mask=lead_mask, input_mask=input_mask, output_attentions=implementation == "eager")
    recorded = (lead_mask[0][:, None] & input_mask[0]).flatten()
    is_token = torch.stack([recorded[start : start + 18].all() for start in range(0, 360 - 17, 8)])
    assert 0 < is_token.sum() < len(is_token)
    assert_near(output.pooler_output, output.last_hidden_state[:, is_token].mean(dim=1))
    if implementation == "eager":
        received = output.attentions[-1].amax(dim=(0, 1, 2))
        assert torch.equal(received > 0, is_token)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conv_dim": [8]}, "need one positive entry a convolution"),
        ({"conv_stride": [4, 0]}, "need one positive entry a convolution"),
        ({"num_conv_pos_embedding_groups": 3}, r"must be a multiple of num_conv_pos_embedding_groups \(3\)"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        small_config(**fields)


def test_a_new_model_starts_with_upstreams_scale():
    torch.manual_seed(0)
    model = HuBERTECGModel(HuBERTECGConfig(num_hidden_layers=1, conv_dim=[64] * 5))
    assert model.blocks[0].attention.query.weight.std().item() == pytest.approx(0.02, rel=0.1)
    for convolution in (model.positions, *(each.conv for each in model.embeddings.convolutions)):
        fan_in = convolution.weight[0].numel()
        assert convolution.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.15)
