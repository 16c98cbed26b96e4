"""Where a recipe's records come from: PTB-XL, MIMIC-IV-ECG, another public data set, a folder of one's own, or
Parquet files of any of them.

Every source gives the same columns: `ecg_id`, `patient_id`, `signal` (bytes of int16 microvolts, leads before
samples), where they differ between records `sampling_rate` and `lead_names`, and one column per task.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from accelerate import PartialState
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..loading import LONGEST_REASON
from ..runs.portable import is_hub_id
from .cache import CachedDataset
from .errors import DatasetError
from .folder.recordings import SETTINGS_FILE, recordings
from .folder.settings import read_settings
from .folder.wfdb_folder import WFDBFolder
from .mimic_iv_ecg.metadata import RECORDS
from .mimic_iv_ecg.mimic_iv_ecg import MIMICIVECG
from .ptbxl.metadata import DATABASE_CSV
from .ptbxl.ptbxl import PTBXL
from .public.labels import PUBLIC_TASKS
from .public.public_ecgs import PublicECGs, find_public_set
from .rows import check_columns

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DatasetOptions:
    """Which dataset is read, and how.

    Args:
        data_dir (`str`): The folder of PTB-XL, of MIMIC-IV-ECG or another public data set, of records with a
            `dataset.yaml`, or of Parquet files; or a dataset's Hub id.
        sampling_rate (`int`, *optional*, defaults to 500): Of PTB-XL's records, 100 or 500 Hz.
        on_error (`str`, *optional*, defaults to `"raise"`): `"skip"` leaves bad records out.
        rr_interval (`bool`, *optional*, defaults to False): Whether RR intervals are measured in PTB-XL's records.
        builder_options (`Mapping[str, Any]`, *optional*): Further options of the dataset's builder.
        num_proc (`int`, *optional*): Processes that read.
        cache_dir (`str`, *optional*): Where the dataset is kept; `datasets`' cache by default.
    """

    data_dir: str
    sampling_rate: int = 500
    on_error: str = "raise"
    rr_interval: bool = False
    builder_options: Mapping[str, Any] = field(default_factory=dict)
    num_proc: int | None = None
    cache_dir: str | None = None


@dataclass(frozen=True)
class Source:
    """A dataset that has been found, and not read yet.

    Attributes:
        name (`str`): What the model card calls it.
        features (`datasets.Features`): Its columns.
        read (`Callable`): Reads splits of these names, as far as there are such, and caches them.
        files (`Mapping[str, list[str]]`): By split, Parquet files that can be streamed; empty where there are none.
        options (`DatasetOptions`): How it is read.
        labels (`tuple[str, ...]`): The columns that a folder of one's own calls its labels, or the tasks of a public
            data set; none of other datasets.
    """

    name: str
    features: datasets.Features
    read: Callable[[Sequence[str]], Mapping[str, datasets.Dataset]]
    files: Mapping[str, list[str]]
    options: DatasetOptions
    labels: tuple[str, ...] = ()

    @property
    def chosen_rate(self) -> int | None:
        """The rate (Hz) at which it is read, where it has several; None where each record says its own."""
        return None if "sampling_rate" in self.features else self.options.sampling_rate


def find_source(options: DatasetOptions) -> Source:
    """Tell by what lies at `data_dir` which dataset it is.

    Raises:
        DatasetError: if there is no dataset of a known kind.
    """
    folder = Path(options.data_dir)
    if (folder / DATABASE_CSV).is_file():
        rates = [each.sampling_rate for each in PTBXL.BUILDER_CONFIGS]
        if options.sampling_rate not in rates:
            reason = f"{options.sampling_rate} is none of PTB-XL's; there are {' and '.join(map(str, rates))} Hz."
            raise DatasetError(None, None, "sampling_rate", reason)
        config = {"config_name": f"{options.sampling_rate}hz", "rr_interval": options.rr_interval}
        return _built(options, PTBXL, _ptbxl_name(folder), config)
    if (folder / RECORDS).is_file():
        return _built(options, MIMICIVECG, "MIMIC-IV-ECG", {})
    if folder.is_file() or (folder / SETTINGS_FILE).is_file():
        source = _built(options, WFDBFolder, folder.stem, {})
        return replace(source, labels=tuple(read_settings(options.data_dir).labels))
    public = find_public_set(folder)
    if public is not None:
        source = _built(options, PublicECGs, public.title, {})
        return replace(source, labels=tuple(name for name in PUBLIC_TASKS if name in source.features))
    return _parquet(options)


def is_dataset(place: str) -> bool:
    """Whether a place is a dataset, and not recordings: by its tables, or since there is nothing here of that name."""
    path = Path(place)
    if path.is_dir():
        has_table = any((path / name).is_file() for name in (DATABASE_CSV, RECORDS, SETTINGS_FILE))
        return (
            has_table
            or find_public_set(path) is not None
            or (any(path.rglob("*.parquet")) and not any(recordings(path)))
        )
    if path.suffix in (".yaml", ".yml"):
        return True
    return is_hub_id(place) and not path.parent.is_dir()  # else a recording, or a mistyped one, whose name stays here


def _built(options: DatasetOptions, builder_class: Callable[..., Any], name: str, config: Mapping[str, Any]) -> Source:
    def new_builder(cache: str) -> datasets.DatasetBuilder:
        return builder_class(
            data_dir=options.data_dir,
            cache_dir=cache,
            on_error=options.on_error,
            **config,
            **options.builder_options,
        )

    try:
        cached = CachedDataset(new_builder, options.cache_dir)
    except ValueError as error:
        unknown = [name for name in options.builder_options if f"doesn't have a '{name}' key" in str(error)]
        if not unknown:
            raise
        reason = f"{builder_class.__name__} has no option {unknown[0]!r}."
        raise DatasetError(None, None, "dataset_options", reason) from error

    def read(splits: Sequence[str]) -> dict[str, datasets.Dataset]:
        with PartialState().main_process_first():
            prepared = cached.prepared(options.num_proc).as_dataset()
        return {split: prepared[split] for split in splits if split in prepared}

    return Source(name, cached.builder.info.features, read, {}, options)


def _parquet(options: DatasetOptions) -> Source:
    folder = Path(options.data_dir)
    if folder.is_dir() and not any(folder.rglob("*.parquet")):
        raise _no_dataset(
            f"{folder} holds neither ptbxl_database.csv (PTB-XL), record_list.csv (MIMIC-IV-ECG), "
            "dataset.yaml (records of your own), another public data set that is known (docs/datasets.md) nor Parquet "
            "files."
        )
    if not folder.is_dir():
        _check_repo_id(options.data_dir)
    # Absolute, since a folder's own name might be that of a loading script of `datasets`, such as parquet.
    path = str(folder.absolute()) if folder.is_dir() else options.data_dir
    with _files_of_strangers(options):
        configs = datasets.get_dataset_config_names(path)
        wanted = f"{options.sampling_rate}hz"
        config = wanted if wanted in configs else None
        cached = CachedDataset(
            lambda cache: datasets.load_dataset_builder(path, config, cache_dir=cache), options.cache_dir
        )
        files = {str(split): list(paths) for split, paths in (cached.builder.config.data_files or {}).items()}
        features = cached.builder.info.features or _features_of(next(iter(files.values())))
    check_columns(features)

    def read(splits: Sequence[str]) -> dict[str, datasets.Dataset]:
        with PartialState().main_process_first(), _files_of_strangers(options):
            return {split: _read_files(split, files[split], options) for split in splits if split in files}

    return Source(folder.name, features, read, files, options)


@contextmanager
def _files_of_strangers(options: DatasetOptions) -> Iterator[None]:
    """Let whatever fails while `datasets` reads a card or a Parquet file say whose it is: they may hold anything.

    Raises:
        DatasetError: in the place of any error but those that tell of themselves.
    """
    try:
        yield
    except (DatasetError, ImportError, MemoryError):
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else error
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(cause).__name__}: "
        raise _no_dataset(f"{options.data_dir}: {kind}{' '.join(str(cause).split())[:LONGEST_REASON]}") from error


def _features_of(files: Sequence[str]) -> datasets.Features:
    """Return the columns of Parquet files without a dataset card."""
    stream = datasets.load_dataset("parquet", data_files=list(files), split="train", streaming=True)
    return stream.features


def _read_files(split: str, files: Sequence[str], options: DatasetOptions) -> datasets.Dataset:
    """Read Parquet files as a split, once; they are cached."""
    for file in files:
        if Path(file).is_file():
            try:
                pq.read_metadata(file)
            except (OSError, ValueError) as error:
                raise DatasetError(Path(file).name, None, "data_dir", f"is no whole Parquet file: {error}") from error

    def new_builder(cache: str) -> datasets.DatasetBuilder:
        return datasets.load_dataset_builder("parquet", data_files={split: files}, cache_dir=cache)

    return CachedDataset(new_builder, options.cache_dir).prepared().as_dataset(split)


def _no_dataset(reason: str) -> DatasetError:
    return DatasetError(None, None, "data_dir", reason)


def _check_repo_id(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise _no_dataset(f"there is no folder {name}.") from error


def _ptbxl_name(folder: Path) -> str:
    """Name the data, and say so where they are simulated."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    return "simulated records in the layout of PTB-XL" if re.search(r"\bsimulated\b", text, re.I) else "PTB-XL"
