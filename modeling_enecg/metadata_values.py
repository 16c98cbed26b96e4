"""Values of what a file says besides its signal: what makes no sense is None, for a recording is worth more."""

import re
from collections.abc import Iterable
from datetime import date, datetime

from .strict_numbers import number_or_none

_RANGES = {
    "heart_rate_bpm": (1, 600),
    "pr_ms": (1, 2000),
    "qrs_ms": (1, 1000),
    "qt_ms": (1, 2000),
    "qtc_ms": (1, 2000),
    "p_axis_deg": (-360, 360),
    "qrs_axis_deg": (-360, 360),
    "t_axis_deg": (-360, 360),
    "age_years": (0, 130),
}
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
_LONGEST_TEXT = 200
_MOST_STATEMENTS = 100
_DAYS_PER_YEAR = 365.25


def measured(**texts: str | float | None) -> dict[str, float]:
    """Return those values that are numbers within reason, by the name of their field in [`Metadata`]."""
    values = {name: number_or_none(None if text is None else str(text)) for name, text in texts.items()}
    return {
        name: value
        for name, value in values.items()
        if value is not None and _RANGES[name][0] <= value <= _RANGES[name][1]
    }


def plain_text(text: str | None) -> str | None:
    """Return a text on one line, None where nothing is left of it."""
    shown = "".join(each if each.isprintable() else " " for each in (text or "")[:_LONGEST_TEXT])
    return " ".join(shown.split()) or None


def statements(texts: Iterable[str | None]) -> tuple[str, ...]:
    """Return texts that say something, each on one line."""
    found = [text for text in map(plain_text, texts) if text is not None]
    return tuple(found[:_MOST_STATEMENTS])


def sex_of(text: str | None) -> str | None:
    """Return `"female"` or `"male"` for these words and their first letters; None for any other."""
    return _SEXES.get((text or "").strip().lower())


def time_of(text: str | None, *layouts: str) -> datetime | None:
    """Return the time that a text is in one of the layouts of `strptime`; None where it is in none."""
    for layout in layouts:
        try:
            return datetime.strptime((text or "").strip(), layout)
        except ValueError:
            continue
    return None


def hl7_time(text: str | None) -> datetime | None:
    """Return a time as HL7 and DICOM write it, `20021122091000.000+0100`, as the clock on the wall showed it."""
    match = re.match(r"[0-9]{8,14}", (text or "").strip())
    digits = match[0] if match else ""
    return time_of(digits.ljust(14, "0"), "%Y%m%d%H%M%S") if len(digits) in (8, 10, 12, 14) else None


def years_between(birth: datetime | date | None, recorded: datetime | date | None) -> float | None:
    """Return how old somebody is, in whole years; None where a date is unknown or makes no sense."""
    if birth is None or recorded is None:
        return None
    years = recorded.year - birth.year - ((recorded.month, recorded.day) < (birth.month, birth.day))
    return float(years) if _RANGES["age_years"][0] <= years <= _RANGES["age_years"][1] else None


def in_years(text: str | float | None, unit: str | None) -> float | None:
    """Return an age in years that a number with a unit (Y, M, W, D, in words or letters) is."""
    value = number_or_none(None if text is None else str(text))
    per_year = {"y": 1.0, "a": 1.0, "m": 12.0, "w": _DAYS_PER_YEAR / 7, "d": _DAYS_PER_YEAR}
    divisor = per_year.get((unit or "y").strip().lower()[:1])
    return None if value is None or divisor is None else measured(age_years=value / divisor).get("age_years")
