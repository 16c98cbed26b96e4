"""Writes what `datasets` builders prepare as a folder of Parquet files with a dataset card, for `load_dataset`."""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from datasets.utils.py_utils import convert_file_size_to_int
from huggingface_hub import DatasetCard, DatasetCardData

from ..runs.files import new_folder
from .builder import CheckedBuilder
from .croissant import write_croissant

CARD = "README.md"
MAX_SHARD_SIZE = "500MB"

Builder = TypeVar("Builder", bound=CheckedBuilder)


def write_parquet_folder(
    make_builders: Callable[[str], Sequence[Builder]],
    make_card: Callable[[Sequence[Builder], Path], DatasetCard],
    output_dir: str | Path,
    num_proc: int | None = None,
    max_shard_size: str = MAX_SHARD_SIZE,
) -> Path:
    """Write `<config>/<split>-00000-of-0000N.parquet` files, a dataset card and `croissant.json`.

    The folder appears at once when complete; a failure or an interruption leaves none.

    Args:
        make_builders (`Callable`): Given a cache folder, makes one builder for each config, not yet prepared.
        make_card (`Callable`): Given the prepared builders and the folder of their files, makes the card.
        output_dir (`str` or `Path`): The folder to write; it must not exist or be empty.
        num_proc (`int`, *optional*, defaults to 1): Number of processes.
        max_shard_size (`str`, *optional*, defaults to `"500MB"`): At about how many bytes, before compression, the
            next file of a split begins. Training that streams shares out whole files where each process can have
            equally many.

    Returns:
        `Path`: The folder written.

    Raises:
        FileExistsError: if `output_dir` is a file or a folder that is not empty.
        ValueError: if `max_shard_size` is no size.
    """
    _check_size(max_shard_size)
    target = Path(output_dir).absolute()
    with (
        new_folder(target) as folder,
        tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch,
    ):
        builders = make_builders(str(Path(scratch, "cache")))
        for builder in builders:
            prepared = Path(scratch, "prepared", builder.config.name)
            builder.download_and_prepare(
                str(prepared), file_format="parquet", num_proc=num_proc, max_shard_size=max_shard_size
            )
            _move_shards(prepared, folder / builder.config.name, splits=builder.info.splits)
        make_card(builders, folder).save(folder / CARD)
        write_croissant(folder, builders, builders[0].publication())
    return target


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the command line's options that are the same for every dataset."""
    parser.add_argument("--num_proc", type=int, default=1, help="number of processes; 1 by default")
    parser.add_argument(
        "--on_error", choices=("raise", "skip"), default="raise", help="stop at a faulty record, or leave it out"
    )
    parser.add_argument(
        "--max_shard_size",
        default=MAX_SHARD_SIZE,
        metavar="SIZE",
        help=f"size of a Parquet file, {MAX_SHARD_SIZE} by default; smaller ones suit streaming by many processes",
    )


def card_data(builders: Sequence[CheckedBuilder], **metadata: Any) -> DatasetCardData:
    """Return a card's metadata: those given, and the features, splits and files of prepared builders.

    The first builder's config is the default one.
    """
    data = DatasetCardData(**metadata)
    DatasetInfosDict({builder.config.name: builder.info for builder in builders}).to_dataset_card_data(data)
    files = {builder.config.name: _data_files(builder) for builder in builders}
    files[builders[0].config.name]["default"] = True
    MetadataConfigs(files).to_dataset_card_data(data)
    return data


def count_known(folder: Path, column: str, splits: Iterable[str]) -> dict[str, int]:
    """Return how many records of each split have a value in a column.

    Args:
        folder (`Path`): A config's folder of Parquet files.
        column (`str`): The column.
        splits (`Iterable[str]`): The splits in it.
    """
    counts = {}
    for split in splits:
        values = pq.read_table(sorted(folder.glob(f"{split}-*")), columns=[column])[column]
        counts[split] = len(values) - values.null_count
    return counts


def _check_size(size: str) -> None:
    try:
        convert_file_size_to_int(size)
    except ValueError as error:
        raise ValueError(f"max_shard_size is {size!r}; expected a size such as '500MB' or '1GB'.") from error


def _data_files(builder: CheckedBuilder) -> dict[str, Any]:
    name = builder.config.name
    return {"data_files": [{"split": split, "path": f"{name}/{split}-*"} for split in builder.info.splits]}


def _move_shards(prepared: Path, folder: Path, splits: Iterable[str]) -> None:
    """Move Parquet files to their names in a script-free dataset, in the order `datasets` wrote them."""
    folder.mkdir(parents=True)
    for split in splits:
        shards = sorted(prepared.glob(f"*-{split}*.parquet"))
        for index, shard in enumerate(shards):
            shard.rename(folder / f"{split}-{index:05d}-of-{len(shards):05d}.parquet")
