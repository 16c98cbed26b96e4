"""Our numbers stay what they were when they equalled upstream's; see `tests/fixtures/make_golden.py`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from modeling_enecg import BACKBONES

FOLDERS = sorted(path for path in (Path(__file__).parents[1] / "fixtures" / "golden").iterdir() if path.is_dir())


def test_every_backbone_has_a_small_golden_checkpoint():
    types = [json.loads((folder / "config.json").read_text())["model_type"] for folder in FOLDERS]
    assert sorted(types) == sorted(BACKBONES)
    for folder in FOLDERS:
        assert sum(file.stat().st_size for file in folder.iterdir()) < 100_000


@torch.inference_mode()
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_outputs_are_the_golden_ones(folder):
    golden = load_file(folder / "io.safetensors")
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    inputs = [key for key in golden if key.endswith("input")]
    assert len(inputs) == 2
    for key in inputs:
        prefix = key.removesuffix("input")
        output = model(golden[key])
        for name in ("last_hidden_state", "pooler_output"):
            torch.testing.assert_close(output[name], golden[prefix + name], atol=1e-5, rtol=1e-5)
