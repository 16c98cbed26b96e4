"""The standard 12 leads: their names, their order, and how the limb leads follow from I and II.

Signals are arrays of shape `(num_leads, num_samples)` in millivolts (mV).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

ALL_LEADS = "12 leads"  # what reports call a whole recording
# What devices with fewer electrodes record, by the name that reports use; the other limb leads of eight are derived.
LEAD_SETS = {
    "8 leads": ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"),
    "limb leads": ("I", "II", "III", "aVR", "aVL", "aVF"),
    "lead I": ("I",),
    "lead II": ("II",),
}

# Each derived limb lead as (weight of I, weight of II): Einthoven's law and Goldberger's augmented leads.
DERIVED_LIMB_LEADS = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}

_ALIASES = {name.upper(): name for name in STANDARD_LEADS}
_ALIASES |= {f"{prefix}{number}": f"{'I' * number}" for prefix in ("L", "D") for number in (1, 2, 3)}
_ALIASES |= {f"D{'I' * number}": "I" * number for number in (1, 2, 3)}
_ALIASES |= {f"C{number}": f"V{number}" for number in range(1, 7)}
# Words around a lead's name that leave its meaning as it is.
_DESCRIBING = frozenset(
    [
        *("MDC", "ECG", "EKG", "LEAD", "LIMB", "CHEST", "PRECORDIAL", "STANDARD", "AUGMENTED", "UNIPOLAR", "BIPOLAR"),
        *("EINTHOVEN", "GOLDBERGER", "WILSON"),
    ]
)
_WORDS = re.compile(r"[^\s_,:;()\[\]]+")
_BEFORE_HYPHEN = re.compile(r"(?:ECG|EKG|LEAD)-(?=[IV])")  # "ECG-II"; before aVR the hyphen may be a minus
_AUGMENTED_VOLTAGE = re.compile(r"AUGMENTED VOLTAGE,? (LEFT|RIGHT|FOOT)")  # aVL, aVR, aVF in words
_LONGEST_NAME = 100


def standard_lead_name(name: str) -> str:
    """Return the standard spelling of a lead name.

    Case, blanks, words that describe a lead (`Lead I (Einthoven)`, `ECG V1`, `MDC_ECG_LEAD_V1`), a dot at the end,
    Roman numerals of Unicode and the spellings `DI`, `D1`, `L1` and `C1` are understood. Whatever else stands in a
    name makes it another lead's: `-aVR` and `aVR-` are inverted, `V4 (V4R)` lies on the right.

    Args:
        name (`str`): A lead name as found in a file, for instance `"AVR"` or `"MDC_ECG_LEAD_V1"`.

    Returns:
        `str`: One of `STANDARD_LEADS`.

    Raises:
        ValueError: if the name is none of the 12 standard leads.
    """
    standard = _standard_lead(name) if len(name) <= _LONGEST_NAME else None
    if standard is None:
        raise ValueError(f"Unknown lead name {name!r}; expected one of {', '.join(STANDARD_LEADS)} or a usual alias.")
    return standard


@lru_cache(maxsize=1024)
def _standard_lead(name: str) -> str | None:
    text = _AUGMENTED_VOLTAGE.sub("", unicodedata.normalize("NFKC", name).upper())
    words = _WORDS.findall(text)
    words = [_BEFORE_HYPHEN.sub("", word).removesuffix(".") for word in words]
    leads = [word for word in words if word not in _DESCRIBING]
    return _ALIASES.get(leads[0]) if len(leads) == 1 else None


def is_standard_lead(name: str) -> bool:
    """Whether a lead name is one of the 12 standard leads', in any usual spelling."""
    return len(name) <= _LONGEST_NAME and _standard_lead(name) is not None


def standard_lead_names(names: Sequence[str]) -> list[str]:
    """Return the standard spelling of every lead name.

    Raises:
        ValueError: if a name is unknown, or two names mean the same lead.
    """
    standard = [standard_lead_name(name) for name in names]
    repeated = sorted({name for name in standard if standard.count(name) > 1})
    if repeated:
        raise ValueError(f"Leads given twice: {', '.join(repeated)} (in {list(names)}). Keep one signal per lead.")
    return standard


def derive_limb_leads(lead_i: np.ndarray, lead_ii: np.ndarray) -> dict[str, np.ndarray]:
    """Compute III, aVR, aVL and aVF from leads I and II of the same shape."""
    return {
        name: weight_i * lead_i + weight_ii * lead_ii for name, (weight_i, weight_ii) in DERIVED_LIMB_LEADS.items()
    }


def recorded_leads(
    signal: np.ndarray, lead_names: Sequence[str], target_leads: Sequence[str] = STANDARD_LEADS
) -> tuple[np.ndarray, np.ndarray]:
    """Pick the wanted leads in the wanted order, by name, as far as they were recorded.

    A row that is NaN throughout was not recorded. A limb lead that was not is derived where two others were, from I
    and II if it were these.

    Args:
        signal (`np.ndarray` of shape `(num_leads, num_samples)`): The signal, in any unit.
        lead_names (`Sequence[str]`): The name of each row; aliases are understood.
        target_leads (`Sequence[str]`, *optional*, defaults to the 12 standard leads): The wanted rows.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: The leads that there are, of shape `(num_recorded, num_samples)`, and a bool
            array of shape `(len(target_leads),)`, True for those.

    Raises:
        ValueError: if names and rows differ in number, or a name is unknown or repeated.
    """
    if len(lead_names) != len(signal):
        raise ValueError(f"Got {len(lead_names)} lead names for a signal of {len(signal)} rows; need one name a row.")
    rows = {
        name: row for name, row in zip(standard_lead_names(lead_names), signal, strict=True) if not np.isnan(row).all()
    }
    rows = _derived_limb_leads(rows) | rows
    targets = standard_lead_names(target_leads)
    recorded = [rows[name] for name in targets if name in rows]
    return np.stack(recorded) if recorded else signal[:0], np.array([name in rows for name in targets])


def missing_leads(signal: np.ndarray, lead_names: Sequence[str]) -> list[str]:
    """Return the standard leads that a recording neither holds nor gives by calculation; it may hold others."""
    rows = [row for row, name in enumerate(lead_names) if is_standard_lead(name)]
    _, is_recorded = recorded_leads(signal[rows], [lead_names[row] for row in rows])
    return [lead for lead, is_there in zip(STANDARD_LEADS, is_recorded, strict=True) if not is_there]


def _derived_limb_leads(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute all limb leads that follow from the first two of those that there are."""
    weights = {"I": (1.0, 0.0), "II": (0.0, 1.0)} | DERIVED_LIMB_LEADS
    given = [name for name in weights if name in rows][:2]
    if len(given) < 2:
        return {}
    if given == ["I", "II"]:
        return derive_limb_leads(rows["I"], rows["II"])
    to_i_and_ii = np.linalg.inv([weights[name] for name in given])
    lead_i, lead_ii = to_i_and_ii @ np.stack([rows[name] for name in given])
    return {"I": lead_i, "II": lead_ii} | derive_limb_leads(lead_i, lead_ii)
