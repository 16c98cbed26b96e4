"""What decides on the experts' weights: what each gate reads, and how it is configured."""

import copy

import numpy as np
import pytest
import scipy.signal
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg import ECGFeatureExtractor, EnECGConfig, EnECGFeatureExtractor, EnECGModel
from modeling_enecg.gates import new_gate
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.gates import EXPERT_INPUT, LABELS, SIGNAL_GATES, arguments, assert_near, record
from tests.helpers.tiny_models import SEX, TASKS

GATES = ("features", "uniform", *SIGNAL_GATES)


def extractor_of(model):
    settings = dict.fromkeys(model.experts, EXPERT_INPUT)
    return EnECGFeatureExtractor(settings, gate=model.config.gate_extractor_settings())


# All kinds


@torch.inference_mode()
@pytest.mark.parametrize("gate", GATES)
def test_the_weights_of_every_gate_sum_to_one(build, inputs, gate):
    model = build(gate)
    output = model(**arguments(model, inputs))
    for task in TASKS:
        weights = output.gate_weights[task["name"]]
        assert weights.shape == (8, 3)
        assert (weights > 0).all()
        assert_near(weights.sum(-1), torch.ones(8), 1e-6)
        by_hand = (weights[..., None] * output.expert_logits[task["name"]]).sum(1)
        assert_near(output.logits[task["name"]], by_hand)


@torch.inference_mode()
@pytest.mark.parametrize("gate", GATES)
def test_every_gate_but_the_uniform_one_tells_records_and_tasks_apart(build, inputs, gate):
    model = build(gate)
    weights = model(**arguments(model, inputs)).gate_weights
    if gate == "uniform":
        assert all(torch.equal(each, torch.full((8, 3), 1 / 3)) for each in weights.values())
        assert not list(model.gates.parameters())
    else:
        assert all(len(each.unique(dim=0)) == 8 for each in weights.values())
        assert (weights["sex"] - weights["age"]).abs().max() > 0.01


@torch.inference_mode()
def test_a_new_features_gate_is_uniform(build, inputs):
    model = EnECGModel.from_experts(build("features").backbones, TASKS)
    assert model.config.gate == "features"
    for weights in model(inputs).gate_weights.values():
        assert torch.equal(weights, torch.full((8, 3), 1 / 3))


@torch.inference_mode()
def test_a_features_gate_sees_every_experts_features_whatever_their_scale(build, inputs):
    model = build("features")
    features = model.extract_features(inputs)
    before = model(expert_features=features).gate_weights["sex"]
    for name in model.experts:
        larger = model(expert_features=features | {name: 100 * features[name] + 3}).gate_weights["sex"]
        assert_near(larger, before, 1e-3)
        other = model(expert_features=features | {name: features[name].flip(-1)}).gate_weights["sex"]
        assert (other - before).abs().max() > 0.01, name


@pytest.mark.parametrize(
    ("gate", "top_k"), [("features", None), ("leads", None), ("encoder", None), ("leads", 2), ("encoder", 2)]
)
def test_every_parameter_of_every_gate_gets_a_gradient(build, inputs, gate, top_k):
    model = build(gate, top_k=top_k).train()
    model(**arguments(model, inputs), labels=LABELS).loss.backward()
    for name, parameter in model.gates.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert all(each.grad is not None for each in model.heads.parameters())


@torch.inference_mode()
@pytest.mark.parametrize(
    ("gate", "fields"),
    [
        ("features", {"gate_temperature": 0.5}),
        ("uniform", {}),
        ("leads", {"gate_leads": ["V5", "II"], "top_k": 2}),
        ("encoder", {"gate_leads": ["aVR"], "gate_temperature": 2.0}),
        ("encoder", {"top_k": 1}),
    ],
)
def test_a_saved_gate_is_bitwise_the_same_after_loading(build, inputs, tmp_path, gate, fields):
    model = build(gate, **fields)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    for name, value in ({"gate": gate, "top_k": None} | fields).items():
        assert getattr(loaded.config, name) == value
    ours, theirs = (each(**arguments(each, inputs)) for each in (loaded, model))
    for task in TASKS:
        name = task["name"]
        assert torch.equal(ours.gate_weights[name], theirs.gate_weights[name])
        assert torch.equal(ours.logits[name], theirs.logits[name])


@torch.inference_mode()
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_the_temperature_divides_the_scores(build, inputs, gate, temperature):
    model = build(gate)
    warm = copy.deepcopy(model)
    warm.config.gate_temperature = temperature
    plain, other = (each(**arguments(each, inputs)).gate_weights["sex"] for each in (model, warm))
    by_hand = plain.double() ** (1 / temperature)
    assert_near(other.double(), by_hand / by_hand.sum(-1, keepdim=True), 1e-4)
    if gate != "uniform":
        assert (other.max(-1).values > plain.max(-1).values).all() == (temperature < 1)


@torch.inference_mode()
@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("gate", GATES)
def test_every_gate_works_in_bfloat16(build, inputs, gate, top_k):
    model = build(gate, top_k=top_k if gate in SIGNAL_GATES else None).to(torch.bfloat16)
    values = {name: each.to(torch.bfloat16) for name, each in arguments(model, inputs).items()}
    for mode in (False, True):
        output = model.train(mode)(**values, labels=LABELS)
        assert output.loss.isfinite()
        for task in TASKS:
            assert output.logits[task["name"]].isfinite().all()
            assert_near(output.gate_weights[task["name"]].float().sum(-1), torch.ones(8), 0.01)


@torch.inference_mode()
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_a_sparse_gate_works_under_autocast(build, inputs, gate):
    """Also where one expert gives bfloat16 features, and another is wanted by no record."""
    model = build(gate, [SEX], top_k=1)
    exact = model(**arguments(model, inputs)).gate_weights["sex"]
    favourite = exact.argmax(-1)
    for chosen in favourite.unique():
        some = inputs[favourite == chosen]
        with torch.autocast("cpu", torch.bfloat16):
            output = model(**arguments(model, some))
        assert output.logits["sex"].isfinite().all()
        assert (output.gate_weights["sex"] > 0).sum() == len(some)


# What gates on the signal read


@torch.inference_mode()
@pytest.mark.parametrize(
    ("gate", "leads"), [("leads", ["II"]), ("leads", ["V5", "I"]), ("encoder", ["II"]), ("encoder", ["V1", "aVL"])]
)
def test_a_gate_reads_its_leads_only_in_whatever_order_a_recording_has_them(build, gate, leads):
    model = build(gate, [SEX], gate_leads=leads)
    extractor, signal, rng = extractor_of(model), record(), np.random.default_rng(5)

    def weights(signal, names=STANDARD_LEADS):
        return model(**extractor(signal, 500, names, return_tensors="pt")).gate_weights["sex"]

    before = weights(signal)
    for row, lead in enumerate(STANDARD_LEADS):
        changed = signal.copy()
        changed[row] = rng.normal(size=signal.shape[-1])
        assert torch.equal(weights(changed), before) == (lead not in leads), lead
    order = rng.permutation(12)
    assert torch.equal(weights(signal[order], [STANDARD_LEADS[row] for row in order]), before)
    assert torch.equal(weights(signal[order], [STANDARD_LEADS[row].upper() for row in order]), before)
    assert torch.equal(weights(signal, None), before)


@pytest.mark.parametrize("lead_names", [STANDARD_LEADS, None])
def test_the_extractor_gives_the_gate_its_standardised_leads(lead_names):
    config = EnECGConfig(experts={"a": {}, "b": {}}, gate="leads", gate_leads=["V2", "II"])
    extractor = EnECGFeatureExtractor({"a": EXPERT_INPUT}, gate=config.gate_extractor_settings())
    signals = [record(0), record(1)]
    values = extractor(signals, 500, lead_names)["gate_values"]
    assert values.shape == (2, 2, 1000)
    for signal, leads in zip(signals, values, strict=True):
        for lead, row in zip(leads, (STANDARD_LEADS.index("V2"), STANDARD_LEADS.index("II")), strict=True):
            resampled = scipy.signal.resample(signal[row], 1000)
            np.testing.assert_allclose(lead, (resampled - resampled.mean()) / resampled.std(), atol=1e-5)


def test_unnamed_leads_are_the_experts():
    """An expert of fewer leads says which rows there are; the gate finds its own among them."""
    extractor = EnECGFeatureExtractor(
        {"expert": EXPERT_INPUT | {"lead_names": ["V1", "II", "I"]}},
        gate=EnECGConfig(experts={"a": {}, "b": {}}, gate="leads").gate_extractor_settings(),
    )
    rows = [STANDARD_LEADS.index(lead) for lead in ("V1", "II", "I")]
    unnamed = extractor(record()[rows], 500)
    named = extractor(record(), 500, STANDARD_LEADS)
    assert np.array_equal(unnamed["gate_values"], named["gate_values"])
    assert np.array_equal(unnamed["input_values"][0], named["input_values"][0])


def test_a_gate_whose_lead_is_missing_reads_zeros():
    extractor = EnECGFeatureExtractor(
        {"expert": EXPERT_INPUT | {"lead_names": ["V1"]}},
        gate=EnECGConfig(experts={"a": {}, "b": {}}, gate="leads").gate_extractor_settings(),
    )
    assert not extractor(record()[[6, 10]], 500, ["V1", "V5"])["gate_values"].any()
    assert extractor(record()[[6, 1]], 500, ["V1", "II"])["gate_values"].any()


def test_a_saved_extractor_gives_the_gate_the_same(build, tmp_path):
    extractor = extractor_of(build("encoder", gate_leads=["V3"]))
    extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is EnECGFeatureExtractor
    ours, theirs = (each(record(), 500, STANDARD_LEADS)["gate_values"] for each in (loaded, extractor))
    assert ours.shape == (1, 1, 150)
    assert np.array_equal(ours, theirs)


@torch.inference_mode()
def test_a_shift_moves_the_leads_gate_as_much_as_another_record_and_the_encoder_hardly():
    """A record begins anywhere in a beat: 20 to 660 ms, against what tells 16 records of several findings apart."""
    records = [record(index) for index in range(16)]
    moved = {}
    for kind in SIGNAL_GATES:
        config = EnECGConfig(experts={"a": {}, "b": {}, "c": {}}, gate=kind)
        extractor = ECGFeatureExtractor(**config.gate_extractor_settings())
        originals, *shifted = (
            extractor([np.roll(each, samples, axis=-1) for each in records], 500, STANDARD_LEADS, "pt")["input_values"]
            for samples in (0, 10, 50, 100, 330)
        )
        ratios = []
        for seed in range(3):
            torch.manual_seed(seed)
            gate = new_gate(config, [])
            scores = gate(originals)
            spread = (scores - scores.mean(0)).square().mean().sqrt()
            ratios += [((gate(each) - scores).square().mean().sqrt() / spread).item() for each in shifted]
        moved[kind] = ratios
    assert min(moved["leads"]) > 0.8
    assert max(moved["encoder"]) < 0.5


@torch.inference_mode()
def test_an_encoder_takes_any_length_and_the_papers_gate_one_only(build, inputs):
    for gate in SIGNAL_GATES:
        model = build(gate, [SEX])
        shorter = arguments(model, inputs)["gate_values"][..., :80]
        if gate == "encoder":
            assert model(inputs, gate_values=shorter).logits["sex"].isfinite().all()
        else:
            with pytest.raises(ValueError, match=r"gate_values of shape \(batch_size, 1, 150\); got \(8, 1, 80\)"):
                model(inputs, gate_values=shorter)


@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_gate_values_of_other_leads_or_axes_are_refused(build, inputs, gate):
    model = build(gate, [SEX], gate_leads=["I", "II"])
    for shape in ((8, 3, 150), (8, 1, 150), (8, 150)):
        with pytest.raises(ValueError, match=r"expects gate_values of shape \(batch_size, 2, .*got \(8, "):
            model(inputs, gate_values=torch.zeros(shape))


@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_missing_gate_values_are_refused_with_the_leads_and_where_they_come_from(build, inputs, gate):
    model = build(gate, [SEX], gate_leads=["V1", "II"])
    for given in ({"input_values": inputs}, {"expert_features": model.extract_features(inputs)}):
        with pytest.raises(ValueError, match=r"reads the leads V1, II: pass gate_values.* feature extractor"):
            model(**given)


# Configuration


def test_a_config_says_which_gate_it_means():
    two = {"a": {}, "b": {}}
    assert EnECGConfig(experts=two).gate == "features"
    leads, encoder = (EnECGConfig(experts=two, gate=gate) for gate in SIGNAL_GATES)
    assert (leads.gate_leads, leads.gate_hidden_size) == (["II"], 256)
    assert (encoder.gate_leads, encoder.gate_hidden_size) == (list(STANDARD_LEADS), 32)
    for config in (leads, encoder):
        assert config.gate_reads_signal
        settings = ECGFeatureExtractor(**config.gate_extractor_settings())
        assert (settings.sampling_rate, settings.sequence_length) == (100, 1000)
        assert settings.lead_names == config.gate_leads
        assert EnECGConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
    assert not any(EnECGConfig(experts=two, gate=gate).gate_reads_signal for gate in ("features", "uniform"))


@torch.inference_mode()
@pytest.mark.parametrize("gate", [None, *GATES])
def test_a_single_expert_has_weight_one_whatever_the_gate(tiny_experts, inputs, gate):
    model = EnECGModel.from_experts({"founder": tiny_experts["ecgfounder"]}, [SEX], gate=gate)
    assert model.config.gate == "uniform"
    assert not list(model.gates.parameters())
    assert torch.equal(model(inputs).gate_weights["sex"], torch.ones(8, 1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gate": "lead"}, "gate must be one of features, leads, encoder, uniform; got 'lead'"),
        ({"gate": "leads", "gate_leads": ["II", "V7"]}, "gate_leads: there is no lead 'V7'; choose of I, II"),
        ({"gate": "leads", "top_k": 0}, "top_k must be from 1 to the number of experts, 3; got 0"),
        ({"gate": "encoder", "top_k": 4}, "top_k must be from 1 to the number of experts, 3; got 4"),
        ({"gate": "features", "top_k": 2}, "top_k needs a gate that decides before.*leads or encoder; got 'features'"),
        ({"top_k": 2}, "top_k needs a gate that decides before.*got 'features'"),
        ({"gate": "uniform", "top_k": 2}, "top_k needs a gate that decides before.*got 'uniform'"),
        ({"gate_temperature": 0}, "gate_temperature must be positive; got 0"),
        ({"gate_temperature": -1.0}, "gate_temperature must be positive; got -1"),
        ({"gate": "leads", "top_k": "two"}, "top_k"),
    ],
)
def test_an_illegal_gate_is_refused_with_the_legal_ones(fields, message):
    with pytest.raises(StrictDataclassError, match=f"(?s){message}"):
        EnECGConfig(experts={"a": {}, "b": {}, "c": {}}, **fields)
