"""What is stated of each public data set: `sets/<name>.yaml`, and the table of what its codes mean."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path

from ...settings import load_yaml
from ..folder.statements import Statement, snomed_statements, statement_table

_SETS = files(__package__) / "sets"


@dataclass(frozen=True)
class PublicSet:
    """How a release is laid out, and what its labels mean.

    Attributes:
        name (`str`): The definition's, such as `"sph"`.
        title (`str`): The data set's.
        source (`str`): Its address.
        licence (`str`): As the Hub writes it, such as `"cc-by-4.0"`.
        creators (`list[str]`): Who published it.
        published (`str`): When, as `YYYY-MM-DD`.
        version (`str`): Which version.
        citation (`str`): How it is cited.
        headers (`bool`, *optional*, defaults to False): Whether headers of WFDB records say everything, as in the
            PhysioNet Challenges; else tables do, and the next fields name their columns.
        tables (`list[str]`, *optional*): The CSV files; of several, the same line is the same record.
        record (`str`, *optional*): A record's path, with columns in braces; `{row}` is its place, from 0.
        patient (`str`, *optional*): The patient.
        age (`str`, *optional*): Age in years.
        sex (`str`, *optional*): The sex, as `sex_of` reads it.
        sexes (`dict[str, str]`, *optional*): What it says where that is something else.
        statements (`dict[str, str]`, *optional*): Columns with codes or words, by what separates them.
        modifiers (`str`, *optional*): What follows this sign in a statement qualifies it, and is left out.
        flags (`list[str]`, *optional*): Columns of 0 and 1; each is the code of a statement.
        codes (`str`, *optional*): The CSV of what codes mean, see `statement_table`; `*` in a code is any text.
        superclasses (`list[str]`, *optional*): Those that a record without them does not have; by default all that
            its statements can give. Of the others a record that does not state them says nothing.
        split (`str`, *optional*): The split that all records are of; by default they are divided.
        partial (`bool`, *optional*, defaults to False): Whether the release comes in parts, so that rows whose file
            is not there are left out.
        sampling_rate (`float`, *optional*): In Hz; what the files do not say, see `read_ecg`, as the next two.
        unit (`str`, *optional*): Of the amplitudes.
        lead_names (`list[str]`, *optional*): In the files' order.
        notes (`list[str]`, *optional*): What whoever uses it should know.
    """

    name: str
    title: str
    source: str
    licence: str
    creators: list[str]
    published: str
    version: str
    citation: str
    headers: bool = False
    tables: list[str] = field(default_factory=list)
    record: str = ""
    patient: str | None = None
    age: str | None = None
    sex: str | None = None
    sexes: dict[str, str] = field(default_factory=dict)
    statements: dict[str, str] = field(default_factory=dict)
    modifiers: str | None = None
    flags: list[str] = field(default_factory=list)
    codes: str | None = None
    superclasses: list[str] | None = None
    split: str | None = None
    partial: bool = False
    sampling_rate: float | None = None
    unit: str | None = None
    lead_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> set[str]:
        """The columns that its labels are read from."""
        return {*self.statements, *self.flags, *filter(None, (self.patient, self.age, self.sex))}

    def meanings(self) -> Mapping[str, Statement]:
        """Return what its codes mean."""
        if self.codes is None:
            return snomed_statements()
        return statement_table((_SETS / self.codes).read_text(encoding="utf-8"))

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds its tables, with their columns."""
        if not self.tables or not all((folder / table).is_file() for table in self.tables):
            return False
        found: set[str] = set()
        for table in self.tables:
            with open(folder / table, encoding="utf-8-sig", errors="replace", newline="") as stream:
                found.update(name.strip() for name in next(csv.reader(stream), []))
        return self.columns <= found


def meaning(text: str, known: Mapping[str, Statement]) -> Statement | None:
    """Return what a code or words mean: by the table's own spelling or any case, else by a code with `*` in it."""
    wanted = text.casefold()
    for code, statement in known.items():
        pattern = code.casefold()
        if pattern == wanted or ("*" in pattern and fnmatchcase(wanted, pattern)):
            return statement if statement.name else statement._replace(name=text)
    return None


@cache
def public_sets() -> dict[str, PublicSet]:
    """Return the sets that the package knows, by name."""
    found = sorted((each for each in _SETS.iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name)
    contents = {each.name.removesuffix(".yaml"): load_yaml(each.read_text(encoding="utf-8")) for each in found}
    return {name: PublicSet(name, **content) for name, content in contents.items()}


__all__ = ["PublicSet", "meaning", "public_sets"]
