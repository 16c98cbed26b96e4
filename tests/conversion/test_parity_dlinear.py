"""DLinear against the outputs of upstream's own code, through the converter."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file

from modeling_enecg.conversion import convert_checkpoint
from modeling_enecg.conversion.checkpoint import ConversionError
from modeling_enecg.modeling_dlinear import DLinearConfig, DLinearModel, MovingAverage
from tests.helpers.parity import assert_near

# Sums of 1001 samples in another order; values up to 3.
LONG_KERNEL_TOLERANCE = 5e-5


def hyperparameters(file):
    return json.loads(file.read_text())


def convert(checkpoint, tmp_path, settings=None, **changes):
    report = convert_checkpoint("dlinear", checkpoint, tmp_path / "model", settings)
    return DLinearModel.from_pretrained(tmp_path / "model", **changes), report


def lead_first(tensor):
    return tensor.transpose(1, 2).contiguous()


@pytest.fixture
def upstream(parity_dir, tmp_path, request):
    """A converted fixture: the model, and upstream's inputs and outputs."""
    folder = parity_dir / "dlinear" / request.param
    model, _ = convert(folder / "state_dict.safetensors", tmp_path, hyperparameters(folder / "config.json"))
    return model, load_file(folder / "io.safetensors")


@torch.inference_mode()
@pytest.mark.parametrize("upstream", ["tiny", "tiny_individual"], indirect=True)
def test_dlinear_gives_upstreams_forecast_from_upstreams_parts(upstream):
    model, io = upstream
    inputs = lead_first(io["input"])
    output = model(inputs, output_hidden_states=True)
    assert_near(output.forecast, lead_first(io["output"]))
    assert_near(model.moving_average(inputs), lead_first(io["hidden_trend"]))
    assert_near(output.hidden_states[0], lead_first(io["hidden_seasonal"]))


@torch.inference_mode()
@pytest.mark.parametrize("upstream", ["tiny"], indirect=True)
def test_dlinear_gives_upstreams_features(upstream):
    model, io = upstream
    output = model(lead_first(io["input"]), output_hidden_states=True)
    assert_near(output.last_hidden_state, io["features_concat"])
    assert_near(output.pooler_output, io["features_concat"].flatten(1))
    assert_near(output.hidden_states[1], io["hidden_lin_seasonal"])
    assert_near(output.hidden_states[2], io["hidden_lin_trend"])


@torch.inference_mode()
@pytest.mark.parametrize("with_hyperparameters", [False, True])
def test_enecgs_checkpoint_gives_upstreams_features_and_forecast(parity_dir, tmp_path, with_hyperparameters):
    folder = parity_dir / "dlinear"
    settings = hyperparameters(folder / "enecg_checkpoint.json") if with_hyperparameters else None
    model, report = convert(folder / "enecg_checkpoint.safetensors", tmp_path, settings)
    assert report["num_parameters"] == 1002
    assert not report["dropped"]
    io = load_file(folder / "enecg_io_12lead.safetensors")
    output = model(lead_first(io["input"]))
    assert_near(output.pooler_output, io["features_concat"].flatten(1), LONG_KERNEL_TOLERANCE)
    assert_near(output.forecast, lead_first(io["output"]), LONG_KERNEL_TOLERANCE)


@torch.inference_mode()
def test_shared_weights_serve_any_number_of_leads(parity_dir, tmp_path):
    folder = parity_dir / "dlinear"
    model, _ = convert(folder / "enecg_checkpoint.safetensors", tmp_path, num_leads=1)
    io = load_file(folder / "enecg_io.safetensors")
    inputs = lead_first(io["input"])
    output = model(inputs)
    assert_near(output.pooler_output, io["features_concat"].flatten(1), LONG_KERNEL_TOLERANCE)
    assert_near(output.forecast, lead_first(io["output"]), LONG_KERNEL_TOLERANCE)
    assert_near(model.moving_average(inputs), lead_first(io["hidden_trend"]), LONG_KERNEL_TOLERANCE)


def test_the_published_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert DLinearModel(DLinearConfig()).num_parameters() == 1002


def test_a_classification_head_is_dropped_with_its_reason(tmp_path):
    names = ("Linear_Seasonal", "Linear_Trend")
    weights = {f"{name}.{part}": torch.zeros(shape) for name in names for part, shape in SHAPES.items()}
    save_file(weights | {"projection.weight": torch.zeros(4, 240)}, tmp_path / "weights.safetensors")
    settings = {"seq_len": 20, "pred_len": 20, "moving_avg": 5, "enc_in": 12}
    model, report = convert(tmp_path / "weights.safetensors", tmp_path, settings)
    assert model.config.kernel_size == 5
    assert report["dropped"] == {"projection.weight": "classification head: an EnECG model has its own"}


SHAPES = {"weight": (20, 20), "bias": (20,)}


def test_weights_of_the_other_kind_are_refused(parity_dir, tmp_path):
    folder = parity_dir / "dlinear" / "tiny_individual"
    settings = hyperparameters(folder / "config.json") | {"individual": False}
    with pytest.raises(ConversionError, match=r"seasonal.weight \(3, 3, 60\) instead of \(1, 3, 60\)"):
        convert(folder / "state_dict.safetensors", tmp_path, settings)


@torch.inference_mode()
def test_a_kernel_beyond_twice_the_record_makes_the_trend_a_straight_line():
    values = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    trend = MovingAverage(101)(values)
    steps = trend.diff(dim=-1)
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"kernel_size": 24}, "kernel_size must be a positive odd number"), ({"horizon": 0}, "horizon must be at least")],
)
def test_dlinear_refuses_what_cannot_be_built(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        DLinearConfig(**fields)


@pytest.mark.parametrize("samples", [499, 501])
def test_dlinear_refuses_another_length(samples):
    with pytest.raises(ValueError, match=f"DLinear expects 500 samples; got {samples}"):
        DLinearModel(DLinearConfig())(torch.zeros(1, 12, samples))
