"""EnECG: 12-lead ECG foundation models on the Hugging Face stack.

Importing this package registers its models and feature extractors with the Auto classes of transformers, and its
pipeline. What is saved takes the code along, so that `trust_remote_code=True` loads it where this package is not.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .backbones import BACKBONES
from .configuration_enecg import EnECGConfig, Task
from .feature_extraction_ecg import ECGFeatureExtractor
from .feature_extraction_enecg import EnECGFeatureExtractor
from .modeling_backbone import ECGBackboneModel
from .modeling_dlinear import DLinearConfig, DLinearModel
from .modeling_ecgfm import ECGFMConfig, ECGFMModel
from .modeling_ecgfounder import ECGFounderConfig, ECGFounderModel
from .modeling_ecgjepa import ECGJEPAConfig, ECGJEPAModel
from .modeling_enecg import EnECGModel, EnECGOutput
from .modeling_hubertecg import HuBERTECGConfig, HuBERTECGModel
from .modeling_moment import MomentConfig, MomentModel
from .modeling_stmem import STMEMConfig, STMEMModel
from .modeling_tempo import TempoConfig, TempoModel
from .modeling_timesnet import TimesNetConfig, TimesNetModel
from .modeling_xresnet1d import XResNet1dConfig, XResNet1dModel
from .pipeline_ecg import PIPELINE_TASK, ECGClassificationPipeline
from .version import __version__

_MODELS: tuple[type[EnECGModel] | type[ECGBackboneModel], ...] = (EnECGModel, *BACKBONES.values())
for _model in _MODELS:
    AutoConfig.register(_model.config_class.model_type, _model.config_class, exist_ok=True)
    AutoModel.register(_model.config_class, _model, exist_ok=True)
    AutoFeatureExtractor.register(_model.config_class, ECGFeatureExtractor, exist_ok=True)
    _model.config_class.register_for_auto_class()
    _model.register_for_auto_class("AutoModel")
AutoFeatureExtractor.register(EnECGConfig, EnECGFeatureExtractor, exist_ok=True)
for _extractor in (ECGFeatureExtractor, EnECGFeatureExtractor):
    _extractor.register_for_auto_class("AutoFeatureExtractor")
PIPELINE_REGISTRY.register_pipeline(PIPELINE_TASK, pipeline_class=ECGClassificationPipeline, pt_model=AutoModel)

__all__ = [
    "BACKBONES",
    "DLinearConfig",
    "DLinearModel",
    "ECGBackboneModel",
    "ECGClassificationPipeline",
    "ECGFMConfig",
    "ECGFMModel",
    "ECGFeatureExtractor",
    "ECGFounderConfig",
    "ECGFounderModel",
    "ECGJEPAConfig",
    "ECGJEPAModel",
    "EnECGConfig",
    "EnECGFeatureExtractor",
    "EnECGModel",
    "EnECGOutput",
    "HuBERTECGConfig",
    "HuBERTECGModel",
    "MomentConfig",
    "MomentModel",
    "STMEMConfig",
    "STMEMModel",
    "Task",
    "TempoConfig",
    "TempoModel",
    "TimesNetConfig",
    "TimesNetModel",
    "XResNet1dConfig",
    "XResNet1dModel",
    "__version__",
]
