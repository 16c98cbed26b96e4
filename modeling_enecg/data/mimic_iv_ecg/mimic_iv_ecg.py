"""MIMIC-IV-ECG as a `datasets` builder: 800,035 12-lead ECGs of 10 seconds at 500 Hz with the labels of EnECG's tasks.

    builder = MIMICIVECG(data_dir="mimic-iv-ecg-1.0", mimic_iv_dir="mimiciv-3.1")
    builder.download_and_prepare(num_proc=4)
    record = builder.as_dataset(split="train")[0]
    signal_in_mv = signal_array(record) / 1000  # from modeling_enecg.data.rows

As a script it writes the same as Parquet files with a dataset card, which `load_dataset(folder)` reads:

    python dataset_scripts/mimic_iv_ecg.py --data_dir mimic-iv-ecg-1.0 --mimic_iv_dir mimiciv-3.1 --output_dir parquet

Age, sex and potassium come from MIMIC-IV, whose data use agreement forbids passing on what is derived from it: keep
what is built here to those who signed it. Nothing here publishes it.

Source: Gow, Pollard, Nathanson, Johnson, Moody et al., "MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset",
version 1.0, PhysioNet, 2023, doi 10.13026/4nqg-sb35.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..builder import (
    CHUNK_SIZE,
    SPLIT_FOLDS,
    CheckedBuilder,
    CheckedConfig,
    in_chunks,
)
from ..croissant import Publication
from ..errors import DatasetError
from ..rows import signal_column
from ..wfdb16 import read_records
from .jsonl import labelled_tasks, read_jsonl
from .metadata import (
    LABS,
    MACHINE,
    METADATA_FEATURES,
    PATIENTS,
    RECORDS,
    TASK_FILES,
    find_file,
    input_fingerprint,
    mimic_error,
    read_csv,
    read_metadata,
)

SAMPLING_RATE = 500
NUM_SAMPLES = 5000

FEATURES = datasets.Features(
    {**METADATA_FEATURES, "signal": datasets.Value("binary"), "sampling_rate": datasets.Value("float64")}
)

CITATION = """\
@misc{gow2023mimicivecg,
  title = {{MIMIC-IV-ECG}: Diagnostic Electrocardiogram Matched Subset},
  author = {Gow, Brian and Pollard, Tom and Nathanson, Larry A and Johnson, Alistair and Moody, Benjamin and \
Fernandes, Chrystinne and Greenbaum, Nathaniel and Waks, Jonathan W and Eslami, Parastou and Carbonati, Tanner and \
Chaudhari, Ashish and Herbst, Elizabeth and Moukheiber, Dana and Berkowitz, Seth and Mark, Roger and Horng, Steven},
  publisher = {PhysioNet},
  version = {1.0},
  year = {2023},
  doi = {10.13026/4nqg-sb35}
}"""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class MIMICIVECGConfig(CheckedConfig):
    """Where the labels come from; see `CheckedConfig` for `on_error`.

    Attributes:
        mimic_iv_dir (`str`, *optional*): MIMIC-IV's folder (or its `hosp` folder), with `patients.csv` and
            `labevents.csv`, plain or as `.csv.gz`. Without it there is no age, sex or potassium.
        potassium_window (`float`, *optional*, defaults to 1.0): How far from the ECG, before or after, the potassium
            value may be, in hours.
        jsonl (`str`, *optional*): EnECG's `.jsonl` file, whose records and labels are then taken instead of those of
            the CSV files; see `mimic_jsonl`.
    """

    mimic_iv_dir: str | None = None
    potassium_window: float = 1.0
    jsonl: str | None = None

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name the cache folder as `CheckedConfig` does.

        Raises:
            ValueError: if the potassium window is negative, or an option of `CheckedConfig` is not legal.
        """
        if not self.potassium_window >= 0:
            raise ValueError(f"potassium_window is {self.potassium_window!r}; expected hours, 0 or more.")
        return super().create_config_id(config_kwargs, custom_features)

    def files(self) -> dict[str, Path | None]:
        """Return the place of each CSV file that labels come from, None for those that are missing."""
        return {name: find_file(name, self.data_dir, self.mimic_iv_dir) for name in (MACHINE, PATIENTS, LABS)}

    def input_fingerprint(self) -> str:
        """Return a hash of the state of all files that labels come from, and of the records."""
        if self.jsonl is not None:
            file = Path(self.jsonl)
            paths = read_jsonl(file)[0]["path"].to_pylist()
            return input_fingerprint([file], self.data_dir, paths)
        records = find_file(RECORDS, self.data_dir)
        paths = [] if records is None else read_csv(records, ["path"])["path"].to_pylist()
        return input_fingerprint([records, *self.files().values()], self.data_dir, paths)


class MIMICIVECG(CheckedBuilder):
    """Builds MIMIC-IV-ECG from a copy of its release.

    All ECGs of a patient share a fold, which a hash of `subject_id` gives; folds 1-8 are `train`, 9 `validation`, 10
    `test`. What is unknown is None. The columns are

    - `ecg_id`, `patient_id`, `strat_fold`, `path`, `ecg_time`: the release's `study_id` and `subject_id`, the fold,
      the record's path and its time, shifted by years as in all of MIMIC;
    - `signal`, `sampling_rate`: the bytes of a C-contiguous int16 array of shape `(12, 5000)`, in microvolts, leads in
      the order I, II, III, aVR, aVL, aVF, V1-V6; and 500.0;
    - `rr_interval`: in ms, as the machine measured it, within 250 to 3000 ms;
    - `age`, `age_over_89`, `sex`: in years at the ECG, 90.0 for every patient over 89; from `patients.csv`;
    - `potassium`, `potassium_abnormality`: the blood value nearest in time, in mmol/L, and whether the laboratory
      flagged it as abnormal; from `labevents.csv`;
    - `arrhythmia`: the class of the machine's report, see `rhythm`;
    - `report`, `cart_id`, `bandwidth`, `filtering`, `p_onset` ... `t_end` (ms), `p_axis` ... `t_axis` (degrees): what
      else the machine reported and measured; its codes for "not measured", such as 29999, are None.

    A file that is missing leaves the columns that it gives None, and a message says so; `available_tasks` tells. The
    metadata of the whole release need about 2 GB of memory while they are read. A build is served from the cache until
    an option, a CSV file or the size or time of a record file changes.

    Args:
        data_dir (`str` or `Path`): MIMIC-IV-ECG's folder, with `record_list.csv` and `files`.
        cache_dir (`str`, *optional*): Where the Arrow files go; `datasets`' cache by default.
        mimic_iv_dir, potassium_window, jsonl: See `MIMICIVECGConfig`.
        on_error (`str`, *optional*, defaults to `"raise"`): See `CheckedConfig`.
    """

    BUILDER_CONFIG_CLASS = MIMICIVECGConfig
    BUILDER_CONFIGS: list[MIMICIVECGConfig] = [MIMICIVECGConfig(name="default", version="1.0.0")]
    DEFAULT_CONFIG_NAME = "default"

    config: MIMICIVECGConfig

    def available_tasks(self) -> list[str]:
        """Return the tasks (columns) whose labels are in the files given, in the order of `TASK_FILES`."""
        if self.config.jsonl is not None:
            tasks = labelled_tasks(self.config.jsonl)
            return [task for task in TASK_FILES if task in tasks]
        files = self.config.files()
        return [task for task, file in TASK_FILES.items() if files[file] is not None]

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="MIMIC-IV-ECG: 12-lead ECGs of 10 s at 500 Hz, int16 microvolts, with labels of five tasks.",
            features=FEATURES,
            homepage="https://physionet.org/content/mimic-iv-ecg/1.0/",
            license="ODbL-1.0; age, sex and potassium: PhysioNet Credentialed Health Data License",
            citation=CITATION,
        )

    def publication(self) -> Publication:
        """Return who published the release, and when."""
        return Publication("MIMIC-IV-ECG", ["MIT Laboratory for Computational Physiology"], "2023-09-15", "1.0")

    def _read_chunks(self) -> tuple[dict[str, list[pa.Table]], list[DatasetError]]:
        if self.config.data_dir is None:
            raise mimic_error(None, "data_dir", "not given; expected the folder of MIMIC-IV-ECG")
        self._log_missing_tasks()
        table, errors = self._read_rows()
        splits = {}
        for split, folds in SPLIT_FOLDS.items():
            rows = np.flatnonzero(pc.is_in(table["strat_fold"], value_set=pa.array(folds)))
            # Copies: a slice that is sent to another process takes the whole table with it.
            splits[split] = [table.take(chunk) for chunk in in_chunks(rows, CHUNK_SIZE)]
        return splits, errors

    def _read_rows(self) -> tuple[pa.Table, list[DatasetError]]:
        if self.config.jsonl is not None:
            return read_jsonl(self.config.jsonl)
        return read_metadata(self.config.data_dir, self.config.mimic_iv_dir, self.config.potassium_window)

    def _log_missing_tasks(self) -> None:
        available = self.available_tasks()
        for task, name in TASK_FILES.items():
            if task not in available:
                source = f"{name} (or {name}.gz)" if self.config.jsonl is None else f"a key of {self.config.jsonl}"
                folder = "data_dir" if name == MACHINE else "mimic_iv_dir, MIMIC-IV's folder"
                where = f", looked for in {folder}" if self.config.jsonl is None else ""
                logger.warning("No labels of %s: they need %s%s. The column is None.", task, source, where)

    def _generate_tables(self, chunks: list[pa.Table], list_dir: str | None) -> Iterator[tuple[int, pa.Table]]:
        for index, chunk in enumerate(chunks):
            paths = [os.path.join(self.config.data_dir, path) for path in chunk["path"].to_pylist()]
            batch = read_records(paths, SAMPLING_RATE, NUM_SAMPLES)
            sound, signals = self._leave_out_faulty(batch, chunk["ecg_id"].to_pylist(), mimic_error, list_dir)
            rates = pa.array(np.full(len(sound), float(SAMPLING_RATE)))
            table = chunk.take(pa.array(sound, pa.int64())).append_column("signal", signal_column(signals))
            yield index, table.append_column("sampling_rate", rates)
