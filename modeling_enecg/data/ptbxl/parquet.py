"""Writes PTB-XL as a folder of Parquet files with a dataset card, for `load_dataset(folder, "100hz")` or the Hub."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from ...hub.upload import Push, PushError
from ...leads import STANDARD_LEADS
from ...runs.portable import without_machine_paths
from ...runs.shipped import template
from ..builder import SPLIT_FOLDS
from ..croissant import CROISSANT
from ..parquet import (
    CARD,
    MAX_SHARD_SIZE,
    add_build_options,
    card_data,
    count_known,
    write_parquet_folder,
)
from .labels import SCP_STATEMENTS, TASK_LABELS
from .ptbxl import CITATION, PTBXL

PLACE = "path/to/this/folder"  # what the card calls its own place until it is pushed
CONFIG_NAMES = tuple(config.name for config in PTBXL.BUILDER_CONFIGS)
CARD_TEMPLATE = "ptbxl_dataset.md"


def write_parquet(
    data_dir: str | Path,
    output_dir: str | Path,
    config_names: Sequence[str] = CONFIG_NAMES,
    num_proc: int | None = None,
    on_error: str = "raise",
    rr_interval: bool = False,
    max_shard_size: str = MAX_SHARD_SIZE,
) -> Path:
    """Convert a copy of PTB-XL's release into `<config>/<split>-00000-of-0000N.parquet` files and a dataset card.

    The folder appears at once when complete; a failure or an interruption leaves none.

    Args:
        data_dir (`str` or `Path`): PTB-XL's folder.
        output_dir (`str` or `Path`): The folder to write; it must not exist or be empty.
        config_names (`Sequence[str]`, *optional*, defaults to both): Any of `"100hz"` and `"500hz"`. The first is the
            dataset's default.
        num_proc (`int`, *optional*, defaults to 1): Number of processes.
        on_error (`str`, *optional*, defaults to `"raise"`): `"raise"` or `"skip"`, see `CheckedConfig`.
        rr_interval (`bool`, *optional*, defaults to False): Whether to add the column `rr_interval`, see `PTBXL`.
        max_shard_size (`str`, *optional*, defaults to `"500MB"`): See `write_parquet_folder`.

    Returns:
        `Path`: The folder written.

    Raises:
        FileExistsError: if `output_dir` is a file or a folder that is not empty.
        PTBXLError: if a file or, with `on_error="raise"`, a record of the release is faulty.
        ValueError: if an option is not legal.
    """

    def make_builders(cache_dir: str) -> list[PTBXL]:
        options = {"data_dir": data_dir, "cache_dir": cache_dir, "on_error": on_error, "rr_interval": rr_interval}
        return [PTBXL(config_name=name, **options) for name in config_names]

    return write_parquet_folder(make_builders, _make_card, output_dir, num_proc, max_shard_size)


def _make_card(builders: Sequence[PTBXL], folder: Path) -> DatasetCard:
    data = card_data(
        builders,
        license="cc-by-4.0",
        pretty_name="PTB-XL",
        tags=["ecg", "electrocardiogram", "12-lead", "cardiology", "physionet"],
    )
    return DatasetCard.from_template(
        data,
        template_str=template(CARD_TEMPLATE),
        configs=[_describe_config(builder, folder / builder.config.name) for builder in builders],
        has_rr_interval=builders[0].config.rr_interval,
        splits=list(SPLIT_FOLDS),
        leads=STANDARD_LEADS,
        statements=SCP_STATEMENTS,
        tasks=TASK_LABELS,
        citation=CITATION,
    )


def push_parquet(folder: str | Path, repo_id: str, private: bool = False, token: str | None = None) -> str:
    """Publish a folder that `write_parquet` wrote on the Hub, in one commit.

    Args:
        folder (`str` or `Path`): The folder.
        repo_id (`str`): The dataset's repository, `org/name`; made if need be.
        private (`bool`, *optional*, defaults to False): Whether the repository is private.
        token (`str`, *optional*): The Hub's token; by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        `str`: The commit's address.

    Raises:
        PushError: if the Hub refuses, or cannot be reached in several attempts.
        ValueError: if the repository cannot have this name, or is public where it should be private.
    """
    shards = {path.relative_to(folder).as_posix(): path for path in sorted(Path(folder).glob("*/*.parquet"))}
    card = Path(folder, CARD).read_text(encoding="utf-8").replace(PLACE, repo_id)
    files: dict[str, Path | bytes] = {**shards, CARD: without_machine_paths(card).encode()}
    if Path(folder, CROISSANT).is_file():  # folders written before there was one lack it
        files[CROISSANT] = Path(folder, CROISSANT)
    # Of a split that was pushed in more files before, the last ones would be read as well.
    owned = [f"{config}/{split}-*.parquet" for config in CONFIG_NAMES for split in SPLIT_FOLDS]
    return Push(repo_id, files, owned, repo_type="dataset", private=private).send(token)


def _describe_config(builder: PTBXL, folder: Path) -> dict[str, Any]:
    num_records = {split: info.num_examples for split, info in builder.info.splits.items()}
    measured = count_known(folder, "rr_interval", num_records) if builder.config.rr_interval else {}
    return {
        "name": builder.config.name,
        "sampling_rate": builder.config.sampling_rate,
        "num_samples": builder.config.num_samples,
        "num_records": num_records,
        "skipped": builder.skipped_records(),
        "unmeasured": {split: num_records[split] - count for split, count in measured.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `python dataset_scripts/ptbxl.py`."""
    parser = argparse.ArgumentParser(description="Convert a copy of PTB-XL into Parquet files with a dataset card.")
    parser.add_argument("--data_dir", required=True, help="PTB-XL's folder, with ptbxl_database.csv")
    parser.add_argument("--output_dir", required=True, help="folder to write; it must not exist or be empty")
    parser.add_argument(
        "--config_name", action="append", choices=CONFIG_NAMES, help="sampling rate, repeatable; both by default"
    )
    add_build_options(parser)
    parser.add_argument(
        "--rr_interval", action="store_true", help="measure each record's RR interval, as a column rr_interval"
    )
    parser.add_argument(
        "--push_to", metavar="ORG/NAME", help="then publish the folder on the Hub; one that is there is not made again"
    )
    parser.add_argument("--private", action="store_true", help="with --push_to: make the repository private")
    options = parser.parse_args(arguments)
    try:
        if options.push_to is None or not Path(options.output_dir, CARD).is_file():
            folder = write_parquet(
                options.data_dir,
                options.output_dir,
                list(dict.fromkeys(options.config_name or CONFIG_NAMES)),
                num_proc=options.num_proc,
                on_error=options.on_error,
                rr_interval=options.rr_interval,
                max_shard_size=options.max_shard_size,
            )
            print(f"Wrote {folder}")
        if options.push_to is not None:
            print(f"Pushed {push_parquet(options.output_dir, options.push_to, private=options.private)}")
    except (ValueError, OSError, PushError) as error:
        raise SystemExit(f"error: {error}") from error
