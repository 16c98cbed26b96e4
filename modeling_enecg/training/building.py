"""A recipe's model and feature extractor."""

import dataclasses
from typing import Any, cast

from huggingface_hub.errors import StrictDataclassError

from ..adapters import lora_layers, missing_tasks
from ..backbones import backbone_class
from ..configuration_enecg import Task
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..loading import folder_or_hub
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from ..runs.portable import check_place
from ..settings import suggest
from .arguments import lora_settings
from .recipe import Recipe, RecipeError


def build_model(recipe: Recipe, tasks: list[Task]) -> EnECGModel:
    """Build a recipe's model: new heads on its experts, or a trained EnECG model brought to the tasks.

    Args:
        recipe (`Recipe`): Gives each expert as a folder, a Hub id, or a config for random weights; or a model.
        tasks (`list[Task]`): The tasks.

    Raises:
        RecipeError: if an expert or the model cannot be loaded, or does not fit.
    """
    try:
        if recipe.model is not None:
            model = _load_model(recipe.model)
            _bring_to_tasks(model, tasks)
            return model
        for source in recipe.experts.values():
            if "path" in source:
                check_place(source["path"])
        experts = {
            name: source["path"] if "path" in source else _new_backbone(name, source["config"])
            for name, source in recipe.experts.items()
        }
        return EnECGModel.from_experts(experts, tasks, **recipe.ensemble)
    except (StrictDataclassError, ValueError, TypeError, RuntimeError, OSError) as error:
        source = "experts" if recipe.model is None else "model"
        raise RecipeError(f"{source}: {' '.join(str(error).split())}") from error


def _load_model(path: str) -> EnECGModel:
    check_place(path)
    with folder_or_hub(path):
        model_type = EnECGModel.config_class.get_config_dict(path)[0].get("model_type")
    if model_type != EnECGModel.config_class.model_type:
        raise ValueError(f"{path} holds a model of type {model_type!r}, not an EnECG model.")
    return EnECGModel.from_pretrained(path)


def check_lora(recipe: Recipe, model: EnECGModel) -> None:
    """Refuse, before anything is computed, what a first stage of LoRA cannot do with a model.

    Raises:
        RecipeError: if there is nothing to adapt, or a new task of a trained model would have random final layers.
    """
    stage, settings = next(iter(recipe.stages.items()))
    if stage != "lora_heads":
        return
    changes = lora_settings(settings)
    if recipe.model is not None and changes.final_layers != "whole":
        base = EnECGModel.config_class.from_pretrained(recipe.model)
        new = sorted(model.tasks.keys() - {task["name"] for task in base.tasks})
        if new:
            raise RecipeError(
                f"stages.{stage}.final_layers: must be whole: the model lacks the tasks {', '.join(new)}."
            )
    try:
        lora_layers(model, changes)
    except ValueError as error:
        raise RecipeError(f"stages.{stage}: {error}") from error


def _bring_to_tasks(model: EnECGModel, tasks: list[Task]) -> None:
    """Give a trained model these tasks and no others, in place.

    A task that it has keeps its heads, gate and target statistics; a new one starts like another, with final layers of
    its own.

    Raises:
        ValueError: if a task of the same name has other outputs.
    """
    like = missing_tasks(model, [task.name for task in tasks])
    for task in tasks:
        known = model.tasks.get(task.name)
        if known is None:
            model.add_task(task, like=like[task.name])
        elif (known.problem_type, known.output_names) != (task.problem_type, task.output_names):
            raise ValueError(
                f"its task {task.name!r} has the outputs {', '.join(known.output_names)}; the data have "
                f"{', '.join(task.output_names)}. Give the new task another name."
            )
    for name in model.tasks.keys() - {task.name for task in tasks}:
        model.remove_task(name)


def _new_backbone(name: str, config: dict[str, Any]) -> ECGBackboneModel:
    fields = dict(config)
    model_class = backbone_class(fields.pop("model_type", None))
    known = [field.name for field in dataclasses.fields(cast(Any, model_class.config_class))]
    for key in fields:
        if key not in known:
            raise RecipeError(f"Unknown key experts.{name}.config.{key}.{suggest(key, known)}")
    return model_class(model_class.config_class(**fields))


def build_extractor(model: EnECGModel) -> ECGFeatureExtractor | EnECGFeatureExtractor:
    """Return a model's feature extractor.

    Raises:
        RecipeError: if one that was saved with a model or an expert cannot be loaded.
    """
    try:
        return model.feature_extractor()
    except (OSError, ValueError) as error:
        raise RecipeError(f"model: its feature extractor cannot be loaded: {' '.join(str(error).split())}") from error
