"""The feature extractor that lies beside a model, and the one that an ensemble's experts need together."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import FEATURE_EXTRACTOR_NAME, cached_file

from .feature_extraction_ecg import ECGFeatureExtractor
from .feature_extraction_enecg import EnECGFeatureExtractor, extractor_of
from .loading import place_and_revision


def read_extractor(place: str, **hub_options: Any) -> ECGFeatureExtractor | EnECGFeatureExtractor | None:
    """Return the feature extractor that was saved in a model's folder or Hub repository; None where there is none.

    Args:
        place (`str`): The folder or Hub id, also as `org/name@revision`.
        hub_options: As in transformers' `from_pretrained`.

    Raises:
        OSError: if it cannot be looked up.
        ValueError: if it is damaged, or of another kind.
    """
    place, revision = place_and_revision(place, hub_options.pop("revision", None))
    found = cached_file(
        place, FEATURE_EXTRACTOR_NAME, revision=revision, _raise_exceptions_for_missing_entries=False, **hub_options
    )
    if found is None:
        return None
    try:
        return extractor_of(json.loads(Path(found).read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{FEATURE_EXTRACTOR_NAME} in {place} cannot be used: {error}") from error


def joint_extractor(
    extractors: Mapping[str, ECGFeatureExtractor | EnECGFeatureExtractor], gate: Mapping[str, Any] | None
) -> ECGFeatureExtractor | EnECGFeatureExtractor:
    """Return one feature extractor for all experts; where their settings differ, one that has theirs in it.

    Args:
        extractors (`Mapping[str, ECGFeatureExtractor]`): Each expert's.
        gate (`Mapping`, *optional*): The settings of what gives a gate on the signal its input.
    """
    settings = {name: _settings(each) for name, each in extractors.items()}
    first = next(iter(settings.values()))
    if gate is None and all(other == first for other in settings.values()):
        return ECGFeatureExtractor(**first)
    return EnECGFeatureExtractor(settings, gate=gate)


def _settings(extractor: ECGFeatureExtractor | EnECGFeatureExtractor) -> dict[str, Any]:
    return {key: value for key, value in extractor.to_dict().items() if not key.endswith("_type")}


__all__ = ["joint_extractor", "read_extractor"]
