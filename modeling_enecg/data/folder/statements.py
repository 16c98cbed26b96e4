"""Statements of files and data sets as names, SCP codes of PTB-XL and diagnostic superclasses, by stated tables.

`snomed.csv` has the codes and abbreviations of the Challenge 2021 (doi 10.13026/34va-7q14, `dx_mapping_scored.csv` and
`dx_mapping_unscored.csv` of its evaluation code). A code has an SCP statement of PTB-XL where both say the same, or
where the Challenge scores it as one that does (complete and other bundle branch blocks, premature beats of the atria
and the ventricles); it has a diagnostic superclass by that statement, or by the superclass's own name where it is a
ST or T change, an infarction, a hypertrophy or a conduction disturbance without one. Sinus rhythm alone is no normal
ECG, so that no code gives the superclass NORM; the statement "normal ECG" in words does. `cohorts` are the sources of
the Challenge in which its tables count the code at all.
"""

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from ..ptbxl.labels import task_labels

NORMAL = "normal ecg"


class Statement(NamedTuple):
    """A statement of a file.

    Attributes:
        name (`str`): The Challenge's abbreviation of a known code; else the text itself.
        scp_code (`str`, *optional*): PTB-XL's statement of the same meaning.
        superclass (`str`, *optional*): The diagnostic superclass.
        leaves_open (`tuple[str, ...]`): Superclasses that may be there by it, or not.
        cohorts (`tuple[str, ...]`): Parts of its data set in which it is annotated, where the table says it.
    """

    name: str
    scp_code: str | None = None
    superclass: str | None = None
    leaves_open: tuple[str, ...] = ()
    cohorts: tuple[str, ...] = ()


def understand(text: str) -> Statement:
    """Return what a statement means, as far as it is stated.

    Args:
        text (`str`): A SNOMED CT code, or words.
    """
    known = snomed_statements().get(text.strip())
    if known is not None:
        return known
    words = " ".join(text.lower().replace("*", "").split()).strip(". ")
    return Statement(text.strip(), "NORM", "NORM") if words == NORMAL else Statement(text.strip())


def superclasses(statements: Iterable[Statement]) -> list[str]:
    """Return the sorted superclasses of a record; NORM only where it is alone."""
    found = {each.superclass for each in statements if each.superclass}
    return sorted(found - {"NORM"} if len(found) > 1 else found)


@cache
def snomed_statements() -> dict[str, Statement]:
    """Return what each SNOMED CT code of the Challenges means."""
    return statement_table((files(__package__) / "snomed.csv").read_text(encoding="utf-8"))


def statement_table(text: str) -> dict[str, Statement]:
    """Return what the codes of a table mean.

    Args:
        text (`str`): CSV with the columns `code`, `abbreviation`, `scp`, `superclass` (where it is not that of `scp`),
            and optionally `leaves_open` and `cohorts`, names with spaces between.
    """
    known = {}
    for row in csv.DictReader(text.splitlines()):
        scp_code = row["scp"] or None
        by_scp = task_labels([scp_code], "superdiagnostic") if scp_code else []
        superclass = row["superclass"] or next(iter(by_scp), None)
        leaves_open, cohorts = (tuple(row.get(column, "").split()) for column in ("leaves_open", "cohorts"))
        known[row["code"]] = Statement(row["abbreviation"], scp_code, superclass, leaves_open, cohorts)
    return known


__all__ = ["Statement", "snomed_statements", "statement_table", "superclasses", "understand"]
