"""A folder of ECG files and a table of labels as a `datasets` builder.

A file `dataset.yaml` in the folder says what the columns of the table mean:

    table: labels.csv
    record: file
    patient: patient
    fold: fold
    labels: [diagnosis, lvef, sex]

    builder = WFDBFolder(data_dir="my_ecgs")
    builder.download_and_prepare(num_proc=4)
    record = builder.as_dataset(split="train")[0]
    signal_in_mv = signal_array(record) / 1000

As a script it checks the folder, tells what is in it, and with `--output_dir` writes it as Parquet files:

    python dataset_scripts/wfdb_folder.py --data_dir my_ecgs

`docs/own_data.md` goes the whole way from the folder to a trained model.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from ..builder import CHUNK_SIZE, SPLIT_FOLDS, CheckedBuilder, CheckedConfig, in_chunks
from ..croissant import Publication
from ..errors import DatasetError
from .recordings import states_of_files
from .settings import FolderSettings, folder_error, read_settings, settings_file
from .signal import read_signal
from .table import LabelTable, TableRow, read_label_table, record_file

TABLE_BYTES = 32 * 2**20  # of signals, in one table: what is kept in memory

FEATURES = datasets.Features(
    {
        "ecg_id": datasets.Value("string"),
        "patient_id": datasets.Value("string"),
        "strat_fold": datasets.Value("int64"),
        "signal": datasets.Value("binary"),
        "sampling_rate": datasets.Value("float64"),
        "lead_names": datasets.List(datasets.Value("string")),
        "num_samples": datasets.Value("int64"),
    }
)

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class WFDBFolderConfig(CheckedConfig):
    """What happens to a faulty record; see `CheckedConfig`."""

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name the cache folder as `CheckedConfig` does.

        Raises:
            DatasetError: if the settings or the table are faulty as a whole.
            ValueError: if an option of `CheckedConfig` is not legal.
        """
        if self.data_dir is None:
            raise folder_error("data_dir", None, "data_dir", "not given; expected a folder with dataset.yaml")
        # The file instead of its folder is served from the same cache.
        config_kwargs = config_kwargs | {"data_dir": str(settings_file(self.data_dir))}
        return super().create_config_id(config_kwargs, custom_features)

    def input_fingerprint(self) -> str:
        """Return a hash of the state of the settings, the table and the records."""
        return input_fingerprint(read_settings(self.data_dir))


class WFDBFolder(CheckedBuilder):
    """Builds a dataset from a folder of ECG files, of any format that `read_ecg` knows, and a table of labels.

    `FolderSettings` documents `dataset.yaml`, which names the columns of the table. Folds 1-8 are `train`, 9 is
    `validation`, 10 is `test`. The dataset's columns are

    - `ecg_id`: the record's path, as the table gives it; `patient_id`: its patient; `strat_fold`: 1 to 10;
    - `signal`: the bytes of a C-contiguous int16 array of shape `(num_leads, num_samples)`, in microvolts;
      `signal_array` makes the array;
    - `num_samples`: its length, which may differ from record to record, as may the next two;
    - `sampling_rate`: in Hz;
    - `lead_names`: those of the standard 12 leads that have samples, in their standard order. Other leads are left
      out;
    - one column per task, None where the label is not known: a list of labels, one class, or a number.

    A record is faulty where its file is, where only some samples of a lead are missing, it has no standard lead, or an
    amplitude is beyond ±32.767 mV even without the lead's offset.

    A build is served from the cache until an option, the settings, the table, or the name, size or time of a file
    beside a record changes.

    Args:
        data_dir (`str` or `Path`): The folder, or its `dataset.yaml` by whatever name.
        cache_dir (`str`, *optional*): Where the Arrow files go; `datasets`' cache by default.
        on_error (`str`, *optional*, defaults to `"raise"`): See `CheckedConfig`.

    Raises:
        DatasetError: if the settings or the table are faulty as a whole.
    """

    BUILDER_CONFIG_CLASS = WFDBFolderConfig

    config: WFDBFolderConfig

    def _info(self) -> datasets.DatasetInfo:
        labels = [task.features for task in self.label_table().tasks]
        return datasets.DatasetInfo(
            description="ECGs as int16 microvolts with the labels of a table.",
            features=datasets.Features({**FEATURES, **{name: each[name] for each in labels for name in each}}),
        )

    def settings(self) -> FolderSettings:
        """Return what the folder's `dataset.yaml` says."""
        return read_settings(self.config.data_dir)

    def label_table(self) -> LabelTable:
        """Return the tasks and rows of the table."""
        return read_label_table(self.settings())

    def publication(self) -> Publication:
        """Return that nothing is known of where the records come from."""
        return Publication("ECGs with labels")

    def notes(self) -> list[str]:
        """Return sentences on the labels that whoever uses them should read."""
        return []

    def _read_chunks(self) -> tuple[dict[str, list[list[TableRow]]], list[DatasetError]]:
        _, rows, errors = self.label_table()
        splits = {
            split: in_chunks([row for row in rows if row.values["strat_fold"] in folds], CHUNK_SIZE)
            for split, folds in SPLIT_FOLDS.items()
        }
        return splits, errors

    def _generate_tables(self, chunks: list[list[TableRow]], list_dir: str | None) -> Iterator[tuple[int, pa.Table]]:
        settings = self.settings()
        told: set[str] = set()
        for index, rows in enumerate(chunks):
            errors: list[DatasetError] = []
            for batch in _batches(_records(settings, rows, errors, told)):
                table = pa.Table.from_pylist(batch, schema=self.info.features.arrow_schema)
                yield index, table
                if len(table) == 1:  # `datasets` would collect a thousand such, however long, before it writes
                    yield index, table.slice(0, 0)
            self._leave_out(errors, list_dir, f"{rows[0].number:08d}")


def input_fingerprint(settings: FolderSettings) -> str:
    """Return a hash of what a build reads: settings, table, and name, size and mtime of all files beside records.

    What is missing is left out: reading it later gives the clear error.

    Args:
        settings (`FolderSettings`): The folder's.
    """
    tasks, rows, _ = read_label_table(settings)
    own = {name: value for name, value in vars(settings).items() if name != "folder"}
    digest = hashlib.sha256(repr((FEATURES, tasks, own)).encode())
    digest.update((settings.folder / settings.table).read_bytes())
    parents = {record_file(settings.folder, row.values["ecg_id"]).parent for row in rows}
    folders = {each.parent if each.is_file() else each for each in parents}  # a file may hold records
    digest.update("".join(states_of_files(folders)).encode())
    return digest.hexdigest()[:16]


def _records(
    settings: FolderSettings, rows: Iterable[TableRow], errors: list[DatasetError], told: set[str]
) -> Iterator[dict[str, Any]]:
    """Yield the sound records as rows of the dataset; add the faults of the others to `errors`."""
    for number, values in rows:
        try:
            signal = read_signal(settings, values["ecg_id"], number)
        except DatasetError as error:
            errors.append(error)
            continue
        if not told.issuperset(signal.other_leads):
            logger.warning("%s: left out the leads %s, here and elsewhere.", values["ecg_id"], signal.other_leads)
            told.update(signal.other_leads)
        yield values | {
            "signal": signal.microvolts.tobytes(),
            "sampling_rate": signal.sampling_rate,
            "lead_names": signal.lead_names,
            "num_samples": signal.microvolts.shape[1],
        }


def _batches(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the records in lists of some `TABLE_BYTES`."""
    batch: list[dict[str, Any]] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record["signal"])
        if size >= TABLE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
