"""The backbones that can be an expert, by model type."""

from .modeling_backbone import ECGBackboneModel
from .modeling_dlinear import DLinearModel
from .modeling_ecgfm import ECGFMModel
from .modeling_ecgfounder import ECGFounderModel
from .modeling_ecgjepa import ECGJEPAModel
from .modeling_hubertecg import HuBERTECGModel
from .modeling_moment import MomentModel
from .modeling_stmem import STMEMModel
from .modeling_tempo import TempoModel
from .modeling_timesnet import TimesNetModel
from .modeling_xresnet1d import XResNet1dModel

# A table of our own: under `trust_remote_code` the Auto classes do not know these types inside a composite model.
BACKBONES: dict[str, type[ECGBackboneModel]] = {
    model_class.config_class.model_type: model_class
    for model_class in (
        DLinearModel,
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


def backbone_class(model_type: str | None) -> type[ECGBackboneModel]:
    """Return the model class of a backbone's model type.

    Raises:
        ValueError: if there is no such backbone.
    """
    if model_type not in BACKBONES:
        raise ValueError(f"No backbone has the model type {model_type!r}; there are: {', '.join(BACKBONES)}.")
    return BACKBONES[model_type]
