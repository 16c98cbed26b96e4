"""Checks that the metrics share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def finite_array(name: str, values: ArrayLike) -> np.ndarray:
    """Return the values as a float64 array.

    Raises:
        ValueError: if a value is nan or infinite; the message calls the values by `name`.
    """
    array = np.asarray(values, dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = ", ".join(map(str, wrong[0]))
        raise ValueError(f"{name} must be finite; {len(wrong)} are nan or infinite, the first of them at [{place}].")
    return array


def probability_array(values: ArrayLike) -> np.ndarray:
    """Return probabilities as a float64 array.

    Raises:
        ValueError: if a value is not in [0, 1].
    """
    array = finite_array("probabilities", values)
    if array.size and (array.min() < 0 or array.max() > 1):
        raise ValueError(
            f"probabilities must lie in [0, 1]; got {array.min():.6g} to {array.max():.6g}. "
            "Turn logits into probabilities with `predicted_outputs`."
        )
    return array


def check_label_names(names: Sequence[str] | None, num_labels: int) -> list[str]:
    """Return one name a label, `"0"`, `"1"`, ... by default.

    Raises:
        ValueError: if names repeat or differ in number from the labels.
    """
    if names is None:
        return [str(index) for index in range(num_labels)]
    if len(names) != num_labels or len(set(names)) != num_labels:
        raise ValueError(f"Got {len(names)} label names, {len(set(names))} of them distinct; need {num_labels}.")
    return list(names)
