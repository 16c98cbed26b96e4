"""The EnECG model but for its computing: its tasks and feature extractor, how it is made, saved and loaded."""

import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, cast

from torch import nn
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import cached_file

from .attention_pool import AttentionPool
from .backbones import backbone_class, code_reference, own_backbones, register_travelled
from .configuration_enecg import EnECGConfig
from .expert_references import fetch_expert, load_expert, model_source, refer_to
from .feature_extraction_ecg import ECGFeatureExtractor
from .feature_extraction_enecg import EnECGFeatureExtractor
from .heads import FeatureNorm
from .loading import StrictLoading, place_and_revision
from .modeling_backbone import ECGBackboneModel
from .novelty import Novelty
from .pipeline_ecg import PIPELINE_TASK, ECGClassificationPipeline
from .saved_extractor import joint_extractor, read_extractor
from .tasks import Task
from .travelling_code import save_code_of

ENECG_FILE = "enecg.json"  # beside the weights of an adapter that a recipe made

_OF_AN_ADAPTER = ("calibration", "thresholds", "conformal", "measured", "trained_sampling_rate")
_HUB_OPTIONS = ("token", "cache_dir", "force_download", "local_files_only")


class EnECGPreTrainedModel(StrictLoading):
    """Base of [`EnECGModel`]."""

    config: EnECGConfig
    config_class = EnECGConfig
    base_model_prefix = "enecg"
    main_input_name = "input_values"
    input_modalities = ["time"]
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over the batch, not normalised by `num_items_in_batch`
    _supports_sdpa = True
    experts: nn.ModuleDict

    def __init__(self, config: EnECGConfig):
        super().__init__(config)
        config.check_labels()  # which loading may have set
        if len(config.experts) > 1:
            # A plain Trainer counts the numbers in what is named here; input_values may be a list of tensors.
            self.main_input_name = "expert_features"
        self.expert_sources: dict[str, dict[str, Any]] = {}  # where experts were loaded from
        self._extractor: ECGFeatureExtractor | EnECGFeatureExtractor | None = None
        self._saved_in: tuple[str, dict[str, Any]] | None = None  # where this model was loaded from, and how
        self._view: tuple[list[dict[str, Any]], dict[str, Task]] = ([], {})
        if config.expert_references:
            self._keys_to_ignore_on_load_missing = [r"^experts\."]

    @property
    def backbones(self) -> dict[str, ECGBackboneModel]:
        """The experts by name."""
        return {name: cast(ECGBackboneModel, expert) for name, expert in self.experts.items()}

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks by name, a view of `config.tasks`; `update_task`, `add_task` and `remove_task` change them."""
        if self._view[0] != self.config.tasks:
            self._view = (deepcopy(self.config.tasks), {task.name: task for task in self.config.get_tasks()})
        return MappingProxyType(self._view[1])

    def update_task(self, name: str, /, **changes: Any) -> None:
        """Give a task other values of some fields, such as `thresholds`.

        Args:
            name (`str`): The task.
            changes: Fields of [`Task`]; its name, problem type and outputs stay.

        Raises:
            ValueError: if there is no such task, a field is unknown or may not change, or the values do not fit.
        """
        if name not in self.tasks:
            raise ValueError(f"There is no task {name!r}; there are {', '.join(self.tasks)}.")
        task = self.tasks[name]
        changed = task.with_fields(**changes)
        for fixed in ("name", "problem_type", "num_outputs"):
            if getattr(changed, fixed) != getattr(task, fixed):
                raise ValueError(f"Task {name!r}: {fixed} cannot change; remove the task and add another.")
        self._set_tasks([changed if each.name == name else each for each in self.tasks.values()])

    def _set_tasks(self, tasks: Sequence[Task]) -> None:
        self.config.tasks = [task.to_dict() for task in tasks]

    def _new_expert(self, name: str) -> ECGBackboneModel:
        fields = dict(self.config.experts[name])
        model_class = backbone_class(fields.pop("model_type", None))
        fields.pop("auto_map", None)
        fields["attn_implementation"] = self.config._attn_implementation
        return model_class(model_class.config_class(**fields))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv1d | AttentionPool):
            module.reset_parameters()  # torch's own, the gate's, or the pool's
        elif isinstance(module, FeatureNorm):
            init.zeros_(module.mean)
            init.ones_(module.std)
        elif isinstance(module, Novelty):  # which knows no record
            init.zeros_(module.axes)
            init.ones_(module.variances)
            init.ones_(module.residual_variance)
            init.zeros_(module.quantiles)

    @classmethod
    def from_experts(
        cls,
        experts: Mapping[str, str | os.PathLike[str] | ECGBackboneModel],
        tasks: Sequence[Mapping[str, Any] | Task],
        extractors: Mapping[str, ECGFeatureExtractor] | None = None,
        **config_fields: Any,
    ) -> Self:
        """Build an ensemble from trained backbones, with new heads and gates.

        Args:
            experts (`Mapping[str, str | ECGBackboneModel]`): From a name to a backbone: a folder, a Hub id, also as
                `org/name@revision`, or the model itself; a peft adapter on it is merged into its weights.
            tasks (`Sequence[Mapping]`): The fields of each [`Task`].
            extractors (`Mapping[str, ECGFeatureExtractor]`, *optional*): Experts' feature extractors, by name. By
                default each has the one that was saved beside it, or else what its config says.
            config_fields: Further fields of [`EnECGConfig`].

        Returns:
            [`EnECGModel`] in eval mode.

        Raises:
            ValueError: if an expert is no backbone that is known, see `register_backbone`, or a task is not legal.
            OSError: if a folder or Hub id cannot be loaded.
        """
        paths = {name: os.fspath(each) for name, each in experts.items() if isinstance(each, str | os.PathLike)}
        loaded = {name: load_expert(paths[name]) if name in paths else _merged(experts[name]) for name in experts}
        for expert in loaded.values():
            if not isinstance(expert, backbone_class(expert.config.model_type)):
                raise ValueError(
                    f"{type(expert).__name__} is not the backbone registered as {expert.config.model_type}."
                )
        config = EnECGConfig(
            experts={name: _own_fields(expert.config) for name, expert in loaded.items()},
            tasks=[task.to_dict() if isinstance(task, Task) else dict(task) for task in tasks],
            **config_fields,
        )
        model = cast(Any, cls)(config, loaded).eval()
        model.expert_sources = {name: model_source(path, loaded[name]) for name, path in paths.items()}
        saved = {name: read_extractor(path) for name, path in paths.items()}
        model._extractor = model._joint_extractor(saved | dict(extractors or {}))
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a model as transformers does; experts that were saved by reference are fetched from where they are.

        Raises:
            ValueError: if the weights do not fit, or an expert that is referred to holds other weights by now.
            OSError: if the model or such an expert cannot be loaded, or a download is damaged.
        """
        hub_options = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        place, revision = pretrained_model_name_or_path, None
        if place is not None:  # else a config and weights at hand are given
            place, revision = place_and_revision(place, kwargs.pop("revision", None))
        own_options = hub_options if revision is None else {**hub_options, "revision": revision}
        if kwargs.get("trust_remote_code") and place is not None:
            fields, _ = cls.config_class.get_config_dict(place, **own_options)
            register_travelled(place, fields.get("experts", {}), **own_options)
        if revision is not None:
            kwargs["revision"] = revision
        result = super().from_pretrained(place, *args, **kwargs)
        model = result[0] if isinstance(result, tuple) else result
        for name, reference in (model.config.expert_references or {}).items():
            model.backbones[name].load_state_dict(fetch_expert(name, reference, **hub_options).state_dict())
            model.expert_sources[name] = {key: reference[key] for key in ("path", "revision")}
        model._saved_in = None if place is None else (place, own_options)
        return result

    def load_adapter(
        self, peft_model_id: str | None = None, adapter_name: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Load an adapter as transformers does; of one that a recipe made with what it knows of its tasks."""
        loaded = super().load_adapter(peft_model_id, adapter_name, *args, **kwargs)
        if peft_model_id is not None:
            options = {key: value for key, value in (kwargs.get("adapter_kwargs") or {}).items() if key[0] != "_"}
            lenient = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
            file = cached_file(peft_model_id, ENECG_FILE, **lenient, **options)
            if file is not None:
                tasks = json.loads(Path(file).read_text(encoding="utf-8"))["tasks"]
                settings = cast(Any, self.peft_config[adapter_name or "default"])
                self.take_tasks(tasks, changes_experts(settings.target_modules))
        return loaded

    def take_tasks(self, tasks: Sequence[Mapping[str, Any]], experts_changed: bool) -> None:
        """Take over what validation records decided of adapted tasks.

        Args:
            tasks (`Sequence[Mapping]`): The adapted tasks' fields.
            experts_changed (`bool`): Whether the experts were adapted, too. Then all other tasks go, since their heads
                know the experts as they were, and so does the novelty.
        """
        for task in tasks:
            if task["name"] in self.tasks:
                self.update_task(task["name"], **{field: task.get(field) for field in _OF_AN_ADAPTER})
        if experts_changed:
            model = cast(Any, self)
            for name in set(self.tasks) - {task["name"] for task in tasks}:
                model.remove_task(name)
            model.set_novelty(None)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, experts: str = "value", **kwargs: Any
    ) -> None:
        """Save the model as transformers does, with its feature extractor.

        Args:
            save_directory (`str`): The folder.
            experts (`str`, *optional*, defaults to `"value"`): `"value"` for the whole model; `"reference"` for heads,
                gates and config only, a few MB: loading then fetches each expert from the folder or Hub revision it
                came from, and checks that its weights are the same.
            args: As in transformers.
            kwargs: As in transformers.

        Raises:
            ValueError: if an expert cannot be saved by reference: it came from nowhere, or was trained since.
        """
        if experts not in ("value", "reference"):
            raise ValueError(f'experts must be "value" or "reference"; got {experts!r}.')
        self.config.expert_references = None
        if experts == "reference":
            self.config.expert_references = {
                name: refer_to(name, expert, self.expert_sources.get(name)) for name, expert in self.backbones.items()
            }
            weights = kwargs.get("state_dict") or self.state_dict()
            kwargs["state_dict"] = {name: each for name, each in weights.items() if not name.startswith("experts.")}
        extractor = self.feature_extractor()  # before anything of this model is overwritten
        travels = self._auto_class is not None  # its code is saved with it, and so is the pipeline's
        own = own_backbones(expert.config.model_type for expert in self.backbones.values())
        if travels:
            implementation = f"{ECGClassificationPipeline.__module__.rpartition('.')[2]}.ECGClassificationPipeline"
            self.config.custom_pipelines = {PIPELINE_TASK: {"impl": implementation, "pt": ["AutoModel"]}}
            references = {each.config_class.model_type: code_reference(each) for each in own}
            for fields in self.config.experts.values():
                if fields["model_type"] in references:
                    fields["auto_map"] = references[fields["model_type"]]
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True):
            extractor.save_pretrained(save_directory)
            if travels:
                custom_object_save(ECGClassificationPipeline, save_directory)
                for model_class in own:
                    save_code_of(model_class, Path(save_directory))

    def feature_extractor(self) -> ECGFeatureExtractor | EnECGFeatureExtractor:
        """Return the feature extractor that fits the model.

        It is the one that was saved with the model; else that of the experts, each as it was saved with the expert or
        as the backbone was pre-trained: one for all, or one each where they differ, with one for a gate on the signal.

        Raises:
            OSError: if the one that was saved with the model cannot be loaded.
            ValueError: if it is damaged.
        """
        if self._extractor is None and self._saved_in is not None:
            place, hub_options = self._saved_in
            self._extractor = read_extractor(place, **hub_options)
        if self._extractor is None:
            self._extractor = self._joint_extractor({})
        return self._extractor

    def _joint_extractor(
        self, saved: Mapping[str, ECGFeatureExtractor | EnECGFeatureExtractor | None]
    ) -> ECGFeatureExtractor | EnECGFeatureExtractor:
        """Join the experts' feature extractors; a saved one of an expert comes before what its config says."""
        extractors = {
            name: saved.get(name) or ECGFeatureExtractor(**expert.config.feature_extractor_settings())
            for name, expert in self.backbones.items()
        }
        gate = self.config.gate_extractor_settings() if self.config.gate_reads_signal else None
        return joint_extractor(extractors, gate)


def changes_experts(target_modules: Any) -> bool:
    """Whether an adapter of these modules, as peft's settings name them, changes the experts."""
    return r"experts\." in str(target_modules)


def _merged(expert: Any) -> ECGBackboneModel:
    """Merge a peft adapter into an expert: nested adapters would be trained, saved and switched together."""
    return expert.merge_and_unload().requires_grad_(True) if hasattr(expert, "merge_and_unload") else expert


def _own_fields(config: PreTrainedConfig) -> dict[str, Any]:
    """Return what a backbone's config says beyond defaults, without notes on how and where it was saved."""
    notes = {"architectures", "auto_map", "dtype", "transformers_version"}
    return {key: value for key, value in config.to_diff_dict().items() if key not in notes}


__all__ = ["ENECG_FILE", "EnECGPreTrainedModel", "changes_experts"]
