"""The labels of a public data set's records: what is stated, what is not there, and what is not known."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..builder import SPLIT_FOLDS
from ..errors import DatasetError
from ..folder.statements import Statement, superclasses, understand
from ..folder.table import NUM_FOLDS, LabelTable, LabelTask, TableRow
from ..folds import folds_by_label
from ..rows import unknown_column
from .definition import PublicSet, meaning
from .records import Cohort, Described

SUPERDIAGNOSTIC, SCP, DX = "superdiagnostic", "scp", "dx"
PUBLIC_TASKS = (SUPERDIAGNOSTIC, SCP, DX, "sex", "age")
NORM = "NORM"
_SHOWN = 12  # statements that a note names

logger = logging.getLogger(__name__)


class Labelled(NamedTuple):
    """A record's labels of the three multi-label tasks, and whether its table knows all that is stated."""

    stated: Mapping[str, set[str]]
    leaves_open: set[str]
    is_understood: bool


@dataclass(frozen=True)
class PublicTable:
    """Tasks and rows of a public data set, and sentences on what was done with its labels."""

    table: LabelTable
    notes: list[str]


def public_table(public: PublicSet, described: Iterable[Described | DatasetError]) -> PublicTable:
    """Give each record its labels and its fold.

    Tasks are `superdiagnostic`, PTB-XL's diagnostic superclasses; `scp`, its statements; `dx`, the set's own names of
    them; `sex`; `age`. A label is there where it is stated; it is absent where the set, or the record's cohort in it,
    annotates it; else it is not known. Where a code is stated that the table of codes lacks, superclasses and SCP
    statements that are not stated are not known. A normal ECG has no other superclass. Labels that no record is known
    to be without, or to have, are left out.

    All records of a patient are in one fold, and labels are about equally frequent in the folds. Cohorts in which most
    patients have several records, and which is not published, are in fold 1 as a whole.
    """
    found = list(described)
    records = [each for each in found if isinstance(each, Described)]
    known = _Meanings(public)
    labelled = [known.labels(record) for record in records]
    tasks: list[LabelTask] = []
    columns: dict[str, Sequence[Any]] = {}
    left_out: list[str] = []
    for name in (SUPERDIAGNOSTIC, SCP, DX):
        task, values, lacking = _multi_label(public, known, name, records, labelled)
        left_out += [f"{name}: {', '.join(lacking)}"] if lacking else []
        if task.labels:
            tasks.append(task)
            columns |= values
    for task, values_of_task in _of_patients(records):
        tasks.append(task)
        columns[task.name] = values_of_task
    folds = _folds(public, records, labelled)
    rows = [
        TableRow(
            record.number,
            {"ecg_id": record.file, "patient_id": record.patient, "strat_fold": fold}
            | {name: values[index] for name, values in columns.items()},
        )
        for index, (record, fold) in enumerate(zip(records, folds, strict=True))
    ]
    errors = [each for each in found if isinstance(each, DatasetError)]
    return PublicTable(LabelTable(tasks, rows, errors), _notes(public, known, records, left_out))


class _Meanings:
    """What statements mean, and which of them a cohort annotates; counts those it meets."""

    def __init__(self, public: PublicSet):
        self.table = public.meanings()
        self.unknown: Counter[str] = Counter()
        self.without_scp: Counter[str] = Counter()
        self._understood: dict[str, Statement] = {}
        self._annotated: dict[str, dict[str, set[str]]] = {}

    def labels(self, record: Described) -> Labelled:
        statements = [self._understand(text) for text in record.statements or ()]
        stated = {
            SUPERDIAGNOSTIC: set(superclasses(statements)),
            SCP: {each.scp_code for each in statements if each.scp_code},
            DX: {each.name for each in statements},
        }
        leaves_open = {name for each in statements for name in each.leaves_open}
        is_understood = not any(text in self.unknown for text in record.statements or ())
        return Labelled(stated, leaves_open, is_understood)

    def annotated(self, cohort: Cohort, task: str) -> set[str]:
        """Return the labels that a cohort's records do not have where they do not state them."""
        if cohort.name not in self._annotated:
            of_cohort = [each for each in self.table.values() if cohort.name in each.cohorts]
            self._annotated[cohort.name] = {
                SUPERDIAGNOSTIC: set(cohort.superclasses),
                SCP: {each.scp_code for each in of_cohort if each.scp_code},
                DX: {each.name for each in of_cohort},
            }
        return self._annotated[cohort.name][task]

    def _understand(self, text: str) -> Statement:
        if text not in self._understood:
            found = meaning(text, self.table)
            self._understood[text] = found or understand(text)
            if found is None and self._understood[text].scp_code is None:
                self.unknown[text] = 0
        statement = self._understood[text]
        if text in self.unknown:
            self.unknown[text] += 1
        elif statement.scp_code is None:
            self.without_scp[statement.name] += 1
        return statement


def _multi_label(
    public: PublicSet,
    known: _Meanings,
    task: str,
    records: Sequence[Described],
    labelled: Sequence[Labelled],
) -> tuple[LabelTask, dict[str, list[Any]], list[str]]:
    """Return a task, its columns, and the labels that are left out since no record is known to be without them."""
    every = set().union(*(each.stated[task] for each in labelled))
    unknown = [
        None if record.statements is None else _unknown(public, known, task, every, record, labels)
        for record, labels in zip(records, labelled, strict=True)
    ]
    absent = [
        every - labels.stated[task] - open_
        for labels, open_ in zip(labelled, unknown, strict=True)
        if open_ is not None
    ]
    names = sorted(set().union(*absent))
    place = {name: index for index, name in enumerate(names)}

    def indices(labels: Iterable[str]) -> list[int]:
        return sorted(place[label] for label in labels if label in place)

    values: dict[str, list[Any]] = {
        task: [
            None if open_ is None else indices(labels.stated[task])
            for labels, open_ in zip(labelled, unknown, strict=True)
        ]
    }
    is_partly_known = any(map(indices, filter(None, unknown)))
    if is_partly_known:
        values[unknown_column(task)] = [None if open_ is None else indices(open_) for open_ in unknown]
    made = LabelTask(task, "multi_label", [task], names, "by the table of codes", None, is_partly_known)
    return made, values, sorted(every - set(names))


def _of_patients(records: Sequence[Described]) -> Iterator[tuple[LabelTask, list[Any]]]:
    """Yield sex and age with their values, where they are known and differ."""
    if len({record.sex for record in records} - {None}) > 1:
        classes = ["female", "male"]
        values = [None if record.sex is None else classes.index(record.sex) for record in records]
        yield LabelTask("sex", "single_label", ["sex"], classes, "as stated", None), values
    if len({record.age for record in records} - {None}) > 1:
        task = LabelTask("age", "regression", ["age"], [], "in years, as stated", None)
        yield task, [record.age for record in records]


def _unknown(
    public: PublicSet, known: _Meanings, task: str, every: set[str], record: Described, labels: Labelled
) -> set[str]:
    """Return the labels that a record may or may not have."""
    silent = every - labels.stated[task]
    if task == SUPERDIAGNOSTIC and NORM in labels.stated[task]:
        return set()
    if task != DX and not labels.is_understood:
        return silent
    if record.cohort is not None:
        silent -= known.annotated(record.cohort, task)
    elif task == SUPERDIAGNOSTIC and public.superclasses is not None:
        silent -= set(public.superclasses)
    else:
        silent = set()
    return silent | (labels.leaves_open & every - labels.stated[task] if task == SUPERDIAGNOSTIC else set())


def _folds(public: PublicSet, records: Sequence[Described], labelled: Sequence[Labelled]) -> list[int]:
    """Return each record's fold, from 1."""
    if public.split is not None:
        return [SPLIT_FOLDS[public.split][0]] * len(records)
    divided = [index for index, record in enumerate(records) if not _has_several(record)]
    folds = [1] * len(records)
    if divided:
        found = [
            {
                *(f"{task}.{label}" for task in (SUPERDIAGNOSTIC, DX) for label in labelled[index].stated[task]),
                *filter(None, [records[index].sex]),
            }
            for index in divided
        ]
        numbers = folds_by_label(found, [records[index].patient for index in divided], NUM_FOLDS)
        for index, fold in zip(divided, numbers.tolist(), strict=True):
            folds[index] = fold + 1
    return folds


def _has_several(record: Described) -> bool:
    return record.cohort is not None and record.cohort.patients == "several"


def _notes(public: PublicSet, known: _Meanings, records: Sequence[Described], left_out: Sequence[str]) -> list[str]:
    notes = list(public.notes)
    if known.without_scp:
        notes.append(f"Labels of dx alone, without an SCP statement: {_counted(known.without_scp)}.")
    if known.unknown:
        what = f"codes that the table of {public.title} lacks: {_counted(known.unknown)}"
        logger.warning("Met %s. They are labels of dx.", what)
        notes.append(
            f"Met {what}. They are labels of dx; SCP statements and superclasses that these records do not state are "
            "not known."
        )
    if left_out:
        notes.append(f"Labels left out, as no record is known to be without them: {'; '.join(left_out)}.")
    cohorts = Counter(record.cohort.name for record in records if record.cohort)
    if cohorts:
        notes.append(f"By cohort: {_counted(cohorts)}. What a cohort does not annotate is not known of its records.")
    if any(map(_has_several, records)):
        notes.append("StPetersburg and PTB are in training as a whole: most of their patients have several records.")
    if any(record.cohort is not None and record.cohort.patients == "unknown" for record in records):
        notes.append(
            "Patients are not published: some of CPSC, PTB_XL and Georgia have several records, which may be in "
            "training and in test, so that scores are too good. PTB-XL's own release has its patients."
        )
    return notes


def _counted(counts: Counter[str]) -> str:
    told = [f"{name} {number}" for name, number in counts.most_common(_SHOWN)]
    more = len(counts) - _SHOWN
    return ", ".join(told + ([f"and {more} more"] if more > 0 else []))


__all__ = ["PUBLIC_TASKS", "PublicTable", "public_table"]
