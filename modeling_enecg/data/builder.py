"""The base of the dataset builders: faulty records, splits by folds, and signals as bytes."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np

from .croissant import Publication
from .errors import DatasetError
from .wfdb16 import RecordBatch

SPLIT_FOLDS = {"train": range(1, 9), "validation": range(9, 10), "test": range(10, 11)}
CHUNK_SIZE = 256  # records that one process is handed at a time: 30 MB of 10 s of 12 leads at 500 Hz

Records = TypeVar("Records", list, np.ndarray)

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class CheckedConfig(datasets.BuilderConfig):
    """What happens to a faulty record, and what a prepared dataset depends on.

    Attributes:
        on_error (`str`, *optional*, defaults to `"raise"`): `"raise"` stops at the first faulty record; `"skip"`
            leaves it out, logs it and lists it in the builder's `skipped_records()`.
    """

    on_error: str = "raise"

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name the cache folder after the options and the state of the input files.

        Raises:
            ValueError: if `on_error` is neither `"raise"` nor `"skip"`.
        """
        if self.on_error not in ("raise", "skip"):  # here, because builders set fields after `__post_init__`
            raise ValueError(f"on_error is {self.on_error!r}; expected 'raise' or 'skip'.")
        if self.on_error == "raise":  # a default that was spelled out is served from the same cache
            config_kwargs = {name: value for name, value in config_kwargs.items() if name != "on_error"}
        config_id = super().create_config_id(config_kwargs, custom_features)
        return f"{config_id}-{self.input_fingerprint()}" if self.data_dir is not None else config_id

    def input_fingerprint(self) -> str:
        """Return a hash of the input files' state."""
        raise NotImplementedError


class CheckedBuilder(datasets.ArrowBasedBuilder):
    """Builds a dataset from records that are checked one by one.

    A subclass gives the records in `_read_chunks`, and in `_generate_tables(chunks, list_dir)` hands the faults of
    each chunk to `_leave_out`. `list_dir` is the folder for
    the lists of faulty records, None where the dataset is streamed and nothing may be written.
    """

    config: CheckedConfig

    def skipped_records(self) -> list[dict[str, Any]]:
        """Return the faulty records that a prepared dataset leaves out.

        Returns:
            `list[dict[str, Any]]`: The attributes of each one's `DatasetError`.
        """
        files = sorted(Path(self._output_dir).glob("skipped-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def publication(self) -> Publication:
        """Return where the data set comes from, for its metadata."""
        raise NotImplementedError

    def _read_chunks(self) -> tuple[Mapping[str, Sequence[Any]], Sequence[DatasetError]]:
        """Return the sound records of each split in chunks for one process each, and the faults of the others."""
        raise NotImplementedError

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        list_dir = None if dl_manager.is_streaming else self._output_dir
        if list_dir is not None:
            for leftover in Path(list_dir).glob("skipped-*.jsonl"):  # of a build that was killed
                leftover.unlink()
        splits, errors = self._read_chunks()
        self._leave_out(errors, list_dir, "metadata")
        return [
            datasets.SplitGenerator(split, gen_kwargs={"chunks": chunks, "list_dir": list_dir})
            for split, chunks in splits.items()
            if chunks  # `datasets` cannot load a split without records
        ]

    def _download_and_prepare(self, *arguments: Any, **options: Any) -> None:
        super()._download_and_prepare(*arguments, **options)
        for name in [name for name, split in self.info.splits.items() if not split.num_examples]:
            del self.info.splits[name]  # all its records are faulty, and `datasets` cannot load it

    def _leave_out(self, errors: Sequence[DatasetError], list_dir: str | None, name: str) -> None:
        """Raise the first error, or with `on_error="skip"` log them all and list them in a file of that name."""
        if errors and self.config.on_error == "raise":
            raise errors[0]
        for error in errors:
            logger.warning("Skipped a record. %s", error)
        if errors and list_dir is not None:
            lines = [json.dumps(vars(error)) + "\n" for error in errors]
            Path(list_dir, f"skipped-{name}.jsonl").write_text("".join(lines), encoding="utf-8")

    def _leave_out_faulty(
        self,
        batch: RecordBatch,
        ecg_ids: Sequence[int],
        new_error: Callable[[int, str, str], DatasetError],
        list_dir: str | None,
    ) -> tuple[list[int], np.ndarray]:
        """Return the positions and signals of a batch's sound records."""
        signals, faults = batch
        errors = [
            new_error(ecg_ids[position], fault.field, f"{fault.reason} ({fault.file})")
            for position, fault in sorted(faults.items())
        ]
        self._leave_out(errors, list_dir, f"{ecg_ids[0]:08d}")
        sound = [position for position in range(len(ecg_ids)) if position not in faults]
        return sound, signals[sound] if faults else signals


def in_chunks(records: Records, size: int) -> list[Records]:
    """Cut records into pieces of one size; the last piece has what is left."""
    return [records[start : start + size] for start in range(0, len(records), size)]
