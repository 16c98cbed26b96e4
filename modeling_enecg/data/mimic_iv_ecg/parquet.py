"""Writes MIMIC-IV-ECG as a folder of Parquet files with a dataset card, for `load_dataset(folder)`.

It stays where it is written: MIMIC-IV's data use agreement forbids passing on what is derived from it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from ...leads import STANDARD_LEADS
from ...runs.shipped import template
from ..builder import SPLIT_FOLDS
from ..parquet import MAX_SHARD_SIZE, add_build_options, card_data, count_known, write_parquet_folder
from .metadata import MACHINE, TASK_FILES
from .mimic_iv_ecg import CITATION, MIMICIVECG
from .rhythm import ARRHYTHMIA_CLASSES

CARD_TEMPLATE = "mimic_iv_ecg_dataset.md"


def write_parquet(
    data_dir: str | Path,
    output_dir: str | Path,
    num_proc: int | None = None,
    max_shard_size: str = MAX_SHARD_SIZE,
    **options: str | float | None,
) -> Path:
    """Convert a copy of MIMIC-IV-ECG into `default/<split>-00000-of-0000N.parquet` files and a dataset card.

    The folder appears at once when complete; a failure or an interruption leaves none.

    Args:
        data_dir (`str` or `Path`): MIMIC-IV-ECG's folder.
        output_dir (`str` or `Path`): The folder to write; it must not exist or be empty.
        num_proc (`int`, *optional*, defaults to 1): Number of processes.
        max_shard_size (`str`, *optional*, defaults to `"500MB"`): See `write_parquet_folder`.
        options: `mimic_iv_dir`, `potassium_window`, `jsonl` and `on_error`, see `MIMICIVECGConfig`.

    Returns:
        `Path`: The folder written.

    Raises:
        FileExistsError: if `output_dir` is a file or a folder that is not empty.
        MIMICError: if a file or, with `on_error="raise"`, a record is faulty.
        ValueError: if an option is not legal.
    """

    def make_builders(cache_dir: str) -> list[MIMICIVECG]:
        return [MIMICIVECG(data_dir=str(data_dir), cache_dir=cache_dir, **options)]

    return write_parquet_folder(make_builders, _make_card, output_dir, num_proc, max_shard_size)


def _make_card(builders: Sequence[MIMICIVECG], folder: Path) -> DatasetCard:
    builder = builders[0]
    available = builder.available_tasks()
    data = card_data(
        builders,
        license="other" if any(TASK_FILES[task] != MACHINE for task in available) else "odbl",
        pretty_name="MIMIC-IV-ECG",
        tags=["ecg", "electrocardiogram", "12-lead", "cardiology", "physionet", "mimic"],
    )
    splits = [split for split in SPLIT_FOLDS if split in builder.info.splits]
    known = {task: count_known(folder / builder.config.name, task, splits) for task in available}
    details: dict[str, Any] = {
        "num_records": {split: builder.info.splits[split].num_examples for split in splits},
        "known": known,
        "missing": {task: file for task, file in TASK_FILES.items() if task not in available},
        "skipped": builder.skipped_records(),
        "window": builder.config.potassium_window,
        "from_jsonl": builder.config.jsonl is not None,
    }
    return DatasetCard.from_template(
        data,
        template_str=template(CARD_TEMPLATE),
        leads=STANDARD_LEADS,
        classes=ARRHYTHMIA_CLASSES,
        citation=CITATION,
        **details,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `python dataset_scripts/mimic_iv_ecg.py`."""
    parser = argparse.ArgumentParser(description="Convert MIMIC-IV-ECG into Parquet files with a dataset card.")
    parser.add_argument("--data_dir", required=True, help="MIMIC-IV-ECG's folder, with record_list.csv")
    parser.add_argument("--output_dir", required=True, help="folder to write; it must not exist or be empty")
    parser.add_argument(
        "--mimic_iv_dir", help="MIMIC-IV's folder, for age, sex and potassium; without it they are null"
    )
    parser.add_argument(
        "--potassium_window", type=float, default=1.0, help="hours from the ECG to the potassium value; 1 by default"
    )
    parser.add_argument("--jsonl", help="EnECG's .jsonl file, to take its records and labels")
    add_build_options(parser)
    options = parser.parse_args(arguments)
    try:
        print(f"Wrote {write_parquet(**vars(options))}. It must not be published: see its README.md.")
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
