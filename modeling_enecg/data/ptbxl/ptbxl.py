"""PTB-XL as a `datasets` builder: 21,799 12-lead ECGs of 10 seconds with 71 SCP statements and 10 stratified folds.

    builder = PTBXL(config_name="100hz", data_dir="ptb-xl-1.0.3")
    builder.download_and_prepare(num_proc=4)
    record = builder.as_dataset(split="train")[0]
    signal_in_mv = signal_array(record) / 1000

As a script it writes the same as Parquet files with a dataset card, which `load_dataset(folder, "100hz")` reads:

    python dataset_scripts/ptbxl.py --data_dir ptb-xl-1.0.3 --output_dir ptbxl-parquet

Source: Wagner, Strodthoff, Bousseljot, Samek, Schaeffter, "PTB-XL, a large publicly available electrocardiography
dataset", version 1.0.3, PhysioNet, 2022, doi 10.13026/kfzx-aw45; Scientific Data 7, 154 (2020).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import pyarrow as pa

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
from ..rr_interval import rr_interval
from ..wfdb16 import read_records
from .metadata import METADATA_FEATURES, Row, input_fingerprint, ptbxl_error, read_metadata

SECONDS = 10

FEATURES = datasets.Features({**METADATA_FEATURES, "signal": datasets.Value("binary")})
RR_FEATURES = datasets.Features({**FEATURES, "rr_interval": datasets.Value("float64")})

CITATION = """\
@article{wagner2020ptbxl,
  title = {{PTB-XL}, a large publicly available electrocardiography dataset},
  author = {Wagner, Patrick and Strodthoff, Nils and Bousseljot, Ralf-Dieter and Kreiseler, Dieter and \
Lunze, Fatima I. and Samek, Wojciech and Schaeffter, Tobias},
  journal = {Scientific Data},
  volume = {7},
  number = {154},
  year = {2020},
  doi = {10.1038/s41597-020-0495-6}
}"""


@dataclass(eq=False)
class PTBXLConfig(CheckedConfig):
    """Which of the two sampling rates is read, and what is measured; see `CheckedConfig` for `on_error`.

    Attributes:
        sampling_rate (`int`): In Hz; 100 in the config `"100hz"`, 500 in `"500hz"`.
        filename_column (`str`): The column of `ptbxl_database.csv` that names the records of this rate.
        rr_interval (`bool`, *optional*, defaults to False): Whether each record's RR interval is measured, as a column
            `rr_interval`; it costs some milliseconds per record, once.
    """

    sampling_rate: int = 100
    filename_column: str = "filename_lr"
    rr_interval: bool = False

    @property
    def num_samples(self) -> int:
        """Samples per lead."""
        return SECONDS * self.sampling_rate

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name the cache folder as `CheckedConfig` does."""
        if not self.rr_interval:  # a False that was spelled out is served from the same cache
            config_kwargs = {name: value for name, value in config_kwargs.items() if name != "rr_interval"}
        return super().create_config_id(config_kwargs, custom_features)

    def input_fingerprint(self) -> str:
        """Return a hash of the state of both CSV files and the records of this rate."""
        return input_fingerprint(self.data_dir, self.filename_column)


class PTBXL(CheckedBuilder):
    """Builds PTB-XL from a copy of its release.

    The splits follow the release's recommendation: folds 1-8 `train`, 9 `validation`, 10 `test`. The columns are those
    of `ptbxl_database.csv`, with empty values as None, and

    - `signal`: the bytes of a C-contiguous int16 array of shape `(12, 1000)` at 100 Hz or `(12, 5000)` at 500 Hz, in
      microvolts, leads in the order I, II, III, aVR, aVL, aVF, V1-V6; `signal_array` makes the array;
    - `age`: in years; the release gives 300 for every patient over 89, here 90.0 with `age_over_89` true;
    - `scp_codes`: a list of `{"code", "likelihood"}`;
    - `all`, `diagnostic`, `subdiagnostic`, `superdiagnostic`, `form`, `rhythm`: the labels of each task of the PTB-XL
      benchmark, as `modeling_enecg.data.ptbxl.labels` defines them;
    - `rr_interval`, only with that option: in ms, the median of the intervals between successive R peaks of lead II;
      None where it could not be measured, which `builder.as_dataset()["train"]["rr_interval"][:].count(None)` counts.

    A build is served from the cache until an option, a CSV file or the size or time of a record file changes.

    Args:
        config_name (`str`, *optional*, defaults to `"100hz"`): `"100hz"` or `"500hz"`.
        data_dir (`str` or `Path`): PTB-XL's folder.
        cache_dir (`str`, *optional*): Where the Arrow files go; `datasets`' cache by default.
        on_error (`str`, *optional*, defaults to `"raise"`): See `CheckedConfig`.
        rr_interval (`bool`, *optional*, defaults to False): See `PTBXLConfig`.
    """

    BUILDER_CONFIG_CLASS = PTBXLConfig
    BUILDER_CONFIGS: list[PTBXLConfig] = [
        PTBXLConfig(name="100hz", version="1.0.3", sampling_rate=100, filename_column="filename_lr"),
        PTBXLConfig(name="500hz", version="1.0.3", sampling_rate=500, filename_column="filename_hr"),
    ]
    DEFAULT_CONFIG_NAME = "100hz"

    config: PTBXLConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"PTB-XL: 12-lead ECGs of {SECONDS} s at {self.config.sampling_rate} Hz, int16 microvolts.",
            features=RR_FEATURES if self.config.rr_interval else FEATURES,
            homepage="https://physionet.org/content/ptb-xl/1.0.3/",
            license="cc-by-4.0",
            citation=CITATION,
        )

    def publication(self) -> Publication:
        """Return who published the release, and when."""
        return Publication("PTB-XL", ["Physikalisch-Technische Bundesanstalt"], "2022-11-09", "1.0.3")

    def _read_chunks(self) -> tuple[dict[str, list[list[Row]]], list[DatasetError]]:
        if self.config.data_dir is None:
            raise ptbxl_error(None, "data_dir", "not given; expected the folder of PTB-XL")
        rows, errors = read_metadata(self.config.data_dir)
        splits = {
            split: in_chunks([row for row in rows if row["strat_fold"] in folds], CHUNK_SIZE)
            for split, folds in SPLIT_FOLDS.items()
        }
        return splits, errors

    def _generate_tables(self, chunks: list[list[Row]], list_dir: str | None) -> Iterator[tuple[int, pa.Table]]:
        for index, rows in enumerate(chunks):
            paths = [os.path.join(self.config.data_dir, row[self.config.filename_column]) for row in rows]
            batch = read_records(paths, self.config.sampling_rate, self.config.num_samples)
            sound, signals = self._leave_out_faulty(batch, [row["ecg_id"] for row in rows], ptbxl_error, list_dir)
            table = pa.Table.from_pylist([rows[position] for position in sound], METADATA_FEATURES.arrow_schema)
            table = table.append_column("signal", signal_column(signals))
            if self.config.rr_interval:
                intervals = [rr_interval(signal, self.config.sampling_rate) for signal in signals]
                table = table.append_column("rr_interval", pa.array(intervals, pa.float64()))
            yield index, table
