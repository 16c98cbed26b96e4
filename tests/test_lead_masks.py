"""Records that lack leads or are shorter than a model's input: what every backbone makes of them."""

import pytest
import torch

from modeling_enecg import BACKBONES
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.inputs import WITHOUT_BLOCKS, random_input
from tests.helpers.masks import LEAD_SETS, mask_of, mixed_masks, padding, tiny_model

IMPLEMENTATIONS = ["sdpa", "eager"]
GARBAGE = [float("nan"), float("inf"), 1e6]


@pytest.fixture(params=sorted(BACKBONES))
def model(request, tiny_configs):
    """A tiny model of each backbone in eval mode, with every parameter at work."""
    return tiny_model(tiny_configs, request.param.removeprefix("enecg-"))


def assert_near(output, other):
    torch.testing.assert_close(output, other, atol=1e-5, rtol=1e-5)


def assert_same(output, other):
    assert torch.equal(output.pooler_output, other.pooler_output)
    assert torch.equal(output.last_hidden_state, other.last_hidden_state)


# Every backbone


@torch.inference_mode()
def test_every_set_of_leads_gives_finite_features_of_its_own(model):
    inputs = random_input(model, batch_size=1)
    features = [model(inputs).pooler_output]
    features += [model(inputs, lead_mask=mask_of(leads)).pooler_output for leads in LEAD_SETS.values()]
    assert torch.cat(features).isfinite().all()
    for index, each in enumerate(features):
        for other in features[:index]:
            assert (each - other).abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_stands_in_missing_leads_and_padding_changes_nothing(model, garbage):
    inputs, masks = random_input(model, batch_size=4), mixed_masks(model)
    is_recorded = masks["lead_mask"][:, :, None] & masks["input_mask"][:, None]
    expected = model(inputs, **masks)
    assert expected.pooler_output.isfinite().all()
    assert_same(model(inputs.where(is_recorded, garbage), **masks), expected)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masks_that_lack_nothing_are_the_same_as_none(model, dtype):
    inputs = random_input(model)
    ones = {"lead_mask": torch.ones(inputs.shape[:2]), "input_mask": torch.ones(3, inputs.shape[2])}
    assert_same(model(inputs, **{name: mask.to(dtype) for name, mask in ones.items()}), model(inputs))


@torch.inference_mode()
def test_a_mask_of_ones_and_zeros_is_the_same_as_one_of_booleans(model):
    inputs, masks = random_input(model, batch_size=4), mixed_masks(model)
    assert_same(model(inputs, **{name: mask.long() for name, mask in masks.items()}), model(inputs, **masks))


@torch.inference_mode()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_masked_records_do_not_depend_on_their_batch_mates(model, implementation):
    model.set_attn_implementation(implementation)
    inputs, masks = random_input(model, batch_size=4), mixed_masks(model)
    together = model(inputs, **masks).pooler_output
    for index in range(4):
        one = slice(index, index + 1)
        alone = model(inputs[one], **{name: mask[one] for name, mask in masks.items()})
        assert_near(alone.pooler_output[0], together[index])
    assert_near(model(inputs[:1]).pooler_output[0], together[0])


@torch.inference_mode()
def test_sdpa_and_eager_attention_agree_under_masks(model):
    inputs, masks = random_input(model, batch_size=4), mixed_masks(model)
    outputs = {}
    for implementation in IMPLEMENTATIONS:
        model.set_attn_implementation(implementation)
        outputs[implementation] = model(inputs, **masks).pooler_output
    assert_near(outputs["sdpa"], outputs["eager"])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("num_missing", [0, 1, 2, 20, 35, 36], ids=lambda number: f"{number} of 36 missing")
def test_records_of_any_length_give_finite_features_and_gradients(model, num_missing, implementation):
    model.set_attn_implementation(implementation)
    whole = model.config.sequence_length
    masks = {"lead_mask": mask_of(*LEAD_SETS.values()), "input_mask": padding(model, *[whole - num_missing] * 3)}
    inputs = random_input(model).where(masks["lead_mask"][:, :, None], torch.nan).requires_grad_()
    output = model(inputs, **masks)
    assert output.pooler_output.isfinite().all()
    assert output.last_hidden_state.isfinite().all()
    output.pooler_output.square().sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    assert inputs.grad.isfinite().all()
    assert not inputs.grad.masked_select(~masks["lead_mask"][:, :, None]).any()
    assert not inputs.grad.masked_select(~masks["input_mask"][:, None]).any()


@torch.inference_mode()
@pytest.mark.parametrize("recorded", [1, 0])
def test_one_sample_of_a_record_is_enough_to_be_finite(model, recorded):
    lengths = padding(model, model.config.sequence_length, recorded)
    output = model(random_input(model, batch_size=2), input_mask=lengths)
    assert output.pooler_output.isfinite().all()
    assert output.last_hidden_state.isfinite().all()


@pytest.mark.parametrize("name", sorted(BACKBONES.keys() - WITHOUT_BLOCKS))
def test_activation_checkpointing_gives_the_same_gradients_under_masks(name, tiny_configs):
    model = tiny_model(tiny_configs, name.removeprefix("enecg-")).train()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(random_input(model, batch_size=4), **mixed_masks(model)).pooler_output.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        model.activation_checkpointing_enable()
    for checkpointed, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain, atol=1e-7, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_masked_features_keep_bfloat16_and_are_near_float32(name, tiny_configs):
    torch.manual_seed(0)
    model = BACKBONES[name](tiny_configs[name]).eval()
    inputs, masks = random_input(model, batch_size=4), mixed_masks(model)
    exact = model(inputs, **masks).pooler_output
    features = model.to(torch.bfloat16)(inputs.to(torch.bfloat16), **masks).pooler_output
    assert features.dtype == torch.bfloat16
    assert (features.float() - exact).norm() < 0.1 * exact.norm()


@torch.inference_mode()
def test_states_and_tuples_are_given_under_masks(model):
    inputs, masks = random_input(model, batch_size=4), mixed_masks(model)
    output = model(inputs, **masks, output_hidden_states=True)
    assert len(output.hidden_states) >= len(getattr(model, "stages", model.residual_blocks))
    assert torch.equal(model(inputs, **masks, return_dict=False)[1], output.pooler_output)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_model_of_one_lead_takes_short_records_but_none_without_its_lead(name, tiny_configs):
    model = tiny_model(tiny_configs, name.removeprefix("enecg-"), num_leads=1)
    inputs = random_input(model, batch_size=2)
    masks = {"lead_mask": torch.ones(2, 1), "input_mask": padding(model, model.config.sequence_length, 17)}
    assert model(inputs, **masks).pooler_output.isfinite().all()
    with pytest.raises(ValueError, match=r"True for a lead of each record; it is for none of records \[0, 1\]"):
        model(inputs, lead_mask=torch.zeros(2, 1))


def test_a_record_without_any_lead_is_refused_by_its_number(model):
    leads = mask_of(LEAD_SETS["one"], [], STANDARD_LEADS)
    with pytest.raises(ValueError, match=r"it is for none of records \[1\]"):
        model(random_input(model), lead_mask=leads)


@pytest.mark.parametrize("shape", [(3,), (3, 11), (1, 12), (12, 3), (3, 12, 1)])
def test_a_lead_mask_of_another_shape_is_refused_with_the_wanted_one(model, shape):
    with pytest.raises(ValueError, match=r"lead_mask must have the shape \(3, 12\), got \("):
        model(random_input(model), lead_mask=torch.ones(shape, dtype=torch.bool))


def test_an_input_mask_of_another_shape_is_refused_with_the_wanted_one(model):
    samples = model.config.sequence_length
    for shape in [(samples,), (3, samples - 1), (1, samples), (3, 12, samples)]:
        with pytest.raises(ValueError, match=rf"input_mask must have the shape \(3, {samples}\), got \("):
            model(random_input(model), input_mask=torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("value", [2, -1, 0.5, float("-inf"), float("nan")])
@pytest.mark.parametrize("name", ["lead_mask", "input_mask"])
def test_a_mask_of_other_values_than_one_and_zero_is_refused(model, name, value):
    inputs = random_input(model)
    mask = torch.ones(inputs.shape[:2] if name == "lead_mask" else inputs.shape[::2])
    mask[1, -1] = value
    with pytest.raises(ValueError, match=f"{name} must hold True and False or 1 and 0, got"):
        model(inputs, **{name: mask})


# Each backbone's own rule


@torch.inference_mode()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("leads", LEAD_SETS.values(), ids=LEAD_SETS)
@pytest.mark.parametrize("name", ["ecgjepa", "stmem", "moment", "tempo"])
def test_missing_leads_count_as_if_the_model_had_only_the_others(tiny_configs, name, leads, implementation):
    model = tiny_model(tiny_configs, name)
    lead_mask = mask_of(leads)[0]
    smaller = tiny_model(tiny_configs, name, num_leads=len(leads))
    weights = model.state_dict()
    if name == "stmem":
        weights["embeddings.lead_embeddings"] = weights["embeddings.lead_embeddings"][lead_mask]
    if name == "ecgjepa":
        table = weights["embeddings.position_embeddings"].unflatten(0, (12, -1))
        weights["embeddings.position_embeddings"] = table[lead_mask].flatten(0, 1)
    smaller.load_state_dict(weights)
    inputs = random_input(model)
    for each in (model, smaller):
        each.set_attn_implementation(implementation)
    features = model(inputs, lead_mask=lead_mask.expand(3, -1)).pooler_output
    assert_near(features, smaller(inputs[:, lead_mask]).pooler_output)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["dlinear", "ecgcpc", "ecgfm", "ecgfounder", "timesnet", "xresnet1d"])
def test_missing_leads_count_as_zeros(tiny_configs, name):
    model = tiny_model(tiny_configs, name)
    inputs, lead_mask = random_input(model), mask_of(*LEAD_SETS.values())
    assert_same(model(inputs, lead_mask=lead_mask), model(inputs * lead_mask[:, :, None]))


@torch.inference_mode()
def test_a_missing_lead_of_dlinear_has_its_biases_as_features(tiny_configs):
    model = tiny_model(tiny_configs, "dlinear")
    tokens = model(random_input(model), lead_mask=mask_of(*LEAD_SETS.values())).last_hidden_state
    biases = torch.cat([model.seasonal.bias[0], model.trend.bias[0]])
    missing = tokens[~mask_of(*LEAD_SETS.values())]
    assert torch.equal(missing, biases.expand_as(missing))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["dlinear", "ecgfounder", "xresnet1d"])
def test_padding_counts_as_zeros(tiny_configs, name):
    model = tiny_model(tiny_configs, name)
    inputs, input_mask = random_input(model), padding(model, 150, 90, 7)
    assert_same(model(inputs, input_mask=input_mask), model(inputs * input_mask[:, None]))


@torch.inference_mode()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["ecgjepa", "stmem", "moment"])
def test_patches_of_padding_count_as_if_the_record_ended_before_them(tiny_configs, name, implementation):
    model = tiny_model(tiny_configs, name)
    model.set_attn_implementation(implementation)
    inputs = random_input(model)
    padded = model(inputs, input_mask=padding(model, 75, 75, 75)).pooler_output
    assert_near(padded, model(inputs[:, :, :75]).pooler_output)


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes", [{}, {"is_bidirectional": True, "conv_kernel": [5, 4]}], ids=["causal", "both ways"]
)
@pytest.mark.parametrize("samples", [90, 77, 7])
def test_padding_counts_for_ecgcpc_as_if_the_record_ended_before_it(tiny_configs, samples, changes):
    model = tiny_model(tiny_configs, "ecgcpc", **changes)
    inputs = random_input(model)
    padded, shorter = model(inputs, input_mask=padding(model, *[samples] * 3)), model(inputs[:, :, :samples])
    assert_near(padded.pooler_output, shorter.pooler_output)
    num_tokens = shorter.last_hidden_state.shape[1]
    assert_near(padded.last_hidden_state[:, :num_tokens], shorter.last_hidden_state)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "num_pooled"), [("ecgjepa", 6), ("stmem", 6), ("moment", 5)])
def test_a_patch_with_one_recorded_sample_counts_for_all_but_moment(tiny_configs, name, num_pooled):
    model = tiny_model(tiny_configs, name)
    output = model(random_input(model), input_mask=padding(model, 76, 76, 76))
    patches = output.last_hidden_state.unflatten(1, (12, -1))  # (batch, leads, patches, hidden)
    if name == "stmem":
        expected = model.norm(patches[:, :, 1:-1][:, :, :num_pooled].mean(dim=(1, 2)))
    else:
        expected = patches[:, :, :num_pooled].mean(dim=(1, 2))
    assert_near(output.pooler_output, expected)


PADDED_KEYS = {  # of half a record
    "stmem": 12 * ([False] * 6 + [True] * 5 + [False]),  # separator, five patches, five of padding, separator
    "moment": [False] * 5 + [True] * 5,
    "ecgfm": [False] * 12 + [True] * 13,
    "ecgjepa": 12 * ([False] * 5 + [True] * 5),
    "hubertecg": [not all(sample % 150 < 75 for sample in range(start, start + 18)) for start in range(0, 1783, 8)],
    "tempo": 3 * ([False] * 5 + [True] * 2),  # three words and two patches, two of padding
}


@torch.inference_mode()
@pytest.mark.parametrize("name", sorted(PADDED_KEYS))
def test_tokens_of_padding_are_not_attended_to(tiny_configs, name):
    model = tiny_model(tiny_configs, name)
    model.set_attn_implementation("eager")
    half = model.config.sequence_length // 2
    inputs = random_input(model, batch_size=1)
    output = model(inputs, input_mask=padding(model, half), output_attentions=True)
    assert len(output.attentions) == 3
    for weights in output.attentions:
        received = weights.amax(dim=(0, 1, 2))  # by each key, at most
        assert torch.equal(received == 0, torch.tensor(PADDED_KEYS[name]))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["ecgjepa", "stmem"])
def test_tokens_of_missing_leads_are_not_attended_to(tiny_configs, name):
    model = tiny_model(tiny_configs, name)
    model.set_attn_implementation("eager")
    lead_mask = mask_of(LEAD_SETS["limb"])
    output = model(random_input(model, batch_size=1), lead_mask=lead_mask, output_attentions=True)
    received = output.attentions[-1].amax(dim=(0, 1, 2)).unflatten(0, (12, -1))
    assert torch.equal((received > 0).all(dim=1), lead_mask[0])
    assert torch.equal((received > 0).any(dim=1), lead_mask[0])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["ecgcpc", "ecgfm", "hubertecg", "tempo", "timesnet"])
def test_tokens_of_padding_are_not_pooled(tiny_configs, name):
    model = tiny_model(tiny_configs, name)
    half = model.config.sequence_length // 2
    output = model(random_input(model), input_mask=padding(model, half, half, half))
    if name == "tempo":
        tokens = output.last_hidden_state.unflatten(1, (12, 3, -1))  # (batch, leads, components, patches, hidden)
        expected = tokens[:, :, :, :2].mean(dim=(1, 3)).flatten(1)
    elif name == "hubertecg":
        expected = output.last_hidden_state[:, ~torch.tensor(PADDED_KEYS[name])].mean(dim=1)
    else:
        num_tokens = {"ecgcpc": 38, "ecgfm": 12, "timesnet": half}[name]
        expected = output.last_hidden_state[:, :num_tokens].mean(dim=1)
    assert_near(output.pooler_output, expected)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["moment", "tempo", "timesnet"])
def test_padding_is_not_in_a_leads_mean_and_deviation(tiny_configs, name):
    model = tiny_model(tiny_configs, name)
    inputs, half = random_input(model), model.config.sequence_length // 2
    input_mask = padding(model, half, half, half)
    output, shifted = (model(each, input_mask=input_mask) for each in (inputs, inputs + 2))
    torch.testing.assert_close(shifted.pooler_output, output.pooler_output, atol=1e-4, rtol=1e-4)
    if name != "moment":
        torch.testing.assert_close(shifted.forecast, output.forecast + 2, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_tempo_leaves_out_what_missing_leads_have_as_given_parts(tiny_configs):
    model = tiny_model(tiny_configs, "tempo")
    inputs, lead_mask = random_input(model), mask_of(*LEAD_SETS.values())
    parts = {name: random_input(model, seed=seed) for seed, name in enumerate(("trend", "seasonal", "residual"))}
    without = {name: part.where(lead_mask[:, :, None], torch.nan) for name, part in parts.items()}
    expected = model(inputs, lead_mask=lead_mask, **parts)
    assert expected.pooler_output.isfinite().all()
    assert_same(model(inputs, lead_mask=lead_mask, **without), expected)
