"""Follow a recipe from records to a trained model and its report; the same call resumes a run that was killed."""

import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from accelerate import PartialState
from huggingface_hub.constants import HF_HOME
from transformers import set_seed
from transformers.utils import CONFIG_NAME, logging

from ..adapters import BASE_FOLDER, ENECG_FILE, AdapterBase, adapter_base, save_adapter
from ..data.prepared import FeatureRecords, SignalRecords, Split
from ..data.preparing import mean_over_windows
from ..data.record_metadata import record_metadata
from ..data.streaming import StreamedBatches
from ..data.targets import balanced_class_weights, dataset_tasks, target_statistics
from ..evaluation.decisions import decisions
from ..evaluation.scoring import has_targets, predicted_outputs
from ..modeling_enecg import EnECGModel
from ..reports.run_report import write_report
from ..runs.files import added_files, write_text
from ..runs.info import DatasetInfo, RunInfo, StageInfo, environment
from ..runs.predictions import Predictions
from ..runs.processes import start_processes
from ..runs.run import HISTORY, RECIPE, RUN_INFO, Run
from .building import build_extractor, build_model, check_lora
from .cost import CostMeter
from .feature_store import Precision, feature_statistics, stored_features, stream_statistics
from .recipe import Recipe, RecipeError
from .run_data import RunData, recipe_source
from .stages import last_complete_checkpoint, stage_arguments, stage_history
from .trainers import TRAINERS, EnECGTrainer, LoraHeadTrainer

logger = logging.get_logger(__name__)

# A run may go on with other values of these: they do not change what it computes.
_FREE_FIELDS = ("output_dir", "cache_dir", "num_processes", "num_proc")


def run_recipe(recipe: Recipe, name: str = "enecg") -> dict[str, Any]:
    """Train, evaluate and report as a recipe says.

    Args:
        recipe (`Recipe`): What to do.
        name (`str`, *optional*, defaults to `"enecg"`): What the model card calls the model.

    Returns:
        `dict[str, Any]`: The content of `metrics.json`.

    Raises:
        RecipeError: if the processes are not as wanted, the output folder holds another run, or a batch does not fit.
        ValueError: if a record is bad, unless the recipe skips such records; or the experts are to be saved by
            reference and cannot.
    """
    state = start_processes(recipe.num_processes)
    output_dir = Path(recipe.output_dir).absolute()
    _check_same_run(recipe, output_dir)
    if Run(output_dir).is_complete:
        logger.warning("The run in %s is complete; nothing is left to do.", recipe.output_dir)
        return Run(output_dir).metrics
    run = _Run(recipe, output_dir)
    state.wait_for_everyone()
    if state.is_main_process:
        write_text(output_dir / RECIPE, yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True))
    trainer = run.train()
    last_stage = list(recipe.stages)[-1]
    predictions = {
        split: _predict(trainer, run.data.splits[split], run.dataset(last_stage, split))
        for split in ("validation", "test")
    }
    on_lead_sets = run.predict_lead_sets(trainer)
    metrics: dict[str, Any] = {}
    if state.is_main_process:
        run.decide(predictions["validation"])
        metrics = run.report(name, predictions, on_lead_sets)
    state.wait_for_everyone()
    return metrics


class _Run:
    """A recipe's model, data and stages.

    Attributes:
        tasks (`list[Task]`): The tasks.
        model (`EnECGModel`): The model, which the stages train in turn.
        data (`RunData`): The records.
    """

    def __init__(self, recipe: Recipe, output_dir: Path):
        self.recipe = recipe
        self.output_dir = output_dir
        self.source = recipe_source(recipe)
        self.tasks = dataset_tasks(self.source.features, recipe.tasks, recipe.loss_weights)
        set_seed(recipe.seed)
        self.model = build_model(recipe, self.tasks)
        check_lora(recipe, self.model)
        self.extractor = build_extractor(self.model)
        self.data = RunData(self.source, recipe, self.extractor, self.tasks)
        self.arguments = {
            stage: stage_arguments(recipe, stage, output_dir / stage / "checkpoints", self.data.num_train)
            for stage in recipe.stages
        }
        if recipe.save_experts == "reference" and not self._may_refer():
            raise RecipeError("save_experts: only experts that have a path and stay frozen can be saved by reference.")
        self._fit_tasks()
        if recipe.standardize_features and recipe.model is None:
            self._fit_features()

    def _fit_features(self) -> None:
        """Set the statistics by which the model standardises its experts' features."""
        if self.data.stream is not None:
            self.model.to(PartialState().device)
            statistics = stream_statistics(self.model, self.data.stream)
        else:
            features = self._features("train").features
            statistics = {name: feature_statistics(values) for name, values in features.items()}
        self.model.set_feature_statistics(statistics)

    def _fit_tasks(self) -> None:
        """Set what the tasks take from the training fold."""
        adapted = [] if self.recipe.model is None else EnECGModel.config_class.from_pretrained(self.recipe.model).tasks
        known = {task["name"] for task in adapted}
        for name, task in self.model.tasks.items():
            targets = self.data.labels["train"][name]
            fitted: dict[str, Any] = {
                "loss_weight": self.recipe.loss_weights.get(name, 1.0),
                "trained_sampling_rate": self.source.chosen_rate,
            }
            if task.is_regression and name not in known:  # a trained task's outputs have its own statistics
                try:
                    fitted["target_mean"], fitted["target_std"] = target_statistics(targets)
                except ValueError as error:
                    raise RecipeError(f"tasks: {name}: {error}") from error
            elif not task.is_regression and self.recipe.class_weights == "balanced":
                fitted["class_weights"] = balanced_class_weights(task, targets)
            self.model.update_task(name, **fitted)
        self.tasks = list(self.model.tasks.values())

    def train(self) -> EnECGTrainer:
        """Run every stage that is not done yet, and return the last one's trainer."""
        trainer = None
        for index, stage in enumerate(self.recipe.stages):
            is_last = index == len(self.recipe.stages) - 1
            trainer = self._run_stage(stage, self.output_dir if is_last else self.output_dir / stage)
        assert trainer is not None  # a recipe has at least one stage
        return trainer

    def _run_stage(self, stage: str, model_dir: Path) -> EnECGTrainer:
        folder = self.output_dir / stage
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.output_dir / "logs" / stage)
        arguments = self.arguments[stage]
        batch_size = arguments.per_device_train_batch_size
        train = (
            self.dataset(stage, "train") if self.data.stream is None else StreamedBatches(self.data.stream, batch_size)
        )
        validation = self.dataset(stage, "validation")
        history_path = folder / HISTORY
        base = None if history_path.exists() else self._adapter_base(stage)
        num_weights = self.model.num_parameters()  # without an adapter's
        try:
            trainer = TRAINERS[stage](self.model, arguments, train, validation)
        except ValueError as error:
            raise RecipeError(f"stages.{stage}: {error}") from error
        if history_path.exists():
            trainer.restore_model()
            self._load_weights(model_dir)
            return trainer
        if arguments.process_index == 0:
            logger.warning("Stage %s: %d records, %d processes.", stage, self.data.num_train, arguments.world_size)
            trainable = self.model.num_parameters(only_trainable=True)
            logger.warning(
                "%d parameters train, %.3f %% of the model's %d.",
                trainable,
                100 * trainable / num_weights,
                num_weights,
            )
        meter = CostMeter()
        checkpoint = last_complete_checkpoint(folder / "checkpoints", arguments.world_size)
        if checkpoint is None and any(folder.glob("checkpoints/checkpoint-*")):
            logger.warning(
                "The checkpoints in %s are incomplete or of other processes: the stage starts anew.", folder
            )
        trainer.train(resume_from_checkpoint=checkpoint)
        history = stage_history(trainer, meter.read())
        if isinstance(trainer, LoraHeadTrainer) and base is not None and arguments.process_index == 0:
            save_adapter(trainer.adapted, self.output_dir / "adapter", base)
        trainer.restore_model()
        if arguments.process_index == 0:
            self._save(model_dir)
            write_text(history_path, json.dumps(history, indent=2) + "\n")
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        PartialState().wait_for_everyone()
        return trainer

    def dataset(self, stage: str, split: str) -> FeatureRecords | SignalRecords:
        """Return a split as a stage takes it: experts that stay frozen need to run only once."""
        if self.recipe.feature_store and TRAINERS[stage].freezes_experts(self.arguments[stage]):
            return self._features(split)
        return SignalRecords(self.data.splits[split])

    def predict_lead_sets(self, trainer: EnECGTrainer) -> dict[str, Predictions]:
        """Predict the test fold as if fewer leads had been recorded."""
        predictions = {}
        for name in self.recipe.lead_sets:
            test = self.data.test_on(name)
            predictions[name] = _predict(trainer, test, SignalRecords(test))
        return predictions

    def _features(self, split: str) -> FeatureRecords:
        store = Path(self.recipe.cache_dir or Path(HF_HOME) / "enecg") / "features"
        self.model.to(PartialState().device)
        precision = Precision(self.recipe.feature_bf16, self.recipe.feature_dtype)
        features = stored_features(self.model, self.data.all_splits[split], store, precision)
        # Indexing makes a copy in memory only where a record lacks labels.
        rows = self.data.rows[split]
        is_whole = len(rows) == len(self.data.all_splits[split])
        return FeatureRecords(
            features if is_whole else {name: values[rows] for name, values in features.items()},
            self.data.splits[split],
        )

    def _adapter_base(self, stage: str) -> AdapterBase | None:
        """Return what a stage's adapter is made for; a base that is nowhere yet is saved beside the adapter."""
        if TRAINERS[stage] is not LoraHeadTrainer:
            return None
        is_first = stage == next(iter(self.recipe.stages))
        if self.recipe.model is not None and is_first:
            return adapter_base(EnECGModel.from_pretrained(self.recipe.model), self.recipe.tasks, self.recipe.model)
        if PartialState().is_main_process:
            folder = self.output_dir / "adapter" / BASE_FOLDER
            with added_files(folder) as aside:
                self.model.save_pretrained(aside, experts="reference" if self._may_refer(stage) else "value")
                self.extractor.save_pretrained(aside)
        return adapter_base(self.model, self.recipe.tasks)

    def _may_refer(self, stage: str | None = None) -> bool:
        """Whether every expert is what a folder or the Hub holds, before a stage or at the end."""
        before = itertools.takewhile(lambda other: other != stage, self.recipe.stages)
        return len(self.model.expert_sources) == len(self.model.experts) and all(
            TRAINERS[other].freezes_experts(self.arguments[other]) for other in before
        )

    def _save(self, folder: Path) -> None:
        with added_files(folder) as aside:
            self.model.save_pretrained(aside, experts=self.recipe.save_experts)
            self.extractor.save_pretrained(aside)

    def _load_weights(self, folder: Path) -> None:
        done = EnECGModel.from_pretrained(folder)
        self.model.load_state_dict(done.state_dict())

    def decide(self, predicted: Predictions) -> None:
        """Set and save what the validation fold tells of each task: calibration, thresholds and intervals."""
        for task in self.tasks:
            self.model.update_task(
                task.name, **decisions(task, predicted.targets[task.name], predicted.outputs[task.name])
            )
        self.tasks = list(self.model.tasks.values())
        paths = [self.output_dir / CONFIG_NAME]
        if TRAINERS[list(self.recipe.stages)[-1]] is LoraHeadTrainer:
            paths.append(self.output_dir / "adapter" / ENECG_FILE)
        for path in paths:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["tasks"] = [task.to_dict() for task in self.tasks]
            write_text(path, json.dumps(content, indent=2) + "\n")

    def report(
        self,
        name: str,
        predictions: Mapping[str, Predictions],
        on_lead_sets: Mapping[str, Predictions],
    ) -> dict[str, Any]:
        """Write everything that a run leaves behind beside the model."""
        run = Run(self.output_dir)
        histories = {stage: run.history(stage) for stage in self.recipe.stages}
        info = self._info(name, histories)
        run.write(RUN_INFO, info.to_dict())
        return write_report(
            run,
            self.tasks,
            list(self.model.experts),
            predictions,
            {stage: history["log"] for stage, history in histories.items()},
            info,
            self.recipe.num_resamples,
            self.recipe.confidence,
            on_lead_sets,
        )

    def _info(self, name: str, histories: Mapping[str, Any]) -> RunInfo:
        counts = self.data.num_records()
        places = ("data_dir", *_FREE_FIELDS)
        return RunInfo(
            name=name,
            experts={
                expert: Path(source["path"]).name if "path" in source else "random weights"
                for expert, source in self.recipe.experts.items()
            }
            or {expert: f"of {Path(str(self.recipe.model)).name}" for expert in self.model.experts},
            dataset=DatasetInfo(
                self.source.name,
                self.recipe.sampling_rate,
                counts,
                num_labelled={
                    task.name: {
                        split: int(has_targets(task, labels[task.name]).sum())
                        for split, labels in self.data.labels.items()
                    }
                    for task in self.tasks
                },
                note="A smoke signal on few records, not a result." if counts["test"] < 1000 else "",
            ),
            stages={
                stage: StageInfo(**{key: history[key] for key in history if key != "log"})
                for stage, history in histories.items()
            },
            num_parameters=self.model.num_parameters(),
            recipe={key: value for key, value in asdict(self.recipe).items() if key not in places},
            num_resamples=self.recipe.num_resamples,
            confidence=self.recipe.confidence,
            **environment(),
        )


def _check_same_run(recipe: Recipe, output_dir: Path) -> None:
    """Refuse an output folder that holds something else than this run."""
    path = output_dir / RECIPE
    if not path.exists():
        if output_dir.exists() and any(output_dir.iterdir()):
            raise RecipeError(f"output_dir: {recipe.output_dir} holds other files; choose a new folder.")
        return
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = [key for key, value in asdict(recipe).items() if key not in _FREE_FIELDS and value != before.get(key)]
    if changed:
        raise RecipeError(
            f"output_dir: {recipe.output_dir} holds a run with another {', '.join(changed)}; "
            "resume with the same recipe, or choose a new folder."
        )


def _predict(trainer: EnECGTrainer, split: Split, dataset: Any) -> Predictions:
    """Predict a split; of a record of several windows, the mean."""
    output = trainer.predict(dataset, ignore_keys=[])
    rows, means = mean_over_windows(split.records["ecg_id"][:], *cast(tuple[Any, Any, Any], output.predictions))
    logits, gate_weights, expert_logits = means
    records = record_metadata(split.records.select(rows))
    labels = {name: targets[rows] for name, targets in cast(dict[str, np.ndarray], output.label_ids).items()}
    outputs = {task.name: predicted_outputs(task, logits[task.name]) for task in trainer.model.tasks.values()}
    return Predictions(records, labels, outputs, gate_weights, expert_logits)
