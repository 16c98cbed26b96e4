"""The backbones that can be an expert, by model type; here stands the one list of them.

A backbone of one's own joins it by `register_backbone`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, PreTrainedConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from .feature_extraction_ecg import ECGFeatureExtractor
from .modeling_backbone import ECGBackboneModel
from .modeling_dlinear import DLinearConfig, DLinearModel
from .modeling_ecgcpc import ECGCPCConfig, ECGCPCModel
from .modeling_ecgfm import ECGFMConfig, ECGFMModel
from .modeling_ecgfounder import ECGFounderConfig, ECGFounderModel
from .modeling_ecgjepa import ECGJEPAConfig, ECGJEPAModel
from .modeling_hubertecg import HuBERTECGConfig, HuBERTECGModel
from .modeling_moment import MomentConfig, MomentModel
from .modeling_stmem import STMEMConfig, STMEMModel
from .modeling_tempo import TempoConfig, TempoModel
from .modeling_timesnet import TimesNetConfig, TimesNetModel
from .modeling_xresnet1d import XResNet1dConfig, XResNet1dModel

# A table of our own: under `trust_remote_code` the Auto classes do not know these types inside a composite model.
BACKBONES: dict[str, type[ECGBackboneModel]] = {
    model_class.config_class.model_type: model_class
    for model_class in (
        DLinearModel,
        ECGCPCModel,
        ECGFMModel,
        ECGFounderModel,
        ECGJEPAModel,
        HuBERTECGModel,
        MomentModel,
        STMEMModel,
        TempoModel,
        TimesNetModel,
        XResNet1dModel,
    )
}
_OWN_FILES_TRAVEL = frozenset(BACKBONES)  # this file imports them, so that their code is saved wherever this one's is


def backbone_class(model_type: str | None) -> type[ECGBackboneModel]:
    """Return the model class of a backbone's model type.

    Raises:
        ValueError: if there is no such backbone.
    """
    if not isinstance(model_type, str) or model_type not in BACKBONES:
        raise ValueError(
            f"No backbone has the model type {model_type!r}; there are: {', '.join(BACKBONES)}. One of your own must "
            "be known first: call register_backbone, or load a model that brings its code with trust_remote_code=True."
        )
    return BACKBONES[model_type]


def register_backbone(config_class: type[PreTrainedConfig], model_class: type[ECGBackboneModel]) -> None:
    """Let a backbone be an expert, and the Auto classes of transformers know it.

    Args:
        config_class (`type[PreTrainedConfig]`): A subclass of [`ECGBackboneConfig`] with a `model_type` of its own.
        model_class (`type[ECGBackboneModel]`): Its model. So that the code travels with a saved model, both stand in
            one file that imports only the package's flat files, as `from modeling_enecg.modeling_backbone import ...`.

    Raises:
        TypeError: if `model_class` is not a backbone, or not of this config.
        ValueError: if there is another backbone of this model type.
    """
    # By name: a model's own code that was loaded from a folder has a base of its own there.
    is_backbone = any(base.__name__ == ECGBackboneModel.__name__ for base in model_class.__mro__)
    if not is_backbone or model_class.config_class is not config_class:
        raise TypeError(
            f"{model_class.__name__} must subclass ECGBackboneModel and name its config: "
            f"config_class = {config_class.__name__}."
        )
    known = BACKBONES.get(config_class.model_type)
    if known is not None and _source_of(known) != _source_of(model_class):
        raise ValueError(
            f"{known.__name__} has the model type {config_class.model_type!r} already; give {config_class.__name__} "
            "another."
        )
    BACKBONES[config_class.model_type] = model_class
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, model_class, exist_ok=True)
    AutoFeatureExtractor.register(config_class, ECGFeatureExtractor, exist_ok=True)
    config_class.register_for_auto_class()
    model_class.register_for_auto_class("AutoModel")


def _source_of(model_class: type) -> tuple[str, str]:
    """Return what stays the same of a class when its file is imported again."""
    return model_class.__name__, model_class.__module__.rpartition(".")[2]


def own_backbones(model_types: Iterable[str]) -> list[type[ECGBackboneModel]]:
    """Return those of some model types' classes that were registered, whose code has to be saved with a model."""
    return [BACKBONES[model_type] for model_type in dict.fromkeys(model_types) if model_type not in _OWN_FILES_TRAVEL]


def code_reference(model_class: type[ECGBackboneModel]) -> dict[str, str]:
    """Return where a saved model holds the code of a backbone, in the form of transformers' `auto_map`."""
    return {
        auto_class: f"{each.__module__.rpartition('.')[2]}.{each.__name__}"
        for auto_class, each in (("AutoConfig", model_class.config_class), ("AutoModel", model_class))
    }


def register_travelled(place: str, experts: Mapping[str, Mapping[str, Any]], **hub_options: Any) -> None:
    """Register the backbones whose code a saved model brings; the caller has been told to trust it.

    Args:
        place (`str`): The model's folder or Hub id.
        experts (`Mapping[str, dict]`): From each expert's name to its backbone's configuration.
        hub_options: As in transformers' `from_pretrained`.
    """
    for fields in experts.values():
        if fields.get("model_type") not in BACKBONES and "auto_map" in fields:
            model_class: Any = get_class_from_dynamic_module(fields["auto_map"]["AutoModel"], place, **hub_options)
            register_backbone(model_class.config_class, model_class)


__all__ = [
    "BACKBONES",
    "DLinearConfig",
    "DLinearModel",
    "ECGCPCConfig",
    "ECGCPCModel",
    "ECGFMConfig",
    "ECGFMModel",
    "ECGFounderConfig",
    "ECGFounderModel",
    "ECGJEPAConfig",
    "ECGJEPAModel",
    "HuBERTECGConfig",
    "HuBERTECGModel",
    "MomentConfig",
    "MomentModel",
    "STMEMConfig",
    "STMEMModel",
    "TempoConfig",
    "TempoModel",
    "TimesNetConfig",
    "TimesNetModel",
    "XResNet1dConfig",
    "XResNet1dModel",
    "register_backbone",
]
