"""Recipes: one YAML file and overrides in, a checked `Recipe` out."""

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from ..configuration_enecg import EnECGConfig
from ..data.sources import DatasetOptions
from ..leads import LEAD_SETS
from ..settings import (
    SettingsError,
    check_choice,
    check_fields,
    fits,
    merged,
    missing_fields,
    override,
    parse_overrides,
    read_settings,
    suggest,
)
from .limits import COUNT, FOLDS, INNER_SHARE, SEED, SHARE, check_numbers
from .stages import EVERY_STAGE, PRETRAINING
from .tracking import check_trackers

RecipeError = SettingsError

T = TypeVar("T")

# Set by the run itself, from the recipe's own fields.
_RESERVED = {
    "output_dir",
    "seed",
    "use_cpu",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "ddp_backend",
    "remove_unused_columns",
    "label_names",
    "restore_callback_states_from_checkpoint",
    "last_epoch",
}


# Fields of `EnECGConfig` that a recipe gives elsewhere, or a stage.
_OWN_PLACE = {"experts", "expert_order", "tasks", "head_dropout", "expert_references"}
_ENSEMBLE_FIELDS = sorted(EnECGConfig.__annotations__.keys() - _OWN_PLACE)

# Fields that a pre-training takes; in another one it would be passed over in silence.
OF_PRETRAINING = {
    *("data_dir", "more_data", "output_dir", "stages", "tasks", "experts", "sampling_rate", "dataset_options"),
    *("streaming", "shuffle_buffer", "on_error", "seed", "num_processes", "num_proc", "cache_dir"),
}


@dataclass
class Recipe:
    """What to train on what, and how; the fields of a recipe file.

    Raises:
        RecipeError: if a value is not legal.
    """

    data_dir: str = field(
        metadata={
            "help": "Folder of PTB-XL, of MIMIC-IV-ECG or another public set, of records with a dataset.yaml, or of "
            "Parquet; or a Hub id."
        }
    )
    output_dir: str = field(metadata={"help": "Where the run writes; the same command resumes it."})
    stages: dict[str, Any] = field(metadata={"help": f"Stages in order, of {', '.join(EVERY_STAGE)}, with settings."})
    tasks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Tasks: columns of the dataset that hold labels or numbers; all of a dataset.yaml by default."
        },
    )
    experts: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "Name to {path: folder or Hub id} or {config: {model_type: ..., ...}} (random weights), "
            "the latter also with steps: its own pre-processing."
        },
    )
    model: str | None = field(
        default=None,
        metadata={"help": "Instead of experts: a trained EnECG model to adapt: a folder, Hub id, or shipped one."},
    )
    ensemble: dict[str, Any] = field(
        default_factory=dict, metadata={"help": f"How experts become one: {', '.join(_ENSEMBLE_FIELDS)}."}
    )
    loss_weights: dict[str, float] = field(
        default_factory=dict, metadata={"help": "A task's share in the summed loss; 1 by default."}
    )
    sampling_rate: int = field(default=500, metadata={"help": "Rate of PTB-XL's records to read, 100 or 500 Hz."})
    dataset_options: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "Further options of the dataset's builder, such as mimic_iv_dir."}
    )
    more_data: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "help": "Of a pre-training: further datasets, and how often their records are seen per epoch; "
            "those of data_dir once."
        },
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "Read the training fold from its Parquet files in every epoch."},
    )
    shuffle_buffer: int = field(
        default=1000, metadata={"help": "Records that a reading process shuffles a stream by.", "range": COUNT}
    )
    on_error: str = field(default="raise", metadata={"help": "What to do with a bad record: raise or skip."})
    train_fraction: float = field(
        default=1.0,
        metadata={"help": "Share of the training records; smaller shares are parts of larger ones.", "range": SHARE},
    )
    subset_seed: int = field(
        default=0, metadata={"help": "Seed of that share, and of permuted labels.", "range": SEED}
    )
    permute_labels: bool = field(
        default=False, metadata={"help": "A control: train on labels of other records, which must end in chance."}
    )
    class_weights: str = field(
        default="none", metadata={"help": "none, or balanced: a rare label counts as much as a common one."}
    )
    standardize_features: bool = field(
        default=True, metadata={"help": "Standardise experts' features by statistics of the training fold."}
    )
    feature_store: bool = field(
        default=True, metadata={"help": "Compute frozen experts' features once; off only to compare."}
    )
    feature_dtype: str = field(
        default="float32", metadata={"help": "Of stored features: float32 (exact), or float16 in half the space."}
    )
    feature_bf16: bool = field(
        default=False, metadata={"help": "Compute features under bfloat16 autocast: faster on a GPU, not exact."}
    )
    save_experts: str = field(
        default="value", metadata={"help": "value: the whole model; reference: heads, gates and the experts' names."}
    )
    lead_sets: list[str] = field(
        default_factory=list, metadata={"help": f"Score the test fold also on {', '.join(LEAD_SETS)}."}
    )
    folds: int | None = field(
        default=None,
        metadata={
            "help": "Cross-validate on the records of training and validation, divided into so many folds by patient.",
            "range": FOLDS,
        },
    )
    repeats: int = field(default=1, metadata={"help": "How often folds are drawn anew.", "range": COUNT})
    num_resamples: int = field(
        default=1000, metadata={"help": "Bootstrap resamples of the intervals.", "range": COUNT}
    )
    confidence: float = field(default=0.95, metadata={"help": "Confidence of the intervals.", "range": INNER_SHARE})
    seed: int = field(
        default=42, metadata={"help": "Seed of weights, order, dropout and stochastic depth.", "range": SEED}
    )
    num_processes: int | None = field(
        default=None, metadata={"help": "Refuse to run with another number of processes than this.", "range": COUNT}
    )
    num_proc: int | None = field(
        default=None, metadata={"help": "Processes that read and prepare the records.", "range": COUNT}
    )
    cache_dir: str | None = field(default=None, metadata={"help": "Where prepared data and features are kept."})

    def __post_init__(self) -> None:
        check_choice("sampling_rate", self.sampling_rate, (100, 500))
        check_choice("on_error", self.on_error, ("raise", "skip"))
        check_choice("class_weights", self.class_weights, ("none", "balanced"))
        check_choice("feature_dtype", self.feature_dtype, ("float32", "float16"))
        check_choice("save_experts", self.save_experts, ("value", "reference"))
        check_numbers({item.name: getattr(self, item.name) for item in fields(self)}, Recipe)
        for name in self.lead_sets:
            check_choice("lead_sets", name, tuple(LEAD_SETS))
        if self.streaming and (self.train_fraction < 1 or self.permute_labels):
            raise RecipeError("streaming: takes the whole training fold; leave train_fraction and permute_labels out.")
        if self.folds is None and self.repeats > 1:
            raise RecipeError("repeats: there is nothing to repeat without folds.")
        if self.folds is not None and (self.streaming or self.train_fraction < 1):
            raise RecipeError(
                "folds: takes all records, held in memory's reach; leave streaming and train_fraction out."
            )
        for task, weight in self.loss_weights.items():
            if self.tasks:
                check_choice("loss_weights", task, self.tasks)
            if not fits(weight, float) or weight <= 0:
                raise RecipeError(f"loss_weights.{task}: expected a positive number, got {weight!r}.")
        self.ensemble = {key: value for key, value in self.ensemble.items() if value is not None}
        for key in self.ensemble:
            if key not in _ENSEMBLE_FIELDS:
                raise RecipeError(f"Unknown key ensemble.{key}.{suggest(key, _ENSEMBLE_FIELDS)}")
        self._check_experts()
        self.stages = {name: settings for name, settings in self.stages.items() if settings is not None}
        for name, settings in self.stages.items():
            check_choice("stages", name, tuple(EVERY_STAGE))
            check_fields(settings, EVERY_STAGE[name].arguments, f"stages.{name}.", _RESERVED)
            check_numbers(settings, EVERY_STAGE[name].arguments, f"stages.{name}.")
            check_trackers(f"stages.{name}.report_to", settings.get("report_to", "none"))
        if not self.stages:
            raise RecipeError("stages: at least one is needed.")
        if self.stages.keys() & PRETRAINING.keys():
            self._check_pretraining()
        self._check_more_data()

    @property
    def is_pretraining(self) -> bool:
        """Whether a backbone is pre-trained, instead of a model of some tasks."""
        return next(iter(self.stages)) in PRETRAINING

    def part(self, kind: type[T]) -> T:
        """Return the fields that a smaller dataclass has as well."""
        return kind(**{item.name: getattr(self, item.name) for item in fields(cast(Any, kind))})

    def dataset_options_in_full(self) -> DatasetOptions:
        """Return which dataset is read, and how."""
        return DatasetOptions(
            self.data_dir,
            self.sampling_rate,
            self.on_error,
            "rr_interval" in self.tasks,
            self.dataset_options,
            self.num_proc,
            self.cache_dir,
        )

    def _check_pretraining(self) -> None:
        """Refuse what a pre-training cannot have: more than one stage or backbone, and settings of tasks and heads."""
        if len(self.stages) > 1:
            raise RecipeError(
                f"stages: {', '.join(self.stages)}: a pre-training is a recipe of its own, of one stage; another "
                "recipe takes the backbone that it leaves as the path of an expert."
            )
        if len(self.experts) != 1:
            raise RecipeError(f"experts: a pre-training is of one; got {', '.join(self.experts) or 'none'}.")
        for item in fields(self):
            if item.name not in OF_PRETRAINING and getattr(self, item.name) not in (item.default, {}, []):
                raise RecipeError(f"{item.name}: leave it out: a pre-training of a backbone has no use for it.")

    def _check_more_data(self) -> None:
        """Refuse to mix datasets where labels would have to be the same, or a stream is read."""
        if self.more_data and not self.is_pretraining:
            raise RecipeError("more_data: is for a pre-training, which needs no labels; leave it out.")
        if self.more_data and self.streaming:
            raise RecipeError("more_data: is not mixed into a stream; leave streaming out.")
        for place, weight in self.more_data.items():
            if not fits(weight, float) or not 0 < weight < math.inf:
                raise RecipeError(f"more_data.{place}: expected a positive number, got {weight!r}.")
            if place == self.data_dir:
                raise RecipeError(f"more_data.{place}: is data_dir already.")

    def _check_experts(self) -> None:
        self.experts = {name: expert for name, expert in self.experts.items() if expert is not None}
        for name, expert in self.experts.items():
            if not isinstance(expert, dict) or set(expert) not in ({"path"}, {"config"}, {"config", "steps"}):
                raise RecipeError(f"experts.{name}: give either path or config, with steps or not; got {expert}.")
            if not isinstance(expert.get("config", {}), dict) or not isinstance(expert.get("path", ""), str):
                raise RecipeError(f"experts.{name}: path is a folder or Hub id, config a mapping; got {expert}.")
        if self.model is None and not self.experts:
            raise RecipeError("experts: at least one is needed, or a model to adapt.")
        if self.model is not None and (self.experts or self.ensemble):
            raise RecipeError("model: a trained model has its experts and gates; leave experts and ensemble out.")


def load_recipe(path: str | Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file and apply changes and overrides.

    Args:
        path (`str` or `Path`): A YAML file with the fields of [`Recipe`]; with `extends`, the name of another file in
            the same folder, it says only what differs from that.
        overrides (`Sequence[str]`): `--key value` or `--key=value` pairs; a key with dots reaches inside, as in
            `--stages.post_training.learning_rate 1e-4`; a stage or expert set to `null` is left out. A text is taken
            as it was typed; other values are YAML. A field that is true or false may stand alone for true, as in
            `--streaming`.
        changes (`Mapping[str, Any]`, *optional*): Fields that are laid over the file's, as those of a recipe over
            another that it extends.

    Raises:
        RecipeError: if the file cannot be read, or a key is unknown, missing, or has the wrong type of value.
    """
    content = merged(read_settings(Path(path)), dict(changes or {}))
    for key, value in parse_overrides(overrides, _type_of):
        override(content, key.split("."), value, key)
    content = {key: value for key, value in content.items() if value is not None}
    check_fields(content, Recipe, "")
    missing = missing_fields(content, Recipe)
    if missing:
        raise RecipeError(f"The recipe lacks {', '.join(missing)}; add it, or pass --{missing[0]} VALUE.")
    return Recipe(**content)


def _type_of(key: str) -> Any:
    """Return the type of a field's value; of what lies inside a field, as far as it is known."""
    match key.split("."):
        case [name]:
            return typing.get_type_hints(Recipe).get(name, Any)
        case ["stages", stage, name] if stage in EVERY_STAGE:
            return typing.get_type_hints(EVERY_STAGE[stage].arguments).get(name, Any)
        case ["experts", _, "path"]:
            return str
    return Any
