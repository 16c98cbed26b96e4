"""The model that a recipe starts from, and its feature extractor."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from huggingface_hub.errors import StrictDataclassError

from ..adapters import AdapterBase, adapter_base, missing_tasks
from ..backbones import backbone_class
from ..configuration_enecg import Task
from ..expert_references import load_expert
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..loading import model_type_of
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from ..runs.portable import check_place
from ..runs.shipped import find_model
from ..saved_extractor import read_extractor
from ..settings import SettingsError, suggest

Extractor = ECGFeatureExtractor | EnECGFeatureExtractor


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from; the fields of a recipe of the same names."""

    experts: dict[str, Any] = field(default_factory=dict)
    ensemble: dict[str, Any] = field(default_factory=dict)
    model: str | None = None


@dataclass(frozen=True)
class StartingModel:
    """A model before its first stage.

    Attributes:
        model (`EnECGModel`): The model, of the recipe's tasks.
        extractor (`Extractor`): Its feature extractor.
        base (`AdapterBase`, *optional*): The trained model that it was; None where heads and gates are all new.
        trained_tasks (`frozenset[str]`): Tasks that it was trained for.
    """

    model: EnECGModel
    extractor: Extractor
    base: AdapterBase | None = None
    trained_tasks: frozenset[str] = frozenset()

    @property
    def new_tasks(self) -> list[str]:
        """Tasks that a trained model lacked; none where all is new."""
        return [] if self.base is None else sorted(self.model.tasks.keys() - self.trained_tasks)


def starting_model(source: ModelSource, tasks: Sequence[Task]) -> StartingModel:
    """Build a model: new heads on its experts, or a trained EnECG model brought to the tasks.

    Args:
        source (`ModelSource`): Gives each expert as a folder, a Hub id, or a config for random weights; or a model.
        tasks (`Sequence[Task]`): The tasks.

    Raises:
        SettingsError: if an expert or the model cannot be loaded, or does not fit.
    """
    try:
        if source.model is not None:
            return _trained(source.model, tasks)
        for each in source.experts.values():
            if "path" in each:
                check_place(each["path"])
        experts = {
            name: each["path"] if "path" in each else _new_backbone(name, each["config"])
            for name, each in source.experts.items()
        }
        extractors = {
            name: _with_steps(experts[name], each["steps"]) for name, each in source.experts.items() if "steps" in each
        }
        model = EnECGModel.from_experts(experts, tasks, extractors, **source.ensemble)
    except SettingsError:
        raise
    except (StrictDataclassError, ValueError, TypeError, RuntimeError, OSError) as error:
        field_name = "experts" if source.model is None else "model"
        raise SettingsError(f"{field_name}: {' '.join(str(error).split())}") from error
    return StartingModel(model, _extractor_of(model))


def starting_backbone(source: ModelSource) -> tuple[ECGBackboneModel, ECGFeatureExtractor]:
    """Return a recipe's only expert, new or loaded, and its feature extractor.

    Raises:
        SettingsError: if it cannot be made or loaded.
    """
    ((name, expert),) = source.experts.items()
    try:
        if "path" in expert:
            check_place(expert["path"])
            backbone, extractor = load_expert(expert["path"]), read_extractor(expert["path"])
        else:
            backbone = _new_backbone(name, expert["config"])
            extractor = _with_steps(backbone, expert["steps"]) if "steps" in expert else None
    except SettingsError:
        raise
    except (StrictDataclassError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise SettingsError(f"experts.{name}: {' '.join(str(error).split())}") from error
    if isinstance(extractor, ECGFeatureExtractor):
        return backbone, extractor
    return backbone, ECGFeatureExtractor(**backbone.config.feature_extractor_settings())


def _trained(path: str, tasks: Sequence[Task]) -> StartingModel:
    place = find_model(path)
    model_type = model_type_of(place)
    if model_type != EnECGModel.config_class.model_type:
        raise ValueError(f"{path} holds a model of type {model_type!r}, not an EnECG model.")
    model = EnECGModel.from_pretrained(place)
    model.config._name_or_path = ""  # trackers are told the configuration, and a path names people
    base, trained_tasks = adapter_base(model, [task.name for task in tasks], path), frozenset(model.tasks)
    extractor = _extractor_of(model)
    _bring_to_tasks(model, tasks)
    return StartingModel(model, extractor, base, trained_tasks)


def _bring_to_tasks(model: EnECGModel, tasks: Sequence[Task]) -> None:
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
    known = [each.name for each in dataclasses.fields(cast(Any, model_class.config_class))]
    for key in fields:
        if key not in known:
            raise SettingsError(f"Unknown key experts.{name}.config.{key}.{suggest(key, known)}")
    return model_class(model_class.config_class(**fields))


def _with_steps(backbone: ECGBackboneModel, steps: Sequence[dict[str, Any]]) -> ECGFeatureExtractor:
    return ECGFeatureExtractor(**backbone.config.feature_extractor_settings() | {"steps": steps})


def _extractor_of(model: EnECGModel) -> Extractor:
    try:
        return model.feature_extractor()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"model: its feature extractor cannot be loaded: {reason}") from error


__all__ = ["Extractor", "ModelSource", "StartingModel", "starting_backbone", "starting_model"]
