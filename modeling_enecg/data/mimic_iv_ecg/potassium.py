"""The potassium value nearest to each ECG, from MIMIC-IV's `labevents.csv` of more than 100 million rows.

The file is read once, in blocks; what is kept are the potassium values of the patients asked for, 24 bytes each.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from datasets.utils.tqdm import tqdm
from pyarrow import csv

POTASSIUM_ITEMS = (50971, 50822)  # of `d_labitems.csv`: in serum or plasma (chemistry), in whole blood (blood gas)
HIGHEST = 30.0  # mmol/L; nothing above it is a measurement of blood
BLOCK_SIZE = 1 << 24  # bytes
COLUMNS = {
    "subject_id": pa.int64(),
    "itemid": pa.int64(),
    "charttime": pa.timestamp("s"),
    "valuenum": pa.float64(),  # mEq/L, which for potassium is mmol/L
    "flag": pa.string(),
}


def nearest_potassium(file: Path, patient_ids: pa.Array, times: pa.Array, window: float) -> dict[str, pa.Array]:
    """Find the potassium value that is nearest in time to each ECG, before or after it.

    Of two that are as near the earlier counts. Whether it is abnormal is what the laboratory flagged.

    Args:
        file (`Path`): `labevents.csv` or `labevents.csv.gz`.
        patient_ids (`pa.Array` of int64): The patient of each ECG.
        times (`pa.Array` of timestamps): When each was recorded.
        window (`float`): How far away the value may be, in hours.

    Returns:
        `dict[str, pa.Array]`: `potassium` in mmol/L and `potassium_abnormality` (0 normal, 1 abnormal), None where no
        value lies within the window.

    Raises:
        OSError: if the file cannot be read.
        pa.ArrowException: if it is no CSV file, has no such column or a value of another kind.
    """
    ecgs = pd.DataFrame({"patient": patient_ids.to_numpy(zero_copy_only=False), "time": times.to_numpy(False)})
    ecgs = ecgs.dropna().astype({"patient": "int64", "time": "datetime64[s]"}).sort_values("time")
    labs = _read_potassium(file, patient_ids.drop_null().unique()).sort_values("time")
    tolerance = pd.Timedelta(hours=window)
    nearest = pd.merge_asof(
        ecgs.reset_index(), labs, on="time", by="patient", direction="nearest", tolerance=tolerance
    ).set_index("index")
    nearest = nearest.reindex(np.arange(len(patient_ids)))
    return {
        "potassium": pa.array(nearest["potassium"], pa.float64(), from_pandas=True),
        "potassium_abnormality": pa.array(nearest["abnormal"], pa.float64(), from_pandas=True).cast(pa.int64()),
    }


def _read_potassium(file: Path, patient_ids: pa.Array) -> pd.DataFrame:
    """Return `patient`, `time`, `potassium` and `abnormal` (0.0 or 1.0) of these patients' values."""
    kept = [_potassium_of(batch, patient_ids) for batch in _read_blocks(file)]
    table = pa.Table.from_batches(kept, schema=pa.schema(COLUMNS))
    return pd.DataFrame(
        {
            "patient": table["subject_id"].to_numpy(),
            "time": table["charttime"].to_numpy().astype("datetime64[s]"),
            "potassium": table["valuenum"].to_numpy(),
            "abnormal": pc.equal(table["flag"], "abnormal").fill_null(False).to_numpy().astype(np.float64),
        }
    )


def _potassium_of(batch: pa.RecordBatch, patient_ids: pa.Array) -> pa.RecordBatch:
    batch = batch.filter(pc.is_in(batch["itemid"], value_set=pa.array(POTASSIUM_ITEMS, pa.int64())))
    value = batch["valuenum"]
    measured = pc.and_(pc.greater(value, 0), pc.less_equal(value, HIGHEST))
    dated = pc.and_(pc.is_valid(batch["charttime"]), pc.is_in(batch["subject_id"], value_set=patient_ids))
    return batch.filter(pc.and_(measured, dated))


def _read_blocks(file: Path) -> Iterator[pa.RecordBatch]:
    """Read the columns of a plain or compressed file block by block, with a progress bar over its bytes."""
    parse = csv.ParseOptions(newlines_in_values=True)  # the laboratory's comments are quoted free text
    convert = csv.ConvertOptions(include_columns=list(COLUMNS), column_types=COLUMNS)
    with pa.OSFile(str(file)) as raw, tqdm(total=raw.size(), unit="B", unit_scale=True, desc=file.name) as bar:
        stream = pa.CompressedInputStream(raw, "gzip") if file.suffix == ".gz" else raw
        for batch in csv.open_csv(stream, csv.ReadOptions(block_size=BLOCK_SIZE), parse, convert):
            yield batch
            bar.update(raw.tell() - bar.n)
