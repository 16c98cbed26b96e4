"""Our TEMPO against the outputs of upstream's own code, through the converter."""

import json
import re

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file

from modeling_enecg.conversion import convert, tempo
from modeling_enecg.conversion.checkpoint import ConversionError
from modeling_enecg.modeling_tempo import TempoConfig, TempoModel

TOLERANCE = 1e-5


def converter():
    """The converter without its hook `prepare`, which `converted` calls itself."""
    return convert.Converter(**{name: value for name, value in tempo.CONVERTER.items() if name != "prepare"})


def converted(state_dict, hyperparameters):
    prepared = tempo.CONVERTER["prepare"](state_dict)
    fields = convert._translate(hyperparameters, converter().hyperparameters)
    model = convert._build(TempoModel, converter().adapt(fields, prepared))
    weights, dropped = convert.rename_weights(prepared, converter(), set(model.state_dict()))
    convert._fill(model, weights)
    return model.eval(), dropped


@pytest.fixture
def folder(parity_dir, request):
    return parity_dir / "tempo" / getattr(request, "param", "tiny")


@pytest.fixture
def state_dict(folder):
    return load_file(folder / "state_dict.safetensors")


@pytest.fixture
def hyperparameters(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture
def model(state_dict, hyperparameters):
    return converted(state_dict, hyperparameters)[0]


@pytest.fixture
def inputs(folder):
    """Input and, where upstream takes its components, these; leads first."""
    io = load_file(folder / "io.safetensors")
    ours = {"input_values": "input"}
    if folder.name != "tiny_repo":
        ours |= {"trend": "trend", "seasonal": "seasonal", "residual": "resid"}
    return {name: io[theirs].transpose(1, 2) for name, theirs in ours.items()}


def fixtures(*names):
    return pytest.mark.parametrize("folder", names, indirect=True)


@torch.inference_mode()
@fixtures("tiny", "tiny_pool", "tiny_repo")
def test_tempo_gives_upstreams_tokens_features_and_forecast(folder, model, inputs):
    io = load_file(folder / "io.safetensors")
    output = model(**inputs, output_hidden_states=True)
    ours = {
        "features_patch_tokens": output.last_hidden_state.unflatten(1, (3, -1)),
        "features_pooled_concat": output.pooler_output,
        "forecast": output.forecast.transpose(1, 2),
        "hidden_gpt2_in_plus_pos": output.hidden_states[0],
    }
    if "hidden_gpt2_block_0" in io:
        ours |= {f"hidden_gpt2_block_{index}": output.hidden_states[index + 1] for index in range(2)}
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, io[name], atol=TOLERANCE, rtol=0, msg=name)


@torch.inference_mode()
@fixtures("tiny", "tiny_repo")
def test_several_leads_are_rows_of_their_own_then_averaged(model, inputs):
    single = model(**inputs)
    model.config.num_leads = 3
    joint = model(**{name: tensor.transpose(0, 1) for name, tensor in inputs.items()})
    torch.testing.assert_close(joint.pooler_output[0], single.pooler_output.mean(dim=0), atol=1e-6, rtol=0)
    torch.testing.assert_close(joint.forecast[0], single.forecast[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(joint.last_hidden_state[0], single.last_hidden_state.flatten(0, 1), atol=1e-5, rtol=0)


@torch.inference_mode()
@fixtures("tiny_repo")
def test_without_given_parts_features_ignore_a_leads_unit_and_offset(model, inputs):
    signal = inputs["input_values"]
    plain, scaled = model(signal), model(1000 * signal + 50)
    torch.testing.assert_close(scaled.pooler_output, plain.pooler_output, atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.forecast, 1000 * plain.forecast + 50, atol=1e-2, rtol=1e-3)


@torch.inference_mode()
def test_eager_attention_is_causal_too(model, inputs):
    wanted = model(**inputs).pooler_output
    model.set_attn_implementation("eager")
    output = model(**inputs, output_attentions=True)
    torch.testing.assert_close(output.pooler_output, wanted, atol=1e-5, rtol=0)
    assert len(output.attentions) == 3
    assert not output.attentions[0].triu(1).any()


@torch.inference_mode()
def test_later_components_do_not_change_the_tokens_of_earlier_ones(model, inputs):
    tokens = model(**inputs).last_hidden_state.unflatten(1, (3, -1))
    inputs["residual"] = inputs["residual"] + 1
    changed = model(**inputs).last_hidden_state.unflatten(1, (3, -1))
    assert torch.equal(changed[:, :2], tokens[:, :2])
    assert not torch.equal(changed[:, 2], tokens[:, 2])


@torch.inference_mode()
@pytest.mark.parametrize("spelling", ["no base_layer", "no adapters"])
def test_other_spellings_of_the_checkpoint_give_the_same_model(spelling, state_dict, hyperparameters, inputs):
    wanted = converted(state_dict, hyperparameters)[0](**inputs).pooler_output
    if spelling == "no adapters":
        state_dict = {
            re.sub(r"base_model\.model\.|base_layer\.", "", key): tensor
            for key, tensor in tempo.CONVERTER["prepare"](state_dict).items()
        }
    else:
        state_dict = {key.replace("base_layer.", ""): tensor for key, tensor in state_dict.items()}
    state_dict["gpt2_trend.base_model.model.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    model, dropped = converted(state_dict, hyperparameters)
    assert torch.equal(model(**inputs).pooler_output, wanted)
    assert "causal mask" in dropped["gpt2_trend.base_model.model.h.0.attn.masked_bias"]


def test_only_what_upstream_never_uses_is_dropped(state_dict, hyperparameters):
    _, dropped = converted(state_dict, hyperparameters)
    assert {key.partition(".")[0] for key in dropped} == {
        "time_attn",
        "mul_season",
        "map_resid",
        "rev_in_season",
        "rev_in_noise",
    }


@pytest.mark.parametrize("lost", ["lora_A.default.weight", "lora_B.default.weight", "base_layer.weight"])
def test_half_an_adapter_is_refused(lost, state_dict, hyperparameters):
    del state_dict[f"gpt2_trend.base_model.model.h.1.attn.c_attn.{lost}"]
    with pytest.raises(ConversionError, match=r"h\.1\.attn\.c_attn is incomplete"):
        converted(state_dict, hyperparameters)


@fixtures("tiny_pool")
def test_a_prompt_pool_is_not_dropped_where_the_hyperparameters_lack_it(state_dict, hyperparameters):
    hyperparameters["upstream_config"]["pool"] = False
    with pytest.raises(ConversionError, match="keys that the architecture does not know: prompt_key_dict"):
        converted(state_dict, hyperparameters)


def test_a_prompt_pool_that_the_checkpoint_lacks_is_refused(state_dict, hyperparameters):
    hyperparameters["upstream_config"]["pool"] = True
    with pytest.raises(ConversionError, match=r"lacks 4 weights .*prompts\.keys"):
        converted(state_dict, hyperparameters)


def test_a_lost_weight_is_refused(state_dict, hyperparameters):
    del state_dict["map_trend.weight"]
    with pytest.raises(ConversionError, match=r"lacks 1 weights .*decomposition\.trend\.weight"):
        converted(state_dict, hyperparameters)


def test_an_unknown_or_unsupported_hyperparameter_is_refused(state_dict, hyperparameters):
    with pytest.raises(ConversionError, match="Unknown hyperparameter 'n_heds' in gpt2_config"):
        converted(state_dict, hyperparameters | {"gpt2_config": {"n_heds": 4}})
    hyperparameters["upstream_config"]["loss_func"] = "prob"
    with pytest.raises(ConversionError, match="loss_func='prob' is another network"):
        converted(state_dict, hyperparameters)


def test_the_published_size_is_that_of_upstream_without_adapters_and_unused_layers():
    with torch.device("meta"):
        model = TempoModel(TempoConfig())
    adapters, time_attention, unused_norms, unused_season = 294_912, 768, 2 * 2, 2 * 2
    unused_map = 336 * 336 + 336
    upstream = 94_440_538
    assert model.num_parameters() == upstream - adapters - time_attention - unused_norms - unused_season - unused_map


@torch.inference_mode()
def test_the_forecast_may_read_the_prompts_tokens():
    config = tiny_config(forecast_from_prompt=True)
    model = TempoModel(config).eval()
    assert model.forecaster["trend"].in_features == (config.num_patches + 3) * config.hidden_size
    output = model(torch.randn(2, 12, 36))
    assert output.forecast.shape == (2, 12, 5)
    assert output.last_hidden_state.shape == (2, 12 * 3 * config.num_patches, 8)


@torch.inference_mode()
def test_a_model_with_a_prompt_pool_survives_saving(tmp_path):
    model = TempoModel(tiny_config(prompt_pool_size=4)).eval()
    model.save_pretrained(tmp_path)
    loaded = TempoModel.from_pretrained(tmp_path)
    signal = torch.randn(2, 12, 36)
    assert torch.equal(loaded(signal).pooler_output, model(signal).pooler_output)


def tiny_config(**changes):
    fields = {
        "sequence_length": 36,
        "horizon": 5,
        "patch_size": 12,
        "patch_stride": 12,
        "trend_window": 5,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 8,
        "max_position_embeddings": 64,
        "prompt_token_ids": [[1, 2, 3], [1, 2, 4], [1, 2, 5]],
    }
    return TempoConfig(**(fields | changes))


@pytest.mark.parametrize(
    ("given", "message"), [(("trend",), "Give all of trend, seasonal, residual, or none"), ((), "takes 36 samples")]
)
def test_tempo_refuses_some_of_the_parts_and_other_lengths(given, message):
    samples = 36 if given else 35
    signal = torch.zeros(1, 12, samples)
    with pytest.raises(ValueError, match=message):
        TempoModel(tiny_config())(signal, **dict.fromkeys(given, signal))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 37}, r"patch_size \(37\) must be at most sequence_length \(36\)"),
        ({"trend_window": 24}, r"trend_window \(24\) must be odd"),
        ({"num_attention_heads": 5}, r"hidden_size \(8\) must be a multiple"),
        ({"prompt_token_ids": [[1], [2]]}, "must be 3 lists of one length"),
        ({"vocab_size": 5}, r"must be below vocab_size \(5\)"),
        ({"max_position_embeddings": 10}, r"A lead has 21 tokens, more than max_position_embeddings \(10\)"),
        ({"prompt_pool_size": 2}, r"prompt_pool_size \(2\) must be 0 or at least 3"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be in"),
    ],
)
def test_tempo_refuses_sizes_that_do_not_fit(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_config(**changes)
