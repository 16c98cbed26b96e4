"""Follow a recipe from records to a trained model and its report; the same call resumes a run that was killed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from accelerate import PartialState
from transformers import set_seed
from transformers.utils import CONFIG_NAME, logging

from ..data.prepared import SignalRecords, Split
from ..data.preparing import mean_over_windows
from ..data.record_metadata import record_metadata
from ..data.sources import find_source
from ..data.targets import dataset_tasks
from ..evaluation.scoring import predicted_outputs
from ..reports.run_report import write_report
from ..runs.files import clear_leftovers, write_text
from ..runs.lock import LOCK, locked
from ..runs.predictions import Predictions
from ..runs.processes import start_processes
from ..runs.run import CHECKPOINTS, PREDICTED_SPLITS, RECIPE, RUN_INFO, Run
from .building import ModelSource, starting_model
from .decide import decide, write_tasks
from .describe import describe_run
from .feature_store import FeatureSettings, feature_statistics, stream_statistics
from .fitting import fit_tasks, update_task
from .recipe import Recipe, RecipeError
from .run_data import RunData, Selection
from .stages import STAGES, stage_arguments
from .trainers import EnECGTrainer
from .training import Training

logger = logging.get_logger(__name__)

# A run may go on with other values of these: they do not change what it computes,
_FREE_FIELDS = ("output_dir", "cache_dir", "num_processes", "num_proc")
# or only what it reports.
_REPORT_FIELDS = ("num_resamples", "confidence", "lead_sets")


def run_recipe(recipe: Recipe, name: str = "enecg") -> dict[str, Any]:
    """Train, evaluate and report as a recipe says.

    Args:
        recipe (`Recipe`): What to do.
        name (`str`, *optional*, defaults to `"enecg"`): What the model card calls the model.

    Returns:
        `dict[str, Any]`: The content of `metrics.json`.

    Raises:
        RecipeError: if the processes are not as wanted, the output folder holds another run, a batch does not fit, or
            a stage diverges.
        FolderInUseError: if another process writes into the output folder.
        ValueError: if a record is bad, unless the recipe skips such records; or the experts are to be saved by
            reference and cannot.
    """
    state = start_processes(recipe.num_processes)
    run = Run(Path(recipe.output_dir).absolute())
    if _is_done(recipe, run):  # before the lock, since the folder may be one that nobody can write to
        logger.warning("The run in %s is complete; nothing is left to do.", recipe.output_dir)
        return run.metrics
    with locked(run.folder):
        _check_same_run(recipe, run)
        if state.is_main_process:
            clear_leftovers(run.folder)
        training = prepare(recipe, run)
        state.wait_for_everyone()
        if state.is_main_process:
            write_text(run.folder / RECIPE, yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True))
        return _train_and_report(recipe, name, training)


def prepare(recipe: Recipe, run: Run) -> Training:
    """Read the records, build the model, and check that the recipe's stages can be done.

    Args:
        recipe (`Recipe`): What to do.
        run (`Run`): Where.

    Raises:
        RecipeError: as `run_recipe` does.
    """
    source = find_source(recipe.dataset_options_in_full())
    tasks = dataset_tasks(source.features, recipe.tasks, recipe.loss_weights)
    set_seed(recipe.seed)
    start = starting_model(recipe.part(ModelSource), tasks)
    data = RunData(source, recipe.part(Selection), start.extractor, tasks)
    arguments = {
        stage: stage_arguments(stage, settings, run.stage(stage) / CHECKPOINTS, recipe.seed, data.num_train)
        for stage, settings in recipe.stages.items()
    }
    training = Training(run, start, data, arguments, recipe.part(FeatureSettings), recipe.save_experts)
    training.check()
    fit_tasks(start.model, data.labels["train"], recipe.loss_weights, recipe.class_weights, start.trained_tasks)
    if recipe.standardize_features and start.base is None:
        _fit_features(training)
    return training


def _fit_features(training: Training) -> None:
    """Set the statistics by which the model standardises its experts' features."""
    model, stream = training.model, training.data.stream
    if stream is not None:
        model.to(PartialState().device)
        statistics = stream_statistics(model, stream)
    else:
        features = training.feature_records("train").features
        statistics = {name: feature_statistics(values) for name, values in features.items()}
    model.set_feature_statistics(statistics)


def _train_and_report(recipe: Recipe, name: str, training: Training) -> dict[str, Any]:
    run, data, model = training.run, training.data, training.model
    outcome = training.train()
    predictions = {
        split: _predict(outcome.trainer, data.splits[split], training.dataset(outcome.kept, split))
        for split in PREDICTED_SPLITS
    }
    on_lead_sets = {}
    for lead_set in recipe.lead_sets:
        test = data.test_on(lead_set)
        on_lead_sets[lead_set] = _predict(outcome.trainer, test, SignalRecords(test))
    metrics: dict[str, Any] = {}
    if PartialState().is_main_process:
        tasks = list(model.tasks.values())
        for task, fields in decide(tasks, predictions["validation"]).items():
            update_task(model, task, **fields)
        write_tasks(tasks, [run.folder / CONFIG_NAME, *STAGES[outcome.kept].trainer.files_with_tasks(run)])
        info = describe_run(recipe, name, training, outcome)
        run.write(RUN_INFO, info.to_dict())
        metrics = write_report(
            Run(run.folder),  # what was read of it before may have changed
            tasks,
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


def _is_done(recipe: Recipe, run: Run) -> bool:
    """Whether a run has ended, and with the same settings of its report."""
    if not run.is_complete:
        return False
    before = _check_same_run(recipe, run)
    return all(before.get(name) == getattr(recipe, name) for name in _REPORT_FIELDS)


def _check_same_run(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Refuse an output folder that holds something else than this run; return the recipe that lies there."""
    path = run.folder / RECIPE
    if not path.exists():
        if run.folder.exists() and any(not each.name.startswith(LOCK) for each in run.folder.iterdir()):
            raise RecipeError(f"output_dir: {recipe.output_dir} holds other files; choose a new folder.")
        return {}
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    free = (*_FREE_FIELDS, *_REPORT_FIELDS)
    changed = [key for key, value in asdict(recipe).items() if key not in free and value != before.get(key)]
    if changed:
        raise RecipeError(
            f"output_dir: {recipe.output_dir} holds a run with another {', '.join(changed)}; "
            "resume with the same recipe, or choose a new folder."
        )
    return before


def _predict(trainer: EnECGTrainer, split: Split, dataset: Any) -> Predictions:
    """Predict a split; of a record of several windows, the mean."""
    output = trainer.predict(dataset, ignore_keys=[])
    rows, means = mean_over_windows(split.records["ecg_id"][:], *cast(tuple[Any, Any, Any], output.predictions))
    logits, gate_weights, expert_logits = means
    records = record_metadata(split.records.select(rows))
    labels = {name: targets[rows] for name, targets in cast(dict[str, np.ndarray], output.label_ids).items()}
    outputs = {task.name: predicted_outputs(task, logits[task.name]) for task in trainer.model.tasks.values()}
    return Predictions(records, labels, outputs, gate_weights, expert_logits)
