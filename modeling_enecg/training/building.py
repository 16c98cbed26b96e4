"""A recipe's model and feature extractor."""

import dataclasses
from typing import Any, cast

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoFeatureExtractor

from ..backbones import backbone_class
from ..configuration_enecg import Task
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from .recipe import Recipe, RecipeError, suggest


def build_model(recipe: Recipe, tasks: list[Task]) -> EnECGModel:
    """Build a recipe's model, with new heads.

    Args:
        recipe (`Recipe`): Gives each expert as a folder, a Hub id, or a config for random weights.
        tasks (`list[Task]`): The tasks.

    Raises:
        RecipeError: if an expert cannot be loaded, or its config is not legal.
    """
    try:
        experts = {
            name: str(source["path"]) if "path" in source else _new_backbone(name, source["config"])
            for name, source in recipe.experts.items()
        }
        return EnECGModel.from_experts(experts, tasks, head_hidden_sizes=recipe.head_hidden_sizes)
    except (StrictDataclassError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise RecipeError(f"experts: {error}") from error


def _new_backbone(name: str, config: dict[str, Any]) -> ECGBackboneModel:
    fields = dict(config)
    model_class = backbone_class(fields.pop("model_type", None))
    known = [field.name for field in dataclasses.fields(cast(Any, model_class.config_class))]
    for key in fields:
        if key not in known:
            raise RecipeError(f"Unknown key experts.{name}.config.{key}.{suggest(key, known)}")
    return model_class(model_class.config_class(**fields))


def build_extractor(recipe: Recipe, model: EnECGModel) -> ECGFeatureExtractor | EnECGFeatureExtractor:
    """Return the feature extractor of a model: one for all experts, or one each where their inputs differ."""
    settings = {}
    for name, expert in model.backbones.items():
        source = recipe.experts[name]
        if "path" in source:
            extractor = AutoFeatureExtractor.from_pretrained(source["path"])
        else:
            extractor = ECGFeatureExtractor(**expert.config.feature_extractor_settings())
        settings[name] = {key: value for key, value in extractor.to_dict().items() if not key.endswith("_type")}
    first = next(iter(settings.values()))
    if all(other == first for other in settings.values()):
        return ECGFeatureExtractor(**first)
    return EnECGFeatureExtractor(settings)
