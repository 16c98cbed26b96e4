"""Every public model, config and extractor, registered with the Auto classes of transformers, and the pipeline."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .. import backbones
from ..backbones import *  # noqa: F403
from ..configuration_enecg import EnECGConfig, Task
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..modeling_backbone import ECGBackboneConfig, ECGBackboneModel
from ..modeling_enecg import EnECGModel, EnECGOutput
from ..pipeline_ecg import PIPELINE_TASK, ECGClassificationPipeline

for _model in backbones.BACKBONES.values():
    backbones.register_backbone(_model.config_class, _model)
AutoConfig.register(EnECGConfig.model_type, EnECGConfig, exist_ok=True)
AutoModel.register(EnECGConfig, EnECGModel, exist_ok=True)
AutoFeatureExtractor.register(EnECGConfig, EnECGFeatureExtractor, exist_ok=True)
EnECGConfig.register_for_auto_class()
EnECGModel.register_for_auto_class("AutoModel")
for _extractor in (ECGFeatureExtractor, EnECGFeatureExtractor):
    _extractor.register_for_auto_class("AutoFeatureExtractor")
PIPELINE_REGISTRY.register_pipeline(PIPELINE_TASK, pipeline_class=ECGClassificationPipeline, pt_model=AutoModel)

__all__ = [
    "ECGBackboneConfig",
    "ECGBackboneModel",
    "ECGClassificationPipeline",
    "ECGFeatureExtractor",
    "EnECGConfig",
    "EnECGFeatureExtractor",
    "EnECGModel",
    "EnECGOutput",
    "Task",
]
__all__ += backbones.__all__
