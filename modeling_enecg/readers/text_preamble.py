"""What the lines above a table, or a file beside it, say about it: sampling rate, units and names."""

import re
from typing import NamedTuple

from ..ecg_file import ECGFileError, is_known_lead

# Keys as exports in several languages spell them.
_RATE_KEY = (
    r"sampl(?:e|es|ing)[ _-]?(?:rate|freq(?:uency)?)|fs|srate|abtast(?:rate|frequenz)|"
    r"(?:fréquence|taux) d.échantillonnage|frecuencia de muestreo|frequenza di campionamento|"
    r"(?:sample|bemonsterings)frequentie|(?:frequência|taxa) de amostragem|samplingsfrekven[sc]e?"
)
_INTERVAL_KEY = r"sampl(?:e|ing)[ _-]?(?:interval|period|time)|interval|abtastintervall"
_UNIT_KEY = r"(?:unit|amplitude[ _]unit)s?|unitname|einheit(?:en)?|unités?|unidad(?:es)?|unità|eenhe(?:id|den)"
_LEADS_KEY = (
    r"(?:lead|label|channel)s?(?:[ _]?names?)?|channeltitle|ableitung(?:en)?|dérivations?|derivaci(?:ón|ones)|"
    r"derivazion[ei]|afleiding(?:en)?|derivaç(?:ão|ões)"
)
# Repetitions that never give back (`*+`): a line of blanks would take time that grows with its length cubed.
_BETWEEN = r"(?:\s*+[\[(](?P<in>[^\])]*)[\])])?+(?=[\"']*+[\s:=;,])[\s\"']*+(?::=|[:=;,])?+[\s\"']*+"
_VALUE = r"(?=[^\S\t]*+[\"']?+[^\S\t]*+[\t:=;,])\s*+[\"']?+\s*+(?::=|[:=;,])?+(?P<value>.+)"
_NUMBER_WITH_UNIT = r"(?P<number>\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)\s*(?P<unit>[^\s\d,;\"']*)"
_RATE = re.compile(rf"(?:\w+ )?(?:{_RATE_KEY}){_BETWEEN}{_NUMBER_WITH_UNIT}", re.IGNORECASE)
_INTERVAL = re.compile(rf"(?:{_INTERVAL_KEY}){_BETWEEN}{_NUMBER_WITH_UNIT}", re.IGNORECASE)
_UNIT = re.compile(rf"(?:{_UNIT_KEY}){_VALUE}", re.IGNORECASE)
_LEADS = re.compile(rf"(?:{_LEADS_KEY}){_VALUE}", re.IGNORECASE)
_PREFIX = re.compile(r"(?:ableitung|dérivation|derivación|derivazione|afleiding|derivação)\s+(?=\S)", re.IGNORECASE)
_OTHERS_UNIT = re.compile(r"(\S+) for all others", re.IGNORECASE)
_INF_CHANNEL = re.compile(r"\s*\d+\s+(\S.*)")
_INF_POINTS = re.compile(r"\s*Points for Each Channel\s*=\s*(\d{1,15})", re.IGNORECASE)
SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden", "secondes", "segundos", "secondi"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds", "millisekunden"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
}


class Facts(NamedTuple):
    """What lines of text say; None where they do not.

    Attributes:
        rate (`float`, *optional*): Samples a second (Hz).
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
    rates, units, names = set(), None, None
    for line in (re.sub(r"^[\s#%/*\"']+", "", line) for line in lines):
        if match := _RATE.match(line):
            rates.add(_number(match) * (1000 if _unit(match).startswith("k") else 1))
        elif (match := _INTERVAL.match(line)) and _unit(match) in SECONDS and _number(match):
            rates.add(1 / (_number(match) * SECONDS[_unit(match)]))
        elif match := _UNIT.match(line):
            others = _OTHERS_UNIT.search(match["value"])
            units = [others[1]] if others else _list(match["value"])
        elif match := _LEADS.match(line):
            names = [_PREFIX.sub("", name) for name in _list(match["value"])]
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
    line = re.sub(r"^[\s#%/*\"']+", "", line)
    return any(pattern.match(line) for pattern in (_RATE, _INTERVAL, _UNIT, _LEADS))


def _number(match: re.Match[str]) -> float:
    return float(match["number"].replace(",", "."))


def _unit(match: re.Match[str]) -> str:
    return (match["unit"] or match["in"] or "").lower()


def _list(value: str) -> list[str]:
    """Return the texts that a value lists, none where it is but a number."""
    parts = [part.strip(" \"'[]") for part in re.split(r"[,;\t]", value)]
    return [] if re.fullmatch(r"[\s\d]*", value) else [part for part in parts if part]
