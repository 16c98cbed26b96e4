"""transformers' own tests of saving feature extractors, on that of every backbone and on an ensemble's.

Its tests of sequences are left out: they pad and cut records of different lengths by `pad`, and these extractors give
records of one length.
"""

import unittest
from typing import Any

from modeling_enecg import ECGFeatureExtractor, EnECGFeatureExtractor
from tests.helpers.suites import foreign_tests
from tests.helpers.tiny_models import tiny_backbone_configs

Saving = foreign_tests("transformers", "test_feature_extraction_common").FeatureExtractionSavingTestMixin


def suite_of(extractor_class: type, settings: dict[str, Any]) -> type:
    fields = {"feature_extraction_class": extractor_class, "feat_extract_dict": settings}
    return type("Suite", (Saving, unittest.TestCase), fields)


SETTINGS = {name: config.feature_extractor_settings() for name, config in tiny_backbone_configs().items()}
for model_type, settings in SETTINGS.items():
    globals()[f"Test{model_type}"] = suite_of(ECGFeatureExtractor, settings)
TestEnsemble = suite_of(
    EnECGFeatureExtractor,
    {"experts": {name: SETTINGS[f"enecg-{name}"] for name in ("ecgfounder", "tempo")}},
)
