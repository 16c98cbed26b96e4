"""Facts about a table of samples that the lines above it, or a file beside it, state: rate, units and names."""

import re
from typing import NamedTuple

from ..ecg_file import ECGFileError, is_known_lead
from ..feature_extraction_ecg import HIGHEST_HZ, LOWEST_HZ
from ..strict_numbers import number_or_none

# Keys as exports in several languages spell them.
_RATE_KEY = (
    r"sampl(?:e|es|ing)[ _-]?(?:rate|freq(?:uency)?)|samples per second|fs|sr|srate|abtast(?:rate|frequenz)|"
    r"(?:fréquence|taux) d.échantillonnage|frecuencia de muestreo|frequenza di campionamento|"
    r"(?:sample|bemonsterings)frequentie|(?:frequência|taxa) de amostragem|samplingsfrekven[sc]e?"
)
_INTERVAL_KEY = r"sampl(?:e|ing)[ _-]?(?:interval|period|time)|interval|abtastintervall"
_UNIT_KEY = r"(?:unit|amplitude[ _]unit)s?|unitname|einheit(?:en)?|unités?|unidade?s?|unità|eenhe(?:id|den)"
_LEADS_KEY = (
    r"(?:lead|label|channel)s?(?:[ _]?names?)?|channeltitle|ableitung(?:en)?|dérivations?|derivaci(?:ón|ones)|"
    r"derivazion[ei]|afleiding(?:en)?|derivaç(?:ão|ões)"
)
# Repetitions that never give back (`*+`): a line of blanks would take time that grows with its length cubed.
_BETWEEN = r"(?:\s*+[\[(](?P<in>[^\])]*)[\])])?+(?=[\"']*+[\s:=;,])[\s\"']*+(?::=|[:=;,])?+[\s\"']*+"
_VALUE = r"(?=[^\S\t]*+[\"']?+[^\S\t]*+[\t:=;,])\s*+[\"']?+\s*+(?::=|[:=;,])?+(?P<value>.+)"
_BLANK = "[ \u00a0\u2009\u202f'’]"  # parts thousands in the SI's way, and in Switzerland
_NUMBER_WITH_UNIT = (
    rf"(?P<number>[0-9]{{1,3}}(?:{_BLANK}[0-9]{{3}})+(?:[.,][0-9]+)?|[0-9]+(?:[.,][0-9]+)*(?:e[+-]?[0-9]+)?)"
    r"(?![\d_]|[.,]\d)\s*(?P<unit>[^\s\d,;\"']*)"
)
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_AMBIGUOUS = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
_PARTED_BY_BLANK = re.compile(rf"([0-9]+)(?:{_BLANK}[0-9]+)+(?:[.,][0-9]+)?")
_RATE = re.compile(rf"(?:\w+ )?(?:{_RATE_KEY}){_BETWEEN}{_NUMBER_WITH_UNIT}", re.IGNORECASE)
_INTERVAL = re.compile(rf"(?:{_INTERVAL_KEY}){_BETWEEN}{_NUMBER_WITH_UNIT}", re.IGNORECASE)
_UNIT = re.compile(rf"(?:{_UNIT_KEY}){_VALUE}", re.IGNORECASE)
_LEADS = re.compile(rf"(?:{_LEADS_KEY}){_VALUE}", re.IGNORECASE)
_PREFIX = re.compile(r"(?:ableitung|dérivation|derivación|derivazione|afleiding|derivação)\s+(?=\S)", re.IGNORECASE)
_OTHERS_UNIT = re.compile(r"(\S+) for all others", re.IGNORECASE)
_JSON_RATE = re.compile(r'"sampling rate":\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)')  # OpenSignals writes one for each device
_KEY = re.compile(r"\w+=(\t|$)")  # LabChart's
_ACQ_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(\w+)/sample", re.IGNORECASE)
_ACQ_CHANNELS = re.compile(r"([0-9]{1,3}) channels?", re.IGNORECASE)
_LAB_SYSTEM = re.compile(r"(Label|Range):\s*(.*\S)", re.IGNORECASE)
_RANGE_MV = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,5})?)\s*mv", re.IGNORECASE)
_HALF_SCALE = 1 << 15
_LONGEST_LINE = 4096  # patterns take time that grows with the square of it
_LOWEST_WITH_POINT, _LOWEST_WITH_COMMA = 20.0, 50.0  # Hz: no slower ECG is written with three decimals
_TIME_UNIT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})?\s*([a-zµμ]+)", re.IGNORECASE)
_INF_CHANNEL = re.compile(r"\s*\d+\s+(\S.*)")
_INF_POINTS = re.compile(r"\s*Points for Each Channel\s*=\s*([0-9]{1,15})", re.IGNORECASE)
SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden", "secondes", "segundos", "secondi"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds", "millisekunden"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
}


class Facts(NamedTuple):
    """What lines of text say; None where they do not.

    Attributes:
        rate (`float`, *optional*): Samples per second (Hz).
        units (`list[str]`, *optional*): One for all leads, or one each.
        names (`list[str]`, *optional*): The leads' names.
    """

    rate: float | None
    units: list[str] | None
    names: list[str] | None


def read_facts(lines: list[str]) -> Facts:
    """Read what preamble lines such as `Sample Rate,512 hertz` or `# Labels:= I, II` say.

    Raises:
        ECGFileError: if two of them contradict each other.
    """
    rates: set[float] = set()
    units, names = None, None
    for line in map(_without_marks, lines):
        rates.update(float(rate) for rate in _JSON_RATE.findall(line))
        if match := _RATE.match(line):
            rate = _rate(match["number"])
            if rate is not None:
                rates.add(rate * (1000 if _unit(match).startswith("k") else 1))
        elif (match := _ACQ_RATE.fullmatch(line.strip())) and seconds_of(match[0].partition("/")[0]):
            rates.add(1 / seconds_of(match[0].partition("/")[0]))
        elif (match := _INTERVAL.match(line)) and _unit(match) in SECONDS:
            rates.update(_rates_of_interval(match["number"], SECONDS[_unit(match)]))
        elif match := _UNIT.match(line):
            others = _OTHERS_UNIT.search(match["value"])
            units = [others[1]] if others else _list(match["value"])
        elif match := _LEADS.match(line):
            names = [lead_alone(name) for name in _list(match["value"])]
    if len(rates) > 1:
        raise ECGFileError(f"states several sampling rates: {', '.join(f'{rate:g}' for rate in sorted(rates))} Hz.")
    return Facts(rates.pop() if rates else None, units or None, names or None)


def read_inf(text: str) -> tuple[Facts, int | None]:
    """Read the description that GE CardioLab (Prucka) writes beside an export: facts, and the number of rows."""
    lines = text.splitlines()
    table = next(
        (at for at, line in enumerate(lines, start=1) if line.lower().startswith("channel number")), len(lines)
    )
    facts = read_facts([line for line in lines[:table] if not line.lower().startswith("channel number")])
    names = [match[1].strip() for line in lines[table:] if (match := _INF_CHANNEL.fullmatch(line))]
    points = next((int(match[1]) for line in lines[:table] if (match := _INF_POINTS.match(line))), None)
    units = facts.units and [facts.units[0] if is_known_lead(name) else "" for name in names]  # some are pressures
    return facts._replace(names=names or None, units=units), points


def is_fact(line: str) -> bool:
    """Whether a line of the preamble states a rate, a unit or names, and so is no row of column names."""
    line = _without_marks(line)
    return any(pattern.match(line) for pattern in (_RATE, _INTERVAL, _UNIT, _LEADS, _KEY))


def _without_marks(line: str) -> str:
    """Return a line without the marks of a comment before it; of a longer one than states anything, the beginning."""
    return line[:_LONGEST_LINE].lstrip(" \t\r\n\f\v#%/*\"'")


def mv_per_count(lines: list[str]) -> list[tuple[str, float]]:
    """Return the channels' names and mV per count that the header of a LabSystem Pro export describes; else none.

    Each channel has a label and a range, which 16 bits divide: -32768 is minus the range.
    """
    if not lines or lines[-1].strip().lower() != "[data]":
        return []
    described = [match for line in lines if (match := _LAB_SYSTEM.fullmatch(line.strip()))]
    names = [match[2] for match in described if match[1].lower() == "label"]
    ranges = [_RANGE_MV.fullmatch(match[2]) for match in described if match[1].lower() == "range"]
    if len(names) != len(ranges):
        return []
    return [(name, float(each[1]) / _HALF_SCALE) for name, each in zip(names, ranges, strict=True) if each]


def acq_channels(lines: list[str]) -> list[tuple[str, str]]:
    """Return the channels' names and units that the header of an AcqKnowledge (BIOPAC) export lists; else none."""
    at = next((at for at, line in enumerate(lines) if _ACQ_CHANNELS.fullmatch(line.strip())), None)
    if not at or not _ACQ_RATE.fullmatch(lines[at - 1].strip()):
        return []
    listed = [line.strip() for line in lines[at + 1 :][: 2 * int(lines[at].split()[0])]]
    return list(zip(listed[::2], listed[1::2], strict=False))


def lead_alone(name: str) -> str:
    """Return a lead's name without the word for lead that other languages put before it: `Ableitung I`."""
    return _PREFIX.sub("", name)


def seconds_of(unit: str) -> float:
    """Return how many seconds a unit of time, or a multiple such as `0.002 sec`, is; 0 where it is none."""
    match = _TIME_UNIT.fullmatch(unit.strip())
    return float(match[1] or 1) * SECONDS.get(match[2].lower(), 0.0) if match else 0.0


def _rate(text: str) -> float | None:
    """Return the sampling rate that a number is; None where its comma or point may be decimal or part thousands.

    `10,000` and `10 000` Hz are ten thousand, `512,414` Hz are not half a million, and of `1.000` Hz nobody knows.
    """
    if first := _PARTED_BY_BLANK.fullmatch(text):
        return _unless_ambiguous(float(first[1]), _in_thousands(text))
    decimal = number_or_none(text.replace(",", "."))
    thousands = _in_thousands(text) if _THOUSANDS.fullmatch(text) else None
    if _AMBIGUOUS.fullmatch(text) and decimal is not None:
        if "." in text:
            return decimal if decimal >= _LOWEST_WITH_POINT else None
        return _unless_ambiguous(decimal, thousands)
    return decimal if thousands is None else thousands


def _unless_ambiguous(first: float, thousands: float | None) -> float | None:
    """Return the likely one of two readings of a rate: of the number before the comma or blank, or of thousands."""
    if thousands is None or thousands > HIGHEST_HZ:
        return first
    return thousands if first < _LOWEST_WITH_COMMA else None


def _in_thousands(text: str) -> float | None:
    """Return a number that blanks, or commas before a decimal point, part into thousands."""
    parted_by_blank = _PARTED_BY_BLANK.fullmatch(text)
    without = re.sub(_BLANK, "", text).replace(",", ".") if parted_by_blank else text.replace(",", "")
    return number_or_none(without)


def _rates_of_interval(text: str, seconds: float) -> list[float]:
    """Return the rate that an interval of so many of a unit means; none where two readings make sense, or none."""
    readings = [number_or_none(text.replace(",", "."))]
    if _AMBIGUOUS.fullmatch(text) or _PARTED_BY_BLANK.fullmatch(text):
        readings.append(_in_thousands(text.replace(".", ",")))
    rates = [1 / (number * seconds) for number in readings if number]
    sensible = [rate for rate in rates if LOWEST_HZ <= rate <= HIGHEST_HZ]
    if len(rates) == 1:
        return rates
    return sensible if len(sensible) == 1 else []


def _unit(match: re.Match[str]) -> str:
    return (match["unit"] or match["in"] or "").lower()


def _list(value: str) -> list[str]:
    """Return the texts that a value lists, none where it is but a number."""
    parts = [part.strip(" \"'[]") for part in re.split(r"[,;\t]", value)]
    return [] if re.fullmatch(r"[\s\d]*", value) else [part for part in parts if part]
