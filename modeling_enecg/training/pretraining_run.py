"""Pre-train a backbone as a recipe says: from records without labels to a folder with its card."""

import inspect
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from accelerate import PartialState
from transformers import set_seed
from transformers.utils import logging

from ..configuration_enecg import Task
from ..data.augmented_records import AugmentedRecords
from ..data.mixed_records import Mix, MixedRecords, joined_datasets
from ..data.prepared import SignalRecords, Split, Views
from ..data.preparing import load_splits
from ..data.sources import SPLITS, Source, find_source
from ..data.streaming import Stream, StreamedBatches
from ..data.targets import dataset_tasks
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..modeling_backbone import ECGBackboneModel
from ..pretraining import Objective
from ..reports.pretraining_report import write_pretraining_report
from ..runs.files import added_files, write_text
from ..runs.info import DatasetInfo
from ..runs.run import CHECKPOINTS, HISTORY, LOGS, Run
from ..settings import SettingsError
from .building import ModelSource, starting_backbone
from .checkpoints import last_sound_checkpoint
from .cost import CostMeter
from .describe import describe_pretraining
from .feature_watch import FeatureWatch
from .pretraining import PretrainingArguments, PretrainingTrainer
from .recipe import Recipe
from .record_trainer import DivergenceError, TrainingRecords
from .stages import PRETRAINING, stage_arguments

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Pretraining:
    """A backbone, what it learns, and its records, ready to train.

    Attributes:
        run (`Run`): Where everything is written.
        stage (`str`): The recipe's stage.
        objective (`Objective`): What the backbone learns.
        extractor (`ECGFeatureExtractor`): The backbone's feature extractor.
        arguments (`PretrainingArguments`): The stage's settings.
        source (`Source`): The dataset, of several the first.
        data_name (`str`): What the card calls all datasets together.
        train (`Split` or `Stream`): The records that train; neither those of validation, which are only watched, nor
            those of the test fold, which are not looked at.
        watch (`FeatureWatch`): Looks at the features.
        mix (`Mix`, *optional*): How the records of several datasets, which follow one another in `train`, are mixed.
    """

    run: Run
    stage: str
    objective: Objective
    extractor: ECGFeatureExtractor
    arguments: PretrainingArguments
    source: Source
    data_name: str
    train: Split | Stream
    watch: FeatureWatch
    mix: Mix | None = None

    @property
    def backbone(self) -> ECGBackboneModel:
        """The backbone."""
        return self.objective.backbone

    def digests(self) -> dict[str, dict[str, str]]:
        """Return a hash of the records that train; of a stream, which is never read whole, none."""
        return {} if isinstance(self.train, Stream) else {"train": {"records": self.train.raw.digest()}}

    def num_records(self) -> dict[str, int]:
        """Return the number of records that train; a long one may be several windows."""
        if isinstance(self.train, Stream):
            return {"train": len(self.train)}
        return {"train": len(np.unique(self.train.records["ecg_id"][:]))}

    def training_records(self) -> TrainingRecords:
        """Return the records that train, varied where the stage says so."""
        augmentation = self.arguments.augmentation
        if isinstance(self.train, Stream):
            return StreamedBatches(self.train, self.arguments.per_device_train_batch_size, augmentation)
        seed = self.arguments.seed
        records = AugmentedRecords(self.train, [], augmentation, seed) if augmentation else SignalRecords(self.train)
        return records if self.mix is None else MixedRecords(records, self.mix, seed)


def prepare_pretraining(recipe: Recipe, run: Run) -> Pretraining:
    """Read the records and build the backbone.

    Args:
        recipe (`Recipe`): What to do.
        run (`Run`): Where.

    Raises:
        SettingsError: if the recipe cannot be followed.
    """
    ((stage, settings),) = recipe.stages.items()
    source = find_source(recipe.dataset_options_in_full())
    tasks = dataset_tasks(source.features, recipe.tasks or source.labels)
    set_seed(recipe.seed)
    backbone, extractor = starting_backbone(recipe.part(ModelSource))
    train, watched = _training_fold(recipe, source, extractor, tasks)
    more = _more_sources(recipe)
    train, mix = _mixed(recipe, train, more, extractor)
    folder, num_train = run.stage(stage) / CHECKPOINTS, len(train if mix is None else mix)
    arguments = cast(PretrainingArguments, stage_arguments(stage, settings, folder, recipe.seed, num_train))
    try:
        _check_records(train, arguments, source)
        objective = _objective(stage, backbone, arguments)
    except ValueError as error:
        raise SettingsError(f"stages.{stage}: {error}") from error
    validation = load_splits(source, extractor, tasks, SPLITS[1:2]).get("validation")
    watch = FeatureWatch(backbone, tasks, watched, validation)
    data_name = " and ".join(each.name for each in (source, *more.values()))
    return Pretraining(run, stage, objective, extractor, arguments, source, data_name, train, watch, mix)


def _training_fold(
    recipe: Recipe, source: Source, extractor: ECGFeatureExtractor, tasks: Sequence[Task]
) -> tuple[Split | Stream, Split | Stream]:
    """Return the records that train, all there are, and the same with their labels, which a probe may look at."""
    if recipe.streaming:
        views, order = Views(extractor), (recipe.seed, recipe.shuffle_buffer)
        return Stream(source, views, [], *order), Stream(source, views, tasks, *order)
    train = _training_split("data_dir", source, extractor, tasks)
    return train, train


def _training_split(name: str, source: Source, extractor: ECGFeatureExtractor, tasks: Sequence[Task]) -> Split:
    train = load_splits(source, extractor, tasks, SPLITS[:1]).get("train")
    if train is None or not len(train):
        raise SettingsError(f"{name}: there are no records in the train split.")
    return train


def _more_sources(recipe: Recipe) -> dict[str, Source]:
    """Return by its place each further dataset; options of a builder are those of `data_dir` alone."""
    options = replace(recipe.dataset_options_in_full(), builder_options={})
    return {place: find_source(replace(options, data_dir=place)) for place in recipe.more_data}


def _mixed(
    recipe: Recipe, train: Split | Stream, more: Mapping[str, Source], extractor: ECGFeatureExtractor
) -> tuple[Split | Stream, Mix | None]:
    """Join the training folds of further datasets to that of `data_dir`."""
    if isinstance(train, Stream) or not more:
        return train, None
    splits = {recipe.data_dir: train}
    for place, source in more.items():
        splits[place] = _training_split(f"more_data.{place}", source, extractor, [])
    sizes = tuple(len(split) for split in splits.values())
    try:
        return joined_datasets(splits), Mix(sizes, (1.0, *recipe.more_data.values()))
    except ValueError as error:
        raise SettingsError(f"more_data: {error}") from error


def _check_records(train: Split | Stream, arguments: PretrainingArguments, source: Source) -> None:
    """Refuse what the training records cannot be varied by, and a stream that fills no batch."""
    if not isinstance(train, Stream):
        arguments.augmentation.check_rate(train.raw.lowest_rate)
        return
    arguments.augmentation.check_rate(source.chosen_rate or math.inf)  # else each record is checked
    if train.smallest_share < arguments.per_device_train_batch_size:
        raise ValueError(
            f"global_batch_size: a process has {train.smallest_share} records of the stream, too few for its "
            f"{arguments.per_device_train_batch_size} of a batch."
        )


def _objective(stage: str, backbone: ECGBackboneModel, arguments: PretrainingArguments) -> Objective:
    """Return a stage's objective, with stochastic depth and those of the settings that it knows by name."""
    kind = PRETRAINING[stage].objective
    backbone.set_drop_path_rate(arguments.drop_path_rate)
    names = list(inspect.signature(kind).parameters)[1:]
    return kind(backbone, **{name: getattr(arguments, name) for name in names})


def pretrain_and_report(recipe: Recipe, name: str, pretraining: Pretraining) -> dict[str, Any]:
    """Pre-train, or go on where a kill ended it, and write the backbone, its card and figure.

    Args:
        recipe (`Recipe`): What it follows.
        name (`str`): What the card calls the backbone.
        pretraining (`Pretraining`): What `prepare_pretraining` gave.

    Returns:
        `dict[str, Any]`: The content of `metrics.json`: under `pretraining` the `objective`; `start` and `end`, what
            was logged of the features before the first and after the last epoch; the last `loss`; and
            `collapsed_epochs`. Empty in all processes but the main one.

    Raises:
        SettingsError: if the stage cannot be done, or diverges.
    """
    run, stage, source = pretraining.run, pretraining.stage, pretraining.source
    if not (run.stage(stage) / HISTORY).exists():
        try:
            _pretrain(pretraining)
        except DivergenceError as error:
            raise SettingsError(f"stages.{stage}: {error}") from error
    metrics: dict[str, Any] = {}
    if PartialState().is_main_process:
        history = run.history(stage)
        dataset = DatasetInfo(pretraining.data_name, source.chosen_rate, pretraining.num_records())
        info = describe_pretraining(recipe, name, history, dataset, pretraining.backbone.num_parameters())
        metrics = {"pretraining": {"objective": stage, **summary(history["log"], pretraining.arguments.collapse_rank)}}
        write_pretraining_report(run, info, history["log"], metrics, pretraining.arguments.collapse_rank)
    PartialState().wait_for_everyone()
    return metrics


def _pretrain(pretraining: Pretraining) -> None:
    """Do the stage, and leave the backbone in the run's folder and its history in the stage's."""
    run, arguments = pretraining.run, pretraining.arguments
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.folder / LOGS / pretraining.stage)
    folder = run.stage(pretraining.stage)
    trainer = PretrainingTrainer(pretraining.objective, arguments, pretraining.training_records(), pretraining.watch)
    _announce(pretraining, trainer)
    meter = CostMeter()
    with trainer.tracked():
        trainer.train(resume_from_checkpoint=last_sound_checkpoint(folder / CHECKPOINTS))
    pretraining.backbone.set_drop_path_rate(0.0)  # what follows has its own
    if PartialState().is_main_process:
        with added_files(run.folder) as aside:
            pretraining.backbone.eval().save_pretrained(aside)
            pretraining.extractor.save_pretrained(aside)
        history = _history(trainer) | meter.read()
        write_text(folder / HISTORY, json.dumps(history, indent=2) + "\n")
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    PartialState().wait_for_everyone()


def _announce(pretraining: Pretraining, trainer: PretrainingTrainer) -> None:
    if PartialState().is_main_process:
        logger.warning(
            "Stage %s: %d records, %d processes, %s; %d parameters, of which the backbone has %d.",
            *(pretraining.stage, pretraining.num_records()["train"], trainer.args.world_size, trainer.args.precision),
            *(trainer.get_num_trainable_parameters(), pretraining.backbone.num_parameters()),
        )


def _history(trainer: PretrainingTrainer) -> dict[str, Any]:
    """Return the fields of `StageInfo` and the trainer's `log`."""
    return {
        "num_trainable": trainer.get_num_trainable_parameters(),
        "num_epochs": round(trainer.state.epoch or 0),
        "best_epoch": None,
        "best_score": None,
        "precision": trainer.args.precision,
        "log": trainer.whole_log(),
    }


def summary(log: Sequence[Mapping[str, Any]], collapse_rank: float) -> dict[str, Any]:
    """Return what a pre-training came to.

    Args:
        log (`Sequence[Mapping[str, Any]]`): The trainer's log.
        collapse_rank (`float`): Features of a lower effective rank have collapsed.

    Returns:
        `dict[str, Any]`: `start`, `end`, `loss` and `collapsed_epochs`.
    """
    watched = [entry for entry in log if "effective_rank" in entry]
    first, last = (
        {key: each[key] for key in each if key not in ("epoch", "step")} for each in (watched[0], watched[-1])
    )
    return {
        "start": first,
        "end": last,
        "loss": [entry["loss"] for entry in log if "loss" in entry][-1],
        "collapsed_epochs": [round(each["epoch"]) for each in watched[1:] if each["effective_rank"] < collapse_rank],
    }


__all__ = ["Pretraining", "prepare_pretraining", "pretrain_and_report", "summary"]
