"""TimesNet against the outputs of upstream's own code, through the converter."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file

from modeling_enecg.conversion import convert_checkpoint
from modeling_enecg.modeling_timesnet import InceptionConvolution, TimesNetConfig, TimesNetModel
from tests.helpers.parity import assert_near

TOLERANCE = 5e-6
FORECASTING = ("tiny", "tiny_enecg")
FIXTURES = (*FORECASTING, "tiny_classification")


def hyperparameters(file):
    return json.loads(file.read_text())


def convert(folder, tmp_path, **settings):
    """Convert a fixture, and load it as upstream picks its periods."""
    settings = hyperparameters(folder / "config.json") | settings
    report = convert_checkpoint("timesnet", folder / "state_dict.safetensors", tmp_path / "model", settings)
    return TimesNetModel.from_pretrained(tmp_path / "model", period_selection="batch"), report


def lead_first(tensor):
    return tensor.transpose(1, 2).contiguous()


@pytest.fixture
def upstream(parity_dir, tmp_path, request):
    """A converted fixture: the model, and upstream's inputs and outputs."""
    folder = parity_dir / "timesnet" / request.param
    return convert(folder, tmp_path)[0], load_file(folder / "io.safetensors")


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FIXTURES, indirect=True)
def test_timesnet_gives_upstreams_sequence_and_features(upstream):
    model, io = upstream
    output = model(lead_first(io["input"]), output_hidden_states=True)
    assert_near(output.last_hidden_state, io["features_sequence"], TOLERANCE)
    assert_near(output.pooler_output, io["features_pooled_mean_input"], TOLERANCE)
    entering, *blocks = output.hidden_states
    assert_near(entering, io.get("hidden_predict_linear", io["hidden_enc_embedding"]), TOLERANCE)
    for index, block in enumerate(blocks):
        assert_near(model.norm(block), io[f"hidden_layer_{index}"], TOLERANCE)


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FORECASTING, indirect=True)
def test_timesnet_gives_upstreams_forecast(upstream):
    model, io = upstream
    assert_near(model(lead_first(io["input"])).forecast, lead_first(io["output"]), TOLERANCE)


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FIXTURES, indirect=True)
def test_timesnet_finds_upstreams_periods_and_weights(upstream):
    model, io = upstream
    entering = model(lead_first(io["input"]), output_hidden_states=True).hidden_states[0]
    for index, block in enumerate(model.blocks):
        periods, weights = block.period_finder(entering)
        assert periods.tolist() == [io[f"hidden_periods_{index}"].tolist()] * len(periods)
        strengths = io[f"hidden_period_weight_{index}"]
        float16_step = 2e-3 if model.config.spectrum == "real_float16" else 0
        torch.testing.assert_close(weights, strengths.softmax(-1), atol=2e-5 + float16_step, rtol=0)
        entering = io[f"hidden_layer_{index}"]


@torch.inference_mode()
def test_timesnet_takes_calendar_features_where_configured(parity_dir, tmp_path):
    folder = parity_dir / "timesnet" / "tiny_xmark"
    model, report = convert(folder, tmp_path, num_time_features=4)
    io = load_file(folder / "io.safetensors")
    output = model(lead_first(io["input"]), time_features=io["x_mark"])
    assert not report["dropped"]
    assert_near(output.last_hidden_state, io["features_sequence"], TOLERANCE)
    assert_near(output.pooler_output, io["features_pooled_mean_input"], TOLERANCE)
    assert_near(output.forecast, lead_first(io["output"]), TOLERANCE)


def test_calendar_features_are_refused_where_not_configured():
    model = TimesNetModel(tiny())
    with pytest.raises(ValueError, match="takes no time_features"):
        model(torch.zeros(1, 12, 60), time_features=torch.zeros(1, 60, 4))


@torch.inference_mode()
@pytest.mark.parametrize("upstream", FIXTURES, indirect=True)
def test_a_records_own_periods_are_upstreams_for_a_batch_of_one(upstream):
    model, io = upstream
    inputs = lead_first(io["input"])
    alone = torch.cat([model(record[None]).last_hidden_state for record in inputs])
    model.config.period_selection = "record"
    assert_near(model(inputs).last_hidden_state, alone, TOLERANCE)


def test_what_conversion_drops_has_its_reason(parity_dir, tmp_path):
    _, report = convert(parity_dir / "timesnet" / "tiny_classification", tmp_path)
    assert {key: reason.partition(":")[0] for key, reason in report["dropped"].items()} == {
        "enc_embedding.temporal_embedding.embed.weight": "embedding of calendar features",
        "projection.weight": "head of upstream's task",
        "projection.bias": "head of upstream's task",
    }


def test_the_published_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = TimesNetModel(TimesNetConfig(num_leads=1, num_time_features=4))
    assert model.num_parameters() == 1_130_618


def test_a_one_lead_checkpoint_of_the_published_size_needs_no_hyperparameters(tmp_path):
    torch.manual_seed(0)
    shapes = {
        "enc_embedding.value_embedding.tokenConv.weight": (16, 1, 3),
        "enc_embedding.position_embedding.pe": (1, 5000, 16),
        "enc_embedding.temporal_embedding.embed.weight": (16, 4),
        **{f"predict_linear.{part}": shape for part, shape in (("weight", (501, 500)), ("bias", (501,)))},
        **{f"layer_norm.{part}": (16,) for part in ("weight", "bias")},
        **{f"projection.{part}": shape for part, shape in (("weight", (1, 16)), ("bias", (1,)))},
    }
    for layer in range(3):
        for index in range(6):
            width = 2 * index + 1
            for place, out_size, in_size in ((0, 32, 16), (2, 16, 32)):
                kernel = f"model.{layer}.conv.{place}.kernels.{index}"
                shapes |= {f"{kernel}.weight": (out_size, in_size, width, width), f"{kernel}.bias": (out_size,)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    assert sum(tensor.numel() for tensor in weights.values()) == 1_130_618 + 80_000
    save_file(weights, tmp_path / "weights.safetensors")
    report = convert_checkpoint("timesnet", tmp_path / "weights.safetensors", tmp_path / "model")
    model = TimesNetModel.from_pretrained(tmp_path / "model")
    assert model.config.num_leads == 1
    assert model.config.period_selection == "record"
    assert model.config.spectrum == "magnitude"
    assert report["num_parameters"] == 1_130_618 - 64
    assert torch.equal(model.blocks[1].down.get_parameter("kernels.2"), weights["model.1.conv.2.kernels.2.weight"])
    assert torch.equal(model.blocks[1].down.bias[2], weights["model.1.conv.2.kernels.2.bias"])


# Options


def tiny(**changes):
    sizes = {"hidden_size": 6, "intermediate_size": 4, "num_hidden_layers": 2, "num_kernels": 2, "top_k": 2}
    return TimesNetConfig(**({"sequence_length": 60, "horizon": 2} | sizes | changes))


def random_records(num_records=4, seed=0):
    return torch.randn(num_records, 12, 60, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize(("period_selection", "is_independent"), [("record", True), ("batch", False)])
def test_only_upstreams_selection_lets_batch_mates_matter(period_selection, is_independent):
    torch.manual_seed(0)
    model = TimesNetModel(tiny(period_selection=period_selection)).eval()
    records = random_records()
    together, alone = model(records).pooler_output[0], model(records[:1]).pooler_output[0]
    assert torch.allclose(together, alone, atol=1e-5) == is_independent


@torch.inference_mode()
def test_the_mean_kernel_gives_the_mean_of_the_convolutions():
    torch.manual_seed(0)
    inception = InceptionConvolution(3, 5, 4)
    inception.reset_parameters()
    inception.bias.normal_()
    images = torch.randn(2, 3, 4, 7)
    apart = [
        torch.nn.functional.conv2d(images, kernel, bias, padding="same")
        for kernel, bias in zip(inception.kernels.parameters(), inception.bias, strict=True)
    ]
    torch.testing.assert_close(inception(images), torch.stack(apart).mean(dim=0), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_strongest_period_is_that_of_a_sine():
    time = torch.arange(60)
    series = torch.stack([(2 * torch.pi * time / period).sin() for period in (12, 20)])
    periods, _ = TimesNetModel(tiny(top_k=1)).blocks[0].period_finder(series[..., None].expand(-1, -1, 6))
    assert periods.tolist() == [[12], [20]]


@torch.inference_mode()
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_flat_record_has_finite_features_and_its_value_as_offset_of_the_forecast(value):
    torch.manual_seed(0)
    model = TimesNetModel(tiny()).eval()
    output = model(torch.full((1, 12, 60), value))
    assert output.pooler_output.isfinite().all()
    torch.testing.assert_close(output.forecast, torch.full((1, 12, 2), value), atol=0.05, rtol=0)


@torch.inference_mode()
def test_without_a_horizon_there_is_no_forecast():
    output = TimesNetModel(tiny(horizon=0)).eval()(random_records())
    assert output.forecast is None
    assert output.last_hidden_state.shape == (4, 60, 6)


def test_every_parameter_gets_a_gradient_from_features_and_forecast():
    model = TimesNetModel(tiny()).train()
    output = model(random_records())
    (output.pooler_output.pow(2).mean() + output.forecast.pow(2).mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("samples", [59, 61])
def test_timesnet_refuses_another_length(samples):
    with pytest.raises(ValueError, match=f"TimesNet expects 60 samples; got {samples}"):
        TimesNetModel(tiny())(torch.zeros(1, 12, samples))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 7}, "hidden_size must be positive and even"),
        ({"horizon": -1}, "horizon must be 0"),
        ({"top_k": 32}, "top_k must be from 1 to 31"),
        ({"top_k": 0}, "top_k must be from 1 to 31"),
        ({"period_selection": "lead"}, "period_selection"),
        ({"spectrum": "imaginary"}, "spectrum"),
        ({"hidden_dropout": 1.0}, "hidden_dropout must be in"),
    ],
)
def test_timesnet_refuses_what_cannot_be_built(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny(**fields)
