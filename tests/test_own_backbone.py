"""A backbone that the package does not have: the tutorial `docs/own_backbone.md`, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel, Trainer, TrainingArguments, default_data_collator

from modeling_enecg import BACKBONES, ECGFounderConfig, ECGFounderModel, EnECGModel, register_backbone
from modeling_enecg.modeling_backbone import ECGBackboneModel
from tests.helpers.tiny_models import RHYTHM

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "own_backbone.md").read_text("utf-8"), re.M | re.S)
ELSEWHERE = """
import sys
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline
model = AutoModel.from_pretrained("my_model", trust_remote_code=True)
with torch.inference_mode():
    print(model(torch.ones(2, 12, 1000)).logits["rhythm"].flatten().tolist())
model.save_pretrained("again")
again = AutoModel.from_pretrained("again", trust_remote_code=True)
print(type(again.experts["mine"]).__name__)
find = pipeline("ecg-classification", model="my_model", trust_remote_code=True)
print(len(find(torch.randn(12, 5000).numpy(), sampling_rate=500, force=True)["rhythm"]))
"""


@pytest.fixture
def tutorial(tmp_path, monkeypatch):
    """The tutorial's first two steps: its file, and a model that holds it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = dict(BACKBONES)
    (tmp_path / "modeling_mine.py").write_text(BLOCKS[0], encoding="utf-8")
    names: dict = {}
    exec(BLOCKS[1], names)
    yield names
    BACKBONES.clear()
    BACKBONES.update(known)
    sys.modules.pop("modeling_mine", None)


def test_the_saved_folder_holds_the_code_and_loads_here(tutorial, tmp_path):
    assert (tmp_path / "my_model" / "modeling_mine.py").is_file()
    assert "from .modeling_backbone import" in (tmp_path / "my_model" / "modeling_mine.py").read_text()
    loaded, inputs = AutoModel.from_pretrained("my_model"), torch.randn(2, 12, 1000)
    with torch.inference_mode():
        assert torch.equal(loaded(inputs).logits["rhythm"], tutorial["model"](inputs).logits["rhythm"])
    extractor = AutoFeatureExtractor.from_pretrained("my_model")
    assert (extractor.sampling_rate, extractor.sequence_length) == (100, 1000)


@pytest.mark.parametrize("with_package", [False, True])
def test_the_saved_folder_loads_where_the_backbone_is_unknown(tutorial, tmp_path, with_package):
    with torch.inference_mode():
        wanted = tutorial["model"](torch.ones(2, 12, 1000)).logits["rhythm"].flatten().tolist()
    (tmp_path / "modeling_mine.py").unlink()
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": ""}
    hidden = "import sys; sys.modules['modeling_enecg'] = None\n"
    shown = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import modeling_enecg\n"
    program = (shown if with_package else hidden) + ELSEWHERE
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    printed = result.stdout.splitlines()
    assert eval(printed[0]) == pytest.approx(wanted, abs=1e-6)
    assert printed[1:] == ["MyModel", "2"]


def test_without_trust_an_unknown_backbone_is_refused_by_what_to_do(tutorial):
    del BACKBONES["my-backbone"]
    with pytest.raises(ValueError, match=r"'my-backbone'.*register_backbone.*trust_remote_code=True"):
        EnECGModel.from_pretrained("my_model")


def test_it_trains(tutorial, tmp_path):
    records = [{"input_values": torch.randn(12, 1000), "labels": torch.tensor([index % 2, 1.0])} for index in range(8)]
    before = tutorial["model"].experts["mine"].stem.weight.clone()
    arguments = TrainingArguments(str(tmp_path / "out"), max_steps=2, report_to=[], use_cpu=True, save_strategy="no")
    Trainer(tutorial["model"], arguments, default_data_collator, records).train()
    assert not torch.equal(tutorial["model"].experts["mine"].stem.weight, before)


def test_a_backbone_that_is_not_registered_is_refused_when_the_ensemble_is_made(tutorial):
    expert = tutorial["MyModel"](tutorial["MyConfig"]())
    del BACKBONES["my-backbone"]
    with pytest.raises(ValueError, match=r"No backbone has the model type 'my-backbone'.*register_backbone"):
        EnECGModel.from_experts({"mine": expert}, [RHYTHM])


def test_what_is_no_backbone_or_takes_anothers_model_type_is_refused():
    class Other(ECGBackboneModel):
        config_class = ECGFounderConfig

    with pytest.raises(TypeError, match="must subclass ECGBackboneModel"):
        register_backbone(ECGFounderConfig, nn.Linear)
    with pytest.raises(ValueError, match="ECGFounderModel has the model type 'enecg-ecgfounder' already"):
        register_backbone(ECGFounderConfig, Other)
    register_backbone(ECGFounderConfig, ECGFounderModel)  # again, which changes nothing
    assert BACKBONES["enecg-ecgfounder"] is ECGFounderModel


@pytest.mark.parametrize("line", ["from modeling_enecg import ECGBackboneConfig", "import modeling_enecg"])
def test_code_that_cannot_travel_is_refused_when_it_is_saved(tutorial, tmp_path, line):
    path = tmp_path / "modeling_mine.py"
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(ValueError, match=r"modeling_mine.py cannot travel.*import from the package's flat files"):
        tutorial["model"].save_pretrained(tmp_path / "other")
