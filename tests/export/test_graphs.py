"""The graphs of exported models against the models: every backbone, dense and sparse ensembles, 8-bit weights."""

import numpy as np
import pytest
import torch

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.inputs import with_random_weights
from tests.helpers.tiny_models import RHYTHM, TASKS, tiny_backbone_configs

pytest.importorskip("onnx", reason="onnx, onnxscript and onnxruntime export models; `pip install -e '.[onnx]'`")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from modeling_enecg.export import OnnxModel, graph, named_inputs
from modeling_enecg.export.graph import export_model


def model_of(*names, tasks=(RHYTHM,), **settings):
    """An ensemble of tiny backbones with heads that tell records apart."""
    torch.manual_seed(0)
    configs = tiny_backbone_configs()
    experts = {name: with_random_weights(BACKBONES[f"enecg-{name}"](configs[f"enecg-{name}"])) for name in names}
    return EnECGModel.from_experts(experts, list(tasks), head_hidden_sizes=[], **settings)


def signals(num_records, seconds=10.0):
    """Records of noise; the second lacks the chest leads, the third is shorter."""
    rng = np.random.default_rng(1)
    records = list(rng.normal(size=(num_records, 12, round(500 * seconds))) ** 3 / 4)
    for record in records[1:2]:
        record[6:] = np.nan
    records[2:] = [record[:, : record.shape[1] * 3 // 4] for record in records[2:]]
    return records


@torch.inference_mode()
def assert_equal(model, exported, num_records):
    """Compare with the model itself, called as transformers does: without masks where nothing is missing."""
    extractor = model.feature_extractor()
    records = signals(num_records, extractor.window_seconds())
    wanted = model(**extractor(records, 500, STANDARD_LEADS, return_tensors="pt"))
    given = exported(named_inputs(extractor, extractor(records, 500, STANDARD_LEADS, return_tensors="np")))
    for kind, by_task in (("logits", wanted.logits), ("gate_weights", wanted.gate_weights)):
        for task, values in by_task.items():
            np.testing.assert_allclose(given[f"{kind}.{task}"], values.numpy(), rtol=1e-4, atol=1e-4)
    if num_records > 1:
        assert np.ptp(given["logits.rhythm"], axis=0).max() > 1e-3  # else any graph would be equal


@pytest.mark.parametrize("name", sorted(name.removeprefix("enecg-") for name in tiny_backbone_configs()))
def test_every_backbone_is_exported_equal_in_batches_of_any_size(name, tmp_path):
    model = model_of(name)
    exported = OnnxModel(export_model(model, model.feature_extractor(), tmp_path / "model.onnx"))
    for num_records in (1, 3):
        assert_equal(model, exported, num_records)


@torch.no_grad()
def decide_by_record(gate, gate_values):
    """Set a gate so that half of the records go to the first of two experts."""
    features = gate.convolutions(gate_values).mean(dim=-1)
    gate.linear.weight[0] = 1e4 * torch.randn(features.shape[1], generator=torch.Generator().manual_seed(0))
    gate.linear.bias[0] = -(features.mean(dim=0) @ gate.linear.weight[0])


def test_a_sparse_ensemble_with_inputs_of_its_experts_own_is_exported_equal(tmp_path):
    model = model_of("dlinear", "xresnet1d", tasks=TASKS, gate="encoder", gate_sequence_length=150, top_k=1)
    extractor = model.feature_extractor()
    records = signals(3, extractor.window_seconds())
    decide_by_record(
        model.gates["rhythm"], extractor(records, 500, STANDARD_LEADS, return_tensors="pt")["gate_values"]
    )
    exported = OnnxModel(export_model(model, extractor, tmp_path / "model.onnx"))
    assert_equal(model, exported, 3)
    batch = extractor(records, 500, STANDARD_LEADS, return_tensors="np")
    chosen = exported(named_inputs(extractor, batch))["gate_weights.rhythm"]
    assert set(chosen.argmax(axis=1)) == {0, 1}
    assert set(np.unique(chosen)) == {0, 1}


def test_experts_of_the_same_preprocessing_share_an_input():
    model = model_of("xresnet1d", "dlinear", gate="leads", gate_sequence_length=150)
    extractor = model.feature_extractor()
    batch = extractor(signals(1), 500, STANDARD_LEADS, return_tensors="np")
    assert list(named_inputs(extractor, batch)) == [
        *("input_values_xresnet1d", "input_values_dlinear", "lead_mask"),
        *("input_mask_xresnet1d", "input_mask_dlinear", "gate_values"),
    ]
    extractor.experts["dlinear"] = extractor.experts["xresnet1d"]
    batch = extractor(signals(1), 500, STANDARD_LEADS, return_tensors="np")
    assert list(named_inputs(extractor, batch)) == ["input_values", "lead_mask", "input_mask", "gate_values"]


def test_a_graph_that_gives_other_numbers_is_refused_and_leaves_no_file(tmp_path, monkeypatch):
    model = model_of("dlinear")
    monkeypatch.setattr(graph, "TOLERANCE", 1e-9)  # finer than float32
    with pytest.raises(ValueError, match=r"The graph's logits\.\w+ differs by up to"):
        export_model(model, model.feature_extractor(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_no_onnx_file_holds_are_refused(tmp_path, monkeypatch):
    model = model_of("dlinear")
    monkeypatch.setattr(graph, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="an ONNX file holds less than"):
        export_model(model, model.feature_extractor(), tmp_path / "model.onnx")
