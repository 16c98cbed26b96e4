"""The stages that a recipe can have: one row per way of training, and one per objective of pre-training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from transformers.utils import logging

from ..pretraining import ContrastivePredictiveCoding, JointEmbeddingPrediction, MaskedReconstruction, Objective
from ..settings import SettingsError
from .arguments import (
    AttentiveProbingArguments,
    FineTuningArguments,
    LinearProbingArguments,
    PostTrainingArguments,
    StageArguments,
)
from .lora import LoraHeadArguments, LoraHeadTrainer
from .pretraining import (
    ContrastivePredictiveCodingArguments,
    JointEmbeddingPredictionArguments,
    MaskedReconstructionArguments,
    PretrainingArguments,
)
from .tracking import tracked_name
from .trainers import AttentiveProbingTrainer, EnECGTrainer, FineTuningTrainer, LinearProbingTrainer

logger = logging.get_logger(__name__)


class Stage(NamedTuple):
    """A way of training.

    Attributes:
        arguments (`type[StageArguments]`): Its settings.
        trainer (`type[EnECGTrainer]`): What it does.
    """

    arguments: type[StageArguments]
    trainer: type[EnECGTrainer]


STAGES: dict[str, Stage] = {
    "linear_probing": Stage(LinearProbingArguments, LinearProbingTrainer),
    "attentive_probing": Stage(AttentiveProbingArguments, AttentiveProbingTrainer),
    "lora_heads": Stage(LoraHeadArguments, LoraHeadTrainer),
    "fine_tuning": Stage(FineTuningArguments, FineTuningTrainer),
    "post_training": Stage(PostTrainingArguments, FineTuningTrainer),
}


class PretrainingStage(NamedTuple):
    """A way of pre-training a backbone, a recipe of its own.

    Attributes:
        arguments (`type[PretrainingArguments]`): Its settings; the objective takes those that it knows by name.
        objective (`type[Objective]`): What the backbone learns.
    """

    arguments: type[PretrainingArguments]
    objective: type[Objective]


PRETRAINING: dict[str, PretrainingStage] = {
    "contrastive_predictive_coding": PretrainingStage(
        ContrastivePredictiveCodingArguments, ContrastivePredictiveCoding
    ),
    "masked_reconstruction": PretrainingStage(MaskedReconstructionArguments, MaskedReconstruction),
    "joint_embedding_prediction": PretrainingStage(JointEmbeddingPredictionArguments, JointEmbeddingPrediction),
}
EVERY_STAGE: dict[str, Stage | PretrainingStage] = {**STAGES, **PRETRAINING}


def stage_arguments(
    stage: str,
    settings: Mapping[str, Any],
    folder: Path,
    seed: int,
    num_records: int,
    last_epoch: int | None = None,
) -> StageArguments:
    """Return a stage's training arguments for this machine and number of processes.

    Args:
        stage (`str`): One of `EVERY_STAGE`.
        settings (`Mapping[str, Any]`): Its settings in a recipe.
        folder (`Path`): Where checkpoints go.
        seed (`int`): Of order, dropout and stochastic depth.
        num_records (`int`): Number of training records.
        last_epoch (`int`, *optional*): End with this epoch; by default the validation fold decides.

    Raises:
        SettingsError: if the global batch cannot be divided or is larger than the training fold, or settings
            contradict each other.
    """
    batch_size = _records_a_process(stage, settings, num_records)
    use_cpu = not torch.cuda.is_available()
    try:
        return EVERY_STAGE[stage].arguments(
            **{"run_name": tracked_name(folder.parent)} | dict(settings),
            output_dir=str(folder),
            seed=seed,
            last_epoch=last_epoch,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            use_cpu=use_cpu,
            ddp_backend="gloo" if use_cpu and PartialState().num_processes > 1 else None,
        )
    except ValueError as error:
        raise SettingsError(f"stages.{stage}: {error}") from error


def _records_a_process(stage: str, settings: Mapping[str, Any], num_records: int) -> int:
    """Return the batch size of one process and accumulation step; with few records, what they fill."""
    batch_size = settings.get("global_batch_size", EVERY_STAGE[stage].arguments.global_batch_size)
    shares = PartialState().num_processes * settings.get("gradient_accumulation_steps", 1)
    key = f"stages.{stage}.global_batch_size"
    if batch_size % shares:
        raise SettingsError(
            f"{key}: {batch_size} records cannot be shared by {shares} processes x accumulation steps."
        )
    if num_records < shares:
        raise SettingsError(f"{key}: {num_records} training records cannot be shared by {shares} processes.")
    if batch_size > num_records:
        lowered = num_records // shares * shares
        logger.warning("%s: lowered from %d to %d, as there are so few records.", key, batch_size, lowered)
        batch_size = lowered
    return batch_size // shares


__all__ = ["EVERY_STAGE", "PRETRAINING", "STAGES", "PretrainingStage", "Stage", "stage_arguments"]
