"""What decides on the experts' weights: what each gate reads, and what `top_k` leaves out."""

import copy
import multiprocessing

import numpy as np
import pytest
import scipy.signal
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg import (
    BACKBONES,
    ECGFeatureExtractor,
    ECGFounderConfig,
    ECGFounderModel,
    EnECGConfig,
    EnECGFeatureExtractor,
    EnECGModel,
)
from modeling_enecg.data.simulator.ecg import simulate_record
from modeling_enecg.gates import gate_weights, new_gate
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.losses import load_balancing_loss
from tests.helpers.tiny_models import RHYTHM, SEX, TASKS

NAMES = ("ecgfounder", "stmem", "dlinear")
SIGNAL_GATES = ("leads", "encoder")
GATES = ("features", "uniform", *SIGNAL_GATES)
LABELS = {
    "rhythm": torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]] * 4),
    "sex": torch.tensor([0, 1, 1, 0] * 2),
    "age": torch.linspace(20, 80, 8),
}
# How the small experts of these tests take a record.
EXPERT_INPUT = {"sampling_rate": 100, "sequence_length": 150}
FINDINGS = (
    *(("NORM", "SR"), ("IMI", "SR"), ("CRBBB", "AFIB"), ("LVH", "STACH")),
    *(("NORM", "SBRAD"), ("ASMI", "SR"), ("CLBBB", "SR"), ("NORM", "AFIB")),
)


@pytest.fixture
def inputs():
    return torch.randn(8, 12, 150, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def build(tiny_configs, inputs):
    """A function that builds an ensemble of three experts whose gates tell `inputs` apart."""

    def build(gate, tasks=TASKS, **fields):
        torch.manual_seed(0)
        experts = {name: BACKBONES[f"enecg-{name}"](tiny_configs[f"enecg-{name}"]) for name in NAMES}
        fields = {"head_hidden_sizes": [8], "gate_hidden_size": 16, "gate_sequence_length": 150} | fields
        model = EnECGModel.from_experts(experts, tasks, gate=gate, **fields)
        if gate != "uniform":
            spread_scores(model, inputs)
        return model

    return build


@torch.no_grad()
def spread_scores(model, inputs):
    """Give every gate a random last layer whose scores of each expert have mean 0 and deviation 1 over `inputs`."""
    values = arguments(model, inputs).get("gate_values")
    if values is None:
        values = list(model.extract_features(inputs).values())
    for gate in model.gates.values():
        last = [module for module in gate.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight.normal_()
        last.bias.zero_()
        scores = gate(values)
        last.weight.div_(scores.std(0)[:, None])
        last.bias.copy_(-scores.mean(0) / scores.std(0))


def arguments(model, inputs):
    """What the model takes beside labels: `inputs`, and their leads for a gate on the signal."""
    if not model.config.gate_reads_signal:
        return {"input_values": inputs}
    rows = [STANDARD_LEADS.index(lead) for lead in model.config.gate_leads]
    return {"input_values": inputs, "gate_values": inputs[:, rows]}


def record(index=0):
    return simulate_record(FINDINGS[index % len(FINDINGS)], np.random.default_rng(index))


def extractor_of(model):
    settings = dict.fromkeys(model.experts, EXPERT_INPUT)
    return EnECGFeatureExtractor(settings, gate=model.config.gate_extractor_settings())


def dense_copy(model):
    """The same model without `top_k`."""
    other = copy.deepcopy(model)
    other.config.top_k = None
    return other


def assert_near(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


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


# top_k


@pytest.fixture
def computed():
    """A function that counts, from then on, how many records each expert of a model has encoded."""

    def watch(model):
        counts = dict.fromkeys(model.experts, 0)

        def counter(name):
            def count(module, arguments, output):
                counts[name] += len(output.pooler_output)

            return count

        for name, expert in model.experts.items():
            expert.register_forward_hook(counter(name))
        return counts

    return watch


@torch.inference_mode()
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_exactly_top_k_weights_of_a_record_are_above_zero(build, inputs, gate, top_k):
    model = build(gate, top_k=top_k)
    sparse, dense = (each(**arguments(each, inputs)).gate_weights for each in (model, dense_copy(model)))
    for name, weights in sparse.items():
        assert ((weights > 0).sum(-1) == top_k).all()
        assert_near(weights.sum(-1), torch.ones(8), 1e-6)
        kept = dense[name].topk(top_k, dim=-1).indices
        assert (weights.gather(-1, kept) > 0).all()
        shares = dense[name].gather(-1, kept)
        assert_near(weights.gather(-1, kept), shares / shares.sum(-1, keepdim=True))
    assert len((sparse["sex"] > 0).unique(dim=0)) > 1, "every record chose the same experts: choose another seed"


def test_equal_scores_leave_exactly_top_k_experts():
    for top_k in (1, 2, 3):
        weights = gate_weights(torch.zeros(5, 4), top_k=top_k)
        assert ((weights > 0).sum(-1) == top_k).all()
        assert_near(weights.sum(-1), torch.ones(5))


@torch.inference_mode()
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_an_expert_runs_on_the_records_that_chose_it_and_no_others(build, inputs, computed, gate):
    model = build(gate, [SEX], top_k=1)
    counts = computed(model)
    chosen = (model(**arguments(model, inputs)).gate_weights["sex"] > 0).sum(0).tolist()
    assert list(counts.values()) == chosen
    assert sum(chosen) == 8
    assert 0 < max(chosen) < 8, "all records chose the same expert: choose another seed"


@torch.inference_mode()
def test_with_a_gate_a_task_an_expert_runs_where_any_task_chose_it(build, inputs, computed):
    model = build("leads", top_k=1)
    counts = computed(model)
    output = model(**arguments(model, inputs))
    chosen = torch.stack([output.gate_weights[task["name"]] > 0 for task in TASKS])
    assert list(counts.values()) == chosen.any(0).sum(0).tolist()
    assert 8 < sum(counts.values()) < 24, "tasks must differ in some choices, and leave some records out"
    for task in TASKS:
        is_computed = ~output.expert_logits[task["name"]].isnan()
        assert torch.equal(is_computed.all(-1), chosen.any(0))
        assert torch.equal(is_computed.any(-1), chosen.any(0))


@torch.inference_mode()
@pytest.mark.parametrize(("top_k", "tasks"), [(1, TASKS), (2, [SEX])])
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_what_is_not_computed_does_not_change_the_logits(build, inputs, gate, top_k, tasks):
    """Against the same weights on the features of all experts."""
    model = build(gate, tasks, top_k=top_k)
    values, labels = arguments(model, inputs), {task["name"]: LABELS[task["name"]] for task in tasks}
    sparse = model(**values, labels=labels)
    features = model.extract_features(inputs)
    dense = model(expert_features=features, gate_values=values["gate_values"], labels=labels)
    for name in labels:
        assert torch.equal(sparse.gate_weights[name], dense.gate_weights[name])
        assert_near(sparse.logits[name], dense.logits[name])
        is_computed = ~sparse.expert_logits[name].isnan()
        assert not is_computed.all()
        assert_near(sparse.expert_logits[name][is_computed], dense.expert_logits[name][is_computed])
        assert dense.expert_logits[name].isfinite().all()
    assert_near(sparse.loss, dense.loss)


@torch.inference_mode()
def test_in_training_every_expert_runs_on_every_record(build, inputs, computed):
    model = build("leads", top_k=1)
    values = arguments(model, inputs)
    in_eval = model(**values)
    model.train()
    counts = computed(model)
    output = model(**values)
    assert counts == dict.fromkeys(NAMES, 8)
    for task in TASKS:
        assert output.expert_logits[task["name"]].isfinite().all()
        assert torch.equal(output.gate_weights[task["name"]], in_eval.gate_weights[task["name"]])
        assert_near(output.logits[task["name"]], in_eval.logits[task["name"]])


@torch.inference_mode()
@pytest.mark.parametrize("gate", SIGNAL_GATES)
def test_a_records_output_does_not_depend_on_its_batch_mates(build, inputs, gate):
    model = build(gate, top_k=1)
    together = model(**arguments(model, inputs))
    for row in range(8):
        alone = model(**arguments(model, inputs[[row]]))
        for task in TASKS:
            name = task["name"]
            assert_near(alone.gate_weights[name][0], together.gate_weights[name][row])
            assert_near(alone.logits[name][0], together.logits[name][row])
            torch.testing.assert_close(
                alone.expert_logits[name][0], together.expert_logits[name][row], atol=1e-5, rtol=1e-5, equal_nan=True
            )


@torch.inference_mode()
def test_experts_with_inputs_of_their_own_run_on_their_part_of_each(build, inputs):
    model = build("leads", [SEX], top_k=1)
    views = [inputs, 2 * inputs, inputs.flip(-1)]
    gate_values = inputs[:, [1]]
    sparse = model(views, gate_values=gate_values)
    dense = model(expert_features=model.extract_features(views), gate_values=gate_values)
    assert_near(sparse.logits["sex"], dense.logits["sex"])


def test_top_k_of_all_experts_is_dense(build, inputs, computed):
    model = build("leads", top_k=3)
    dense = dense_copy(model)
    counts = computed(model)
    for mode in ("eval", "train"):
        ours, theirs = (getattr(each, mode)()(**arguments(each, inputs), labels=LABELS) for each in (model, dense))
        for task in TASKS:
            assert torch.equal(ours.logits[task["name"]], theirs.logits[task["name"]])
            assert ours.expert_logits[task["name"]].isfinite().all()
        assert torch.equal(ours.loss, theirs.loss)
    assert counts == dict.fromkeys(NAMES, 16)


def test_an_expert_that_no_record_chose_does_not_run(build, inputs, computed):
    model = build("leads", [SEX], top_k=2)
    with torch.no_grad():
        model.gates["sex"].layers[-1].bias.copy_(torch.tensor([0.0, 1000.0, 1000.0]))
    counts = computed(model)
    output = model(**arguments(model, inputs), labels={"sex": LABELS["sex"]})
    assert counts == {"ecgfounder": 0, "stmem": 8, "dlinear": 8}
    assert output.logits["sex"].isfinite().all()
    assert output.loss.isfinite()
    assert output.expert_logits["sex"][:, 0].isnan().all()


# Balance


def test_the_load_balancing_loss_is_one_where_experts_are_used_alike():
    even = torch.full((6, 3), 1 / 3)
    assert_near(load_balancing_loss(even, torch.eye(3).bool().repeat(2, 1)), torch.tensor(1.0))
    turns = torch.eye(3).repeat(2, 1)  # decided, but each expert as often as the others
    assert_near(load_balancing_loss(turns, turns.bool()), torch.tensor(1.0))


def test_the_load_balancing_loss_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
    is_chosen = torch.tensor([[True, True, False], [True, False, True]])
    # Shares of the choices 1/2, 1/4, 1/4; mean probabilities 0.6, 0.25, 0.15.
    assert_near(load_balancing_loss(probabilities, is_chosen), torch.tensor(3 * (0.3 + 0.0625 + 0.0375)))


def test_the_load_balancing_loss_grows_with_the_preference_for_one_expert():
    losses = []
    for preference in (0.0, 0.5, 1.0, 3.0, 20.0):
        scores = torch.eye(4).repeat(25, 1) + preference * torch.tensor([1.0, 0.0, 0.0, 0.0])
        losses.append(load_balancing_loss(scores.softmax(-1), gate_weights(scores, top_k=1) > 0).item())
    assert losses[0] == pytest.approx(1, abs=1e-5)
    assert losses == sorted(losses)
    assert losses[-1] == pytest.approx(4, abs=1e-3)  # always the same one of four


def balance_of_share(rank, store, probabilities, is_chosen, results):
    """One of two processes: the loss of its half of a batch, and the gradient."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    own = probabilities[half].clone().requires_grad_()
    loss = load_balancing_loss(own, is_chosen[half])
    loss.backward()
    results.put((rank, loss.item(), own.grad.tolist()))
    torch.distributed.destroy_process_group()


def test_two_processes_balance_their_common_batch(tmp_path):
    """The mean of their losses and gradients, which training takes, is that of one process."""
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, 0.0, 0.0])
    whole = scores.softmax(-1).requires_grad_()
    is_chosen = gate_weights(scores, top_k=1) > 0
    assert is_chosen[:4].sum(0).tolist() != is_chosen[4:].sum(0).tolist()
    expected = load_balancing_loss(whole, is_chosen)
    expected.backward()

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (str(tmp_path / "store"), whole.detach(), is_chosen, results)
    processes = [context.Process(target=balance_of_share, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    shares = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    losses, gradients = [loss for _, loss, _ in shares], [gradient for *_, gradient in shares]
    assert np.mean(losses) == pytest.approx(expected.item(), abs=1e-6)
    assert_near(torch.tensor(gradients).flatten(0, 1) / 2, whole.grad, 1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5])
def test_the_loss_of_training_holds_the_imbalance_of_every_task(build, inputs, weight):
    model = build("leads", [SEX, RHYTHM], top_k=2, load_balancing_weight=weight)
    values, labels = arguments(model, inputs), {name: LABELS[name] for name in ("sex", "rhythm")}
    in_eval = model(**values, labels=labels)
    in_training = model.train()(**values, labels=labels)
    imbalance = 0.0
    for task in ("sex", "rhythm"):
        probabilities = model.gates[task](values["gate_values"]).softmax(-1)
        imbalance += load_balancing_loss(probabilities, in_training.gate_weights[task] > 0)
    assert imbalance > 2
    assert_near(in_training.loss - in_eval.loss, weight * imbalance)


def test_a_dense_gate_is_not_balanced(build, inputs):
    model = build("leads", [SEX], load_balancing_weight=100.0)
    values = arguments(model, inputs)
    in_eval, in_training = (model.train(mode)(**values, labels=LABELS["sex"]).loss for mode in (False, True))
    assert_near(in_training, in_eval)


@pytest.mark.parametrize("top_k", [1, 2])
def test_balancing_spreads_the_choices_of_a_gate_that_always_picks_the_same(build, inputs, top_k):
    """Each expert's share of the choices in the last 30 of 60 steps; without balancing the choices stay."""
    shares = {}
    for weight in (0.0, 1.0):
        model = build("leads", [SEX], top_k=top_k, load_balancing_weight=weight).train()
        features = {name: each.detach() for name, each in model.extract_features(inputs).items()}
        values = arguments(model, inputs) | {"expert_features": features}
        last = model.gates["sex"].layers[-1]
        with torch.no_grad():
            last.weight.mul_(0.2)
            last.bias.copy_(torch.tensor([3.0, 2.0, -1.0]))
        optimizer, chosen = torch.optim.SGD(model.gates.parameters(), lr=0.1), []
        for _ in range(60):
            optimizer.zero_grad()
            output = model(**values, labels=LABELS["sex"])
            output.loss.backward()
            optimizer.step()
            chosen.append((output.gate_weights["sex"] > 0).float().mean(0))
        assert chosen[0].tolist() == [1.0] * top_k + [0.0] * (3 - top_k)
        shares[weight] = torch.stack(chosen[30:]).mean(0)
    assert shares[0.0][:top_k].min() > 0.9
    assert shares[1.0].min() > 0.4 * top_k / 3


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_sparse_gate_learns_from_the_task_itself(build, inputs, top_k):
    model = build("leads", [SEX], top_k=top_k, load_balancing_weight=0.0).train()
    output = model(**arguments(model, inputs), labels=LABELS["sex"])
    assert_near(output.gate_weights["sex"].sum(-1), torch.ones(len(inputs)))
    output.loss.backward()
    assert model.gates["sex"].layers[-1].weight.grad.abs().max() > 0


@torch.inference_mode()
def test_a_task_may_be_added_to_a_model_with_a_gate_on_the_signal(build, inputs):
    model = build("encoder", [SEX], top_k=2)
    before = model(**arguments(model, inputs))
    model.add_task(RHYTHM, like="sex")
    after = model(**arguments(model, inputs))
    assert torch.equal(after.gate_weights["rhythm"], before.gate_weights["sex"])
    assert torch.equal(after.logits["sex"], before.logits["sex"])


def test_experts_of_other_kinds_of_input_share_a_gate(tiny_configs):
    """A one-lead and a twelve-lead expert, prepared and weighed from the same recording."""
    torch.manual_seed(0)
    one_lead = ECGFounderConfig(
        num_leads=1, sequence_length=100, stem_size=8, hidden_sizes=[8], depths=[1], group_width=8
    )
    experts = {"one": ECGFounderModel(one_lead), "twelve": BACKBONES["enecg-stmem"](tiny_configs["enecg-stmem"])}
    model = EnECGModel.from_experts(experts, [SEX], gate="leads", gate_sequence_length=500, top_k=1)
    settings = {
        "one": {"sampling_rate": 100, "sequence_length": 100, "lead_names": ["I"]},
        "twelve": EXPERT_INPUT,
    }
    extractor = EnECGFeatureExtractor(settings, gate=model.config.gate_extractor_settings())
    values = extractor([record(0), record(1)], 500, STANDARD_LEADS, return_tensors="pt")
    with torch.inference_mode():
        output = model(**values)
    assert [tuple(each.shape) for each in values["input_values"]] == [(2, 1, 100), (2, 12, 150)]
    assert ((output.gate_weights["sex"] > 0).sum(-1) == 1).all()
    assert output.logits["sex"].isfinite().all()
