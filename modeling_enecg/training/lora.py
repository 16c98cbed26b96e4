"""LoRA as a way of training: its settings, its trainer, and the adapter that it leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from peft import PeftModel
from transformers import set_seed

from ..adapters import (
    BASE_FOLDER,
    ENECG_FILE,
    FINAL_LAYERS,
    AdapterBase,
    LoraSettings,
    adapter_base,
    add_lora,
    lora_layers,
    save_adapter,
)
from ..modeling_enecg import EnECGModel
from ..runs.files import added_files
from ..runs.run import Run
from .arguments import StageArguments, setting
from .limits import COUNT, POSITIVE, RATE
from .trainers import LinearProbingTrainer, StagePlace


@dataclass
class LoraHeadArguments(StageArguments):
    """LoRA on the new layers, heads and gates, with rank, alpha and dropout of EnECG (arXiv 2511.22935)."""

    lora_rank: int = setting(LoraSettings.rank, "Rank of an adapted layer's change.", COUNT)
    lora_alpha: float = setting(LoraSettings.alpha, "The change is scaled by alpha / rank.", POSITIVE)
    lora_dropout: float = setting(LoraSettings.dropout, "Dropout on what enters a change.", RATE)
    use_dora: bool = setting(
        LoraSettings.use_dora, "Learn a layer's magnitude apart from its direction (arXiv 2402.09353)."
    )
    use_rslora: bool = setting(LoraSettings.use_rslora, "Scale by alpha / sqrt(rank) instead (arXiv 2312.03732).")
    final_layers: str = setting(
        LoraSettings.final_layers,
        "What becomes of each head's and gate's last layer: whole, trained whole, as fresh ones need; lora, adapted "
        "like the others, for trained ones; or frozen.",
    )
    lora_experts: bool = setting(
        LoraSettings.experts, "Adapt the experts' attention as well; their features then change with every step."
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

    def lora_settings(self) -> LoraSettings:
        """Return what an adapter is to change."""
        return LoraSettings(
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            use_dora=self.use_dora,
            use_rslora=self.use_rslora,
            final_layers=self.final_layers,
            experts=self.lora_experts,
        )


class LoraHeadTrainer(LinearProbingTrainer):
    """Train LoRA on heads and gates, as in EnECG (arXiv 2511.22935), and on the experts' attention where asked to.

    Attributes:
        adapted (`PeftModel`): The model with its adapter; afterwards the adapter is merged into the model.
    """

    adapted: PeftModel

    @staticmethod
    def check(model: EnECGModel, args: Any, is_first: bool, new_tasks: Sequence[str]) -> None:
        """Refuse a model without a layer to adapt, and random final layers that would be in no file."""
        changes = args.lora_settings()
        if is_first and new_tasks and changes.final_layers != "whole":
            raise ValueError(f"final_layers must be whole: the model lacks the tasks {', '.join(new_tasks)}.")
        lora_layers(model, changes if is_first else replace(changes, use_dora=False))  # zeros are only in fresh gates

    @staticmethod
    def freezes_experts(args: Any) -> bool:
        """Return whether the adapter leaves the experts alone."""
        return not args.lora_experts

    @classmethod
    def before(cls, model: EnECGModel, place: StagePlace) -> AdapterBase:
        """Describe the model that the adapter is made for; one that is nowhere yet is saved beside the adapter."""
        if place.base is not None:
            return place.base
        if PartialState().is_main_process:
            with added_files(place.run.adapter / BASE_FOLDER) as aside:
                model.save_pretrained(aside, experts=place.experts)
                place.extractor.save_pretrained(aside)
        return adapter_base(model, list(model.tasks))

    def after(self, place: StagePlace, prepared: AdapterBase) -> None:
        """Save the adapter."""
        if PartialState().is_main_process:
            save_adapter(self.adapted, place.run.adapter, prepared)

    @staticmethod
    def files_with_tasks(run: Run) -> list[Path]:
        """Return the adapter's own description."""
        return [run.adapter / ENECG_FILE]

    def configure_model(self, model: EnECGModel, args: Any) -> None:
        """Put an adapter into the model; nothing else trains."""
        set_seed(args.seed)  # the adapter is drawn alike, whatever was drawn before
        model.set_head_dropout(args.dropout)
        self.adapted = add_lora(model, args.lora_settings())

    def restore_model(self) -> None:
        """Merge the adapter into the model."""
        self.adapted.merge_and_unload()


__all__ = ["LoraHeadArguments", "LoraHeadTrainer"]
