"""Recordings before tiny models, for the tests of explanations."""

import numpy as np
import torch

from modeling_enecg import BACKBONES, EnECGModel
from modeling_enecg.explaining.scored_record import Output, ScoredRecord
from modeling_enecg.judged_recording import judge_recording
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord
from tests.helpers.inputs import with_random_weights
from tests.helpers.tiny_models import RHYTHM, tiny_backbone_configs

BEAT_S = 0.8  # between the R peaks of `beats`, the first of which is at half of it


def beats(seconds: float, sampling_rate: float = 500, leads: tuple[str, ...] = STANDARD_LEADS) -> ECGRecord:
    """A recording of equal beats, a narrow R peak and a T wave 250 ms later, of another height in each lead."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    phase = (times % BEAT_S) - BEAT_S / 2
    wave = np.exp(-((phase / 0.012) ** 2)) + 0.3 * np.exp(-(((phase - 0.25) / 0.05) ** 2))
    heights = {lead: 0.5 + 0.15 * row for row, lead in enumerate(STANDARD_LEADS)}
    noise = np.random.default_rng(0).normal(scale=0.005, size=(len(leads), len(times)))
    signal = np.stack([heights[lead] * wave for lead in leads]) + noise
    return ECGRecord(signal, sampling_rate, list(leads))


def tiny_model(model_type: str) -> EnECGModel:
    """One tiny expert with random weights, and one task."""
    torch.manual_seed(0)
    expert = BACKBONES[model_type](tiny_backbone_configs()[model_type])
    return EnECGModel.from_experts({"expert": with_random_weights(expert)}, [RHYTHM])


def scored(model: EnECGModel, recording: ECGRecord, task: str = "rhythm", index: int = 0) -> ScoredRecord:
    """A recording before a model, whatever its quality."""
    extractor = model.feature_extractor()
    judged = judge_recording(recording, extractor, force=True)
    return ScoredRecord(model, extractor, judged, recording.signal_mv.shape[1], Output(task, index))
