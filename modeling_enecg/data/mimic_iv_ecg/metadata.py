"""The CSV files of MIMIC-IV-ECG 1.0 and of MIMIC-IV: their columns, what each may hold, and the labels they give.

The layout of `record_list.csv` and `machine_measurements.csv` is that of MIMIC-IV-ECG 1.0 (Gow et al., PhysioNet,
2023, doi 10.13026/4nqg-sb35), that of `patients.csv` and `labevents.csv` the one of MIMIC-IV's `hosp` module.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Features, Value
from pyarrow import csv

from ..errors import DatasetError
from ..rr_interval import MAX_RR, MIN_RR
from .potassium import nearest_potassium
from .rhythm import ARRHYTHMIA_CLASSES, arrhythmia_class

RECORDS, MACHINE, PATIENTS, LABS = "record_list.csv", "machine_measurements.csv", "patients.csv", "labevents.csv"
TASK_FILES = {
    "rr_interval": MACHINE,
    "age": PATIENTS,
    "sex": PATIENTS,
    "potassium_abnormality": LABS,
    "arrhythmia": MACHINE,
}
NUM_FOLDS = 10

# Times in ms from the start of the machine's representative beat, axes in degrees.
MEASUREMENTS = ("p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis")
NOT_MEASURED = (29999, 32767, -32768, 65535)  # the machine's codes: of a time, of an axis, of the RR interval
REPORT_LINES = [f"report_{line}" for line in range(18)]

OLDEST = 120.0
GROUPED_AGE = 91  # the anchor_age of everybody over 89

SEXES = {"M": 0, "F": 1}
METADATA_FEATURES = Features(
    {
        "ecg_id": Value("int64"),
        "patient_id": Value("int64"),
        "strat_fold": Value("int64"),
        "path": Value("string"),
        "ecg_time": Value("string"),
        "age": Value("float64"),
        "age_over_89": Value("bool"),
        "sex": ClassLabel(names=["male", "female"]),
        "rr_interval": Value("float64"),
        "potassium": Value("float64"),
        "potassium_abnormality": ClassLabel(names=["normal", "abnormal"]),
        "arrhythmia": ClassLabel(names=list(ARRHYTHMIA_CLASSES)),
        "report": Value("string"),
        "cart_id": Value("int64"),
        "bandwidth": Value("string"),
        "filtering": Value("string"),
    }
    | {name: Value("float64") for name in MEASUREMENTS}
)
SCHEMA: pa.Schema = METADATA_FEATURES.arrow_schema


def mimic_error(ecg_id: int | str | None, field: str, reason: str) -> DatasetError:
    """Return the error of a record, or of a whole file where `ecg_id` is None."""
    return DatasetError("MIMIC-IV-ECG", None if ecg_id is None else f"ecg_id {ecg_id}", field, reason)


def find_file(name: str, data_dir: str | Path, mimic_iv_dir: str | Path | None = None) -> Path | None:
    """Return the place of a CSV file, plain or as `.csv.gz`, or None where it is missing.

    Args:
        name (`str`): For instance `"patients.csv"`.
        data_dir (`str` or `Path`): MIMIC-IV-ECG's folder.
        mimic_iv_dir (`str` or `Path`, *optional*): MIMIC-IV's folder, or its `hosp` folder.
    """
    in_ecg_module = name in (RECORDS, MACHINE)
    folder = data_dir if in_ecg_module else mimic_iv_dir
    if folder is None:
        return None
    folders = [Path(folder)] if in_ecg_module else [Path(folder, "hosp"), Path(folder)]
    files = (place / f"{name}{suffix}" for place in folders for suffix in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def patient_fold(patient_id: int) -> int:
    """Return a patient's fold, 1 to 10: a hash of the id alone, so that it is the same in every subset and release."""
    return int.from_bytes(hashlib.sha256(str(patient_id).encode()).digest()[:8], "big") % NUM_FOLDS + 1


def record_path(patient_id: int | str, ecg_id: int | str) -> str:
    """Return the place of a record in MIMIC-IV-ECG's folder, without `.hea` or `.dat`."""
    return f"files/p{str(patient_id)[:4]}/p{patient_id}/s{ecg_id}/{ecg_id}"


def read_metadata(
    data_dir: str | Path, mimic_iv_dir: str | Path | None, potassium_window: float
) -> tuple[pa.Table, list[DatasetError]]:
    """Read and check the CSV files, and find each record's labels.

    Args:
        data_dir (`str` or `Path`): MIMIC-IV-ECG's folder.
        mimic_iv_dir (`str` or `Path`, *optional*): MIMIC-IV's folder; without it, what it gives is None.
        potassium_window (`float`): How far from the ECG a potassium value may be, before or after, in hours.

    Returns:
        `tuple[pa.Table, list[DatasetError]]`: The sound records, with the columns of `METADATA_FEATURES`;
        and the first fault of each other record. Where a `study_id` is given twice, the first row counts.

    Raises:
        DatasetError: if `record_list.csv` or a column of a file is missing, or a file cannot be read.
    """
    file = find_file(RECORDS, data_dir)
    if file is None:
        raise mimic_error(None, "data_dir", f"{str(data_dir)!r} has no {RECORDS}; expected the folder of MIMIC-IV-ECG")
    records = _Rows(read_csv(file, ["subject_id", "study_id", "ecg_time", "path"]))
    columns = _identity(records)
    if (file := find_file(MACHINE, data_dir)) is not None:
        columns |= _measurements(records, columns["ecg_id"], file)
    if (file := find_file(PATIENTS, data_dir, mimic_iv_dir)) is not None:
        columns |= _age_and_sex(records, columns["patient_id"], file)
    if (file := find_file(LABS, data_dir, mimic_iv_dir)) is not None:
        try:
            columns |= nearest_potassium(file, columns["patient_id"], records.times(), potassium_window)
        except (OSError, pa.ArrowException) as error:
            raise mimic_error(None, file.name, f"cannot be read ({error}); expected MIMIC-IV's CSV file") from error
    table = metadata_table(columns, len(records))
    return table.filter(records.sound()), records.errors()


def metadata_table(columns: dict[str, pa.Array], num_rows: int) -> pa.Table:
    """Return a table with the columns of `METADATA_FEATURES`; those not given are None."""
    nothing = {field.name: pa.nulls(num_rows, field.type) for field in SCHEMA}
    return pa.table({name: (nothing | columns)[name] for name in SCHEMA.names}, schema=SCHEMA)


def read_csv(file: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a plain or compressed CSV file as text, with None for what is empty.

    Raises:
        DatasetError: if the file cannot be read or has no such column.
    """
    options = csv.ConvertOptions(
        include_columns=list(columns),
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    try:
        return csv.read_csv(file, convert_options=options).combine_chunks()
    except KeyError as error:  # pyarrow's own, which names the column
        raise mimic_error(None, file.name, f"{error.args[0]}; expected the columns of the release") from error
    except (OSError, pa.ArrowException) as error:
        raise mimic_error(None, file.name, f"cannot be read ({error}); expected the release's CSV file") from error


def input_fingerprint(files: Sequence[Path | None], data_dir: str | Path, paths: Sequence[str]) -> str:
    """Return a hash of what a build reads: the CSV files, and each record file's size and time of change.

    Of files above 1 GB (`labevents.csv`) size and time stand for the contents. What is missing is left out.

    Args:
        files (`Sequence[Path]`): The CSV files, None for what is missing.
        data_dir (`str` or `Path`): MIMIC-IV-ECG's folder.
        paths (`Sequence[str]`): The records' paths in it.
    """
    digest = hashlib.sha256(repr(METADATA_FEATURES).encode())
    for file in files:
        if file is None:
            digest.update(b"missing\n")
        elif file.stat().st_size > 1e9:
            digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
        else:
            with open(file, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    for path in paths:
        for suffix in (".hea", ".dat"):
            try:
                status = os.stat(f"{data_dir}/{path}{suffix}")
            except (OSError, ValueError):  # missing, or no path at all: reading it later gives the clear error
                continue
            digest.update(f"{path}{suffix} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


class _Rows:
    """The rows of `record_list.csv` and the first fault of each."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.faults: dict[int, DatasetError] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def check(self, field: str, values: pa.Array, right: pa.Array, expected: str) -> None:
        """Note a fault for each row where `right` is not true."""
        for row in np.flatnonzero(~_to_numpy(pc.fill_null(right, False))):
            ecg_id = self.table["study_id"][row].as_py()
            name = int(ecg_id) if ecg_id and ecg_id.isdecimal() else f"in row {row + 1}"
            fault = mimic_error(name, field, f"got {values[row].as_py()!r}; expected {expected}")
            self.faults.setdefault(int(row), fault)

    def numbers(self, field: str, texts: pa.Array, whole: bool = False, required: bool = False) -> pa.Array:
        """Return texts as int64 or float64; what is no number is a fault and None."""
        right = pc.match_substring_regex(texts, r"^-?\d{1,18}$" if whole else r"^-?\d{1,18}(\.\d*)?$")
        allowed = right if required else pc.or_kleene(right, pc.is_null(texts))
        self.check(field, texts, allowed, "a whole number" if whole else "a number")
        nothing = pa.scalar(None, pa.string())
        return pc.if_else(right, texts, nothing).cast(pa.int64() if whole else pa.float64())

    def times(self) -> pa.Array:
        """Return when the ECGs were recorded, to the second."""
        texts = self.table["ecg_time"].combine_chunks()
        return pc.strptime(texts, format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True)

    def sound(self) -> pa.Array:
        """Return which rows are without fault."""
        mask = np.ones(len(self), dtype=bool)
        mask[list(self.faults)] = False
        return pa.array(mask)

    def errors(self) -> list[DatasetError]:
        """Return the faults in file order."""
        return [self.faults[row] for row in sorted(self.faults)]


def _identity(records: _Rows) -> dict[str, pa.Array]:
    """Return `ecg_id`, `patient_id`, `strat_fold`, `path` and `ecg_time`."""
    texts = {name: records.table[name].combine_chunks() for name in records.table.column_names}
    ecg_ids = records.numbers("study_id", texts["study_id"], whole=True, required=True)
    patient_ids = records.numbers("subject_id", texts["subject_id"], whole=True, required=True)
    records.check("ecg_time", texts["ecg_time"], pc.is_valid(records.times()), "a time such as 2180-07-23 08:44:00")
    group = pc.utf8_slice_codeunits(texts["subject_id"], 0, 4)
    parts = ["files/p", group, "/p", texts["subject_id"], "/s", texts["study_id"], "/", texts["study_id"]]
    expected = pc.binary_join_element_wise(*parts, "")
    records.check("path", texts["path"], pc.equal(texts["path"], expected), f"a path like {record_path(10000032, 1)}")
    sound = np.flatnonzero(records.sound())
    first = np.ones(len(records), dtype=bool)
    first[np.delete(sound, np.unique(_to_numpy(ecg_ids)[sound], return_index=True)[1])] = False
    records.check("study_id", texts["study_id"], pa.array(first), "one row a record; this one is given twice")
    return {
        "ecg_id": ecg_ids,
        "patient_id": patient_ids,
        "strat_fold": folds(patient_ids),
        "path": texts["path"],
        "ecg_time": pc.replace_substring(texts["ecg_time"], " ", "T"),
    }


def folds(patient_ids: pa.Array) -> pa.Array:
    """Return the fold of each record, by its patient."""
    coded = patient_ids.dictionary_encode()
    by_patient = pa.array([patient_fold(patient) for patient in coded.dictionary.to_pylist()], pa.int64())
    return by_patient.take(coded.indices)


def _measurements(records: _Rows, ecg_ids: pa.Array, file: Path) -> dict[str, pa.Array]:
    """Return what the machine measured and reported."""
    numbers = ("rr_interval", *MEASUREMENTS)
    names = ["study_id", "cart_id", "bandwidth", "filtering", *numbers, *REPORT_LINES]
    rows = _rows_of(ecg_ids, read_csv(file, names), "study_id")
    columns = {name: without_codes(records.numbers(name, rows[name])) for name in numbers}
    columns["rr_interval"] = plausible_rr(columns["rr_interval"])
    columns["report"] = _report([rows[name] for name in REPORT_LINES])
    columns["arrhythmia"] = _arrhythmia(columns["report"])
    columns["cart_id"] = records.numbers("cart_id", rows["cart_id"], whole=True)
    return columns | {name: rows[name] for name in ("bandwidth", "filtering")}


def _report(lines: Sequence[pa.Array]) -> pa.Array:
    """Join the lines of each report, one array a line, by newlines; empty lines are left out."""
    clean = [pc.utf8_trim_whitespace(pc.replace_substring_regex(line, r"\s+", " ")) for line in lines]
    ended = [pc.replace_substring_regex(pc.fill_null(line, ""), r"^(.+)$", "\\1\n") for line in clean]
    report = pc.utf8_rtrim(pc.binary_join_element_wise(*ended, ""), "\n")
    return pc.if_else(pc.equal(report, ""), pa.scalar(None, pa.string()), report)


def without_codes(values: pa.Array) -> pa.Array:
    """Return measurements with None for the codes that mean "not measured"."""
    is_code = pc.is_in(values, value_set=pa.array(NOT_MEASURED, pa.float64()))
    return pc.if_else(is_code, pa.scalar(None, pa.float64()), values)


def plausible_rr(values: pa.Array) -> pa.Array:
    """Return RR intervals in ms with None outside the limits that `rr_interval` has for all datasets."""
    inside = pc.and_(pc.greater_equal(values, MIN_RR), pc.less_equal(values, MAX_RR))
    return pc.if_else(inside, values, pa.scalar(None, pa.float64()))


def _arrhythmia(reports: pa.Array) -> pa.Array:
    """Return the class of each report, whose lines are joined by newlines, as its number."""
    coded = reports.dictionary_encode()
    classes = [arrhythmia_class(report.split("\n")) for report in coded.dictionary.to_pylist()]
    numbers = [None if name is None else ARRHYTHMIA_CLASSES.index(name) for name in classes]
    return pa.array(numbers, pa.int64()).take(coded.indices)


def _age_and_sex(records: _Rows, patient_ids: pa.Array, file: Path) -> dict[str, pa.Array]:
    """Return `age`, `age_over_89` and `sex`.

    The age at the ECG is the patient's `anchor_age` and the years from `anchor_year`. MIMIC-IV withholds ages over 89:
    they are 90.0 here, and an ECG taken years before an anchor age that is withheld has no age.
    """
    rows = _rows_of(patient_ids, read_csv(file, ["subject_id", "gender", "anchor_age", "anchor_year"]), "subject_id")
    anchor_age = records.numbers("anchor_age", rows["anchor_age"], whole=True)
    years = pc.subtract(pc.year(records.times()), records.numbers("anchor_year", rows["anchor_year"], whole=True))
    age = pc.add(anchor_age, years).cast(pa.float64())
    unknown = pc.and_(pc.greater_equal(anchor_age, GROUPED_AGE), pc.less(years, 0))
    age = pc.if_else(unknown, pa.scalar(None, pa.float64()), age)
    in_range = pc.and_(pc.greater_equal(age, 0), pc.less_equal(age, OLDEST))
    records.check("age", age, pc.fill_null(in_range, True), f"0 to {OLDEST:g} years at the ECG")
    sex = rows["gender"]
    known = pc.is_in(sex, value_set=pa.array([*SEXES, None], pa.string()))
    records.check("gender", sex, known, " or ".join(SEXES))
    over_89 = pc.greater(age, 89)
    return {
        "age": pc.if_else(over_89, pa.scalar(90.0), age),
        "age_over_89": over_89,
        "sex": pc.index_in(sex, value_set=pa.array(list(SEXES))).cast(pa.int64()),
    }


def _rows_of(ids: pa.Array, table: pa.Table, key: str) -> dict[str, pa.Array]:
    """Return the columns of the rows with these ids, in the order of the ids; None where there is no such row."""
    rows = pc.index_in(ids.cast(pa.string()), value_set=table[key].combine_chunks())
    return {name: table[name].combine_chunks().take(rows) for name in table.column_names}


def _to_numpy(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
