"""Checked values of XML elements: what makes no sense is an `ECGFileError` that names the field."""

import base64
import re
import warnings
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from ..ecg_file import ECGFileError, FileContent

_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_SMALLEST, _LARGEST = 1e-12, 1e15  # beyond these no field makes sense, and products could overflow


def text_of(element: Element, path: str) -> str | None:
    """Return the text of the first element at a path, without blanks around it; None where it is absent or empty."""
    return (element.findtext(path) or "").strip() or None


def number(text: str | None, field: str) -> float:
    """Return the number that a text is.

    Args:
        text (`str`, *optional*): The text; None where the field is absent.
        field (`str`): Its name, for the message.

    Raises:
        ECGFileError: if it is absent, no decimal number, or beyond all reason.
    """
    if text is None or not _NUMBER.fullmatch(text.strip()) or abs(float(text)) > _LARGEST:
        raise ECGFileError(f"{field} is {_shown(text)}; a number was expected.")
    return float(text)


def positive(text: str | None, field: str) -> float:
    """Return the positive number that a text is; otherwise as [`number`]."""
    value = number(text, field)
    if value < _SMALLEST:
        raise ECGFileError(f"{field} is {_shown(text)}; a positive number was expected.")
    return value


def whole_number(text: str | None, field: str) -> int:
    """Return the whole number that a text is; otherwise as [`number`]."""
    if text is None or not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise ECGFileError(f"{field} is {_shown(text)}; a whole number was expected.")
    return int(text)


def numbers(text: str | None, field: str) -> np.ndarray:
    """Return the numbers (float64) that a text lists, with commas or blanks between; otherwise as [`number`]."""
    text = (text or "").strip()
    if not text:
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older NumPy warns of text that is no number
        try:
            values = np.fromstring(text, sep="," if "," in text else " ")
        except (ValueError, DeprecationWarning) as error:
            raise ECGFileError(f"{field} lists something else than numbers; it starts {_shown(text)}.") from error
    if not (np.abs(values) <= _LARGEST).all():
        raise ECGFileError(f"{field} lists infinite or absurd numbers; it starts {_shown(text)}.")
    return values


def base64_bytes(text: str | None, field: str) -> bytes:
    """Return the bytes that a text in base64, with any blanks and with or without padding, means.

    Raises:
        ECGFileError: as [`number`].
    """
    packed = "".join((text or "").split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError as error:
        raise ECGFileError(f"{field} is not in base64: {error}; it starts {_shown(text)}.") from error


def in_mv(leads: Sequence[tuple[str, np.ndarray]], sampling_rate: float | None) -> FileContent:
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
    return FileContent(signal, sampling_rate, ["mV"] * len(leads), [name for name, _ in leads])


def _shown(text: str | None) -> str:
    if text is None:
        return "absent"
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
