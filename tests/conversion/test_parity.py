"""Our backbones against the outputs of upstream's own code, through the converter."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from modeling_enecg.conversion import CONVERTERS, convert_checkpoint
from modeling_enecg.modeling_stmem import sinusoid_positions

# ECGFounder's own reload on one thread differs by 2e-6, on values up to 30.
TOLERANCE = {"stmem": 1e-5, "ecgfounder": 2e-5}
FIXTURES = ("tiny", "tiny_opt")


@pytest.fixture
def upstream(parity_dir, tmp_path, request):
    """A converted fixture: the model, and upstream's inputs and outputs."""
    name, fixture = request.param
    folder = parity_dir / name / fixture
    hyperparameters = json.loads((folder / "config.json").read_text())
    convert_checkpoint(name, folder / "state_dict.safetensors", tmp_path / "model", hyperparameters)
    return AutoModel.from_pretrained(tmp_path / "model"), load_file(folder / "io.safetensors")


def assert_equal(ours, theirs, name):
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE[name], rtol=0)


def both_fixtures(name):
    return pytest.mark.parametrize("upstream", [(name, fixture) for fixture in FIXTURES], indirect=True, ids=FIXTURES)


def test_every_converter_has_its_parity_tests():
    own_files = {path.stem.removeprefix("test_parity_") for path in Path(__file__).parent.glob("test_parity_*.py")}
    own_files -= {"enecg"}  # heads and gates, which have nothing to convert
    assert set(TOLERANCE) | own_files == set(CONVERTERS)


@torch.inference_mode()
@both_fixtures("stmem")
def test_stmem_gives_upstreams_tokens_and_features(upstream):
    model, io = upstream
    output = model(io["input"], output_hidden_states=True)
    assert_equal(output.last_hidden_state, io["tokens"], "stmem")
    assert_equal(output.pooler_output, io["features"] if "features" in io else features_of(model, io), "stmem")
    for index, block in enumerate(output.hidden_states[1:]):
        assert_equal(block, io[f"hidden_4_block{index}_out"], "stmem")


def features_of(model, io):
    """Upstream's features where the fixture stops before the last norm."""
    return model.norm(io["patch_tokens"].mean(dim=(1, 2)))


@torch.inference_mode()
@pytest.mark.parametrize("upstream", [("stmem", "tiny")], indirect=True)
def test_stmem_gives_upstreams_features_of_a_short_record(upstream):
    model, io = upstream
    assert_equal(model(io["short.input"]).pooler_output, io["short.features"], "stmem")


@torch.inference_mode()
@pytest.mark.parametrize("upstream", [("stmem", "tiny")], indirect=True)
def test_normed_stmem_tokens_are_those_of_pre_training(upstream):
    model, io = upstream
    assert_equal(model.norm(model(io["input"]).last_hidden_state), io["pretrain_normed_tokens"], "stmem")


def test_stmem_position_table_is_that_of_pre_training(parity_dir):
    io = load_file(parity_dir / "stmem" / "tiny" / "io.safetensors")
    torch.testing.assert_close(sinusoid_positions(12, 32)[0], io["sincos_pos_embed_32x10"], atol=1e-6, rtol=0)


@torch.inference_mode()
@both_fixtures("ecgfounder")
def test_ecgfounder_gives_upstreams_sequence_and_features(upstream):
    model, io = upstream
    output = model(io["input"])
    assert_equal(output.last_hidden_state, io["sequence_features"].transpose(1, 2), "ecgfounder")
    assert_equal(output.pooler_output, io["features"], "ecgfounder")


@torch.inference_mode()
@pytest.mark.parametrize("upstream", [("ecgfounder", "tiny")], indirect=True)
def test_ecgfounder_gives_upstreams_features_of_an_odd_length(upstream):
    model, io = upstream
    assert_equal(model(io["odd.input"]).pooler_output, io["odd.features"], "ecgfounder")
