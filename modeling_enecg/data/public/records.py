"""The records of a public data set as its tables or headers describe them, before their labels are understood."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ...ecg_file import ECGFileError
from ...metadata_values import in_years, sex_of
from ...wfdb_header import read_header
from ..errors import DatasetError
from ..folder.recordings import recordings
from ..folder.settings import folder_error
from ..folder.table import FLAGS, UNKNOWN
from .definition import PublicSet

_DX = re.compile(r"#\s*Dx\s*:", re.IGNORECASE)
_SILENT = "unknown"  # how the Challenges say that nothing is stated
_HEADERS_SEEN = 5  # of a folder, to tell whether it is of a Challenge


class Cohort(NamedTuple):
    """A source of the Challenges' records.

    Attributes:
        name (`str`): As the Challenge's tables of codes call it.
        patients (`str`): `"one"` where each record is a patient's only one, `"several"` where most patients have
            several, `"unknown"` where some do, and which is not published.
        superclasses (`tuple[str, ...]`): The diagnostic superclasses that 1 % of its records or more state, and that
            the others therefore do not have.
    """

    name: str
    patients: str
    superclasses: tuple[str, ...]


class Described(NamedTuple):
    """A record, as its release describes it.

    Attributes:
        number (`int`): Its line in the table, or its place among the headers.
        file (`str`): Its path.
        patient (`str`): Its patient; the record itself where none is stated.
        age (`float`, *optional*): In years.
        sex (`str`, *optional*): `"female"` or `"male"`.
        statements (`tuple[str, ...]`, *optional*): Codes or words; None where nothing is said, not even that there is
            no finding.
        cohort (`Cohort`, *optional*): Where it comes from, if that is known.
    """

    number: int
    file: str
    patient: str
    age: float | None
    sex: str | None
    statements: tuple[str, ...] | None
    cohort: Cohort | None = None


Descriptions = Iterator[Described | DatasetError]


def has_diagnoses(folder: Path) -> bool:
    """Whether one of the first headers of a folder has a comment `Dx`, as those of the Challenges do."""
    for file in islice((each for each in folder.rglob("*.hea") if each.is_file()), _HEADERS_SEEN):
        text = file.read_text(encoding="utf-8", errors="replace")
        if any(map(_DX.match, text.splitlines())):
            return True
    return False


def described(public: PublicSet, folder: Path) -> Descriptions:
    """Yield the records of a release, or what is wrong with one.

    Raises:
        DatasetError: if a table cannot be read, or tables that belong together differ in length.
    """
    return _of_headers(folder) if public.headers else _of_tables(public, folder)


def cohort_of(record: str) -> Cohort | None:
    """Return the source of a Challenge record by its name, such as `JS20010`; None of other names."""
    match = re.fullmatch(r"([A-Z]+)([0-9]+)", Path(record).name)
    for row in _cohorts() if match else ():
        digits = match[2] if match and match[1] == row["prefix"] else ""
        if len(digits) == int(row["digits"]) and int(row["first"]) <= int(digits) <= int(row["last"]):
            return Cohort(row["cohort"], row["patients"], tuple(row["superclasses"].split()))
    return None


@cache
def _cohorts() -> list[dict[str, str]]:
    text = (files(__package__) / "challenge_cohorts.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _of_headers(folder: Path) -> Descriptions:
    with_header = (record for record in recordings(folder) if (folder / f"{record}.hea").is_file())
    for number, record in enumerate(with_header, start=1):
        try:
            said = read_header(folder / f"{record}.hea").metadata()
        except ECGFileError as error:
            yield folder_error(record, number, "header", str(error))
            continue
        statements = tuple(text for text in said.statements if text.strip().lower() != _SILENT)
        yield Described(number, record, record, said.age_years, said.sex, statements or None, cohort_of(record))


def _of_tables(public: PublicSet, folder: Path) -> Descriptions:
    seen: set[str] = set()
    for place, cells in enumerate(_rows(public, folder)):
        number = place + 2  # the first line has the columns' names
        try:
            record = _described(public, number, {**cells, "row": str(place)})
        except ValueError as error:
            field, reason = error.args
            yield folder_error(public.tables[0], number, field, reason)
            continue
        if record.file in seen:
            yield folder_error(public.tables[0], number, "record", f"got {record.file!r} again; expected it once")
            continue
        seen.add(record.file)
        if not public.partial or (folder / record.file).parent.exists():
            yield record


def _rows(public: PublicSet, folder: Path) -> list[dict[str, str]]:
    """Return the rows of the tables, those of several tables joined line by line."""
    tables = [_read(folder, table) for table in public.tables]
    lengths = {table: len(rows) for table, rows in zip(public.tables, tables, strict=True)}
    if len(set(lengths.values())) > 1:
        reason = f"got {lengths} rows; expected as many in each: the same line is the same record"
        raise folder_error(public.tables[0], None, "rows", reason)
    return [{name: cell for part in parts for name, cell in part.items()} for parts in zip(*tables, strict=True)]


def _read(folder: Path, table: str) -> list[dict[str, str]]:
    try:
        with open(folder / table, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise folder_error(table, None, "file", f"cannot be read ({error}); expected a CSV file in UTF-8") from error
    return [{(name or "").strip(): _cell(cell) for name, cell in row.items()} for row in rows]


def _cell(cell: str | list[str] | None) -> str:
    text = cell.strip() if isinstance(cell, str) else ""
    return "" if text.lower() in UNKNOWN else text


def _described(public: PublicSet, number: int, cells: Mapping[str, str]) -> Described:
    """Return what a row says; of a fault, field and reason are raised as a `ValueError`."""
    try:
        file = public.record.format(**cells)
    except (KeyError, IndexError) as error:
        raise ValueError("record", f"the table has no column {error}; expected those of {public.record}") from error
    patient = cells[public.patient] if public.patient else file
    if not patient:
        raise ValueError(public.patient, "got ''; expected a patient: unknown ones might be in several splits")
    age = in_years(cells[public.age], "years") if public.age else None
    sex = cells[public.sex] if public.sex else ""
    found = [*_stated(public, cells), *_flagged(public.flags, cells)]
    is_silent = not found and not any(cells[flag] for flag in public.flags)
    statements = None if is_silent else tuple(dict.fromkeys(found))
    return Described(number, file, patient, age, sex_of(public.sexes.get(sex, sex)), statements)


def _stated(public: PublicSet, cells: Mapping[str, str]) -> Iterator[str]:
    for column, separator in public.statements.items():
        for text in cells[column].split(separator):
            statement = text.split(public.modifiers)[0] if public.modifiers else text
            if statement.strip(" ."):
                yield statement.strip(" .")


def _flagged(flags: Iterable[str], cells: Mapping[str, str]) -> Iterator[str]:
    for flag in flags:
        if cells[flag] and cells[flag].lower() not in FLAGS:
            raise ValueError(flag, f"got {cells[flag]!r}; expected 0 or 1")
        if FLAGS.get(cells[flag].lower()):
            yield flag


__all__ = ["Cohort", "Described", "cohort_of", "described", "has_diagnoses"]
