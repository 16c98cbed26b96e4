"""The one way in which a number in a text is understood, whatever the format of the file.

Python's own `float` and `int` also take underscores, digits of other scripts, `nan` and `inf`: a damaged field would
pass as another number.
"""

import re

from .ecg_file import ECGFileError

LARGEST = 1e15  # beyond it no field makes sense, and products could overflow
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,15}")


def number(text: str | None, field: str) -> float:
    """Return the number that a text, with or without blanks around it, is.

    Args:
        text (`str`, *optional*): The text; None where the field is absent.
        field (`str`): Its name, for the message.

    Raises:
        ECGFileError: if it is absent, no decimal number, or beyond all reason.
    """
    value = number_or_none(text)
    if value is None:
        raise ECGFileError(f"{field} is {shown(text)}; a number was expected.")
    return value


def whole_number(text: str | None, field: str) -> int:
    """Return the whole number that a text is; otherwise as [`number`]."""
    if text is None or not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise ECGFileError(f"{field} is {shown(text)}; a whole number was expected.")
    return int(text)


def number_or_none(text: str | None) -> float | None:
    """Return the number that a text is; None where [`number`] would raise."""
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if abs(value) <= LARGEST else None


def shown(text: str | None) -> str:
    """Return a text as a message shows it."""
    if text is None:
        return "absent"
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
