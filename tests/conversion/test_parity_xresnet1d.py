"""xresnet1d against the outputs of upstream's own code, through the converter."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch import nn

from modeling_enecg import ECGFeatureExtractor, XResNet1dConfig, XResNet1dModel
from modeling_enecg.conversion import CONVERTERS, ConversionError, convert_checkpoint
from modeling_enecg.conversion.convert import rename_weights
from tests.helpers.parity import assert_near

FIXTURES = ("tiny", "tiny_opt")
TRAINING_RECORDS = {"mean": -0.0007771724002828525, "std": 0.23895642180464072}  # in mV, as the benchmark has them


def convert(folder, tmp_path, **changes):
    hyperparameters = json.loads((folder / "config.json").read_text()) | changes
    report = convert_checkpoint("xresnet1d", folder / "state_dict.safetensors", tmp_path / "model", hyperparameters)
    return XResNet1dModel.from_pretrained(tmp_path / "model"), report


@pytest.fixture
def upstream(parity_dir, tmp_path, request):
    """A converted fixture: the model, and upstream's inputs and outputs."""
    folder = parity_dir / "xresnet1d101" / request.param
    return convert(folder, tmp_path)[0], load_file(folder / "io.safetensors")


def head_of(folder):
    """Upstream's head with its weights, from pooled features to logits."""
    weights = load_file(folder / "state_dict.safetensors")
    last = max(int(key.partition(".")[0]) for key in weights)
    sizes = [weights[f"{last}.{index}.weight"].shape for index in (4, 8) if f"{last}.{index}.weight" in weights]
    layers = [nn.Identity(), nn.Identity()]  # the pooling
    for index, (out_size, in_size) in enumerate(sizes):
        layers += [nn.BatchNorm1d(in_size), nn.Identity(), nn.Linear(in_size, out_size)]
        layers += [nn.ReLU()] if index < len(sizes) - 1 else []
    head = nn.Sequential(*layers).eval()
    own = (key for key in weights if key.startswith(f"{last}."))
    head.load_state_dict({key.partition(".")[2]: weights[key] for key in own})
    return head


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FIXTURES, indirect=True)
def test_xresnet1d_gives_upstreams_sequence_and_features(upstream):
    model, io = upstream
    output = model(io["input"], output_hidden_states=True)
    assert_near(output.last_hidden_state, io["sequence_features"].transpose(1, 2))
    assert_near(output.pooler_output, io["features"])
    for stage, states in enumerate(output.hidden_states[1:]):
        assert_near(states, io[f"hidden_3_stage{stage}_out"].transpose(1, 2))


@torch.inference_mode()
@pytest.mark.parametrize("upstream", ["tiny"], indirect=True)
def test_xresnet1d_gives_upstreams_features_of_an_odd_length(upstream):
    model, io = upstream
    output = model(io["odd.input"])
    assert_near(output.last_hidden_state, io["odd.sequence_features"].transpose(1, 2))
    assert_near(output.pooler_output, io["odd.features"])


@torch.inference_mode()
@pytest.mark.parametrize("fixture", FIXTURES)
def test_the_features_are_what_upstreams_head_takes(parity_dir, tmp_path, fixture):
    folder = parity_dir / "xresnet1d101" / fixture
    model, head, io = convert(folder, tmp_path)[0], head_of(folder), load_file(folder / "io.safetensors")
    assert_near(head(model(io["input"]).pooler_output), io["logits"])
    if fixture == "tiny":
        windows = io["record.input"].unfold(-1, 250, 125).transpose(1, 2).flatten(0, 1)  # (records x windows, 12, 250)
        assert_near(head(model(windows).pooler_output).unflatten(0, (2, 7)), io["record.window_logits"])


@torch.inference_mode()
def test_training_normalises_by_the_batch_and_remembers_it_as_upstream_does(parity_dir, tmp_path):
    folder = parity_dir / "xresnet1d101" / "tiny"
    model, head, io = convert(folder, tmp_path)[0], head_of(folder), load_file(folder / "io.safetensors")
    trained = load_file(folder / "train_batchnorm.safetensors")
    logits = head.train()(model.train()(io["input"]).pooler_output)
    assert_near(logits, trained["logits_train_mode_batchnorm_no_dropout"])
    for statistic in ("running_mean", "running_var"):
        assert_near(getattr(model.stem[0].norm, statistic), trained[f"after.0.1.{statistic}"])
        assert_near(getattr(head[2], statistic), trained[f"after.7.2.{statistic}"])


@pytest.mark.parametrize(("fixture", "num_head"), [("tiny", 14), ("tiny_opt", 7)])
def test_conversion_drops_the_head_and_the_second_copy_of_every_branch(parity_dir, tmp_path, fixture, num_head):
    _, report = convert(parity_dir / "xresnet1d101" / fixture, tmp_path)
    reasons = [reason.partition(":")[0] for reason in report["dropped"].values()]
    assert reasons.count("classification head") == num_head
    copies = [reason for reason in reasons if reason.startswith("the same weights as ")]
    assert len(copies) == len(reasons) - num_head > 50


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"concat_pooling": False}, "concat_pooling=False has other features"),
        ({"layers": 3}, "layers 3 and widen 0.125 give no widths"),
        ({"widen": "wide"}, "widen 'wide' give no widths"),
        ({"kernel_size": 4}, "kernel_size must be positive and odd; got 4"),
        ({"layers": [2, 1, 3]}, r"lacks 18 weights that the architecture needs: stages\.2\.2\.branch"),
        ({"layers": [2, 1, 1]}, r"36 keys that the architecture does not know: stages\.2\.1\."),
        ({"widen": 0.25}, r"6 keys that the architecture does not know: stages\.0\.0\.idpath\."),
        ({"kernel_size_stem": 7}, r"stem\.0\.convolution\.weight \(8, 12, 5\) instead of \(8, 12, 7\)"),
        ({"squeeze": True}, "Unknown hyperparameter 'squeeze'"),
    ],
    ids=str,
)
def test_hyperparameters_of_another_network_are_refused(parity_dir, tmp_path, wrong, message):
    with pytest.raises(ConversionError, match=message):
        convert(parity_dir / "xresnet1d101" / "tiny", tmp_path, **wrong)


def test_our_standardisation_of_a_record_differs_from_upstreams_by_one_shift_and_scale(parity_dir):
    upstream = load_file(parity_dir / "xresnet1d101" / "preprocess.safetensors")
    raw, theirs = upstream["raw"].numpy(), upstream["output"].numpy()
    extractor = ECGFeatureExtractor(**XResNet1dConfig().feature_extractor_settings())
    ours = extractor(raw, sampling_rate=100)["input_values"][0]
    assert ours.shape == theirs.shape == (12, 1000)
    scale, shift = (
        raw.std() / TRAINING_RECORDS["std"],
        (raw.mean() - TRAINING_RECORDS["mean"]) / TRAINING_RECORDS["std"],
    )
    np.testing.assert_allclose(ours * scale + shift, theirs, atol=1e-5, rtol=0)


# Without fixtures


def conv_norm(name, out_size, in_size, kernel_size):
    """Upstream's convolution and batch norm."""
    vectors = {f"{name}.1.{key}": torch.ones(out_size) for key in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {
        f"{name}.0.weight": torch.ones(out_size, in_size, kernel_size),
        f"{name}.1.num_batches_tracked": torch.tensor(7),
    }


def branch(name, in_size, inner_size, expansion):
    """Upstream's residual branch: of two wide convolutions, or a bottleneck."""
    if expansion == 1:
        return conv_norm(f"{name}.0", inner_size, in_size, 5) | conv_norm(f"{name}.1", inner_size, inner_size, 5)
    return (
        conv_norm(f"{name}.0", inner_size, in_size, 1)
        | conv_norm(f"{name}.1", inner_size, inner_size, 5)
        | conv_norm(f"{name}.2", expansion * inner_size, inner_size, 1)
    )


def published_weights(expansion, layers):
    """The state dict of an xresnet1d under upstream's names, as its specification lists them."""
    weights = {}
    for index, (in_size, out_size) in enumerate(pairwise([12, 32, 32, 64])):
        weights |= conv_norm(str(index), out_size, in_size, 5)
    in_size = 64
    for stage, depth in enumerate(layers):
        inner_size = 64 if stage < 4 else 32
        out_size = expansion * inner_size
        for block in range(depth):
            name = f"{stage + 4}.{block}"
            for copy in ("convs", "convpath.0"):
                weights |= branch(f"{name}.{copy}", in_size, inner_size, expansion)
            if in_size != out_size:
                weights |= conv_norm(f"{name}.idpath.{int(stage > 0)}", out_size, in_size, 1)
            in_size = out_size
    head = f"{len(layers) + 4}"
    for index, size in ((2, 2 * in_size), (6, 128)):
        vectors = ("weight", "bias", "running_mean", "running_var")
        weights |= {f"{head}.{index}.{key}": torch.ones(size) for key in vectors}
        weights[f"{head}.{index}.num_batches_tracked"] = torch.tensor(7)
    for index, shape in ((4, (128, 2 * in_size)), (8, (71, 128))):
        weights |= {f"{head}.{index}.weight": torch.ones(shape), f"{head}.{index}.bias": torch.ones(shape[0])}
    return weights


def test_every_published_key_has_its_place_without_hyperparameters():
    converter = CONVERTERS["xresnet1d"]
    with torch.device("meta"):
        wanted = XResNet1dModel(XResNet1dConfig()).state_dict()
    upstream = published_weights(4, [3, 4, 23, 3])
    assert len(upstream) == 1226
    weights, dropped = rename_weights(converter.prepare(upstream), converter, set(wanted))
    assert {key: tensor.shape for key, tensor in weights.items()} == {key: wanted[key].shape for key in wanted}
    assert len(dropped) == 33 * 3 * 6 + 14  # the second copies and the head


@pytest.mark.parametrize(
    ("expansion", "layers"),
    [(4, [3, 4, 23, 3]), (4, [3, 4, 6, 3]), (1, [2, 2, 2, 2]), (1, [2, 2, 1, 1, 1, 1, 1, 1]), (2, [1, 1])],
    ids=["101", "50", "18", "18 deeper", "of two stages"],
)
def test_a_fastai_file_of_every_depth_is_converted(tmp_path, expansion, layers):
    torch.save({"model": published_weights(expansion, layers), "opt": {"state": {}}}, tmp_path / "fastai.pth")
    hyperparameters = {"expansion": expansion, "layers": layers, "num_classes": 71, "lin_ftrs_head": [128]}
    report = convert_checkpoint("xresnet1d", tmp_path / "fastai.pth", tmp_path / "model", hyperparameters)
    model = XResNet1dModel.from_pretrained(tmp_path / "model")
    assert model.num_parameters() == report["num_parameters"]
    assert model.config.depths == layers
    assert model.config.inner_sizes == ([64] * 4 + [32] * 4)[: len(layers)]
    assert model.config.weights_licence == "unknown"


def test_the_features_are_the_maximum_and_then_the_mean_of_the_tokens():
    torch.manual_seed(0)
    output = small().eval()(torch.randn(2, 12, 100))
    maximum, mean = output.pooler_output.chunk(2, dim=1)
    assert torch.equal(maximum, output.last_hidden_state.amax(dim=1))
    assert_near(mean, output.last_hidden_state.mean(dim=1))


@torch.inference_mode()
@pytest.mark.parametrize(("samples", "tokens"), [(1, 1), (100, 13), (101, 13), (250, 32), (1000, 125)])
def test_xresnet1d_takes_any_length(samples, tokens):
    output = small().eval()(torch.randn(2, 12, samples))
    assert output.last_hidden_state.shape == (2, tokens, 24)
    assert output.pooler_output.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inner_sizes": [64]}, r"inner_sizes \[64\] and depths \[3, 4, 23, 3\] need one entry a stage"),
        ({"inner_sizes": [], "depths": []}, "need one entry a stage"),
        ({"stem_sizes": []}, "stem_sizes needs an entry"),
        ({"depths": [3, 4, 0, 3]}, "depths must be positive"),
        ({"expansion": 0}, "expansion must be positive"),
        ({"kernel_size": 6}, "kernel_size must be positive and odd; got 6"),
    ],
    ids=str,
)
def test_stages_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        XResNet1dConfig(**fields)


def test_a_new_model_starts_with_upstreams_scale():
    torch.manual_seed(0)
    model = XResNet1dModel(XResNet1dConfig(depths=[1, 1, 1, 1]))
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
        if isinstance(module, nn.BatchNorm1d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def small():
    return XResNet1dModel(XResNet1dConfig(stem_sizes=[8, 16], inner_sizes=[4, 6], depths=[2, 1]))
