"""The one place where bootstrap resamples are drawn: of records, or of patients with all their records."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from .patients import number_patients
from .scored import Scored

RECORD, PATIENT = "record", "patient"
RESAMPLED = (PATIENT, RECORD)

_NUM_KEPT = 4  # sets of resamples that a Bootstrap keeps at once: a report goes on task by task


@dataclass(frozen=True, eq=False)
class Resamples:
    """Bootstrap resamples of the same records.

    Attributes:
        units (`np.ndarray` of shape `(num_records,)`): The number of what each record is drawn with: its patient, or
            itself.
        records (`list[np.ndarray]`): The indices of each resample's records, as often as they were drawn. Resamples
            of patients differ in length.
        resampled_by (`str`): What was drawn, `"record"` or `"patient"`.
    """

    units: np.ndarray
    records: list[np.ndarray]
    resampled_by: str

    @property
    def num_records(self) -> int:
        """How many records there are to draw from."""
        return len(self.units)

    @property
    def is_independent(self) -> bool:
        """Whether every record is drawn by itself."""
        return self.resampled_by == RECORD

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each record is drawn, int32 of shape `(1 + num_resamples, num_records)`.

        The first row holds each record once: the data as given.
        """
        counts = np.ones((1 + len(self.records), self.num_records), dtype=np.int32)
        for row, records in zip(counts[1:], self.records, strict=True):
            row[:] = np.bincount(records, minlength=self.num_records)
        return counts

    def num_units(self, chosen: np.ndarray | None = None) -> int:
        """Return of how many patients, or single records, all records are, or those that are chosen."""
        return len(np.unique(self.units if chosen is None else self.units[chosen]))

    def within(self, chosen: np.ndarray) -> "Resamples":
        """Return what the resamples draw of some of the records, counted anew; a resample may draw none of them.

        Args:
            chosen (`np.ndarray` of shape `(num_records,)`): True for the records to keep.
        """
        index = np.cumsum(chosen) - 1
        kept = [index[records[chosen[records]]] for records in self.records]
        return Resamples(self.units[chosen], kept, self.resampled_by)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; one is shared by all that is computed of the same records, so that these are drawn once.

    A patient's records are alike: to draw them one by one makes intervals too narrow. A drawn patient brings all its
    records, so that resamples differ in length. Equal seeds draw equal resamples of equal patients in equal order,
    whatever is computed from them.

    Attributes:
        num_resamples (`int`, *optional*, defaults to 1000): How many resamples to draw.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside an interval.
        by (`str`, *optional*, defaults to `"patient"`): What is drawn: patients where any of them has several records,
            else records; or `"record"`, which always draws records.

    Raises:
        ValueError: if `num_resamples` is below 1, `confidence` is not between 0 and 1, or `by` is unknown.
    """

    num_resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    by: str = PATIENT
    _drawn: dict[bytes, Resamples] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.num_resamples < 1:
            raise ValueError(f"num_resamples must be at least 1; got {self.num_resamples}.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, for instance 0.95; got {self.confidence}.")
        if self.by not in RESAMPLED:
            raise ValueError(f"by must be one of {', '.join(RESAMPLED)}; got {self.by!r}.")

    def resamples(self, scored: Scored) -> Resamples:
        """Return the resamples of records, drawn when they are first asked for."""
        patients = scored.patient_numbers if self.by == PATIENT else None
        key = (np.arange(len(scored)) if patients is None else patients).tobytes()
        if key not in self._drawn:
            while len(self._drawn) >= _NUM_KEPT:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[key] = draw_resamples(len(scored), self.num_resamples, self.seed, patients)
        return self._drawn[key]


def draw_resamples(
    num_records: int, num_resamples: int = 1000, seed: int = 0, patients: ArrayLike | None = None
) -> Resamples:
    """Draw resamples with replacement, of patients where any of them has several records, else of records.

    Args:
        num_records (`int`): How many records there are.
        num_resamples (`int`, *optional*, defaults to 1000): How many resamples to draw.
        seed (`int`, *optional*, defaults to 0): Seed of the draw.
        patients (`ArrayLike` of shape `(num_records,)`, *optional*): Each record's patient, a number or a text; one
            of None or nan is a patient of its own. Without, records are drawn.

    Raises:
        ValueError: if `num_resamples` is below 1, or there is not one patient per record.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1; got {num_resamples}.")
    patient_of = np.arange(num_records) if patients is None else number_patients(patients, num_records)
    num_patients = patient_of.max(initial=-1) + 1
    draws = np.random.default_rng(seed).integers(num_patients, size=(num_resamples, num_patients), dtype=np.int32)
    if num_patients == num_records:
        return Resamples(patient_of, list(draws), RECORD)
    return Resamples(patient_of, [_records_of(draw, patient_of) for draw in draws], PATIENT)


def given_resamples(indices: Sequence[np.ndarray] | np.ndarray, num_records: int) -> Resamples:
    """Return resamples of records that were drawn elsewhere."""
    return Resamples(np.arange(num_records), list(indices), RECORD)


def _records_of(draw: np.ndarray, patient_of: np.ndarray) -> np.ndarray:
    """Return the records of drawn patients, each as often as its patient was drawn."""
    return np.repeat(np.arange(len(patient_of)), np.bincount(draw, minlength=patient_of.max() + 1)[patient_of])
