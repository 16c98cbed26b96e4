"""Trained models that several test modules of training start from."""

from pathlib import Path

import pytest
import torch

from modeling_enecg import BACKBONES, ECGFeatureExtractor
from tests.helpers.training import ECGFOUNDER, LORA, SMALL_HEADS, STMEM, follow, recipe_fields, write_recipe


@pytest.fixture(scope="module")
def one_thread():
    """Let this process compute as those that `train` starts, so that results can be bit-equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def expert_paths(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Two backbones in folders, as conversion leaves them."""
    folder = tmp_path_factory.mktemp("experts")
    torch.manual_seed(0)
    for name, fields in (("cnn", ECGFOUNDER), ("vit", STMEM)):
        model_class = BACKBONES[fields["model_type"]]
        model = model_class(model_class.config_class(**{key: fields[key] for key in fields if key != "model_type"}))
        model.save_pretrained(folder / name)
        ECGFeatureExtractor(**model.config.feature_extractor_settings()).save_pretrained(folder / name)
    return {name: {"path": str(folder / name)} for name in ("cnn", "vit")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, simulated, training_cache, expert_paths, one_thread) -> Path:
    """A model of one task whose experts are saved by reference."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {
        "experts": expert_paths,
        "ensemble": SMALL_HEADS,
        "stages": {"linear_probing": LORA},
        "save_experts": "reference",
        "num_resamples": 5,
    }
    fields = recipe_fields(simulated, folder / "run", training_cache) | changes
    return follow(write_recipe(folder / "recipe.yaml", fields))
