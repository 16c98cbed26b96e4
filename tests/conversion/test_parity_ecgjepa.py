"""ECG-JEPA against the outputs of upstream's own code, through its converter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor

from modeling_enecg import (
    ECGFeatureExtractor,
    ECGFounderModel,
    ECGJEPAConfig,
    ECGJEPAModel,
    EnECGFeatureExtractor,
    EnECGModel,
)
from modeling_enecg.conversion import CONVERTERS, ConversionError, convert_checkpoint
from modeling_enecg.conversion.convert import rename_weights
from modeling_enecg.data.prepared import Views
from modeling_enecg.lead_dropout import random_lead_mask
from modeling_enecg.leads import LEAD_SETS, STANDARD_LEADS
from modeling_enecg.modeling_ecgjepa import cross_pattern, sinusoid_positions
from tests.helpers.parity import assert_near
from tests.helpers.tiny_models import TASKS

EIGHT = list(LEAD_SETS["8 leads"])
FIXTURES = ("tiny", "tiny_opt")


@pytest.fixture
def folder(parity_dir):
    return parity_dir / "ecgjepa"


@pytest.fixture
def convert(folder, tmp_path):
    """A function that converts a fixture, perhaps with other hyperparameters or weights: the model, and the report."""

    def convert(fixture: str, weights: dict[str, torch.Tensor] | Path | None = None, **changes):
        hyperparameters = json.loads((folder / fixture / "config.json").read_text()) | changes
        checkpoint = weights if isinstance(weights, Path) else folder / fixture / "state_dict.safetensors"
        if isinstance(weights, dict):
            checkpoint = tmp_path / "changed.safetensors"
            save_file(weights, checkpoint)
        report = convert_checkpoint("ecgjepa", checkpoint, tmp_path / f"{fixture}-{len(changes)}", hyperparameters)
        return ECGJEPAModel.from_pretrained(tmp_path / f"{fixture}-{len(changes)}"), report

    return convert


def small_config(**changes):
    fields = {
        "sequence_length": 100,
        "patch_size": 10,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    return ECGJEPAConfig(**(fields | changes))


def small_model(**changes):
    torch.manual_seed(0)
    return ECGJEPAModel(small_config(**changes)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("fixture", FIXTURES)
def test_ecgjepa_gives_upstreams_tokens_and_features(convert, folder, fixture, implementation):
    model, _ = convert(fixture)
    model.set_attn_implementation(implementation)
    io = load_file(folder / fixture / "io.safetensors")
    output = model(io["input"], output_hidden_states=True)
    assert_near(output.last_hidden_state, io["sequence_features"])
    assert_near(output.pooler_output, io["features"])
    assert_near(output.hidden_states[0], io["hidden_1_block0_input_with_pos"])
    for index, block in enumerate(output.hidden_states[1:]):
        assert_near(block, io[f"hidden_4_block{index}_out"])


@torch.inference_mode()
def test_a_head_on_our_features_gives_upstreams_logits(convert, folder):
    model, _ = convert("tiny")
    io, head = (load_file(folder / "tiny" / f"{name}.safetensors") for name in ("io", "state_dict"))
    assert_near(model(io["input"]).pooler_output @ head["head.weight"].T + head["head.bias"], io["logits"])


@torch.inference_mode()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_masked_patches_are_left_out_as_in_pre_training(convert, folder, implementation):
    model, _ = convert("tiny")
    model.set_attn_implementation(implementation)
    io = load_file(folder / "tiny" / "io.safetensors")
    is_kept = ~io["masked.mask"].bool()
    input_mask = is_kept.repeat_interleave(model.config.patch_size).expand(3, -1)
    output = model(io["input"], input_mask=input_mask)
    kept = output.last_hidden_state.unflatten(1, (8, 10))[:, :, is_kept].flatten(1, 2)
    assert_near(kept, io["masked.sequence_features"])
    assert_near(output.pooler_output, io["masked.sequence_features"].mean(dim=1))


def test_the_gradients_are_upstreams(convert, folder):
    model, _ = convert("tiny")
    io, head = (load_file(folder / "tiny" / f"{name}.safetensors") for name in ("io", "state_dict"))
    logits = model(io["input"]).pooler_output @ head["head.weight"].T + head["head.bias"]
    logits.square().mean().backward()
    norms = json.loads((folder / "train_mode.json").read_text())["gradient_check_tiny"]["grad_l2"]
    given = {name: torch.tensor(norm) for name, norm in norms.items() if norm is not None}
    wanted, _ = rename_weights(given, CONVERTERS["ecgjepa"], {name for name, _ in model.named_parameters()})
    assert len(wanted) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad.norm(), wanted[name], atol=1e-6, rtol=1e-4, msg=name)


def test_the_pattern_and_the_table_of_positions_are_upstreams(folder):
    io = load_file(folder / "tiny" / "io.safetensors")
    assert torch.equal(cross_pattern(8, 10), io["attention_allowed"].bool())
    assert cross_pattern(8, 50).sum(dim=1).unique().tolist() == [57]
    assert_near(sinusoid_positions(8, 10, 24), io["sincos_pos_embed"], 1e-6)


def test_ecgjepa_pre_processing_equals_upstreams(folder):
    upstream = load_file(folder / "preprocess.safetensors")
    extractor = ECGFeatureExtractor(**ECGJEPAConfig().feature_extractor_settings())
    raw, order = upstream["raw"].numpy(), np.random.default_rng(0).permutation(12)
    shuffled = {"signals": raw[order], "lead_names": [STANDARD_LEADS[row] for row in order]}
    eight = raw[[STANDARD_LEADS.index(lead) for lead in EIGHT]]
    for given in ({"signals": raw}, shuffled, {"signals": eight}, {"signals": eight, "lead_names": EIGHT}):
        inputs = extractor(**given, sampling_rate=500)
        assert set(inputs) == {"input_values"}
        np.testing.assert_array_equal(inputs["input_values"][0], upstream["output"].numpy())


def test_the_first_10_s_of_a_longer_record_are_taken():
    extractor = ECGFeatureExtractor(**ECGJEPAConfig().feature_extractor_settings())
    signal = np.random.default_rng(0).normal(size=(8, 3000))
    np.testing.assert_array_equal(extractor(signal, 250)["input_values"][0], signal[:, :2500].astype(np.float32))


# Conversion


def published_weights(depth=12, width=768, inner=3072, patch=50, tokens=400):
    """The state dict of the published encoder under upstream's names, as its specification lists them."""

    def vectors(name, *shape):
        return {f"{name}.weight": torch.empty(shape), f"{name}.bias": torch.empty(shape[0])}

    weights = {"pos_embed": torch.empty(tokens, width)} | vectors("W_P", width, patch) | vectors("norm", width)
    for block in (f"encoder_blocks.blocks.{index}" for index in range(depth)):
        weights |= vectors(f"{block}.norm1", width) | vectors(f"{block}.norm2", width)
        weights |= {f"{block}.attn.qkv.weight": torch.empty(3 * width, width)}
        weights |= vectors(f"{block}.attn.proj", width, width)
        weights |= vectors(f"{block}.mlp.fc1", inner, width) | vectors(f"{block}.mlp.fc2", width, inner)
    return weights


def test_every_published_key_has_its_place_without_hyperparameters():
    converter = CONVERTERS["ecgjepa"]
    with torch.device("meta"):
        upstream = published_weights()
        wanted = ECGJEPAModel(ECGJEPAConfig(**converter.adapt({}, upstream))).state_dict()
    assert len(upstream) == 137
    assert sum(tensor.numel() for tensor in upstream.values()) == 85_374_720
    weights, dropped = rename_weights(upstream, converter, set(wanted))
    assert {key: tensor.shape for key, tensor in weights.items()} == {key: wanted[key].shape for key in wanted}
    assert dropped == {}


def test_a_published_file_converts_to_the_same_model(convert, folder, tmp_path):
    weights = load_file(folder / "tiny_opt" / "state_dict.safetensors")
    torch.save({"encoder": weights, "epoch": 100}, tmp_path / "multiblock_epoch100.pth")
    published, _ = convert("tiny_opt", tmp_path / "multiblock_epoch100.pth", num_classes=5)
    model, report = convert("tiny_opt")
    assert report["dropped"] == {}
    assert model.config.weights_licence == "unknown"
    for name, tensor in model.state_dict().items():
        assert torch.equal(published.state_dict()[name], tensor), name


def test_a_model_of_some_leads_has_their_names_and_positions(convert, folder, tmp_path):
    model, _ = convert("tiny_opt")
    assert model.config.lead_names == ["II", "I", "V5"]
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "tiny_opt-0").lead_names == ["II", "I", "V5"]
    table = load_file(folder / "tiny_opt" / "state_dict.safetensors")["pos_embed"].unflatten(0, (8, 50))
    assert torch.equal(model.embeddings.position_embeddings.unflatten(0, (3, 50)), table[[1, 0, 6]])
    assert "embeddings.position_embeddings" in dict(model.named_parameters())  # for they are learnable


@torch.inference_mode()
def test_a_model_of_some_leads_is_one_of_all_that_lacks_the_others(convert, folder):
    some, _ = convert("tiny_opt", leads=[0, 1, 6])
    every, _ = convert("tiny_opt", leads=list(range(8)), num_classes=None)
    lead_mask = torch.tensor([[lead in some.config.lead_names for lead in EIGHT]])
    inputs = torch.randn(1, 8, 2500)
    assert_near(every(inputs, lead_mask=lead_mask).pooler_output, some(inputs[:, lead_mask[0]]).pooler_output)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"leads": [0, 8]}, "not a legal architecture"),
        ({"leads": [0, 0]}, r"leads \['I', 'I'\] must name num_leads \(2\) different ones"),
        ({"leads": 3}, "not a legal architecture"),
        ({"num_leads": 7}, "not a legal architecture|instead of"),
        ({"mlp_ratio": "wide"}, "not a legal architecture"),
        ({"pos_type": "rotary"}, "pos_type must be one of sincos, learnable; got 'rotary'"),
        ({"num_heads": 5}, r"hidden_size \(24\) must be a multiple of num_attention_heads \(5\)"),
        ({"num_patches": 9}, r"position_embeddings \(80, 24\) instead of \(72, 24\)"),
        ({"qkv_bias": True}, r"lacks 3 weights .*blocks\.0\.attention\.qkv\.bias"),
        ({"mlp_ratio": 2}, r"mlp\.up\.weight \(96, 24\) instead of \(48, 24\)"),
        ({"predictor_depth": 6}, "Unknown hyperparameter 'predictor_depth'"),
    ],
    ids=str,
)
def test_hyperparameters_of_another_network_are_refused(convert, wrong, message):
    with pytest.raises(ConversionError, match=message):
        convert("tiny", **wrong)


# The model alone


def test_the_sines_and_cosines_are_never_trained_and_the_learnable_table_is():
    model = small_model()
    assert "embeddings.position_embeddings" in dict(model.named_buffers())
    assert torch.equal(model.embeddings.position_embeddings, sinusoid_positions(8, 10, 16))
    table = small_model(learnable_positions=True).embeddings.position_embeddings
    assert isinstance(table, torch.nn.Parameter)
    assert 0.01 < table.abs().max() <= 0.02


def test_a_new_model_starts_with_upstreams_scale():
    model = small_model(hidden_size=64, intermediate_size=256, num_hidden_layers=3)
    for number, block in enumerate(model.blocks, start=1):
        assert block.attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.1)
        for layer in (block.attention.output, block.mlp.down):
            assert layer.weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.1)
            assert not layer.bias.any()


@torch.inference_mode()
def test_a_token_sees_its_own_lead_and_time_alone():
    model = small_model()
    model.set_attn_implementation("eager")
    weights = model(torch.randn(1, 8, 100), output_attentions=True).attentions
    for each in weights:
        assert torch.equal(each[0, 0] > 0, cross_pattern(8, 10))


@torch.inference_mode()
def test_what_is_recorded_sees_nothing_of_what_is_missing():
    model = small_model()
    model.set_attn_implementation("eager")
    lead_mask = torch.tensor([[lead in ("I", "V3") for lead in EIGHT]])
    input_mask = (torch.arange(100) < 41)[None]
    output = model(torch.randn(1, 8, 100), lead_mask=lead_mask, input_mask=input_mask, output_attentions=True)
    is_token = (lead_mask[0][:, None] & (torch.arange(10) < 5)).flatten()
    seen = output.attentions[-1].amax(dim=(0, 1))
    assert not seen[is_token][:, ~is_token].any()
    assert seen[is_token][:, is_token].sum(dim=1).gt(0).all()
    assert_near(output.pooler_output, output.last_hidden_state[:, is_token].mean(dim=1))


@torch.inference_mode()
def test_ecgjepa_takes_shorter_records_and_refuses_what_patches_do_not_fill():
    model = small_model()
    assert model(torch.randn(2, 8, 30)).last_hidden_state.shape == (2, 8 * 3, 16)
    for samples in (0, 95, 110):
        with pytest.raises(ValueError, match=f"a multiple of 10 samples, at most 100; got {samples}"):
            model(torch.zeros(2, 8, samples))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"leads": ["I", "II"]}, r"leads \['I', 'II'\] must name num_leads \(8\) different ones"),
        ({"leads": ["I", "X"], "num_leads": 2}, "must name num_leads"),
        ({"num_leads": 13}, r"must name num_leads \(13\)"),
        ({"leads": list(STANDARD_LEADS[::-1]), "num_leads": 12}, "All 12 leads must be in the standard order"),
        ({"patch_size": 33}, r"sequence_length \(100\) must be a multiple of patch_size \(33\)"),
        ({"hidden_size": 18}, r"hidden_size \(18\) must be a multiple of 4"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        small_config(**fields)


# Beside experts of twelve leads


@pytest.fixture
def ensemble(tiny_configs):
    torch.manual_seed(0)
    founder = ECGFounderModel(tiny_configs["enecg-ecgfounder"])
    return EnECGModel.from_experts({"jepa": small_model(), "founder": founder}, TASKS, gate="leads").eval()


def extractor_of(ensemble):
    """The feature extractor of an ensemble."""
    settings = {name: expert.config.feature_extractor_settings() for name, expert in ensemble.backbones.items()}
    return EnECGFeatureExtractor(settings, gate=ensemble.config.gate_extractor_settings())


@torch.inference_mode()
def test_an_expert_of_eight_leads_gets_its_own_of_an_ensembles_mask(ensemble):
    signal = np.random.default_rng(0).normal(size=(12, 5000))
    names = ["I", "II", "V2", "V6"]
    rows = [STANDARD_LEADS.index(lead) for lead in names]
    inputs = extractor_of(ensemble)(signal[rows], 500, names, return_tensors="pt")
    assert [values.shape[1] for values in inputs["input_values"]] == [8, 12]
    features = ensemble.extract_features(inputs["input_values"], inputs["lead_mask"])
    jepa = ensemble.backbones["jepa"]
    alone = ECGFeatureExtractor(**jepa.config.feature_extractor_settings())(signal[rows], 500, names, "pt")
    assert alone["lead_mask"].sum() == 4
    assert torch.equal(features["jepa"], jepa(**alone).pooler_output)


@torch.inference_mode()
def test_an_ensemble_takes_twelve_rows_without_names(ensemble):
    signal = np.random.default_rng(0).normal(size=(12, 5000))
    extractor = extractor_of(ensemble)
    named, unnamed = (extractor(signal, 500, names, return_tensors="pt") for names in (STANDARD_LEADS, None))
    assert torch.equal(named["gate_values"], unnamed["gate_values"])
    for task, logits in ensemble(**named).logits.items():
        assert torch.equal(ensemble(**unnamed).logits[task], logits)


@pytest.mark.parametrize("join", [torch.from_numpy, np.asarray], ids=["batch", "record"])
def test_the_masks_of_training_are_over_the_standard_leads(ensemble, join):
    views = Views(extractor_of(ensemble))
    windows = {}
    for name, extractor in views.extractors.items():
        lead_mask = join(np.isin(extractor.lead_names, ["II", "aVF", "V4"])[None])
        windows[name] = {"input_values": join(np.zeros((1, 1, 1))), "lead_mask": lead_mask}
    mask = views.joined(windows)["lead_mask"]
    assert type(mask) is type(join(np.zeros(1)))
    assert [STANDARD_LEADS[column] for column in np.flatnonzero(mask)] == ["II", "aVF", "V4"]


def test_leads_that_are_missing_at_random_leave_one_to_each_expert(ensemble):
    values = [torch.zeros(2000, 8, 100), torch.zeros(2000, 12, 150)]
    stays = random_lead_mask(0.9, values, None, ensemble.backbones.values())
    assert stays.shape == (2000, 12)
    assert stays[:, [STANDARD_LEADS.index(lead) for lead in EIGHT]].any(dim=1).all()


def test_one_expert_of_eight_leads_trains_with_leads_missing():
    model = EnECGModel.from_experts({"jepa": small_model()}, TASKS[:1])
    model.set_lead_dropout(0.5)
    inputs, lead_mask = torch.randn(50, 8, 100), torch.ones(50, 8, dtype=torch.bool)
    lead_mask[:, 3:] = False
    stays = random_lead_mask(0.5, inputs, lead_mask, model.backbones.values())
    assert not stays[:, [STANDARD_LEADS.index(lead) for lead in EIGHT[3:]]].any()
    eval_logits = model.eval()(inputs, lead_mask=lead_mask).logits["rhythm"]
    assert not torch.equal(model.train()(inputs, lead_mask=lead_mask).logits["rhythm"], eval_logits)


def test_patches_that_pre_training_takes_out_are_as_upstreams(folder, convert):
    model, io = convert("tiny")[0].eval(), load_file(folder / "tiny" / "io.safetensors")
    kept = (~io["masked.mask"].bool()).nonzero()[:, 0]
    with torch.no_grad():
        tokens, _ = model.encode(io["input"], kept=kept)
    assert_near(tokens, io["masked.sequence_features"])
