import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg import ECGFounderModel
from tests.helpers.training import tiny_ecgfounder

HYPERPARAMETERS = {
    "in_channels": 12,
    "base_filters": 8,
    "ratio": 1,
    "filter_list": [8, 16],
    "m_blocks_list": [1, 1],
    "kernel_size": 16,
    "stride": 2,
    "groups_width": 8,
    "n_classes": 2,
    "use_bn": False,
    "use_do": False,
}


def upstream_weights(expert):
    """An expert's weights under the names of ECGFounder's published file, with its head and unused batch norms."""
    weights = {}
    for name, tensor in expert.state_dict().items():
        name = name.replace("stem.", "first_conv.conv.").replace("stages.", "stage_list.")
        name = name.replace(".squeeze_excitation.squeeze.", ".se_fc1.").replace(
            ".squeeze_excitation.excite.", ".se_fc2."
        )
        parts = name.split(".")
        if parts[0] == "stage_list":
            parts.insert(2, "block_list")
            if parts[4].startswith("conv"):
                parts.insert(5, "conv")
        weights[".".join(parts)] = tensor.clone()
    return weights | {
        "dense.weight": torch.zeros(2, 16),
        "dense.bias": torch.zeros(2),
        "first_bn.weight": torch.ones(8),
    }


@pytest.fixture
def checkpoint(tmp_path):
    """A published checkpoint with its hyperparameters' file."""
    path = tmp_path / "published.safetensors"
    save_file(upstream_weights(tiny_ecgfounder()), path)
    (tmp_path / "architecture.json").write_text(json.dumps(HYPERPARAMETERS))
    return path


def test_convert_makes_a_folder_that_the_auto_classes_load(run, checkpoint, tmp_path):
    output = run(
        *("convert", "ecgfounder", checkpoint, tmp_path / "model"),
        *("--hyperparameters", tmp_path / "architecture.json"),
    )
    model, expert = AutoModel.from_pretrained(tmp_path / "model"), tiny_ecgfounder()
    assert isinstance(model, ECGFounderModel)
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "model").sampling_rate == 500
    assert f"{expert.num_parameters():,} parameters" in output
    assert "Left out 2 entries (dense." in output
    assert "Left out 1 entries (first_bn.weight)" in output
    for name, weight in expert.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_convert_takes_a_torch_file(run, checkpoint, tmp_path):
    torch.save({"state_dict": load_file(checkpoint), "step": 7}, tmp_path / "published.pth")
    run(
        *("convert", "ecgfounder", tmp_path / "published.pth", tmp_path / "model"),
        *("--hyperparameters", tmp_path / "architecture.json"),
    )
    assert (tmp_path / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "architecture.json"),
        ("{", "line 1"),
        ('{"filter_lis": [8]}', "Did you mean 'filter_list'"),
        ('["filter_list"]', "architecture.json"),
        ("{}", "weights"),
    ],
    ids=["absent", "no_json", "unknown", "list", "other"],
)
def test_convert_refuses_other_hyperparameters(fail, checkpoint, tmp_path, content, message):
    file = tmp_path / "architecture.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert message in fail("convert", "ecgfounder", checkpoint, tmp_path / "model", "--hyperparameters", file)
    assert not (tmp_path / "model").exists()


def test_convert_refuses_an_absent_checkpoint_and_a_folder_in_use(fail, checkpoint, tmp_path):
    line = fail("convert", "ecgfounder", tmp_path / "absent.pth", tmp_path / "model")
    assert "No checkpoint file at" in line
    line = fail("convert", "ecgfounder", checkpoint, tmp_path, "--hyperparameters", tmp_path / "architecture.json")
    assert "not an empty folder" in line


def test_convert_refuses_an_unknown_backbone_with_the_nearest_one(fail, checkpoint, tmp_path):
    line = fail("convert", "ecgfinder", checkpoint, tmp_path / "model")
    assert "Did you mean ecgfounder?" in line
