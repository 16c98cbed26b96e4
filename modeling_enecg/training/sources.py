"""Where a recipe's records come from: PTB-XL, MIMIC-IV-ECG, a folder of one's own, or Parquet files of any of them.

Every source gives the same columns: `ecg_id`, `patient_id`, `signal` (bytes of int16 microvolts, leads before
samples), where they differ between records `sampling_rate` and `lead_names`, and one column a task.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from dataset_scripts.mimic_iv_ecg import MIMICIVECG
from dataset_scripts.ptbxl import PTBXL
from dataset_scripts.wfdb_folder import WFDBFolder

from .recipe import Recipe, RecipeError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """A dataset that has been found, and not read yet.

    Attributes:
        name (`str`): What the model card calls it.
        features (`datasets.Features`): Its columns.
        read (`Callable`): Reads splits of these names, as far as there are such, and caches them.
        files (`Mapping[str, list[str]]`): By split, Parquet files that can be streamed; empty where there are none.
    """

    name: str
    features: datasets.Features
    read: Callable[[Sequence[str]], Mapping[str, datasets.Dataset]]
    files: Mapping[str, list[str]]


def find_source(recipe: Recipe) -> Source:
    """Tell by what lies at a recipe's `data_dir` which dataset it is.

    Raises:
        RecipeError: if there is no dataset of a known kind, or none that can be streamed where that is asked for.
    """
    folder = Path(recipe.data_dir)
    if (folder / "ptbxl_database.csv").is_file():
        options = {"config_name": f"{recipe.sampling_rate}hz", "rr_interval": "rr_interval" in recipe.tasks}
        source = _built(recipe, PTBXL, _ptbxl_name(folder), options)
    elif (folder / "record_list.csv").is_file():
        source = _built(recipe, MIMICIVECG, "MIMIC-IV-ECG", {})
    elif folder.is_file() or (folder / "dataset.yaml").is_file():
        source = _built(recipe, WFDBFolder, folder.stem, {})
    else:
        source = _parquet(recipe)
    if recipe.streaming and not source.files:
        raise RecipeError(
            f"streaming: {recipe.data_dir} is no dataset of Parquet files; write it as such first, for instance with "
            "python dataset_scripts/ptbxl.py --data_dir ... --output_dir ..."
        )
    return source


def _built(recipe: Recipe, builder_class: Callable[..., Any], name: str, options: Mapping[str, Any]) -> Source:
    try:
        builder = builder_class(
            data_dir=recipe.data_dir,
            cache_dir=recipe.cache_dir,
            on_error=recipe.on_error,
            **options,
            **recipe.dataset_options,
        )
    except TypeError as error:
        raise RecipeError(f"dataset_options: {error}.") from error

    def read(splits: Sequence[str]) -> dict[str, datasets.Dataset]:
        with PartialState().main_process_first():
            builder.download_and_prepare(num_proc=recipe.num_proc)
            prepared = builder.as_dataset()
        return {split: prepared[split] for split in splits if split in prepared}

    return Source(name, builder.info.features, read, {})


def _parquet(recipe: Recipe) -> Source:
    folder = Path(recipe.data_dir)
    if folder.is_dir() and not any(folder.rglob("*.parquet")):
        raise RecipeError(
            f"data_dir: {folder} holds neither ptbxl_database.csv (PTB-XL), record_list.csv (MIMIC-IV-ECG), "
            "dataset.yaml (records of your own) nor Parquet files."
        )
    if not folder.is_dir():
        _check_repo_id(recipe.data_dir)
    try:
        configs = datasets.get_dataset_config_names(recipe.data_dir)
        wanted = f"{recipe.sampling_rate}hz"
        config = wanted if wanted in configs else None
        builder = datasets.load_dataset_builder(recipe.data_dir, config, cache_dir=recipe.cache_dir)
    except (OSError, ValueError) as error:
        raise RecipeError(f"data_dir: {recipe.data_dir}: {' '.join(str(error).split())}") from error
    files = {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}

    def read(splits: Sequence[str]) -> dict[str, datasets.Dataset]:
        with PartialState().main_process_first():
            return {
                split: datasets.load_dataset(
                    "parquet", data_files={split: files[split]}, split=split, cache_dir=recipe.cache_dir
                )
                for split in splits
                if split in files
            }

    features = builder.info.features
    if features is None:  # without a dataset card, the files say it
        stream = datasets.load_dataset("parquet", data_files=next(iter(files.values())), split="train", streaming=True)
        features = stream.features
    return Source(folder.name, features, read, files)


def _check_repo_id(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise RecipeError(f"data_dir: there is no folder {name}.") from error


def _ptbxl_name(folder: Path) -> str:
    """Name the data, and say so where they are simulated."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    return "simulated records in the layout of PTB-XL" if re.search(r"\bsimulated\b", text, re.I) else "PTB-XL"
