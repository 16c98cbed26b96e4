"""Settings of one stage of a recipe: transformers' `TrainingArguments` and a few of our own."""

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments


@dataclass
class StageArguments(TrainingArguments):
    """Settings of a stage; every field of `TrainingArguments` is one, with these defaults changed or added.

    Each epoch ends with an evaluation and a checkpoint, and the stage ends with the epoch that scored best on the
    validation fold.

    Args:
        global_batch_size (`int`): Records a step, over all processes and accumulation steps.
        drop_path_rate (`float`): Stochastic depth of the last residual block of every expert; 0 at the first.
        dropout (`float`): Dropout in the heads.
        layer_decay (`float`): Factor on the learning rate from each layer group to the one below; 1 for none.
        early_stopping_patience (`int`, *optional*): Stop after so many epochs without a better validation score.
    """

    global_batch_size: int = field(default=256, metadata={"help": "Records a step, over all processes."})
    drop_path_rate: float = field(default=0.0, metadata={"help": "Stochastic depth of the last residual block."})
    dropout: float = field(default=0.0, metadata={"help": "Dropout in the heads."})
    layer_decay: float = field(default=1.0, metadata={"help": "Learning-rate factor a layer group downwards."})
    early_stopping_patience: int | None = field(default=None, metadata={"help": "Epochs without improvement."})

    lr_scheduler_type: str = field(default="cosine")
    eval_strategy: str = field(default="epoch")
    save_strategy: str = field(default="epoch")
    logging_strategy: str = field(default="epoch")
    save_total_limit: int | None = field(default=1)
    load_best_model_at_end: bool = field(default=True)
    metric_for_best_model: str | None = field(default="macro_auroc")
    greater_is_better: bool | None = field(default=True)
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
        super().__post_init__()
        schedule = self.lr_scheduler_kwargs if isinstance(self.lr_scheduler_kwargs, dict) else {}
        lowest = schedule.get("min_lr", 0)
        if 0 < lowest >= self.learning_rate:
            raise ValueError(
                f"learning_rate ({self.learning_rate}) must be above lr_scheduler_kwargs.min_lr ({lowest}), to which "
                "it falls."
            )


@dataclass
class LinearProbingArguments(StageArguments):
    """Linear probing as a public re-implementation of arXiv 2509.12991 (version 1) reports it."""

    learning_rate: float = field(default=5e-3)
    weight_decay: float = field(default=0.1)
    num_train_epochs: float = field(default=30)


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
    """Fine-tuning with stochastic depth, as a public re-implementation of arXiv 2509.12991 (version 1) reports it."""

    drop_path_rate: float = field(default=0.5)
    dropout: float = field(default=0.05)
