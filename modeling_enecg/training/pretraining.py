"""Pre-training as a way of training: its settings by objective, and its trainer."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from ..pretraining import Objective
from ..runs.processes import of_main_process
from .arguments import StageArguments, as_before, setting
from .limits import COUNT, INNER_SHARE, NOT_NEGATIVE, SHARE
from .record_trainer import RecordTrainer, TrainingRecords, decays

logger = logging.get_logger(__name__)

# Settings of every stage that speak of heads, labels, or scores that choose.
_NOT_MEANT = ("dropout", "lead_dropout", "mixup", "layer_decay", "early_stopping_patience", "metric_for_best_model")


@dataclass
class PretrainingArguments(StageArguments):
    """Settings of a pre-training, whose last epoch counts: no label, and no validation record, chooses anything."""

    watch_epochs: int = setting(
        10, "Probe the features before the first epoch, after every so many, and at the end.", COUNT
    )
    collapse_rank: float = setting(
        2.0, "Features whose effective rank is below this are said to have collapsed.", NOT_NEGATIVE
    )

    eval_strategy: str = field(default="no")
    max_grad_norm: float = field(default=0.0)  # none
    load_best_model_at_end: bool = field(default=False)
    weight_decay: float = field(default=0.05)

    def __post_init__(self) -> None:
        """Complete the settings.

        Raises:
            ValueError: if settings contradict each other, or a setting cannot be meant.
        """
        defaults = {item.name: item.default for item in fields(StageArguments)}
        for name in _NOT_MEANT:
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"{name}: leave it out: a pre-training has neither labels nor a score that chooses.")
        super().__post_init__()


@dataclass
class ContrastivePredictiveCodingArguments(PretrainingArguments):
    """Contrastive predictive coding, as arXiv 2509.25095 pre-trained ECG-CPC."""

    steps_ahead: int = setting(14, "How many tokens ahead is predicted.", COUNT)
    num_negatives: int = setting(128, "Tokens of the same recording that the right one is told from.", COUNT)
    global_batch_size: int = as_before(StageArguments, "global_batch_size", 64)

    learning_rate: float = field(default=1e-3)
    lr_scheduler_type: str = field(default="constant")
    weight_decay: float = field(default=1e-3)
    num_train_epochs: float = field(default=200)


@dataclass
class MaskedReconstructionArguments(PretrainingArguments):
    """Masked reconstruction, as the repository of ST-MEM (arXiv 2402.09450) sets it up."""

    mask_ratio: float = setting(0.75, "Share of each lead's patches that are taken out.", INNER_SHARE)
    normalize_patches: bool = setting(True, "Reconstruct each patch brought to mean 0 and variance 1.")
    decoder_size: int = setting(256, "Width of the decoder, which is thrown away.", COUNT)
    decoder_layers: int = setting(4, "Its blocks.", COUNT)
    decoder_heads: int = setting(4, "Its attention heads.", COUNT)

    num_train_epochs: float = field(default=10)
    learning_rate: float = field(default=1.5e-4)
    adam_beta2: float = field(default=0.95)
    weight_decay: float = field(default=0.01)
    warmup_steps: float = field(default=0.3)


@dataclass
class JointEmbeddingPredictionArguments(PretrainingArguments):
    """Joint-embedding prediction, as the repository of ECG-JEPA (arXiv 2410.08559) sets it up."""

    drop_path_rate: float = as_before(StageArguments, "drop_path_rate", 0.1)
    mask_type: str = setting("block", "What is taken out: block, four stretches of patches; random, patches anywhere.")
    smallest_mask: float | None = setting(
        None, "Smallest share of a stretch, or of random patches; 0.175 or 0.6 by default.", INNER_SHARE
    )
    largest_mask: float | None = setting(None, "Largest share; 0.225 or 0.7 by default.", INNER_SHARE)
    target_momentum: float = setting(
        0.996, "What a step keeps of the target encoder, at the start; it grows to 1.", SHARE
    )
    predictor_size: int = setting(384, "Width of the predictor, which is thrown away.", COUNT)
    predictor_layers: int = setting(6, "Its blocks.", COUNT)
    predictor_heads: int = setting(12, "Its attention heads.", COUNT)
    global_batch_size: int = as_before(StageArguments, "global_batch_size", 128)

    learning_rate: float = field(default=2.5e-5)
    num_train_epochs: float = field(default=100)
    warmup_steps: float = field(default=0.05)


class PretrainingTrainer(RecordTrainer):
    """Train an [`Objective`] on records whose labels it does not see.

    Args:
        model ([`Objective`]): The objective with its backbone.
        args ([`PretrainingArguments`]): Settings of the stage.
        train_dataset (`Dataset`): The records.
        watch (`Callable`): Gives what is to be logged of the backbone's features; called in the main process.
    """

    model: Objective
    args: PretrainingArguments

    def __init__(
        self,
        model: Objective,
        args: PretrainingArguments,
        train_dataset: TrainingRecords,
        watch: Callable[[], dict[str, float]],
    ):
        self._watch = watch
        super().__init__(train_dataset, [_Between(self)], model=model, args=args)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Leave the labels out."""
        return super()._prepare_inputs({name: value for name, value in inputs.items() if name != "labels"})

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Return the parameters with weight decay; the rule is that of the other stages."""
        return [name for name, parameter in model.named_parameters() if decays(name, parameter)]

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint of another model."""
        if load_result.missing_keys or load_result.unexpected_keys:
            raise RuntimeError(f"A checkpoint does not fit the model: {load_result}.")

    def watch(self) -> None:
        """Log how good the features are, and say so if they have collapsed."""
        found, is_log_due = of_main_process(self._watch), self.control.should_log
        self.log(dict(found))
        self.control.should_log = is_log_due  # the loss of the epoch is still to be logged
        is_collapse = self.state.global_step > 0 and found["effective_rank"] < self.args.collapse_rank
        if is_collapse and PartialState().is_main_process:
            logger.warning(
                "The features have collapsed: in epoch %d their effective rank is %.2f, below collapse_rank (%g).",
                *(round(self.state.epoch or 0), found["effective_rank"], self.args.collapse_rank),
            )


class _Between(TrainerCallback):
    """Do what an objective and its watch do between steps and epochs."""

    def __init__(self, trainer: PretrainingTrainer):
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Watch the features before anything is learnt; a resumed run has done so."""
        if state.global_step == 0:
            self.trainer.watch()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the objective follow."""
        self.trainer.model.after_step((state.global_step - 1) / state.max_steps)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Watch the features, now and then and at the end."""
        is_last = state.global_step >= state.max_steps
        if is_last or round(state.epoch or 0) % self.trainer.args.watch_epochs == 0:
            self.trainer.watch()


__all__ = [
    "ContrastivePredictiveCodingArguments",
    "JointEmbeddingPredictionArguments",
    "MaskedReconstructionArguments",
    "PretrainingArguments",
    "PretrainingTrainer",
]
