"""Whose each record is."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def number_patients(patients: ArrayLike, num_records: int) -> np.ndarray:
    """Return the number of each record's patient, from 0 in order of appearance, of shape `(num_records,)`.

    Args:
        patients (`ArrayLike` of shape `(num_records,)`): Each record's patient, a number or a text; one of None
            or nan is a patient of its own.
        num_records (`int`): How many there must be.

    Raises:
        ValueError: if there is not one patient per record.
    """
    names = np.asarray(patients)
    if names.shape != (num_records,):
        raise ValueError(f"patients must name one patient per record, here {num_records}; got shape {names.shape}.")
    numbers: dict[Any, int] = {}
    keys = [("record", index) if _is_unknown(name) else name for index, name in enumerate(names.tolist())]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _is_unknown(name: Any) -> bool:
    return name is None or name != name
