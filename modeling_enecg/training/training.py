"""The stages of a run, one after the other; those that are done are not done again, and the best one is kept."""

import itertools
import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers.utils import CONFIG_NAME, logging

from ..data.augmented_records import AugmentedRecords
from ..data.prepared import FeatureRecords, SignalRecords
from ..data.streaming import StreamedBatches
from ..heads import feature_statistics
from ..modeling_enecg import EnECGModel
from ..runs.files import added_files, write_text
from ..runs.run import CHECKPOINTS, HISTORY, LOGS, PREDICTIONS, Run
from ..settings import SettingsError
from .arguments import StageArguments
from .building import StartingModel
from .checkpoints import last_sound_checkpoint
from .cost import CostMeter
from .feature_store import FeatureSettings, stored_features, stream_features, stream_statistics
from .run_data import RunData
from .stages import STAGES
from .trainers import DivergenceError, EnECGTrainer, StagePlace

logger = logging.get_logger(__name__)

NOVELTY_RECORDS = 1000  # enough for 16 axes, and for quantiles up to 99 %


@dataclass(frozen=True)
class Outcome:
    """What came of a run's stages.

    Attributes:
        kept (`str`): The stage whose model is the run's: the best one on the validation fold, of equal ones the first.
        trainer (`EnECGTrainer`): Its trainer, which holds the model.
        histories (`dict[str, dict[str, Any]]`): By stage, the fields of `StageInfo` and the trainer's `log`.
    """

    kept: str
    trainer: EnECGTrainer
    histories: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Training:
    """A model, its records and its stages, ready to train.

    Attributes:
        run (`Run`): Where everything is written.
        start (`StartingModel`): The model, which the stages train in turn, and where it comes from.
        data (`RunData`): The records.
        arguments (`Mapping[str, StageArguments]`): The stages in order.
        features (`FeatureSettings`): How features of frozen experts are kept.
        save_experts (`str`): How the models of the stages are saved, `"value"` or `"reference"`.
    """

    run: Run
    start: StartingModel
    data: RunData
    arguments: Mapping[str, StageArguments]
    features: FeatureSettings
    save_experts: str = "value"

    @property
    def model(self) -> EnECGModel:
        """The model as it is now."""
        return self.start.model

    def check(self) -> None:
        """Refuse, before anything is computed, what the stages cannot do.

        Raises:
            SettingsError: with the setting at fault.
        """
        for index, (stage, arguments) in enumerate(self.arguments.items()):
            try:
                STAGES[stage].trainer.check(self.model, arguments, index == 0, self.start.new_tasks)
                self._check_augmentation(arguments)
            except ValueError as error:
                raise SettingsError(f"stages.{stage}: {error}") from error
        if self.save_experts == "reference" and not self._may_refer(None):
            raise SettingsError(
                "save_experts: only experts that have a path and stay frozen can be saved by reference."
            )

    def _check_augmentation(self, arguments: StageArguments) -> None:
        """Refuse what the training records cannot be varied by."""
        if self.data.stream is None:
            arguments.augmentation.check_rate(self.data.splits["train"].raw.lowest_rate)
            return
        if arguments.mixup:
            raise ValueError("mixup: a stream gives one record after the other, and none to blend it with.")
        arguments.augmentation.check_rate(self.data.source.chosen_rate or math.inf)  # else each record is checked

    def fit_features(self) -> None:
        """Set the statistics by which the model standardises its experts' features."""
        if self.data.stream is not None:
            self.model.to(PartialState().device)
            statistics = stream_statistics(self.model, self.data.stream)
        else:
            records = self.feature_records("train")
            statistics = {name: feature_statistics(each, records.rows) for name, each in records.features.items()}
        self.model.set_feature_statistics(statistics)

    def train(self) -> Outcome:
        """Run every stage that is not done yet, and put the best one's model in its place.

        Raises:
            SettingsError: if a stage cannot be done, or diverges.
        """
        histories = {}
        for stage in self.arguments:
            trainer = self._run_stage(stage)
            histories[stage] = self.run.history(stage)
        kept = best_stage(histories)
        if stage != kept:
            trainer = self._restore(kept)
        self._fit_novelty(kept)
        PartialState().wait_for_everyone()  # until all have read what is put in its place
        if PartialState().is_main_process:
            self._put_in_place(kept, is_last=kept == stage)
        PartialState().wait_for_everyone()
        return Outcome(kept, trainer, histories)

    def dataset(self, stage: str, split: str) -> FeatureRecords | SignalRecords:
        """Return a split as a stage takes it: experts whose features stay the same need to run only once."""
        if self.features.feature_store and STAGES[stage].trainer.repeats_features(self.arguments[stage]):
            return self.feature_records(split)
        return SignalRecords(self.data.splits[split])

    def feature_records(self, split: str) -> FeatureRecords:
        """Return a split's stored features."""
        self.model.to(PartialState().device)
        features = stored_features(
            self.model, self.data.all_splits[split], self.features.folder, self.features.precision
        )
        return FeatureRecords(features, self.data.splits[split], self.data.rows[split])

    def _fit_novelty(self, stage: str) -> None:
        """Let the model tell what is unlike its training records, unless it can or never will.

        A model that was trained before keeps what it knows for as long as its experts stay the same.
        """
        if self.model.novelty is not None or self.model.is_sparse or self.model.config.pools_tokens:
            return
        self.model.to(PartialState().device)
        if self.data.stream is not None:
            known = stream_features(self.model, self.data.stream, NOVELTY_RECORDS)
            held_out = self._some_features(stage, "validation", np.arange(len(self.data.splits["validation"])))
        elif "validation" in self.data.splits:
            known, held_out = (
                self._some_features(stage, split, np.arange(len(self.data.splits[split])))
                for split in ("train", "validation")
            )
        else:  # with a final model's schedule all records train; every fifth patient then stays out of the Gaussian
            patients = self.data.splits["train"].records["patient_id"][:]
            is_held_out = np.unique(patients, return_inverse=True)[1] % 5 == 0
            known, held_out = (
                self._some_features(stage, "train", np.flatnonzero(is_part)) for is_part in (~is_held_out, is_held_out)
            )
        self.model.fit_novelty(known, held_out)

    def _some_features(self, stage: str, split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return features of a thousand windows at most: a stage's own, or computed."""
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), NOVELTY_RECORDS)).astype(int))]
        dataset = self.dataset(stage, split)
        if isinstance(dataset, FeatureRecords):
            return {name: values[dataset.rows[rows]] for name, values in dataset.features.items()}
        return stored_features(self.model, dataset.split.select(rows), self.features.folder, self.features.precision)

    def _run_stage(self, stage: str) -> EnECGTrainer:
        """Do a stage, or take its model where it is done; return its trainer."""
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.run.folder / LOGS / stage)
        folder, is_main = self.run.stage(stage), PartialState().is_main_process
        if (folder / HISTORY).exists():
            return self._restore(stage)
        place = self._place(stage)
        if STAGES[stage].trainer.freezes_experts(self.arguments[stage]):
            self._fit_novelty(stage)  # before an adapter's base is saved
        else:
            self.model.set_novelty(None)
        prepared = STAGES[stage].trainer.before(self.model, place)
        num_weights = self.model.num_parameters()  # without an adapter's
        trainer = self._trainer(stage)
        self._announce(stage, trainer, num_weights)
        meter = CostMeter()
        checkpoint = last_sound_checkpoint(folder / CHECKPOINTS)
        try:
            with trainer.tracked():
                start = self._scores_at_start(stage, trainer)
                trainer.train(resume_from_checkpoint=checkpoint)
        except DivergenceError as error:
            raise SettingsError(f"stages.{stage}: {error}") from error
        history = stage_history(trainer, start | meter.read())
        trainer.after(place, prepared)
        trainer.restore_model()
        if is_main:
            self._save(folder)
            write_text(folder / HISTORY, json.dumps(history, indent=2) + "\n")
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        PartialState().wait_for_everyone()
        return trainer

    def _trainer(self, stage: str) -> EnECGTrainer:
        arguments = self.arguments[stage]
        try:
            validation = self.dataset(stage, "validation" if arguments.last_epoch is None else "train")
            return STAGES[stage].trainer(self.model, arguments, self._training_records(stage), validation)
        except ValueError as error:
            raise SettingsError(f"stages.{stage}: {error}") from error

    def _training_records(self, stage: str) -> FeatureRecords | SignalRecords | AugmentedRecords | StreamedBatches:
        arguments = self.arguments[stage]
        if self.data.stream is not None:
            return StreamedBatches(self.data.stream, arguments.per_device_train_batch_size, arguments.augmentation)
        if arguments.augmentation:
            return AugmentedRecords(
                self.data.splits["train"], list(self.model.tasks.values()), arguments.augmentation, arguments.seed
            )
        return self.dataset(stage, "train")

    def _place(self, stage: str) -> StagePlace:
        is_first = stage == next(iter(self.arguments))
        experts = "reference" if self._may_refer(stage) else "value"
        return StagePlace(self.run, self.start.extractor, experts, self.start.base if is_first else None)

    def _may_refer(self, stage: str | None) -> bool:
        """Whether every expert is what a folder or the Hub holds, before a stage or at the end."""
        before = itertools.takewhile(lambda other: other != stage, self.arguments)
        return len(self.model.expert_sources) == len(self.model.experts) and all(
            STAGES[other].trainer.freezes_experts(self.arguments[other]) for other in before
        )

    def _announce(self, stage: str, trainer: EnECGTrainer, num_weights: int) -> None:
        if not PartialState().is_main_process:
            return
        trainable = self.model.num_parameters(only_trainable=True)
        logger.warning(
            "Stage %s: %d records, %d processes, %s.",
            *(stage, self.data.num_train, trainer.args.world_size, trainer.args.precision),
        )
        logger.warning(
            "%d parameters train, %.3f %% of the model's %d.", trainable, 100 * trainable / num_weights, num_weights
        )
        if trainer.falls_back_on_loss:
            logger.warning(
                "No task has validation records of both kinds, so that there is no score: the validation loss picks "
                "the best epoch."
            )

    def _scores_at_start(self, stage: str, trainer: EnECGTrainer) -> dict[str, Any]:
        """Return what a model that was trained before scores before it is adapted."""
        if self.start.base is None or stage != next(iter(self.arguments)):
            return {}
        scores = trainer.scores_at_start()
        return {f"start_{name}": value for name, value in scores.items() if value == value}

    def _restore(self, stage: str) -> EnECGTrainer:
        """Take the model of a stage that is done; return a trainer as it was."""
        self._load(stage)  # before its features are asked for
        trainer = self._trainer(stage)
        trainer.restore_model()
        self._load(stage)
        return trainer

    def _load(self, stage: str) -> None:
        done = EnECGModel.from_pretrained(self._model_folder(stage))
        self.model.set_novelty(done.novelty)
        self.model.load_state_dict(done.state_dict())
        for name, expert in done.backbones.items():
            self.model.backbones[name].set_drop_path_rate(expert.config.drop_path_rate)
            self.model.config.experts[name]["drop_path_rate"] = expert.config.drop_path_rate

    def _model_folder(self, stage: str) -> Path:
        """Return where the model of a stage that is done lies: in its folder, or in its place as the run's."""
        folder = self.run.stage(stage)
        return folder if (folder / CONFIG_NAME).exists() else self.run.folder

    def _save(self, folder: Path) -> None:
        with added_files(folder) as aside:
            self.model.save_pretrained(aside, experts=self.save_experts)
            self.start.extractor.save_pretrained(aside)

    def _put_in_place(self, stage: str, is_last: bool) -> None:
        """Let a stage's model be the run's; the last stage's is in no other place, since no stage needs it."""
        folder = self._model_folder(stage)
        if folder == self.run.folder:
            return
        self._save(self.run.folder)
        if is_last:
            (folder / CONFIG_NAME).unlink()  # from now on the model lies in the run's own folder
            _remove_files(folder, {HISTORY})


def remove_models(run: Run, stages: Iterable[str]) -> None:
    """Remove all that a run's stages left but their histories, and what is not a stage's."""
    for folder in (run.folder, *(run.stage(stage) for stage in stages)):
        _remove_files(folder, {HISTORY, PREDICTIONS})
    shutil.rmtree(run.adapter, ignore_errors=True)
    shutil.rmtree(run.folder / LOGS, ignore_errors=True)


def _remove_files(folder: Path, kept: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name not in kept:
            path.unlink()


def best_stage(histories: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the stage that is best on the validation fold: by the score, or by the loss where one lacks a score."""
    if all(history["best_score"] is not None for history in histories.values()):
        return max(histories, key=lambda stage: histories[stage]["best_score"])
    if all(history["best_loss"] is not None for history in histories.values()):
        return min(histories, key=lambda stage: histories[stage]["best_loss"])
    return list(histories)[-1]


def stage_history(trainer: EnECGTrainer, further: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is worth keeping of a stage that has ended, the fields of `StageInfo` and the `log`.

    Args:
        trainer (`EnECGTrainer`): Its trainer.
        further (`Mapping[str, Any]`): Further fields: what a `CostMeter` read, and scores at the start.
    """
    log = trainer.whole_log()
    best_step = trainer.state.best_global_step
    best: Mapping[str, Any] = next((each for each in log if "eval_loss" in each and each["step"] == best_step), {})
    return {
        "num_trainable": trainer.model.num_parameters(only_trainable=True),
        "num_epochs": round(trainer.state.epoch or 0),
        "best_epoch": round(best["epoch"]) if best else trainer.args.last_epoch,
        "best_score": best.get("eval_score"),
        "best_loss": best.get("eval_loss"),
        "chosen_by": trainer.args.metric_for_best_model,
        "precision": trainer.args.precision,
        **further,
        "log": log,
    }


__all__ = ["Outcome", "Training", "best_stage", "remove_models", "stage_history"]
