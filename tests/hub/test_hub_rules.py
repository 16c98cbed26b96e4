"""The flat model files travel to the Hub as they are and work there without this package."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from modeling_enecg import BACKBONES, EnECGModel
from tests.helpers.tiny_models import tiny_backbone_configs
from tests.helpers.travelling_files import FILES, PACKAGE, relative_imports

# What the Hugging Face stack and this package's own dependencies bring along.
ALLOWED = {"huggingface_hub", "numpy", "scipy", "torch", "transformers", *sys.stdlib_module_names}


def test_every_model_and_config_lies_in_a_file_that_travels():
    for model_class in (EnECGModel, *BACKBONES.values()):
        for each in (model_class, model_class.config_class):
            assert each.__module__.removeprefix("modeling_enecg.") in FILES


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_travelling_file_imports_only_its_neighbours_by_one_dot(name):
    for imported in relative_imports(FILES[name]):
        assert re.fullmatch(r"\.[a-z0-9_]+", imported), imported
        assert (PACKAGE / f"{imported[1:]}.py").is_file(), imported
    assert not re.search(r"^\s*(from|import)\s+modeling_enecg\b", FILES[name], flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_travelling_file_needs_only_the_hugging_face_stack(name):
    packages = re.findall(r"^\s*(?:from|import)\s+([A-Za-z_]\w*)", code_of(FILES[name]), flags=re.MULTILINE)
    assert set(packages) <= ALLOWED


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_travelling_file_imports_nothing_inside_functions_or_type_checks(name):
    # transformers' own scan takes these for needed packages.
    indented = re.findall(r"^[ \t]+(?:from\s+\S+\s+)?import\s+.*", code_of(FILES[name]), flags=re.MULTILINE)
    assert indented == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_travelling_file_reads_no_data_file(name):
    assert "__file__" not in FILES[name]


def code_of(text):
    """Drop the examples in docstrings, and imports that may fail."""
    text = re.sub(r"^try:.*?^except ImportError:$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\s*(>>>|\.\.\.).*$", "", text, flags=re.MULTILINE)


SAVE = """
import json, pathlib, sys
import numpy as np, torch
from transformers import AutoConfig
from modeling_enecg import *

folder, signal = pathlib.Path(sys.argv[1]), np.random.default_rng(0).normal(size=(12, 5000))
configs = [AutoConfig.for_model(**fields) for fields in json.loads((folder / "configs.json").read_text())]
assert {config.model_type for config in configs} == set(BACKBONES)
experts = {config.model_type: BACKBONES[config.model_type](config).eval() for config in configs}
settings = {name: expert.config.feature_extractor_settings() for name, expert in experts.items()}
tasks = [{"name": "rhythm", "problem_type": "multi_label_classification", "labels": ["AFIB", "SR"]}]
models = {name: (expert, ECGFeatureExtractor(**settings[name])) for name, expert in experts.items()}
for name, pooling in (("enecg", {}), ("attentive", {"pooling": "attention", "pooling_heads": 2})):
    models[name] = (EnECGModel.from_experts(experts, tasks, **pooling), EnECGFeatureExtractor(settings))
outputs = {}
for name, (model, extractor) in models.items():
    model.save_pretrained(folder / name)
    extractor.save_pretrained(folder / name)
    with torch.inference_mode():
        output = model(**extractor(signal, sampling_rate=500, return_tensors="pt"))
    outputs[name] = (output.pooler_output if name.startswith("enecg-") else output.logits["rhythm"]).tolist()
(folder / "outputs.json").write_text(json.dumps(outputs))
"""

LOAD = """
import json, pathlib, sys
sys.modules["modeling_enecg"] = None  # importing the package is an error from here on
import numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModel

folder, signal = pathlib.Path(sys.argv[1]), np.random.default_rng(0).normal(size=(12, 5000))
wanted = json.loads((folder / "outputs.json").read_text())
results = {}
for name in wanted:
    try:
        model = AutoModel.from_pretrained(folder / name, trust_remote_code=True)
        extractor = AutoFeatureExtractor.from_pretrained(folder / name, trust_remote_code=True)
        with torch.inference_mode():
            output = model(**extractor(signal, sampling_rate=500, return_tensors="pt"))
        results[name] = (output.pooler_output if name.startswith("enecg-") else output.logits["rhythm"]).tolist()
        model.save_pretrained(folder / "again" / name)
    except Exception as error:
        results[name] = repr(error)
(folder / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """Folders saved with their code, and what a process without the package makes of them."""
    folder = tmp_path_factory.mktemp("remote")
    configs = [config.to_diff_dict() for config in tiny_backbone_configs().values()]
    (folder / "configs.json").write_text(json.dumps(configs))
    environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"HF_MODULES_CACHE": str(folder / "home" / "modules")}
    for code, path in ((SAVE, str(PACKAGE.parent)), (LOAD, "")):
        command = [sys.executable, "-c", code, str(folder)]
        done = subprocess.run(
            command, env=environment | {"PYTHONPATH": path}, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["enecg", "attentive", *sorted(BACKBONES)])
def test_a_saved_model_gives_the_same_without_the_package(remote, name):
    wanted, results = (json.loads((remote / file).read_text())[name] for file in ("outputs.json", "results.json"))
    assert isinstance(results, list), results
    # Kernels choose their way by where weights lie in memory, which differs between two processes.
    torch.testing.assert_close(torch.tensor(results), torch.tensor(wanted), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["enecg", *sorted(BACKBONES)])
def test_all_code_travels_with_the_model_and_nothing_else(remote, name):
    copied = {path.stem for path in (remote / name).glob("*.py")}
    assert copied <= set(FILES)
    assert not any(path.is_dir() for path in (remote / name).iterdir())
    if name == "enecg":
        assert copied == set(FILES)


@pytest.mark.parametrize("name", ["enecg", *sorted(BACKBONES)])
def test_a_model_loaded_from_its_code_takes_the_code_along_again(remote, name):
    auto_map = json.loads((remote / "again" / name / "config.json").read_text())["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel"}
    for reference in auto_map.values():
        assert (remote / "again" / name / f"{reference.split('.')[0]}.py").is_file()
