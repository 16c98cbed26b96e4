"""One thin `Trainer` subclass per way of training."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput
from transformers.utils import logging

from ..adapters import AdapterBase
from ..configuration_enecg import Task
from ..data.augmented_records import AugmentedRecords
from ..data.prepared import FeatureRecords, SignalRecords
from ..data.preparing import mean_over_windows
from ..data.streaming import SetEpoch, StreamedBatches
from ..evaluation import score_predictions
from ..losses import task_loss
from ..modeling_enecg import EnECGModel
from ..runs.run import Run
from .arguments import StageArguments
from .checkpoints import SealCheckpoint

Records = SignalRecords | FeatureRecords

logger = logging.get_logger(__name__)


class DivergenceError(ValueError):
    """A training whose loss or outputs are not finite any more."""


class StopAfterEpoch(TrainerCallback):
    """End a training with an epoch, in the middle of its schedule."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop if it was the last one."""
        if round(state.epoch or 0) >= self.epoch:
            control.should_training_stop = True


@dataclass(frozen=True)
class StagePlace:
    """Where a stage stands in its run.

    Attributes:
        run (`Run`): The run.
        extractor (`Any`): The model's feature extractor.
        experts (`str`): How the model's experts can be saved before the stage, `"value"` or `"reference"`.
        base (`AdapterBase`, *optional*): The trained model that the stage adapts, if nothing has changed it yet.
    """

    run: Run
    extractor: Any
    experts: str
    base: AdapterBase | None = None


class FindBestCheckpoint(TrainerCallback):
    """Look for the best epoch's checkpoint where the run lies now: it may have been moved since it was killed."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Replace the absolute path that a resumed state remembers."""
        path = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if path.is_dir():
            state.best_model_checkpoint = str(path)


class EnECGTrainer(Trainer):
    """Train an [`EnECGModel`]; subclasses say what is trainable, and what else a way of training needs.

    Where the validation fold gives no score, because no task has records of both kinds there, its loss picks the best
    epoch.

    Attributes:
        falls_back_on_loss (`bool`): Whether that is so.

    Args:
        model ([`EnECGModel`]): The model, which is configured for this way of training.
        args ([`StageArguments`]): Settings of the stage.
        train_dataset (`Dataset`): Items that `torch.utils.data.default_collate` joins to the model's arguments, or a
            stream's batches.
        eval_dataset (`SignalRecords` or `FeatureRecords`): The validation fold, which picks the best epoch.
    """

    model: EnECGModel
    args: StageArguments

    def __init__(
        self,
        model: EnECGModel,
        args: StageArguments,
        train_dataset: Records | AugmentedRecords | StreamedBatches,
        eval_dataset: Records,
    ):
        AcceleratorState._reset_state()  # a stage before may have had another precision
        self.configure_model(model, args)
        model.set_lead_dropout(args.lead_dropout)
        has_scores = has_score(model.tasks.values(), eval_dataset.split.labels)
        self.falls_back_on_loss = args.metric_for_best_model == "score" and not has_scores
        if self.falls_back_on_loss:
            args.metric_for_best_model, args.greater_is_better = "loss", False
        callbacks: list[TrainerCallback] = [FindBestCheckpoint(), SealCheckpoint()]
        if isinstance(train_dataset, StreamedBatches | AugmentedRecords):
            callbacks.append(SetEpoch(train_dataset))
        if args.last_epoch is not None:
            callbacks.append(StopAfterEpoch(args.last_epoch))
        if args.early_stopping_patience is not None:
            callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=default_collate,
            compute_metrics=self._score,
            callbacks=callbacks,
        )

    @staticmethod
    def check(model: EnECGModel, args: Any, is_first: bool, new_tasks: Sequence[str]) -> None:
        """Refuse, before anything is computed, what this way of training cannot do with a model.

        Args:
            model ([`EnECGModel`]): The model, before any stage.
            args ([`StageArguments`]): Settings of the stage.
            is_first (`bool`): Whether no other stage comes before.
            new_tasks (`Sequence[str]`): Tasks that a trained model lacked.

        Raises:
            ValueError: with the reason.
        """

    @staticmethod
    def freezes_experts(args: Any) -> bool:
        """Whether the stage leaves the experts as they are."""
        return False

    @classmethod
    def repeats_features(cls, args: Any) -> bool:
        """Whether the experts give the same features in every epoch, so that they need computing only once."""
        return cls.freezes_experts(args) and not args.varies_records

    @classmethod
    def before(cls, model: EnECGModel, place: StagePlace) -> Any:
        """Do what must precede the configuration of the model; what it returns is given to `after`."""

    def after(self, place: StagePlace, prepared: Any) -> None:
        """Write what the stage leaves behind beside its model, in the main process."""

    @staticmethod
    def files_with_tasks(run: Run) -> list[Path]:
        """Return the JSON files, beside the model's own, that repeat the tasks."""
        return []

    def configure_model(self, model: EnECGModel, args: Any) -> None:
        """Set what is trainable and how it is regularised."""
        raise NotImplementedError

    def restore_model(self) -> None:
        """Leave a plain model behind, once the stage is over."""

    def scores_at_start(self) -> dict[str, float]:
        """Return `score` and `loss` on the validation fold before any step; the training is the same without."""
        scores = self.evaluate()
        set_seed(self.args.seed)  # reading the records drew random numbers
        return {name: scores[f"eval_{name}"] for name in ("score", "loss")}

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> RandomSampler:
        """Draw as many records per epoch as fill whole batches.

        Several processes and accumulation steps then share every batch as one process would hold it.
        """
        records: Sized = cast(Sized, self.train_dataset if train_dataset is None else train_dataset)
        batch_size = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        return RandomSampler(records, num_samples=len(records) // batch_size * batch_size)

    def get_train_dataloader(self) -> DataLoader:
        """Take a stream's batches as they are: each process has its own already."""
        if isinstance(self.train_dataset, StreamedBatches):
            return DataLoader(self.train_dataset, batch_size=None)
        return super().get_train_dataloader()

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Score records, not windows, and take the loss of all at once, whatever the batches and processes."""
        self._evaluated_ids = cast(Records, dataloader.dataset).split.records["ecg_id"][:]
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        if output.metrics is not None and f"{prefix}_loss" in output.metrics:
            output.metrics[f"{prefix}_loss"] = evaluation_loss(list(self.model.tasks.values()), output)
        return output

    def _score(self, prediction: EvalPrediction) -> dict[str, float]:
        logits = cast(tuple[Mapping[str, np.ndarray], ...], prediction.predictions)[0]
        if not all(np.isfinite(values).all() for values in logits.values()):
            self._stop_diverged("outputs on the validation fold are")
        return evaluation_scores(list(self.model.tasks.values()), prediction, self._evaluated_ids)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as transformers does, and stop where the loss is not finite."""
        if not math.isfinite(logs.get("loss", 0.0)):
            self._stop_diverged("loss is")
        super().log(logs, *args, **kwargs)

    def _stop_diverged(self, what: str) -> None:
        raise DivergenceError(
            f"the training diverged in epoch {math.ceil(self.state.epoch or 0)}: the {what} not finite. Lower "
            f"learning_rate ({self.args.learning_rate:g}), or raise warmup_steps ({self.args.warmup_steps:g})."
        )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Make an optimizer whose learning rate decays from the heads down to the experts' first layers."""
        if self.optimizer is None:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = parameter_groups(
                self.model, self.args.learning_rate, self.args.weight_decay, self.args.layer_decay
            )
            self.optimizer = optimizer_class(groups, **options)
        return super().create_optimizer(model)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: transformers' estimate is for token sequences and does not hold here."""
        return 0


class LinearProbingTrainer(EnECGTrainer):
    """Train heads and gates on frozen experts, which stay in eval mode."""

    @staticmethod
    def check(model: EnECGModel, args: Any, is_first: bool, new_tasks: Sequence[str]) -> None:
        """Refuse heads that pool tokens: what trains them is not linear probing."""
        if model.config.pools_tokens:
            raise ValueError("heads that pool tokens by attention train by attentive_probing.")

    def configure_model(self, model: EnECGModel, args: Any) -> None:
        """Freeze the experts."""
        model.requires_grad_(True)
        model.freeze_experts()
        model.set_head_dropout(args.dropout)

    @staticmethod
    def freezes_experts(args: Any) -> bool:
        """Return True."""
        return True

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Leave frozen experts out of checkpoints: they may be a thousand times larger than what trains."""
        own = self.model.state_dict() if state_dict is None else state_dict
        super()._save(output_dir, {name: value for name, value in own.items() if not _is_frozen(name)})

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Accept that a checkpoint has no frozen experts, and nothing else."""
        lacking = [name for name in load_result.missing_keys if not _is_frozen(name)]
        if lacking or load_result.unexpected_keys:
            raise RuntimeError(
                f"A checkpoint does not fit the model: lacks {lacking}, has {load_result.unexpected_keys}."
            )


class AttentiveProbingTrainer(LinearProbingTrainer):
    """Train heads that pool tokens by attention, and gates, on frozen experts, which stay in eval mode."""

    @staticmethod
    def check(model: EnECGModel, args: Any, is_first: bool, new_tasks: Sequence[str]) -> None:
        """Refuse heads that do not pool tokens."""
        if not model.config.pools_tokens:
            raise ValueError("needs heads that pool tokens by attention: set ensemble.pooling to attention.")


def _is_frozen(name: str) -> bool:
    return name.startswith("experts.") and ".lora_" not in name


class FineTuningTrainer(EnECGTrainer):
    """Train all weights; with `drop_path_rate` above 0 this is the second stage of post-training."""

    def configure_model(self, model: EnECGModel, args: Any) -> None:
        """Unfreeze the experts and set stochastic depth."""
        model.requires_grad_(True)
        model.unfreeze_experts()
        model.set_drop_path_rate(args.drop_path_rate)
        model.set_head_dropout(args.dropout)


def evaluation_scores(tasks: Sequence[Task], prediction: EvalPrediction, ids: Sequence[Any]) -> dict[str, float]:
    """Score an evaluation for logs, early stopping and the choice of the best epoch.

    Args:
        tasks (`Sequence[Task]`): The model's tasks.
        prediction (`EvalPrediction`): Outputs and labels of windows.
        ids (`Sequence`): Each window's record.
    """
    logits, *_ = cast(tuple[Any, ...], prediction.predictions)
    rows, (means,) = mean_over_windows(ids, logits)
    targets = {name: each[rows] for name, each in cast(dict[str, Any], prediction.label_ids).items()}
    return score_predictions(tasks, means, targets)


def evaluation_loss(tasks: Sequence[Task], output: EvalLoopOutput) -> float:
    """Return the loss over all windows of an evaluation, each label counting alike."""
    logits = cast(tuple[Mapping[str, np.ndarray], ...], output.predictions)[0]
    labels = cast(Mapping[str, np.ndarray], output.label_ids)
    losses = [
        task.loss_weight * task_loss(task, torch.from_numpy(logits[task.name]), torch.from_numpy(labels[task.name]))
        for task in tasks
    ]
    return float(torch.stack(losses).sum())


def has_score(tasks: Iterable[Task], labels: Mapping[str, np.ndarray]) -> bool:
    """Whether records tell good outputs from bad ones: of some task's output they have different targets."""
    return any(np.ptp(known) > 0 for task in tasks for known in _known_targets(labels[task.name]))


def _known_targets(targets: np.ndarray) -> list[np.ndarray]:
    """Return, output by output, the targets that are known, if there are any."""
    columns = targets.reshape(len(targets), -1).T
    return [known for column in columns if (known := column[~np.isnan(column)]).size]


def parameter_groups(
    model: EnECGModel, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Split the trainable parameters by learning rate and weight decay.

    Heads and gates learn at `learning_rate`; an expert's last layer group at `layer_decay` times that, the one below
    at `layer_decay` squared, and so on. Vectors (biases, norms) and embeddings have no weight decay.

    Args:
        model ([`EnECGModel`]): The model.
        learning_rate (`float`): Learning rate of heads and gates.
        weight_decay (`float`): Weight decay of matrices.
        layer_decay (`float`): Factor from one layer group to the one below.

    Returns:
        `list[dict]`: Parameter groups of a torch optimizer.
    """
    depths = {
        f"experts.{name}.{prefix}": len(groups) - index
        for name, expert in model.backbones.items()
        for groups in [expert.layer_groups()]
        for index, prefixes in enumerate(groups)
        for prefix in prefixes
    }
    by_settings: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = next((depth for prefix, depth in depths.items() if name.startswith(prefix)), 0)
            decays = parameter.ndim > 1 and "embeddings" not in name.rsplit(".", 1)[-1]
            settings = (learning_rate * layer_decay**depth, weight_decay if decays else 0.0)
            by_settings.setdefault(settings, []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in by_settings.items()
    ]


__all__ = [
    "AttentiveProbingTrainer",
    "DivergenceError",
    "EnECGTrainer",
    "FineTuningTrainer",
    "LinearProbingTrainer",
    "StagePlace",
    "parameter_groups",
]
