"""The lead codes of SCP-ECG, which ISO/IEEE 11073-10102 (MDC) and DICOM took over."""

_FIRST_CODES = {
    1: "I II V1 V2 V3 V4 V5 V6 V7 V2R V3R V4R V5R V6R V7R X Y Z CC5 CM5 LA RA LL fI fE fC fA fM fF fH",
    61: "III aVR aVL aVF aVRneg V8 V9 V8R V9R D A J defib extern A1 A2 A3 A4",
    86: "chest V VR VL VF MCL MCL1 MCL2 MCL3 MCL4 MCL5 MCL6 CC CC1 CC2 CC3 CC4 CC6 CC7 CM CM1 CM2 CM3 CM4 CM6",
    121: "CM7 CH5 CS5 CB5 CR5 ML AB1 AB2 AB3 AB4 ES AS AI S",
    147: "RL CV5RL CV6LL CV6LU V10",
}
_MEASURED = {first + place: name for first, names in _FIRST_CODES.items() for place, name in enumerate(names.split())}
# Leads computed from others, as (first code, first code of what they stand for, how many).
_DERIVED = ((31, 1, 30), (79, 66, 7), (111, 61, 5), (116, 86, 5))

LEADS_BY_CODE = _MEASURED | {
    first + place: f"derived {_MEASURED[original + place]}"
    for first, original, count in _DERIVED
    for place in range(count)
}


def lead_of_code(code: int) -> str:
    """Return the name of the lead that a code means, in its standard spelling; `"lead code N"` where none does."""
    return LEADS_BY_CODE.get(code, f"lead code {code}")
