"""ECG-CPC against the outputs of upstream's own code, through the converter."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file

from modeling_enecg import ECGCPCConfig, ECGCPCModel, ECGFeatureExtractor
from modeling_enecg.conversion import CONVERTERS, ConversionError, convert_checkpoint
from modeling_enecg.conversion.convert import rename_weights
from tests.helpers.parity import assert_near

FIXTURES = ("tiny", "tiny_bn", "tiny_opt")
LAYER = "ts_encoder.predictor.predictor.s4_layers"


def convert(folder, tmp_path, **changes):
    hyperparameters = json.loads((folder / "config.json").read_text()) | changes
    report = convert_checkpoint("ecgcpc", folder / "state_dict.safetensors", tmp_path / "model", hyperparameters)
    return ECGCPCModel.from_pretrained(tmp_path / "model"), report


@pytest.fixture
def upstream(parity_dir, tmp_path, request):
    """A converted fixture: the model, and upstream's inputs and outputs."""
    folder = parity_dir / "ecgcpc" / request.param
    return convert(folder, tmp_path)[0], load_file(folder / "io.safetensors")


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FIXTURES, indirect=True)
def test_ecgcpc_gives_upstreams_tokens_and_features(upstream):
    model, io = upstream
    output = model(io["input"], output_hidden_states=True)
    assert_near(output.last_hidden_state, io["sequence_features"])
    assert_near(output.pooler_output, io["features"])
    for index, states in enumerate(output.hidden_states[1:]):
        if f"hidden_5_layer{index}_out" in io:
            assert_near(states, io[f"hidden_5_layer{index}_out"])


@torch.inference_mode()
@pytest.mark.parametrize("upstream", ["tiny"], indirect=True)
@pytest.mark.parametrize("length", ["short", "long"])
def test_ecgcpc_gives_upstreams_features_of_other_lengths(upstream, length):
    model, io = upstream
    output = model(io[f"{length}.input"])
    assert_near(output.last_hidden_state, io[f"{length}.sequence_features"])
    assert_near(output.pooler_output, io[f"{length}.features"])


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FIXTURES, indirect=True)
def test_each_layer_has_upstreams_kernel_and_output(upstream):
    model, io = upstream
    outputs = []
    for block in model.blocks:
        block.s4.register_forward_hook(lambda _, args, output: outputs.append(output))
    model(io["input"])
    for index, block in enumerate(model.blocks):
        kernel = io[f"hidden_2_layer{index}_kernel"]
        torch.testing.assert_close(block.s4.kernel(kernel.shape[-1]).float(), kernel, atol=1e-6, rtol=0)
        assert_near(outputs[index].mT, io[f"hidden_4_layer{index}_s4_out"])


@torch.inference_mode()
@pytest.mark.parametrize("fixture", FIXTURES)
def test_the_features_are_what_upstreams_head_takes(parity_dir, tmp_path, fixture):
    folder = parity_dir / "ecgcpc" / fixture
    weights, io = load_file(folder / "state_dict.safetensors"), load_file(folder / "io.safetensors")
    features = convert(folder, tmp_path)[0](io["input"]).pooler_output
    assert_near(linear_head(features, weights), io["logits"])


def linear_head(features, weights):
    return torch.nn.functional.linear(features, weights["head.weight"], weights["head.bias"])


def test_gradients_have_upstreams_size(parity_dir, tmp_path):
    folder = parity_dir / "ecgcpc" / "tiny"
    weights, io = load_file(folder / "state_dict.safetensors"), load_file(folder / "io.safetensors")
    wanted = json.loads((parity_dir / "ecgcpc" / "train_mode.json").read_text())["gradient_check_tiny"]
    model = convert(folder, tmp_path)[0].eval()
    loss = linear_head(model(io["input"]).pooler_output, weights).square().mean()
    assert loss.item() == pytest.approx(wanted["value"], rel=1e-5)
    loss.backward()
    converter, parameters = CONVERTERS["ecgcpc"], dict(model.named_parameters())
    for key, size in wanted["grad_l2"].items():
        for name in rename_weights({key: weights[key]}, converter, set(parameters))[0]:
            gradient = parameters.pop(name).grad
            if name.endswith("output_matrix"):  # upstream's is C (I - Ā^48)
                kernel = model.get_submodule(name.removesuffix(".output_matrix"))
                forgotten = torch.eye(8).double() - torch.linalg.matrix_power(kernel.discretise()[0], 48)
                row = torch.cat([gradient[0, ..., 0], -gradient[0, ..., 1]], dim=-1).double()
                gradient = torch.linalg.solve(forgotten, row[..., None])
            assert gradient.norm().item() == pytest.approx(size, rel=1e-4), key
    assert not parameters


@torch.inference_mode()
@pytest.mark.parametrize("upstream", ["tiny"], indirect=True)
def test_a_layer_is_upstreams_recurrence_over_time(upstream):
    model, io = upstream
    layer, inputs = model.blocks[0].s4, io["hidden_1_tokens"].double()
    transition, entry = layer.kernel.discretise()
    state, outputs = torch.zeros(3, 16, 8, dtype=torch.float64), []
    real, imaginary = layer.kernel.output_matrix[0].double().unbind(-1)
    readout = 2 * torch.cat([real, -imaginary], dim=-1)
    for token in inputs.unbind(1):
        state = (transition @ state[..., None])[..., 0] + entry * token[..., None]
        outputs.append((readout * state).sum(-1) + layer.skip * token)
    filtered = torch.stack(outputs, dim=1).float()
    assert_near(filtered.mT, io["hidden_3_layer0_before_gelu"])
    assert_near(state[..., :4].float(), io["upstream_step_layer0_final_state_real"][..., :4])
    assert_near(state[..., 4:].float(), io["upstream_step_layer0_final_state_imag"][..., :4])
    activated = torch.nn.functional.gelu(filtered)
    assert_near(torch.nn.functional.glu(layer.output(activated)).mT, io["upstream_step_layer0_s4_out"])


# Conversion


def test_conversion_drops_heads_and_fourier_nodes_and_nothing_else(parity_dir, tmp_path):
    _, report = convert(parity_dir / "ecgcpc" / "tiny", tmp_path)
    reasons = [reason.partition(":")[0] for reason in report["dropped"].values()]
    assert sorted(set(reasons)) == ["Fourier nodes", "classification head"]
    assert (reasons.count("Fourier nodes"), reasons.count("classification head")) == (4, 7)


@torch.inference_mode()
def test_a_checkpoint_that_upstream_has_lengthened_gives_the_same_model(parity_dir, tmp_path):
    folder = parity_dir / "ecgcpc" / "tiny"
    model = convert(folder, tmp_path)[0]
    weights = load_file(folder / "state_dict.safetensors")
    for index in range(2):  # C (I - Ā^48) (I + Ā^48) = C (I - Ā^96)
        transition = model.blocks[index].s4.kernel.discretise()[0]
        name = f"{LAYER}.{index}.kernel.kernel"
        row = torch.cat([weights[f"{name}.C"][..., 0], -weights[f"{name}.C"][..., 1]], -1).double()
        doubled = torch.eye(8).double() + torch.linalg.matrix_power(transition, 48)
        real, imaginary = (row[..., None, :] @ doubled)[..., 0, :].float().chunk(2, dim=-1)
        weights[f"{name}.C"] = torch.stack([real, -imaginary], dim=-1)
        weights[f"{name}.omega"] = weights[f"{name}.z"] = torch.zeros(49, 2)
    save_file({key: tensor.clone() for key, tensor in weights.items()}, tmp_path / "longer.safetensors")
    hyperparameters = json.loads((folder / "config.json").read_text()) | {"input_length": 192}
    convert_checkpoint("ecgcpc", tmp_path / "longer.safetensors", tmp_path / "longer", hyperparameters)
    inputs = load_file(folder / "io.safetensors")["input"]
    assert_near(ECGCPCModel.from_pretrained(tmp_path / "longer")(inputs).pooler_output, model(inputs).pooler_output)


def test_a_checkpoint_that_does_not_say_what_its_c_means_is_refused(parity_dir, tmp_path):
    folder = parity_dir / "ecgcpc" / "tiny"
    weights = load_file(folder / "state_dict.safetensors")
    del weights[f"{LAYER}.1.kernel.kernel.omega"]
    save_file(weights, tmp_path / "cut.safetensors")
    with pytest.raises(ConversionError, match=r"1\.kernel\.kernel\.C without .*omega, which say what it means"):
        convert_checkpoint("ecgcpc", tmp_path / "cut.safetensors", tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "damaged"),
    [("w", torch.ones(16, 3, 2)), ("C", torch.ones(16, 4, 2)), ("omega", torch.ones(1, 2))],
    ids=["w", "C", "omega"],
)
def test_tensors_that_make_no_layer_are_named(parity_dir, tmp_path, name, damaged):
    weights = load_file(parity_dir / "ecgcpc" / "tiny" / "state_dict.safetensors")
    save_file(weights | {f"{LAYER}.0.kernel.kernel.{name}": damaged}, tmp_path / "damaged.safetensors")
    with pytest.raises(ConversionError, match=r"s4_layers\.0\.kernel\.kernel\.\* make no S4 layer: "):
        convert_checkpoint("ecgcpc", tmp_path / "damaged.safetensors", tmp_path / "model")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"state_dim": 7}, "state_size must be positive and even; got 7"),
        ({"state_dim": 6}, r"kernel\.diagonal \(16, 4, 2\) instead of \(16, 3, 2\)"),
        ({"strides": [2]}, "need one positive entry a convolution"),
        ({"num_layers": 1}, "keys that the architecture does not know: ts_encoder"),
        ({"causal": False}, r"output_matrix \(1, 16, 4, 2\) instead of \(2, 16, 4, 2\)"),
        ({"model_dim": 20}, r"lacks 2 weights that the architecture needs: projection\.weight"),
        ({"batchnorm": True}, r"lacks 6 weights .*norm\.running_mean"),
        ({"bidirectional": True}, "Unknown hyperparameter 'bidirectional'"),
    ],
    ids=str,
)
def test_hyperparameters_of_another_network_are_refused(parity_dir, tmp_path, wrong, message):
    with pytest.raises(ConversionError, match=message):
        convert(parity_dir / "ecgcpc" / "tiny", tmp_path, **wrong)


def published_weights():
    """The state dict of the published checkpoint under upstream's names, as its specification lists them."""
    weights = {"ts_encoder.head_ssl.proj.0.weight": torch.ones(512, 512)}
    for index, (in_size, kernel_size) in enumerate([(12, 3), (512, 1), (512, 1), (512, 1)]):
        name = f"ts_encoder.encoder.layers.{index}"
        vectors = ("weight", "bias", "running_mean", "running_var")
        weights |= {f"{name}.1.{vector}": torch.ones(512) for vector in vectors}
        weights[f"{name}.0.weight"] = torch.ones(512, in_size, kernel_size)
        weights[f"{name}.1.num_batches_tracked"] = torch.tensor(7)
    for index in range(4):
        name = f"{LAYER}.{index}"
        weights |= {f"{name}.kernel.kernel.{matrix}": torch.full((1, 512, 4, 2), 0.1) for matrix in "BCPQ"}
        weights |= {f"{name}.kernel.kernel.{nodes}": torch.ones(601, 2) for nodes in ("omega", "z")}
        weights[f"{name}.kernel.kernel.w"] = torch.full((512, 4, 2), -0.5)
        weights[f"{name}.kernel.kernel.log_dt"] = torch.full((512,), -4.0)
        weights |= {f"{name}.D": torch.ones(1, 512), f"{name}.output_linear.0.weight": torch.ones(1024, 512)}
        weights[f"{name}.output_linear.0.bias"] = torch.ones(1024, 1)
        for vector in ("weight", "bias"):
            weights[f"ts_encoder.predictor.predictor.norms.{index}.{vector}"] = torch.ones(512)
    return weights


@pytest.fixture
def settings():
    """Settings as PyTorch Lightning saves them with OmegaConf, whose classes nobody can import later on."""
    modules = {"omegaconf": types.ModuleType("omegaconf"), "omegaconf.dictconfig": types.ModuleType("dictconfig")}
    kind = type(
        "DictConfig", (), {"__module__": "omegaconf.dictconfig", "__setstate__": lambda *_: pytest.fail("ran")}
    )
    modules["omegaconf.dictconfig"].DictConfig = kind
    sys.modules.update(modules)
    content = kind()
    content.__dict__.update({"lr": 1e-3, "types": [dict, int]})
    yield content
    for name in modules:
        sys.modules.pop(name, None)


def test_the_published_lightning_file_is_converted_without_running_its_settings(tmp_path, settings):
    weights = published_weights()
    assert sum(key.startswith("ts_encoder.encoder.") for key in weights) == 24
    assert sum(key.startswith("ts_encoder.predictor.") for key in weights) == 52
    torch.save({"epoch": 199, "state_dict": weights, "hyper_parameters": settings}, tmp_path / "last.ckpt")
    report = convert_checkpoint("ecgcpc", tmp_path / "last.ckpt", tmp_path / "model")
    assert report["num_parameters"] == 2_932_736
    model = ECGCPCModel.from_pretrained(tmp_path / "model")
    assert model.config.weights_licence == "unknown"
    assert torch.equal(model.blocks[3].s4.output.weight, weights[f"{LAYER}.3.output_linear.0.weight"])
    assert report["dropped"]["ts_encoder.head_ssl.proj.0.weight"].startswith("pre-training objective")


# Pre-processing


def test_a_record_is_resampled_as_in_pre_training(parity_dir):
    upstream = load_file(parity_dir / "ecgcpc" / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(**ECGCPCConfig().feature_extractor_settings())
    ours = extractor(upstream["raw"].numpy(), sampling_rate=500)["input_values"][0]
    np.testing.assert_allclose(ours, upstream["resampled_whole_record"], atol=2e-6, rtol=0)


def test_crops_are_resampled_as_in_the_benchmark(parity_dir):
    upstream = load_file(parity_dir / "ecgcpc" / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(**ECGCPCConfig(sequence_length=600).feature_extractor_settings())
    crops = list(upstream["raw"].unflatten(1, (4, 1250)).transpose(0, 1).numpy())
    ours = extractor(crops, sampling_rate=500)["input_values"]
    np.testing.assert_allclose(ours, upstream["output_crops"], atol=2e-6, rtol=0)


# Without fixtures


@torch.inference_mode()
@pytest.mark.parametrize(("samples", "tokens"), [(1, 1), (2, 1), (61, 31), (2400, 1200), (2401, 1201)])
def test_ecgcpc_takes_any_length(samples, tokens):
    output = small().eval()(torch.randn(2, 12, samples))
    assert output.last_hidden_state.shape == (2, tokens, 16)
    assert output.pooler_output.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_only_a_bidirectional_model_sees_the_future(is_bidirectional):
    model = small(is_bidirectional=is_bidirectional, conv_dim=[], conv_kernel=[], conv_stride=[], conv_dilation=[])
    inputs = torch.randn(1, 12, 40)
    changed = inputs.clone()
    changed[..., 20:] += 1
    before, after = (model.eval()(each).last_hidden_state[:, :20] for each in (inputs, changed))
    assert ((before - after).abs().max() > 1e-3) == is_bidirectional


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conv_dim": [8]}, "need one positive entry a convolution"),
        ({"conv_dim": [8, 0], "conv_kernel": [1, 1], "conv_stride": [1, 1], "conv_dilation": [1, 1]}, "one positive"),
        ({"conv_norm": "group"}, "conv_norm must be one of batch, layer, none; got 'group'"),
        ({"state_size": 3}, "state_size must be positive and even; got 3"),
        ({"state_size": 0}, "state_size must be positive and even; got 0"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout must be in \[0, 1\)"),
    ],
    ids=str,
)
def test_hyperparameters_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        ECGCPCConfig(**fields)


def small(**fields):
    torch.manual_seed(0)
    convolutions = {"conv_dim": [8], "conv_kernel": [3], "conv_stride": [2], "conv_dilation": [1]}
    return ECGCPCModel(ECGCPCConfig(**(convolutions | {"hidden_size": 16, "num_hidden_layers": 2} | fields)))
