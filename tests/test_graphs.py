"""Models as graphs of static shapes, and what they give from inside."""

import pytest
import torch

from modeling_enecg import BACKBONES, EnECGModel
from tests.helpers.inputs import random_input, with_random_weights
from tests.helpers.masks import mixed_masks
from tests.helpers.tiny_models import RHYTHM


@pytest.fixture
def sparse(tiny_configs):
    """An ensemble that computes two of three experts a record, one of them with a loop over what it finds."""
    names = ("ecgfounder", "stmem", "timesnet")
    experts = {name: with_random_weights(BACKBONES[f"enecg-{name}"](tiny_configs[f"enecg-{name}"])) for name in names}
    torch.manual_seed(0)
    return EnECGModel.from_experts(experts, [RHYTHM], gate="encoder", gate_sequence_length=150, top_k=2)


@pytest.fixture(autouse=True)
def no_graphs_of_others():
    """All models share a wrapper of transformers, of which torch keeps eight graphs."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def batch(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    signals = torch.randn(4, 12, 150, generator=generator)
    return {"input_values": signals, "gate_values": signals.flip(0)} | changes


def assert_equal(graph, ours):
    for given, wanted in zip(graph.to_tuple(), ours.to_tuple(), strict=True):
        torch.testing.assert_close(given, wanted, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_every_backbone_compiles_to_one_graph_for_batches_of_any_size(model_type, tiny_configs):
    model = with_random_weights(BACKBONES[model_type](tiny_configs[model_type]))
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=keep)
    for num_records in (4, 3, 2):
        masks = {name: mask[-num_records:] for name, mask in mixed_masks(model).items()}
        inputs = random_input(model, num_records)
        assert_equal(compiled(inputs, **masks), model(inputs, **masks))
    assert len(graphs) == 1


@torch.inference_mode()
@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_every_backbone_is_exported_once_for_batches_of_any_size(model_type, tiny_configs):
    model = with_random_weights(BACKBONES[model_type](tiny_configs[model_type]))
    shapes = {"input_values": {0: torch.export.Dim("batch", min=2, max=64)}}
    exported = torch.export.export(model, (random_input(model),), dynamic_shapes=shapes, strict=False).module()
    for num_records in (2, 5):
        inputs = random_input(model, num_records, seed=1)
        assert_equal(exported(inputs), model(inputs))


@torch.inference_mode()
@pytest.mark.parametrize("samples", [150, 151])
def test_timesnet_exports_and_equals_its_loop_over_periods(tiny_configs, samples):
    config = tiny_configs["enecg-timesnet"]
    config.sequence_length = samples
    model = with_random_weights(BACKBONES["enecg-timesnet"](config))
    exported = torch.export.export(model, (random_input(model),), strict=False).module()
    inputs = random_input(model, seed=1)
    assert_equal(exported(inputs), model(inputs))


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_of_timesnet_equals_its_loop_over_periods_on_other_records(tiny_configs):
    model = with_random_weights(BACKBONES["enecg-timesnet"](tiny_configs["enecg-timesnet"]))
    model.config.return_dict = False
    traced = torch.jit.trace(model, (random_input(model),), check_trace=False)
    for num_records in (1, 3):
        inputs = random_input(model, num_records, seed=1)
        for ours, graph in zip(model(inputs), traced(inputs), strict=True):
            torch.testing.assert_close(graph, ours, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_sparse_ensemble_compiles_to_one_graph_and_equals_itself(sparse):
    compiled = torch.compile(sparse, fullgraph=True, backend="eager")
    lead_mask = torch.ones(4, 12, dtype=torch.bool)
    lead_mask[0, 3:] = False
    for inputs in (batch(), batch(seed=1), batch(lead_mask=lead_mask)):
        ours, graph = sparse(**inputs), compiled(**inputs)
        torch.testing.assert_close(graph.logits, ours.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(graph.gate_weights, ours.gate_weights)


@torch.inference_mode()
def test_a_sparse_ensemble_exports(sparse):
    exported = torch.export.export(sparse, (), batch(), strict=False).module()
    torch.testing.assert_close(exported(**batch(1))["logits"], sparse(**batch(1)).logits, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_an_ensemble_gives_what_its_experts_layers_give(sparse):
    sparse.set_attn_implementation("eager")
    output = sparse(**batch(), output_hidden_states=True, output_attentions=True)
    assert list(output.hidden_states) == list(sparse.experts)
    assert [each.shape[-1] for each in output.hidden_states["ecgfounder"]] == [16, 16, 24]
    assert list(output.attentions) == ["stmem"]
    alone = sparse.experts["stmem"](batch()["input_values"], output_hidden_states=True)
    for ours, theirs in zip(output.hidden_states["stmem"], alone.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(output.logits, sparse(**batch()).logits)
    assert sparse(**batch()).hidden_states is None
