"""LoRA adapters of an EnECG model, through peft: what they change, and how they are saved, loaded and stacked.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. As in EnECG (arXiv 2511.22935) they
act on the new layers, heads and gates, of chosen tasks. An adapter's folder holds what peft writes, and `enecg.json`:
the tasks, and the base that it was made for. The base itself is a model of its own, or, where its heads are new, the
folder `base` inside.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import CONFIG_NAME
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.utils import cached_file

from ..auto import AutoFeatureExtractor
from ..expert_references import model_source, tensors_digest
from ..loading import check_cached_files, place_and_revision
from ..modeling_backbone import RecordDropout
from ..modeling_enecg import EnECGModel
from ..pretrained_enecg import ENECG_FILE, changes_experts
from ..runs.files import added_files, write_text
from ..runs.shipped import find_model

FINAL_LAYERS = ("whole", "lora", "frozen")
ADAPTER_NAME = "default"
BASE_FOLDER = "base"
RESERVED_NAMES = {ADAPTER_NAME, "base_layer", "modules_to_save", "original_module"}
_BASE_INSIDE = "(the folder base inside: load this adapter with modeling_enecg.adapters.load_adapter)"
_ATTENTION_NAMES = {"attention", "attn"}
_TRAINED_PARTS = (".lora_", f".modules_to_save.{ADAPTER_NAME}.")


@dataclass
class LoraSettings:
    """What an adapter changes, and how; the fields as in `LoraHeadArguments`."""

    rank: int = 8
    alpha: float = 32.0
    dropout: float = 0.05
    use_dora: bool = False
    use_rslora: bool = False
    final_layers: str = "whole"
    experts: bool = False


def add_lora(model: EnECGModel, settings: LoraSettings) -> PeftModel:
    """Put an adapter into a model, in place: its own weights are frozen, the adapter's train.

    Args:
        model ([`EnECGModel`]): The model; its experts are frozen.
        settings ([`LoraSettings`]): Rank and so on.

    Returns:
        `PeftModel` around the model, to save or merge the adapter.

    Raises:
        ValueError: if there is nothing to adapt, a name is peft's own, or DoRA is to rescale a layer of zeros.
    """
    targets, final = lora_layers(model, settings)
    model.freeze_experts()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        target_modules="|".join(map(re.escape, targets)),  # of a list, peft would keep endings that match more
        modules_to_save=final if settings.final_layers == "whole" else None,
    )
    adapted = get_peft_model(model, config, adapter_name=ADAPTER_NAME)
    _set_trainable(model)
    for module in model.modules():
        if isinstance(module, LoraLayer) and settings.dropout:
            module.lora_dropout[ADAPTER_NAME] = RecordDropout(settings.dropout)
    return adapted


def lora_layers(model: EnECGModel, settings: LoraSettings) -> tuple[list[str], list[str]]:
    """Return the names of the layers that an adapter changes by LoRA, and of the heads' and gates' final layers.

    Raises:
        ValueError: as `add_lora` does.
    """
    names = {*model.tasks, *model.experts}
    reserved = sorted(name for name in names if name in RESERVED_NAMES or name.startswith("lora_"))
    if reserved:
        raise ValueError(f"peft uses the names {', '.join(reserved)} itself; give that expert or task another one.")
    hidden, final = new_layers(model)
    targets = hidden + (final if settings.final_layers == "lora" else [])
    if settings.experts:
        targets += attention_layers(model)
    if not targets:
        raise ValueError(
            "LoRA finds no layer to adapt: these heads are linear, and final layers are trained whole or frozen. "
            'Set final_layers to "lora", or give the heads hidden layers.'
        )
    if settings.use_dora and any(not cast(torch.Tensor, model.get_submodule(name).weight).any() for name in targets):
        raise ValueError("DoRA cannot rescale a layer of zeros, as a fresh gate's is; train final layers whole.")
    return targets, final


def new_layers(model: EnECGModel) -> tuple[list[str], list[str]]:
    """Return the names of the hidden and of the final layers of all heads and gates."""
    hidden, final = [], []
    for kind, parts in (("heads", model.heads), ("gates", model.gates)):
        for name, part in parts.items():
            for prefix, network in (
                [(f"{kind}.{name}.{expert}", head) for expert, head in part.items()]
                if isinstance(part, nn.ModuleDict)
                else [(f"{kind}.{name}", part)]
            ):
                layers = [
                    f"{prefix}.{path}"
                    for path, module in network.named_modules()
                    if isinstance(module, nn.Linear | nn.Conv1d)
                ]
                hidden += layers[:-1]
                final += layers[-1:]
    return hidden, final


def attention_layers(model: EnECGModel) -> list[str]:
    """Return the names of the linear layers in the experts' attention.

    Raises:
        ValueError: if no expert has attention.
    """
    names = [
        f"experts.{path}"
        for path, module in model.experts.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and _ATTENTION_NAMES & set(path.split("."))
    ]
    if not names:
        raise ValueError(f"LoRA in the experts: none of {', '.join(model.experts)} has attention.")
    return names


def _set_trainable(model: EnECGModel) -> None:
    """Train the adapter and nothing else, whatever peft did."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in f".{name}" for part in _TRAINED_PARTS))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained or any(name.startswith("experts.") and ".lora_" not in name for name in trained):
        raise RuntimeError(f"An adapter must train LoRA weights and whole final layers; got {trained}.")


@dataclass
class AdapterBase:
    """What an adapter was made for.

    Attributes:
        digest (`str`): Hash of the base's weights that the adapter builds on.
        like (`dict[str, str]`): From each task that the base lacks to the task whose gate and hidden layers it took.
        path (`str`, *optional*): The base's folder, Hub id, or name of a shipped model; None where it lies in the
            adapter's own folder.
        revision (`str`, *optional*): Its revision on the Hub.
    """

    digest: str
    like: dict[str, str]
    path: str | None = None
    revision: str | None = None


def adapted_model(adapted: PeftModel) -> EnECGModel:
    """Return the model inside, with the adapters' layers in it."""
    return cast(EnECGModel, cast(Any, adapted).get_base_model())


def missing_tasks(model: EnECGModel, tasks: Iterable[str]) -> dict[str, str]:
    """Return from each task that a model lacks to the one it is to be like: the model's first."""
    return {task: next(iter(model.tasks)) for task in tasks if task not in model.tasks}


def adapter_base(model: EnECGModel, tasks: Sequence[str], path: str | None = None) -> AdapterBase:
    """Describe a model as the base of an adapter.

    Args:
        model ([`EnECGModel`]): The base, as it was loaded.
        tasks (`Sequence[str]`): The adapter's tasks.
        path (`str`, *optional*): Where it was loaded from, if it is not to lie in the adapter's own folder.
    """
    like = missing_tasks(model, tasks)
    digest = base_digest(model, {like.get(task, task) for task in tasks})
    return AdapterBase(digest, like, **({} if path is None else model_source(path, model)))


def base_digest(model: EnECGModel, tasks: Iterable[str]) -> str:
    """Hash what an adapter of some tasks builds on: the experts, and these tasks' heads and gates."""
    prefixes = ("experts.", "feature_norms.", *(f"{kind}.{task}." for kind in ("heads", "gates") for task in tasks))
    own = model.state_dict()
    return tensors_digest({name: tensor for name, tensor in own.items() if name.startswith(prefixes)})


def save_adapter(adapted: PeftModel, folder: str | Path, base: AdapterBase) -> None:
    """Save an adapter with all that loading it needs but its base.

    Args:
        adapted (`PeftModel`): What `add_lora` returned.
        folder (`str` or `Path`): Where to write.
        base ([`AdapterBase`]): What it was made for.

    Raises:
        ValueError: if final layers of a task that the base lacks are not trained whole: they would be in no file.
        RuntimeError: if peft leaves out some of the adapter's weights.
    """
    model, config = adapted_model(adapted), cast(LoraConfig, adapted.peft_config[ADAPTER_NAME])
    if base.like and config.modules_to_save is None:
        raise ValueError(f"final_layers must be whole: the base lacks the tasks {', '.join(base.like)}.")
    config.base_model_name_or_path, config.revision = base.path, base.revision
    tasks = [task.to_dict() for task in model.tasks.values()]
    with added_files(folder) as aside:
        adapted.save_pretrained(str(aside), save_embedding_layers=False)  # else peft asks the Hub for the base
        (aside / "README.md").unlink()  # peft's blank form
        model.feature_extractor().save_pretrained(aside)
        if base.path is None:
            _say_where_the_base_is(aside / CONFIG_NAME)
        num_saved = len(load_file(aside / "adapter_model.safetensors"))
        num_trained = sum(parameter.requires_grad for parameter in model.parameters())
        if num_saved != num_trained:
            raise RuntimeError(f"peft saved {num_saved} of the adapter's {num_trained} tensors.")
        write_text(aside / ENECG_FILE, json.dumps({"base": asdict(base), "tasks": tasks}, indent=2) + "\n")


def _say_where_the_base_is(path: Path) -> None:
    """Name what to call where transformers looks for a base by name, and prints what it did not find."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = _BASE_INSIDE
    write_text(path, json.dumps(settings, indent=2) + "\n")


def load_adapter(
    path: str | Path, base: EnECGModel | None = None, name: str = ADAPTER_NAME, **hub_options: Any
) -> PeftModel:
    """Load an adapter on its base.

    Args:
        path (`str` or `Path`): The adapter's folder or Hub id, also as `org/name@revision`.
        base ([`EnECGModel`], *optional*): The base, changed in place; by default it is loaded from where the adapter
            says.
        name (`str`, *optional*, defaults to `"default"`): What peft is to call the adapter.
        hub_options: `revision`, `token`, `cache_dir` and `local_files_only`, as in huggingface_hub.

    Returns:
        `PeftModel`: Call it like the model; `merge_and_unload()` makes it one.

    Raises:
        ValueError: if there is no EnECG adapter, it was made for another base, or peft cannot use the name.
        OSError: if the adapter or its base cannot be loaded.
    """
    return load_adapters({name: path}, base, **hub_options)


def load_adapters(paths: Mapping[str, str | Path], base: EnECGModel | None = None, **hub_options: Any) -> PeftModel:
    """Load several adapters, each of tasks of its own, on one base, and switch all of them on.

    One that changes the experts leaves the base its own tasks alone: the heads of the others were not trained on them,
    nor was its novelty fitted to them.

    Args:
        paths (`Mapping[str, str | Path]`): From an adapter's name to its folder or Hub id.
        base ([`EnECGModel`], *optional*): As in `load_adapter`.
        hub_options: As in `load_adapter`.

    Raises:
        ValueError: as `load_adapter` does, or if two adapters change the same task, or one of several the experts.
    """
    if not paths:
        raise ValueError("Got no adapter to load.")
    revision = hub_options.pop("revision", None)
    folders = {name: _local_folder(path, revision, hub_options) for name, path in paths.items()}
    for name, path in paths.items():
        if not os.path.isdir(path):
            check_cached_files(place_and_revision(path)[0], folders[name])
    contents = {name: _read_info(folder) for name, folder in folders.items()}
    _check_together(folders, contents)
    if base is None:
        name = next(iter(folders))
        place, options = _base_place(folders[name], contents[name][0])
        base = EnECGModel.from_pretrained(place, **options, **hub_options)
    for name, (source, tasks) in contents.items():
        _check_name(base, name)
        _check_base(base, folders[name], source, tasks)
    for source, tasks in contents.values():
        for task in tasks:
            if task["name"] in source.like:
                base.add_task(task, like=source.like[task["name"]])
    own = [task for _source, tasks in contents.values() for task in tasks]
    base.take_tasks(own, any(_changes_experts(folder) for folder in folders.values()))
    adapted: PeftModel | None = None
    for name, folder in folders.items():
        if adapted is None:
            adapted = PeftModel.from_pretrained(base, str(folder), adapter_name=name)
        else:
            adapted.load_adapter(str(folder), adapter_name=name)
    assert adapted is not None  # there is at least one folder
    cast(Any, adapted.base_model).set_adapter(list(folders), inference_mode=True)
    return adapted.eval()


def _check_together(folders: Mapping[str, Path], contents: Mapping[str, tuple[AdapterBase, list[dict]]]) -> None:
    """Refuse adapters that would change each other's results."""
    owner: dict[str, str] = {}
    for name, (_source, tasks) in contents.items():
        for task in tasks:
            other = owner.setdefault(task["name"], name)
            if other != name:
                raise ValueError(
                    f"The adapters {other!r} and {name!r} both change {task['name']!r}; load one of them."
                )
        if len(folders) > 1 and _changes_experts(folders[name]):
            raise ValueError(f"The adapter {name!r} changes the experts, which all tasks share; load it alone.")


def _changes_experts(folder: Path) -> bool:
    return changes_experts(PeftConfig.from_pretrained(str(folder)).target_modules)


def _check_name(model: EnECGModel, name: str) -> None:
    if not name.replace("_", "").replace("-", "").isalnum() or name in {
        part for path, _ in model.named_modules() for part in path.split(".")
    }:
        raise ValueError(
            f"Adapter name {name!r}: use letters, digits, _ and -, and no name of a module: peft would mix them up."
        )


def _read_info(folder: Path) -> tuple[AdapterBase, list[dict[str, Any]]]:
    try:
        info = json.loads((folder / ENECG_FILE).read_text(encoding="utf-8"))
        return AdapterBase(**info["base"]), info["tasks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no adapter of an EnECG model: {ENECG_FILE}: {error!r}.") from error


def load_base_extractor(path: str | Path, **hub_options: Any) -> Any:
    """Return the feature extractor of an adapter's base; arguments and errors as in `load_adapter`."""
    folder = _local_folder(path, hub_options.pop("revision", None), hub_options)
    place, options = _base_place(folder, _read_info(folder)[0])
    return AutoFeatureExtractor.from_pretrained(place, **options, **hub_options)


def is_adapter(path: str | Path, **hub_options: Any) -> bool:
    """Whether a folder or Hub id holds an adapter of an EnECG model."""
    if os.path.isdir(path):
        return Path(path, ENECG_FILE).is_file()
    place, revision = place_and_revision(path, hub_options.pop("revision", None))
    found = cached_file(
        place,
        ENECG_FILE,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
        **hub_options,
    )
    return found is not None


def _local_folder(path: str | Path, revision: str | None, hub_options: Mapping[str, Any]) -> Path:
    """Return an adapter's folder, downloaded if need be."""
    place, revision = place_and_revision(path, revision)
    if os.path.isdir(place):
        return Path(place)
    return Path(snapshot_download(place, revision=revision, **hub_options))


def _base_place(folder: Path, source: AdapterBase) -> tuple[str, dict[str, Any]]:
    """Return where an adapter's base lies, and the options that loading it takes."""
    if source.path is None:
        return str(folder / BASE_FOLDER), {}
    return find_model(source.path), {} if source.revision is None else {"revision": source.revision}


def _check_base(model: EnECGModel, folder: Path, source: AdapterBase, tasks: Sequence[Mapping[str, Any]]) -> None:
    used = [source.like.get(task["name"], task["name"]) for task in tasks]
    lacking = sorted(set(used) - model.tasks.keys())
    if lacking or base_digest(model, used) != source.digest:
        made_for = source.path or f"the model in its folder {BASE_FOLDER}"
        raise ValueError(
            f"The adapter {folder} was made for {made_for}{f', revision {source.revision}' if source.revision else ''}"
            + (f"; this base lacks the tasks {', '.join(lacking)}." if lacking else "; this base has other weights.")
        )
