"""Settings of one stage of a recipe: transformers' `TrainingArguments` and a few of our own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from ..adapters import FINAL_LAYERS, LoraSettings


@dataclass
class StageArguments(TrainingArguments):
    """Settings of a stage; every field of `TrainingArguments` is one, with these defaults changed or added.

    Each epoch ends with an evaluation and a checkpoint, and the stage ends with the epoch that scored best on the
    validation fold.

    Args:
        global_batch_size (`int`): Records a step, over all processes and accumulation steps.
        drop_path_rate (`float`): Stochastic depth of the last residual block of every expert; 0 at the first.
        dropout (`float`): Dropout in the heads.
        lead_dropout (`float`): Probability of each lead to be missing from a training record, so that the model gets
            along with fewer; 0.5 in ECG-FM's pre-training. One lead at least stays.
        layer_decay (`float`): Factor on the learning rate from each layer group to the one below; 1 for none.
        early_stopping_patience (`int`, *optional*): Stop after so many epochs without a better validation score.
    """

    global_batch_size: int = field(default=256, metadata={"help": "Records a step, over all processes."})
    drop_path_rate: float = field(default=0.0, metadata={"help": "Stochastic depth of the last residual block."})
    dropout: float = field(default=0.0, metadata={"help": "Dropout in the heads."})
    lead_dropout: float = field(default=0.0, metadata={"help": "Probability of a lead to be missing in training."})
    layer_decay: float = field(default=1.0, metadata={"help": "Learning-rate factor a layer group downwards."})
    early_stopping_patience: int | None = field(default=None, metadata={"help": "Epochs without improvement."})

    lr_scheduler_type: str = field(default="cosine")
    eval_strategy: str = field(default="epoch")
    save_strategy: str = field(default="epoch")
    logging_strategy: str = field(default="epoch")
    save_total_limit: int | None = field(default=1)
    load_best_model_at_end: bool = field(default=True)
    metric_for_best_model: str | None = field(default="score")
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


@dataclass
class LoraHeadArguments(StageArguments):
    """LoRA on the new layers, heads and gates, with rank, alpha and dropout of EnECG (arXiv 2511.22935).

    Args:
        lora_rank (`int`): Rank of an adapted layer's change.
        lora_alpha (`float`): The change is scaled by alpha / rank.
        lora_dropout (`float`): Dropout on what enters a change.
        use_dora (`bool`): Learn a layer's magnitude apart from its direction (arXiv 2402.09353).
        use_rslora (`bool`): Scale by alpha / sqrt(rank) instead (arXiv 2312.03732).
        final_layers (`str`): What becomes of each head's and gate's last layer: `"whole"`, trained whole, as fresh
            ones need; `"lora"`, adapted like the others, for trained ones; `"frozen"`.
        lora_experts (`bool`): Adapt the experts' attention as well; their features then change with every step.
    """

    lora_rank: int = field(default=LoraSettings.rank, metadata={"help": "Rank of a change."})
    lora_alpha: float = field(default=LoraSettings.alpha, metadata={"help": "Scale of a change, times the rank."})
    lora_dropout: float = field(default=LoraSettings.dropout, metadata={"help": "Dropout on what enters a change."})
    use_dora: bool = field(default=LoraSettings.use_dora, metadata={"help": "Learn magnitudes apart from directions."})
    use_rslora: bool = field(default=LoraSettings.use_rslora, metadata={"help": "Scale by alpha / sqrt(rank)."})
    final_layers: str = field(default=LoraSettings.final_layers, metadata={"help": "whole, lora or frozen."})
    lora_experts: bool = field(
        default=LoraSettings.experts, metadata={"help": "Adapt the experts' attention as well."}
    )

    learning_rate: float = field(default=1e-3)
    weight_decay: float = field(default=0.01)
    num_train_epochs: float = field(default=30)

    def __post_init__(self) -> None:
        """Complete the settings.

        Raises:
            ValueError: if settings contradict each other, or `final_layers` is not one of its choices.
        """
        super().__post_init__()
        if self.final_layers not in FINAL_LAYERS:
            raise ValueError(f"final_layers must be one of {', '.join(FINAL_LAYERS)}; got {self.final_layers!r}.")
        if self.lora_rank < 1:
            raise ValueError(f"lora_rank must be at least 1; got {self.lora_rank}.")


def lora_settings(stage: Mapping[str, Any]) -> LoraSettings:
    """Return what an adapter is to change, from the fields of a stage; those that are not there have their default."""
    fields = {"lora_rank": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout", "lora_experts": "experts"}
    fields |= {name: name for name in ("use_dora", "use_rslora", "final_layers")}
    return LoraSettings(**{ours: stage[name] for name, ours in fields.items() if name in stage})
