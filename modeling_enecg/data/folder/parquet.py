"""Tells what a folder of ECGs holds, and writes it as Parquet files that `load_dataset(folder)` reads."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.compute as pc
from huggingface_hub import DatasetCard

from ...runs.shipped import template
from ..builder import SPLIT_FOLDS
from ..cache import CachedDataset
from ..errors import DatasetError
from ..parquet import MAX_SHARD_SIZE, add_build_options, card_data, write_parquet_folder
from ..rows import num_samples, unknown_column
from .table import LabelTask
from .wfdb_folder import WFDBFolder

CARD_TEMPLATE = "wfdb_folder_dataset.md"
MOST_COMMON = 5  # values that are told one by one


def describe_folder(builder: WFDBFolder) -> str:
    """Return what a prepared dataset holds, in lines of text.

    Args:
        builder (`WFDBFolder`): After `download_and_prepare`.
    """
    prepared = builder.as_dataset()
    splits = {name: prepared[name] for name in SPLIT_FOLDS if name in prepared}
    patients = [len(set(split["patient_id"][:])) for split in splits.values()]
    lines = _table(splits, {"records": list(map(len, splits.values())), "patients": patients})
    for task in builder.label_table().tasks:
        values = [split[task.name][:] for split in splits.values()]
        is_number = task.type == "regression"
        rows: dict[str, Sequence[str | int]] = {**(_number_rows(values) if is_number else _label_rows(task, values))}
        rows["  (not known)"] = [each.count(None) for each in values]
        if task.is_partly_known:
            column = unknown_column(task.name)
            rows["  (known in part)"] = [sum(map(bool, split[column][:])) for split in splits.values()]
        lines += ["", f"{task.name}: {task.type} ({task.origin})", *_table(splits, rows)]
    lines += ["", *_recordings(splits.values()), "", *_lacks(splits, builder.skipped_records())]
    lines += [line for note in builder.notes() for line in ("", note)]
    return "\n".join(lines)


def write_parquet(
    builder: WFDBFolder, output_dir: str | Path, num_proc: int | None = None, max_shard_size: str = MAX_SHARD_SIZE
) -> Path:
    """Write a folder of ECGs as `default/<split>-00000-of-0000N.parquet` files and a card that describes them.

    The records are read anew. The folder appears at once when complete.

    Args:
        builder (`WFDBFolder`): After `download_and_prepare`, for the description.
        output_dir (`str` or `Path`): The folder to write; it must not exist or be empty.
        num_proc (`int`, *optional*, defaults to 1): Number of processes.
        max_shard_size (`str`, *optional*, defaults to `"500MB"`): See `write_parquet_folder`.

    Returns:
        `Path`: The folder written.

    Raises:
        FileExistsError: if `output_dir` is a file or a folder that is not empty.
        DatasetError: if the folder has become faulty.
        ValueError: if `max_shard_size` is no size.
    """

    def make_builders(cache_dir: str) -> list[WFDBFolder]:
        config = builder.config
        return [type(builder)(data_dir=config.data_dir, cache_dir=cache_dir, on_error=config.on_error)]

    def make_card(builders: Sequence[WFDBFolder], _: Path) -> DatasetCard:
        facts = {"license": builder.info.license} if builder.info.license else {}
        return DatasetCard.from_template(
            card_data(builders, **facts),
            template_str=template(CARD_TEMPLATE),
            name=builder.publication().name,
            info=builder.info,
            partly_known=any(task.is_partly_known for task in builder.label_table().tasks),
            description=describe_folder(builder),
        )

    return write_parquet_folder(make_builders, make_card, output_dir, num_proc, max_shard_size)


def _table(columns: Iterable[str], rows: Mapping[str, Sequence[str | int]]) -> list[str]:
    """Return the lines of a table of named columns and rows."""
    width = max(map(len, rows))
    return [
        name.ljust(width) + "".join(f"{cell:>12}" for cell in cells)
        for name, cells in {"": [*columns], **rows}.items()
    ]


def _label_rows(task: LabelTask, values: Sequence[Sequence[Any]]) -> dict[str, list[int]]:
    """Count the records of each split that have each label."""
    if task.type == "single_label":
        return {f"  {label}": [each.count(index) for each in values] for index, label in enumerate(task.labels)}
    counts = [Counter(label for record in each for label in record or ()) for each in values]
    rows = {f"  {label}": [each[index] for each in counts] for index, label in enumerate(task.labels)}
    return rows | {"  (none of them)": [each.count([]) for each in values]}


def _number_rows(values: Sequence[Sequence[float | None]]) -> dict[str, list[str]]:
    known = [[number for number in each if number is not None] for each in values]
    return {
        "  mean": [f"{sum(each) / len(each):.4g}" if each else "-" for each in known],
        "  lowest": [f"{min(each):.4g}" if each else "-" for each in known],
        "  highest": [f"{max(each):.4g}" if each else "-" for each in known],
    }


def _recordings(splits: Iterable[datasets.Dataset]) -> list[str]:
    """Tell rates, lengths and leads, the commonest first."""
    rates: Counter = Counter()
    seconds: Counter = Counter()
    leads: Counter = Counter()
    for split in splits:
        names = split["lead_names"][:]
        num_bytes = pc.binary_length(split.data.column("signal")).to_pylist()
        for rate, record_leads, size in zip(split["sampling_rate"][:], names, num_bytes, strict=True):
            rates[f"{rate:g} Hz"] += 1
            seconds[f"{num_samples(size, len(record_leads)) / rate:.1f} s"] += 1
            leads[" ".join(record_leads)] += 1
    return [
        f"{title}: {_told(counts)}"
        for title, counts in (("sampling rates", rates), ("lengths", seconds), ("leads", leads))
    ]


def _told(counts: Counter) -> str:
    told = [f"{count} × {value}" for value, count in counts.most_common(MOST_COMMON)]
    more = len(counts) - MOST_COMMON
    return ", ".join(told + ([f"and {more} more"] if more > 0 else []))


def _lacks(splits: Mapping[str, datasets.Dataset], skipped: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell what is not there: splits, and records that were left out."""
    lines = [f"no record in {name}: training needs some in each split" for name in SPLIT_FOLDS if name not in splits]
    lines.append(f"records left out: {len(skipped)}")
    return lines + [f"  {DatasetError(**record)}" for record in skipped]


def main(
    arguments: Sequence[str] | None = None,
    builder_class: type[WFDBFolder] = WFDBFolder,
    what: str = "a folder of ECGs with a table of labels",
    data_dir: str = "the folder with dataset.yaml, or such a file itself",
) -> None:
    """Run the command line `python dataset_scripts/wfdb_folder.py`, or that of another kind of folder."""
    parser = argparse.ArgumentParser(description=f"Check {what}, and tell what it holds.")
    parser.add_argument("--data_dir", required=True, help=data_dir)
    parser.add_argument("--output_dir", help="also write Parquet files to this folder; it must not exist or be empty")
    parser.add_argument("--cache_dir", help="where the dataset is prepared; datasets' cache by default")
    add_build_options(parser)
    options = parser.parse_args(arguments)
    try:
        settings = {"data_dir": options.data_dir, "on_error": options.on_error}
        cached = CachedDataset(lambda cache_dir: builder_class(cache_dir=cache_dir, **settings), options.cache_dir)
        builder = cached.prepared(options.num_proc)
        print(describe_folder(builder))
        if options.output_dir is not None:
            folder = write_parquet(builder, options.output_dir, options.num_proc, options.max_shard_size)
            print(f"Wrote {folder}")
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
