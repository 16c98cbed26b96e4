"""Our gates, heads and pre-processing against EnECG's own code (arXiv 2511.22935) in the paper's setting."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modeling_enecg import ECGFeatureExtractor, EnECGModel, STMEMConfig, STMEMModel
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.parity import assert_near

FIXTURES = ("tiny", "tiny_cls")
# How many numbers each of the paper's experts hands to its head.
FEATURE_SIZES = {"moment": 1, "tempo": 96, "ecgfm": 26, "dlinear": 1, "timesnet": 1}


def stand_in(feature_size):
    """A backbone with features of that size; it is not run."""
    sizes = {"patch_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 1, "intermediate_size": 1}
    return STMEMModel(STMEMConfig(sequence_length=1, hidden_size=feature_size, **sizes))


def layer(upstream, name):
    return upstream[f"{name}.weight"].double(), upstream[f"{name}.bias"].double()


def first_layer(upstream, expert):
    """The head's first layer; upstream's projection before it, which is linear too, becomes part of it."""
    weight, bias = layer(upstream, f"ffn_{expert}.0")
    if f"projection_{expert}.weight" not in upstream:
        return weight, bias
    before_weight, before_bias = layer(upstream, f"projection_{expert}")
    return weight @ before_weight, weight @ before_bias + bias


@torch.no_grad()
def set_linears(module, layers):
    linears = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    for linear, (weight, bias) in zip(linears, layers, strict=True):
        assert linear.weight.shape == weight.shape
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


@pytest.fixture(params=FIXTURES)
def upstream(parity_dir, request):
    """An EnECG model with upstream's weights, and upstream's inputs and outputs."""
    folder = parity_dir / "enecg" / request.param
    settings = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "state_dict.safetensors")
    task = {"name": "task", "problem_type": "regression"}
    if settings["task"] == "classification":
        labels = [f"class{index}" for index in range(settings["num_classes"])]
        task = {"name": "task", "problem_type": "single_label_classification", "labels": labels}
    model = EnECGModel.from_experts(
        {name: stand_in(FEATURE_SIZES[name]) for name in settings["expert_order"]},
        [task],
        gate="leads",
        gate_leads=[STANDARD_LEADS[settings["gating_lead_index"]]],
        gate_sequence_length=settings["gating_input_dim"],
        gate_hidden_size=settings["gating_hidden"],
        head_hidden_sizes=[settings["ffn_hidden"]] * 2,
    )
    set_linears(model.gates["task"], [layer(weights, f"gating_net.{index}") for index in (0, 2)])
    for name, head in model.heads["task"].items():
        set_linears(head, [first_layer(weights, name), *(layer(weights, f"ffn_{name}.{index}") for index in (2, 4))])
    return model, load_file(folder / "io.safetensors")


@pytest.fixture
def outputs(upstream):
    """What both give: ours from the record's leads, by name, and upstream's outputs of the experts."""
    model, io = upstream
    pick = ECGFeatureExtractor(**(model.config.gate_extractor_settings() | {"sampling_rate": 500, "steps": []}))
    gate_values = pick(list(io["data_mom"].transpose(1, 2).numpy()), 500, STANDARD_LEADS, "pt")["input_values"]
    features = {name: io[f"expert_{name}"].flatten(1) for name in model.experts}
    with torch.inference_mode():
        return model(expert_features=features, gate_values=gate_values), io


def test_the_papers_gate_gives_upstreams_probabilities(outputs):
    ours, io = outputs
    assert_near(ours.gate_weights["task"], io["gating_probs"])
    assert_near(ours.gate_weights["task"], io["hidden_gating_logits"].softmax(-1))
    assert io["gating_probs"].std(dim=1).min() > 1e-3, "a uniform gate would show nothing"


@pytest.mark.parametrize("expert", FEATURE_SIZES)
def test_every_head_gives_upstreams_output(outputs, expert):
    ours, io = outputs
    index = list(FEATURE_SIZES).index(expert)
    assert_near(ours.expert_logits["task"][:, index], io[f"hidden_ffn_out_{expert}"])


def test_the_ensemble_gives_upstreams_output(outputs):
    ours, io = outputs
    assert_near(ours.logits["task"], io["output"])


@pytest.fixture
def prepared(parity_dir):
    """A recording in mV, and upstream's views of it. Upstream writes 0 for NaN; ours refuses, so it is done here."""
    prep = {name: each.numpy() for name, each in load_file(parity_dir / "enecg" / "prep" / "io.safetensors").items()}
    return np.nan_to_num(prep["raw"].T), prep


def standardised(**settings):
    """Upstream's order: standardise the whole record, then resample."""
    steps = [{"name": "standardize", "scope": "record"}, {"name": "resample", "method": "fourier"}]
    return ECGFeatureExtractor(**({"steps": steps, "lead_names": STANDARD_LEADS} | settings))


def test_a_recording_with_nan_is_refused_where_upstream_writes_zeros(prepared):
    _, prep = prepared
    with pytest.raises(ValueError, match=r"3 values that are NaN or infinite \(leads aVL\)"):
        standardised()(prep["raw"].T, 500)


def test_standardising_the_record_gives_upstreams_signal(prepared):
    signal, prep = prepared
    ours = standardised(sampling_rate=500, sequence_length=5000)(signal, 500)["input_values"][0]
    np.testing.assert_allclose(ours, prep["fm_data"].T, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rate", "num_samples", "view"), [(33.6, 336, "tempo_data"), (50, 500, "tsdl_data")])
def test_fourier_resampling_gives_upstreams_short_views(prepared, parity_dir, rate, num_samples, view):
    signal, prep = prepared
    lead = json.loads((parity_dir / "enecg" / "prep" / "config.json").read_text())["lead"]
    ours = standardised(sampling_rate=rate, sequence_length=num_samples)(signal, 500)["input_values"][0]
    assert ours.shape == (12, num_samples)
    np.testing.assert_allclose(ours[lead], prep[view][:, 0], atol=1e-5, rtol=0)
    if view == "tempo_data":
        np.testing.assert_allclose(ours, prep["tempo_all_leads"].T, atol=1e-5, rtol=0)
