"""Settings of a stage: transformers' `TrainingArguments` and a few of our own, each described in its metadata."""

from dataclasses import dataclass, field, fields
from typing import Any, cast

from transformers import TrainingArguments

from ..data.augmentation import Augmentation
from ..runs.portable import without_machine_paths
from .limits import COUNT, NOT_NEGATIVE, RATE, SHARE, Range

CRITERIA = ("score", "loss")


def setting(default: Any, description: str, legal: Range | None = None) -> Any:
    """Return a field of our own with its help and, for a number, what it may be."""
    return field(default=default, metadata={"help": description} | ({} if legal is None else {"range": legal}))


def as_before(kind: Any, name: str, default: Any) -> Any:
    """Return a field that differs from that of a class above in its default alone."""
    return field(default=default, metadata=kind.__dataclass_fields__[name].metadata)


@dataclass
class StageArguments(TrainingArguments):
    """Settings of a stage; every field of `TrainingArguments` is one, with these defaults changed or added.

    Each epoch ends with an evaluation and a checkpoint, and the stage ends with the epoch that is best on the
    validation fold.
    """

    global_batch_size: int = setting(256, "Records per step, over all processes and accumulation steps.", COUNT)
    drop_path_rate: float = setting(
        0.0, "Stochastic depth of the last residual block of every expert; 0 at the first.", RATE
    )
    dropout: float = setting(0.0, "Dropout in the heads.", RATE)
    lead_dropout: float = setting(
        0.0, "Probability of each lead to be missing from a training record; one at least stays.", RATE
    )
    time_crop: float = setting(
        0.0,
        "Cut up to so many seconds off a training record's beginning or end, a new part in every epoch.",
        NOT_NEGATIVE,
    )
    amplitude_scale: float = setting(0.0, "Multiply a training record by a factor within this of 1.", RATE)
    baseline_wander: float = setting(
        0.0, "Add drift of 0.05 to 0.5 Hz to training records, at an electrode of up to so many mV.", NOT_NEGATIVE
    )
    power_line: float = setting(
        0.0, "Add a hum of 50 or 60 Hz to training records, at an electrode of up to so many mV.", NOT_NEGATIVE
    )
    gaussian_noise: float = setting(
        0.0, "Add white noise to training records, at an electrode of up to so many mV.", NOT_NEGATIVE
    )
    muscle_noise: float = setting(
        0.0, "Add noise of 20 to 150 Hz to training records, at an electrode of up to so many mV.", NOT_NEGATIVE
    )
    time_mask: float = setting(
        0.0, "Make a stretch of up to so many seconds flat in all leads of a training record.", NOT_NEGATIVE
    )
    mixup: float = setting(
        0.0, "Blend training records and their labels in pairs; both parameters of the shares' beta.", NOT_NEGATIVE
    )
    layer_decay: float = setting(1.0, "Factor on the learning rate from a layer group to the one below.", SHARE)
    early_stopping_patience: int | None = setting(None, "Stop after so many epochs without a better one.", COUNT)
    last_epoch: int | None = field(default=None)  # of the schedule, set by cross-validation: nothing is chosen then
    metric_for_best_model: str | None = setting(
        CRITERIA[0], "What picks the best epoch on the validation fold: score, the mean of AUROC and R², or loss."
    )

    lr_scheduler_type: str = field(default="cosine")
    eval_strategy: str = field(default="epoch")
    save_strategy: str = field(default="epoch")
    logging_strategy: str = field(default="epoch")
    logging_nan_inf_filter: bool = field(default=False)
    save_total_limit: int | None = field(default=2)  # the one before the newest, should that be damaged
    load_best_model_at_end: bool = field(default=True)
    restore_callback_states_from_checkpoint: bool = field(default=True)
    remove_unused_columns: bool = field(default=False)
    label_names: list[str] | None = field(default_factory=lambda: ["labels"])
    ddp_find_unused_parameters: bool | None = field(default=False)
    report_to: Any = field(default="tensorboard")

    def __post_init__(self) -> None:
        """Complete the settings as transformers does.

        Raises:
            ValueError: if settings contradict each other.
        """
        if self.metric_for_best_model not in CRITERIA:
            raise ValueError(
                f"metric_for_best_model must be one of {', '.join(CRITERIA)}; got {self.metric_for_best_model!r}."
            )
        if self.last_epoch is not None:
            self.eval_strategy, self.load_best_model_at_end, self.early_stopping_patience = "no", False, None
        self.greater_is_better = self.metric_for_best_model != "loss"
        super().__post_init__()
        schedule = self.lr_scheduler_kwargs if isinstance(self.lr_scheduler_kwargs, dict) else {}
        lowest = schedule.get("min_lr", 0)
        if 0 < lowest >= self.learning_rate:
            raise ValueError(
                f"learning_rate ({self.learning_rate}) must be above lr_scheduler_kwargs.min_lr ({lowest}), to which "
                "it falls."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as trackers of experiments are told them: of a path, which names people, the end."""
        return cast(dict[str, Any], without_machine_paths(super().to_dict()))

    @property
    def augmentation(self) -> Augmentation:
        """How training records are varied."""
        return Augmentation(**{item.name: getattr(self, item.name) for item in fields(Augmentation)})

    @property
    def varies_records(self) -> bool:
        """Whether a training record is another one in every epoch, so that its features cannot be stored."""
        return bool(self.augmentation) or self.lead_dropout > 0

    @property
    def precision(self) -> str:
        """What forward passes compute in: `"fp32"`, or under autocast `"bf16"` or `"fp16"`."""
        return "fp32" if self.mixed_precision == "no" else self.mixed_precision


@dataclass
class LinearProbingArguments(StageArguments):
    """Linear probing with the values of a public re-implementation of arXiv 2509.12991 (version 1)."""

    learning_rate: float = field(default=5e-3)
    weight_decay: float = field(default=0.1)
    num_train_epochs: float = field(default=30)


@dataclass
class AttentiveProbingArguments(StageArguments):
    """Attentive probing of frozen experts as the benchmark of arXiv 2509.25095 does it."""

    global_batch_size: int = as_before(StageArguments, "global_batch_size", 64)

    learning_rate: float = field(default=1e-3)
    lr_scheduler_type: str = field(default="constant")
    weight_decay: float = field(default=1e-3)
    num_train_epochs: float = field(default=100)


@dataclass
class FineTuningArguments(StageArguments):
    """Plain fine-tuning of all weights: the baseline, with the post-training's schedule."""

    learning_rate: float = field(default=5e-4)
    lr_scheduler_type: str = field(default="cosine_with_min_lr")
    lr_scheduler_kwargs: Any = field(default_factory=lambda: {"min_lr": 1e-5})
    weight_decay: float = field(default=0.05)
    num_train_epochs: float = field(default=50)


@dataclass
class PostTrainingArguments(FineTuningArguments):
    """Fine-tuning with stochastic depth (arXiv 2509.12991), at rates that a public re-implementation states."""

    drop_path_rate: float = as_before(StageArguments, "drop_path_rate", 0.5)
    dropout: float = as_before(StageArguments, "dropout", 0.05)
