"""Follow a recipe from records to a trained model and its report; the same call resumes a run that was killed."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from accelerate import PartialState
from transformers import set_seed
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME, logging

from ..configuration_enecg import Task
from ..data.prepared import SignalRecords, Split
from ..data.preparing import mean_over_windows
from ..data.record_metadata import record_metadata
from ..data.sources import SPLITS, find_source
from ..data.targets import dataset_tasks
from ..evaluation import Bootstrap
from ..evaluation.scoring import predicted_outputs
from ..reports.run_report import write_report
from ..runs.files import write_text
from ..runs.info import CrossValidationInfo
from ..runs.lock import LOCK, locked
from ..runs.predictions import Predictions, read_predictions
from ..runs.processes import of_main_process, start_processes
from ..runs.run import (
    CHECKPOINTS,
    CROSS_VALIDATION,
    DATA,
    LEAD_SETS,
    METRICS,
    PREDICTED_SPLITS,
    PREDICTIONS,
    RECIPE,
    RUN_INFO,
    Run,
)
from .arguments import StageArguments
from .building import ModelSource, StartingModel, starting_model
from .cross_validation import Folds, final_schedule, out_of_fold_scores, parts, stacked
from .decide import decide, write_tasks
from .describe import describe_run
from .feature_store import FeatureSettings
from .fitting import fit_tasks
from .pretraining_run import prepare_pretraining, pretrain_and_report
from .recipe import Recipe, RecipeError
from .run_data import RunData, Selection, read_data
from .stages import STAGES, stage_arguments
from .tracking import TRACKING_SETTINGS
from .trainers import EnECGTrainer
from .training import Training, remove_models

logger = logging.get_logger(__name__)

# A run may go on with other values of these: they do not change what it computes,
_FREE_FIELDS = ("output_dir", "cache_dir", "num_processes", "num_proc")
# or only what it reports.
_REPORT_FIELDS = ("num_resamples", "confidence", "lead_sets")


def run_recipe(recipe: Recipe, name: str = "enecg") -> dict[str, Any]:
    """Train, evaluate and report as a recipe says; or pre-train a backbone.

    Args:
        recipe (`Recipe`): What to do.
        name (`str`, *optional*, defaults to `"enecg"`): What the model card calls the model.

    Returns:
        `dict[str, Any]`: The content of `metrics.json`; of a pre-training see `pretrain_and_report`.

    Raises:
        RecipeError: if the processes are not as wanted, the output folder holds another run, a batch does not fit, or
            a stage diverges.
        FolderInUseError: if another process writes into the output folder.
        ValueError: if a record is bad, unless the recipe skips such records; or the experts are to be saved by
            reference and cannot.
    """
    start_processes(recipe.num_processes)
    run = Run(Path(recipe.output_dir).absolute())
    if _is_done(recipe, run):  # before the lock, since the folder may be one that nobody can write to
        logger.warning("The run in %s is complete; nothing is left to do.", recipe.output_dir)
        return run.metrics
    with locked(run.folder):
        _check_same_run(recipe, run)
        if recipe.is_pretraining:
            pretraining = prepare_pretraining(recipe, run)
            digests = of_main_process(pretraining.digests)
            _check_same_data(digests, run)
            _write_recipe(recipe, run, digests)
            return pretrain_and_report(recipe, name, pretraining)
        training = prepare(recipe, run)
        digests = of_main_process(training.data.digests)
        _check_same_data(digests, run)
        _write_recipe(recipe, run, digests)
        return _train_and_report(recipe, name, training)


def _write_recipe(recipe: Recipe, run: Run, digests: Mapping[str, Mapping[str, str]]) -> None:
    """Say what the run is about to do, on which data; it is complete by the recipe that lies there alone."""
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        for earlier in (METRICS, LEAD_SETS):
            (run.folder / earlier).unlink(missing_ok=True)
        run.write(DATA, digests)
        write_text(run.folder / RECIPE, yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True))


def prepare(recipe: Recipe, run: Run) -> Training:
    """Read the records, build the model, and check that the recipe's stages can be done.

    Args:
        recipe (`Recipe`): What to do.
        run (`Run`): Where.

    Raises:
        RecipeError: as `run_recipe` does.
    """
    source = find_source(recipe.dataset_options_in_full())
    names = recipe.tasks or source.labels
    if not names:
        raise RecipeError(f"tasks: name at least one; {source.name} does not say which of its columns are labels.")
    tasks = dataset_tasks(source.features, names, recipe.loss_weights)
    start = new_start(recipe, tasks)
    needed = SPLITS if recipe.folds is None else ("train", "test")
    data = read_data(source, recipe.part(Selection), start.extractor, tasks, needed)
    if recipe.folds is not None:
        data = data.pooled()
    return new_training(recipe, run, start, data)


def new_start(recipe: Recipe, tasks: Sequence[Task]) -> StartingModel:
    """Return a recipe's model before its first stage; the same at every call."""
    set_seed(recipe.seed)
    return starting_model(recipe.part(ModelSource), tasks)


def new_training(recipe: Recipe, run: Run, start: StartingModel, data: RunData) -> Training:
    """Bring a model, records and stages together.

    Args:
        recipe (`Recipe`): What to do.
        run (`Run`): Where.
        start (`StartingModel`): The model.
        data (`RunData`): The records.
    """
    arguments = _stage_arguments(recipe, run, data, dict.fromkeys(recipe.stages))
    training = Training(run, start, data, arguments, recipe.part(FeatureSettings), recipe.save_experts)
    training.check()
    fit_tasks(start.model, data.labels["train"], recipe.loss_weights, recipe.class_weights, start.trained_tasks)
    for task in list(start.model.tasks):
        start.model.update_task(task, trained_sampling_rate=data.source.chosen_rate)
    if recipe.standardize_features and start.base is None:
        training.fit_features()
    return training


def _stage_arguments(
    recipe: Recipe, run: Run, data: RunData, last_epochs: Mapping[str, int | None]
) -> dict[str, StageArguments]:
    """Return the settings of some stages, each up to an epoch, or with None as long as the validation fold says."""
    return {
        stage: stage_arguments(
            *(stage, recipe.stages[stage], run.stage(stage) / CHECKPOINTS, recipe.seed, data.num_train), last_epoch
        )
        for stage, last_epoch in last_epochs.items()
    }


def _train_and_report(recipe: Recipe, name: str, training: Training) -> dict[str, Any]:
    run, out_of_fold, cross_validation = training.run, None, None
    if recipe.folds is not None:
        training, out_of_fold, cross_validation = cross_validated(recipe, training)
    outcome = training.train()
    data, model = training.data, training.model
    splits = PREDICTED_SPLITS if cross_validation is None else ("test",)
    predictions = {
        split: predict(outcome.trainer, data.splits[split], training.dataset(outcome.kept, split)) for split in splits
    }
    on_lead_sets = {}
    for lead_set in recipe.lead_sets:
        test = data.test_on(lead_set)
        on_lead_sets[lead_set] = predict(outcome.trainer, test, SignalRecords(test))
    metrics: dict[str, Any] = {}
    if PartialState().is_main_process:
        if out_of_fold is not None:
            predictions = {"validation": out_of_fold, **predictions}
        decide(model, predictions["validation"])
        write_tasks(model, [run.folder / CONFIG_NAME, *STAGES[outcome.kept].trainer.files_with_tasks(run)])
        info = describe_run(recipe, name, training, outcome, cross_validation)
        run.write(RUN_INFO, info.to_dict())
        metrics = write_report(
            Run(run.folder),  # what was read of it before may have changed
            list(model.tasks.values()),
            list(model.experts),
            predictions,
            {stage: history["log"] for stage, history in outcome.histories.items()},
            info,
            recipe.num_resamples,
            recipe.confidence,
            on_lead_sets,
        )
    PartialState().wait_for_everyone()
    return metrics


def cross_validated(recipe: Recipe, training: Training) -> tuple[Training, Predictions, CrossValidationInfo]:
    """Predict every record out of fold, and return the training of the final model.

    Args:
        recipe (`Recipe`): What to do in each round.
        training (`Training`): The training on all records, which have the epochs of the recipe.

    Returns:
        `tuple[Training, Predictions, CrossValidationInfo]`: The training on all records with the epochs that the
            rounds found best; what those of the first repeat predicted, in which every record is there once; and what
            is said of all.
    """
    run, data, tasks = training.run, training.data, training.data.tasks
    patients = data.splits["train"].records["patient_id"][:]
    try:
        rounds = list(parts(recipe.part(Folds), tasks, data.labels["train"], patients))
    except ValueError as error:
        raise RecipeError(f"folds: {error}") from error
    fewest = min(len(each.rows["train"]) for each in rounds)
    for stage, settings in recipe.stages.items():
        stage_arguments(stage, settings, run.stage(stage) / CHECKPOINTS, recipe.seed, fewest)
    histories, predicted = [], []
    for each in rounds:
        own = Run(run.folder / CROSS_VALIDATION / each.name)
        if not (own.folder / PREDICTIONS).exists():
            logger.warning("Cross-validation: repeat %d, fold %d.", each.repeat, each.fold)
            _predict_fold(recipe, own, data.divided(each.rows), tasks)
        if PartialState().is_main_process:
            remove_models(own, recipe.stages)
        histories.append({stage: own.history(stage) for stage in recipe.stages})
        predicted.append(read_predictions(own.folder / PREDICTIONS, tasks, ("validation",))["validation"])
    schedule = final_schedule(histories)
    final = replace(training, arguments=_stage_arguments(recipe, run, data, schedule))
    bootstrap = Bootstrap(recipe.num_resamples, confidence=recipe.confidence)
    scores = out_of_fold_scores(tasks, rounds, predicted, bootstrap)
    first_repeat = stacked([each for part, each in zip(rounds, predicted, strict=True) if part.repeat == 1])
    return final, first_repeat, CrossValidationInfo(int(recipe.folds or 0), recipe.repeats, schedule, scores)


def _predict_fold(recipe: Recipe, run: Run, data: RunData, tasks: Sequence[Task]) -> None:
    """Train on a round's records and predict its fold."""
    training = new_training(recipe, run, new_start(recipe, tasks), data)
    outcome = training.train()
    predicted = predict(outcome.trainer, data.splits["test"], training.dataset(outcome.kept, "test"))
    if PartialState().is_main_process:
        run.write_predictions(predicted.to_frame("validation", tasks, list(training.model.experts)))
    PartialState().wait_for_everyone()


def _is_done(recipe: Recipe, run: Run) -> bool:
    """Whether a run has ended, and with the same settings of its report; predictions that are gone are made again."""
    if not run.is_complete:
        return False
    before = _check_same_run(recipe, run)
    if not run.has_model:
        raise RecipeError(
            f"output_dir: the run in {recipe.output_dir} is complete, and its model is gone; put {CONFIG_NAME} and "
            f"{SAFE_WEIGHTS_NAME} back, or choose a new folder."
        )
    return (run.folder / PREDICTIONS).exists() and all(
        before.get(name) == getattr(recipe, name) for name in _REPORT_FIELDS
    )


def _check_same_run(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Refuse an output folder that holds something else than this run; return the recipe that lies there."""
    path = run.folder / RECIPE
    if not path.exists():
        if run.folder.exists() and any(not each.name.startswith(LOCK) for each in run.folder.iterdir()):
            raise RecipeError(f"output_dir: {recipe.output_dir} holds other files; choose a new folder.")
        return {}
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    defaults = {  # of fields that the run's version did not have
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(Recipe)
    }
    changed = [
        key
        for key, value in asdict(recipe).items()
        if key not in (*_FREE_FIELDS, *_REPORT_FIELDS)
        and _untracked(key, value) != _untracked(key, before.get(key, defaults[key]))
    ]
    if changed:
        raise RecipeError(
            f"output_dir: {recipe.output_dir} holds a run with another {', '.join(changed)}; "
            "resume with the same recipe, or choose a new folder."
        )
    return before


def _untracked(key: str, value: Any) -> Any:
    """Return a field of a recipe without what only trackers are told by."""
    if key != "stages":
        return value
    return {
        stage: {name: each for name, each in settings.items() if name not in TRACKING_SETTINGS}
        for stage, settings in value.items()
    }


def _check_same_data(digests: Mapping[str, Mapping[str, str]], run: Run) -> None:
    """Refuse to go on with other records or labels than a run began with."""
    began = run.data_digests
    for split, kinds in digests.items():
        for kind, digest in kinds.items():
            if began.get(split, {}).get(kind, digest) != digest:
                raise RecipeError(
                    f"data_dir: {kind} of the {split} split have changed since the run in {run.folder.name} began; "
                    "put them back as they were, or choose a new output_dir."
                )


def predict(trainer: EnECGTrainer, split: Split, dataset: Any) -> Predictions:
    """Predict a split; of a record of several windows, the mean."""
    output = trainer.predict(dataset, ignore_keys=[])
    rows, means = mean_over_windows(split.records["ecg_id"][:], *cast(tuple[Any, Any, Any], output.predictions))
    logits, gate_weights, expert_logits = means
    records = record_metadata(split.records.select(rows))
    labels = {name: targets[rows] for name, targets in cast(dict[str, np.ndarray], output.label_ids).items()}
    outputs = {task.name: predicted_outputs(task, logits[task.name]) for task in trainer.model.tasks.values()}
    return Predictions(records, labels, outputs, gate_weights, expert_logits)
