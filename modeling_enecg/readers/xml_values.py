"""Checked values of XML elements: what makes no sense is an `ECGFileError` that names the field."""

import base64
import warnings
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent, missing_as_nan
from ..recording import Metadata
from ..strict_numbers import LARGEST, number, shown

_SMALLEST = 1e-12  # below it no field makes sense, and products could overflow


def text_of(element: Element, path: str) -> str | None:
    """Return the text of the first element at a path, without blanks around it; None where it is absent or empty."""
    return (element.findtext(path) or "").strip() or None


def positive(text: str | None, field: str) -> float:
    """Return the positive number that a text is; otherwise as `number` of `strict_numbers`."""
    value = number(text, field)
    if value < _SMALLEST:
        raise ECGFileError(f"{field} is {shown(text)}; a positive number was expected.")
    return value


def numbers(text: str | None, field: str) -> np.ndarray:
    """Return the numbers (float64) that a text lists, with commas or blanks between; NaN for missing ones.

    Raises:
        ECGFileError: if it lists something else.
    """
    text = (text or "").strip()
    if not text:
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older NumPy warns of text that is no number
        try:
            values = np.fromstring(text, sep="," if "," in text else " ")
        except (ValueError, DeprecationWarning) as error:
            raise ECGFileError(f"{field} lists something else than numbers; it starts {shown(text)}.") from error
    if not (np.abs(values) <= LARGEST).all():
        raise ECGFileError(f"{field} lists infinite or absurd numbers; it starts {shown(text)}.")
    return missing_as_nan(values)


def base64_bytes(text: str | None, field: str) -> bytes:
    """Return the bytes that a text in base64, with any blanks and with or without padding, means.

    Raises:
        ECGFileError: if it means none.
    """
    packed = "".join((text or "").split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError as error:
        raise ECGFileError(f"{field} is not in base64: {error}; it starts {shown(text)}.") from error


def in_mv(
    leads: Sequence[tuple[str, np.ndarray]], sampling_rate: float | None, metadata: Metadata | None = None
) -> FileContent:
    """Join leads, each a name and samples in mV, to a file's content.

    Raises:
        ECGFileError: if there is none, or they differ in length.
    """
    if not leads:
        raise ECGFileError("holds no lead.")
    lengths = sorted({len(samples) for _, samples in leads})
    if len(lengths) > 1:
        raise ECGFileError(f"has leads of {lengths[0]} and of {lengths[-1]} samples; all must be as long.")
    signal = np.stack([samples for _, samples in leads])
    names = [name for name, _ in leads]
    return FileContent(signal, sampling_rate, ["mV"] * len(leads), names, metadata=metadata or Metadata())
