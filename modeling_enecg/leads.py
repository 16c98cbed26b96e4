"""The standard 12 leads: their names, their order, and how the limb leads follow from I and II.

Signals are arrays of shape `(num_leads, num_samples)` in millivolts (mV).
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

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

_ALIASES = {name.upper(): name for name in STANDARD_LEADS} | {
    "L1": "I",
    "L2": "II",
    "L3": "III",
    "DI": "I",
    "DII": "II",
    "DIII": "III",
    "C1": "V1",
    "C2": "V2",
    "C3": "V3",
    "C4": "V4",
    "C5": "V5",
    "C6": "V6",
}


def standard_lead_name(name: str) -> str:
    """Return the standard spelling of a lead name.

    Case, blanks, a leading `lead`, `ECG` or `MDC_ECG_LEAD_` and the spellings `DI`, `L1` and `C1` are understood.

    Args:
        name (`str`): A lead name as found in a file, for instance `"AVR"` or `"MDC_ECG_LEAD_V1"`.

    Returns:
        `str`: One of `STANDARD_LEADS`.

    Raises:
        ValueError: if the name is none of the 12 standard leads.
    """
    if name.strip().startswith("-"):
        raise ValueError(f"Lead name {name!r} is that of an inverted lead, which is none of the standard ones.")
    key = re.sub(r"^(MDC|ECG|LEAD|[ _-])+", "", name.upper()).strip(" _-")
    if key not in _ALIASES:
        raise ValueError(f"Unknown lead name {name!r}; expected one of {', '.join(STANDARD_LEADS)} or a usual alias.")
    return _ALIASES[key]


def is_standard_lead(name: str) -> bool:
    """Whether a lead name is one of the 12 standard leads', in any usual spelling."""
    try:
        standard_lead_name(name)
    except ValueError:
        return False
    return True


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
