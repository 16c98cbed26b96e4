"""Which files of a folder belong on the Hub."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_imports
from transformers.utils import CONFIG_NAME, FEATURE_EXTRACTOR_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..adapters import BASE_FOLDER, ENECG_FILE
from ..backbones import BACKBONES
from ..modeling_enecg import EnECGModel
from ..runs.run import CARD, EXPERTS, METRICS, RECIPE, RUN_INFO

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER = (ADAPTER_CONFIG, "adapter_model.safetensors", ENECG_FILE, FEATURE_EXTRACTOR_NAME, CARD)
_REPORT = (METRICS, EXPERTS, RUN_INFO, "conversion_report.json")
# Files of an earlier push that would mislead beside others; code that is no longer needed does not.
OWNED = (
    *(SAFE_WEIGHTS_NAME, "model-*-of-*.safetensors", SAFE_WEIGHTS_INDEX_NAME, CONFIG_NAME, FEATURE_EXTRACTOR_NAME),
    *(*_ADAPTER, *_REPORT, "figures/*", f"{BASE_FOLDER}/*"),
)

Files = dict[str, Path | bytes]  # from a path in the repository to a file here, or its content


def model_files(folder: Path) -> Files:
    """Return what belongs to a model or backbone: weights, configs, code, and card, figures and metrics if there are.

    Args:
        folder (`Path`): What a run, `enecg convert`, or `save_pretrained` of model and feature extractor wrote.

    Raises:
        ValueError: if something is missing or damaged, or the folder holds another kind of model.
    """
    _check_complete(folder, [CONFIG_NAME, FEATURE_EXTRACTOR_NAME])
    model_type = read_json(folder / CONFIG_NAME).get("model_type")
    if model_type not in (EnECGModel.config_class.model_type, *BACKBONES):
        raise ValueError(f"{folder} holds a model of type {model_type!r}, which is none of this package.")
    needed = [CONFIG_NAME, FEATURE_EXTRACTOR_NAME, *_weight_files(folder), *_code_files(folder)]
    if (folder / RECIPE).exists():  # of a run, which writes these last
        needed += [CARD, METRICS]
    if (folder / CARD).exists():
        needed += re.findall(r"\]\((figures/[^)]+)\)", text_of(folder / CARD))
    _check_complete(folder, needed)
    return _inside(folder, {name: folder / name for name in (*needed, CARD, *_REPORT) if (folder / name).is_file()})


def adapter_files(folder: Path) -> Files:
    """Return what belongs to an adapter, with its base if that lies inside.

    Args:
        folder (`Path`): A run's folder `adapter`.

    Raises:
        ValueError: if something is missing or damaged.
    """
    _check_complete(folder, _ADAPTER)
    files: Files = {name: folder / name for name in _ADAPTER}
    if read_json(folder / ENECG_FILE)["base"]["path"] is None:
        inside = model_files(folder / BASE_FOLDER)
        files |= {f"{BASE_FOLDER}/{name}": path for name, path in inside.items()}
    return _inside(folder, files)


def _inside(folder: Path, files: Files) -> Files:
    """Refuse a file that a link, or a name in the card, leads to outside the folder: it was not meant to be shared."""
    root = folder.resolve()
    outside = [name for name, path in files.items() if isinstance(path, Path) and root not in path.resolve().parents]
    if outside:
        raise ValueError(f"{folder}: {', '.join(outside)} leads out of the folder; put a copy in its place.")
    return files


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds.

    Raises:
        ValueError: if it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def text_of(content: Path | bytes) -> str:
    """Return the text of a file, or of its content."""
    return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")


def _weight_files(folder: Path) -> list[str]:
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if (folder / SAFE_WEIGHTS_NAME).exists() or not index.exists():
        return [SAFE_WEIGHTS_NAME]
    return [index.name, *sorted(set(read_json(index)["weight_map"].values()))]


def _code_files(folder: Path) -> list[str]:
    """Return the files that loading without this package runs, whether they are there or not."""
    config, extractor = read_json(folder / CONFIG_NAME), read_json(folder / FEATURE_EXTRACTOR_NAME)
    if "auto_map" not in config or "auto_map" not in extractor:
        raise ValueError(
            f"{folder} was saved without its code; load model and feature extractor with this version of the package, "
            "and save them again."
        )
    entries = [*config["auto_map"].values(), *extractor["auto_map"].values()]
    entries += [pipeline["impl"] for pipeline in config.get("custom_pipelines", {}).values()]
    names: set[str] = set()
    waiting = [entry.split(".")[0] for entry in entries]
    while waiting:
        name = f"{waiting.pop()}.py"
        if name not in names and (folder / name).is_file():
            waiting += get_relative_imports(folder / name)
        names.add(name)
    return sorted(names)


def _check_complete(folder: Path, names: Iterable[str]) -> None:
    missing = sorted({name for name in names if not (folder / name).is_file()})
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing)}: a model has what a run, `enecg convert`, or save_pretrained of the "
            "model and of its feature extractor writes; an adapter what a run writes."
        )
