"""Text exports: CSV, tab-, semicolon- or blank-separated values, or one column, with or without a preamble."""

import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ecg_file import (
    MOST_CHANNELS,
    ECGFileError,
    FileContent,
    errors_of,
    is_known_lead,
    is_no_unit,
    missing_as_nan,
    mv_per_unit,
)
from .text_preamble import Facts, acq_channels, is_fact, lead_alone, mv_per_count, read_facts, read_inf, seconds_of
from .text_table import Style, Table, read_table, split

_TIME_NAMES = {"time", "t", "zeit", "temps", "tiempo", "tempo", "tijd", "elapsed time", "timestamp", "times"}
_INDEX_NAMES = {"index", "sample", "samples", "sample #", "sample number", "no", "nr", "n", "#", "nseq", "unnamed: 0"}
_BRACKETED = re.compile(r"(.*)[(\[]([^()\[\]]+)[)\]]")
_APPENDED = re.compile(r"(.*)[\s_/]([nuµμm]V|[uµμm]?s|m?sec)", re.IGNORECASE)
_OTHER_UNITS = {"mmhg", "bpm", "%", "ohm", "nu", "hz", "°c", "c", "g", "l/min", "hh:mm:ss.mmm", "hh:mm:ss"}
_MOST_LEADS = 256  # more columns than rows and than these: samples run along the lines
_DECOMPOSED = re.compile(r"\w[\u0300-\u036f]")  # a letter and its accent; of longer runs, time grows with the square
_SAME_RATE = 0.01
# Of times that are rounded more coarsely than samples follow each other; and per time.
_FEWEST_REPEATS, _FEWEST_REPEATS_PER_TIME = 3, 0.01


class _Column(NamedTuple):
    """What stands above a column: its name and unit, each "" if nothing does."""

    name: str
    unit: str


def read(path: Path) -> FileContent:
    """Read a text export.

    Names and units come from the rows above the numbers, the sampling rate from the preamble or a regular column of
    times in a stated unit; what is not stated is left open, never guessed. Columns that are only numbered have no
    names. Empty cells, `nan` and, among whole numbers, the lowest code of 16 bits are missing samples.
    A `.inf` file of the same name, as GE CardioLab writes it, describes the columns.

    Args:
        path (`Path`): The file, in UTF-8, UTF-16 with its mark, or Latin-1.

    Raises:
        ECGFileError: if a line among the numbers is none, times are irregular, or statements contradict each other.
    """
    with errors_of("csv"):
        table = read_table(_decoded(path))
        table, columns = _without_empty_end(table, _columns(table))
    values = table.values
    if min(values.shape) > MOST_CHANNELS:
        raise ECGFileError(f"holds {values.shape[1]} columns of {len(values)} rows; at most {MOST_CHANNELS} are read.")
    if columns is None and values.shape[1] > max(_MOST_LEADS, len(values)):
        values = _without_index(values.T)
    facts = read_facts(table.preamble)
    inf = next((each for each in (path.with_suffix(".inf"), path.with_suffix(".INF")) if each.is_file()), None)
    if inf is not None:
        facts, columns = _described(inf, values), None
    listed = acq_channels(table.preamble)
    if columns and listed and np.isnan(values[0, 0]) and len(columns) > len(listed):  # below, a row of counts
        columns = [columns[0], *(_Column(lead_alone(name), unit) for name, unit in listed)]
        values = values[1:, : len(columns)]
    channels = mv_per_count(table.preamble)
    if len(channels) == values.shape[1]:
        values, columns = values * [mv for _, mv in channels], None
        facts = facts._replace(units=["mV"], names=[name for name, _ in channels])
    signals, rate = _without_times(values, columns, table.clocks)
    if rate is not None and facts.rate is not None and abs(rate - facts.rate) > _SAME_RATE * rate:
        raise ECGFileError(f"states a sampling rate of {facts.rate:g} Hz; its column of times has {rate:g} Hz.")
    names = [columns[each].name for each in signals] if columns else None
    if names is None and facts.names is not None and len(facts.names) == len(signals):
        names = facts.names
    stated = [columns[each].unit for each in signals] if columns else [""] * len(signals)
    signal = missing_as_nan(np.ascontiguousarray(values[:, signals].T))
    return FileContent(signal, facts.rate or rate, _units(stated, names, facts.units), names)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return _DECOMPOSED.sub(lambda match: unicodedata.normalize("NFC", match[0]), text)


def _described(inf: Path, values: np.ndarray) -> Facts:
    """Return what a `.inf` file says, if it describes this table."""
    facts, num_rows = read_inf(_decoded(inf))
    if len(facts.names or []) != values.shape[1] or num_rows not in (None, len(values)):
        raise ECGFileError(
            f"has {values.shape[1]} columns of {len(values)} rows; {inf.name} beside it describes "
            f"{len(facts.names or [])} columns of {num_rows} rows."
        )
    return facts


def _columns(table: Table) -> list[_Column] | None:
    """Return names and units of the columns from the row of names above them, and a row of units below it, if any."""
    if table.values.shape[1] > MOST_CHANNELS:  # such columns are samples
        return None
    rows = [_header_cells(line, table) for line in table.preamble[-2:]]
    if not rows or rows[-1] is None:
        return None
    units = [_unit_alone(cell) for cell in rows[-1]]
    if len(rows) == 2 and rows[0] is not None and None not in units:
        return [_Column(_column(name).name, unit or "") for name, unit in zip(rows[0], units, strict=True)]
    columns = [_column(cell) for cell in rows[-1]]
    is_sure = len(columns) > 2 or len(table.preamble) == 1 or any(map(_is_recognised, columns))
    return columns if is_sure else None


def _without_empty_end(table: Table, columns: list[_Column] | None) -> tuple[Table, list[_Column] | None]:
    """Leave out the last column where it is but what every line's last separator makes: no name and no values."""
    if table.values.shape[1] == 1 or not np.isnan(table.values[:, -1]).all():
        return table, columns
    rest = table._replace(values=table.values[:, :-1])
    if columns is None:
        return rest, _columns(rest)
    return (table, columns) if any(columns[-1]) else (rest, columns[:-1])


def _header_cells(line: str, table: Table) -> list[str] | None:
    """Return the cells of a line above the table, if they are as many as its columns."""
    width = table.values.shape[1]
    text = line.lstrip("#%/ ")
    if is_fact(text):
        return None
    separators = [
        separator for separator in (table.style.separator, ",", ";", "\t") if separator and separator in text
    ]
    rows = [split(text, Style(separator, False)) for separator in separators]
    rows = rows or [
        split(text, Style(None, False)),
        re.split(r"\s{2,}", text.strip()),
    ]  # names may consist of two words
    return next((cells for cells in rows if len(cells) == width), None)


def _column(cell: str) -> _Column:
    """Take the unit off a name such as `I (mV)` or `V1_uV`."""
    name, unit = cell, ""
    if (match := _BRACKETED.fullmatch(cell)) and _unit_alone(match[2]) is not None:
        name, unit = match[1].rstrip(), match[2].strip()
    elif match := _APPENDED.fullmatch(cell):
        name, unit = match[1].rstrip("_/:- \t"), match[2]
    return _Column(lead_alone(name), unit)


def _unit_alone(cell: str) -> str | None:
    """Return a cell that is empty or a unit, of whatever, else None."""
    unit = cell.strip(" []()").lower()
    is_unit = (
        not unit or bool(seconds_of(unit)) or is_no_unit(unit) or unit in _OTHER_UNITS or mv_per_unit(unit) is not None
    )
    return cell.strip(" []()") if is_unit else None


def _is_recognised(column: _Column) -> bool:
    return bool(column.unit) or _is_time(column) or is_known_lead(column.name)


def _is_time(column: _Column) -> bool:
    name = column.name.strip().lower()
    return name in _TIME_NAMES or name in _INDEX_NAMES or bool(seconds_of(name) or seconds_of(column.unit))


def _without_times(
    values: np.ndarray, columns: list[_Column] | None, clocks: list[int]
) -> tuple[list[int], float | None]:
    """Return which columns are signals, and the sampling rate that a column of times in a stated unit tells."""
    times = dict.fromkeys(clocks, 1.0)  # by column: seconds a unit, 0 if the unit is not stated
    for index, column in enumerate(columns or []):
        if index not in clocks and _is_time(column):
            times[index] = seconds_of(column.unit or column.name)
            if column.name.strip().lower() in _INDEX_NAMES:
                _check_index(values[:, index])
    is_unnamed = columns is None or not columns[0].name
    if is_unnamed and values.shape[1] > 1 and 0 not in times and _is_ramp(values[:, 0]):
        times[0] = 0.0
    signals = [column for column in range(values.shape[1]) if column not in times]
    if not signals:
        raise ECGFileError("holds times or indices, but no signal.")
    rates = [_rate(values[:, column] * unit) for column, unit in times.items() if unit]
    return signals, rates[0] if rates else None


def _without_index(signal: np.ndarray) -> np.ndarray:
    """Leave out the first sample of leads that are numbered by it, as pandas numbers lines."""
    is_index = len(signal[0]) > 1 and any(np.array_equal(signal[0], np.arange(len(signal[0])) + at) for at in (0, 1))
    return signal[1:] if is_index else signal


def _is_ramp(values: np.ndarray) -> bool:
    """Whether values grow evenly, as indices and times do and no ECG does."""
    steps = np.diff(values)
    return len(steps) > 1 and steps[0] > 0 and bool(np.allclose(steps, steps[0], rtol=1e-3, atol=0))


def _rate(seconds: np.ndarray) -> float:
    """Return the sampling rate of regular times, which may be rounded."""
    steps = np.diff(seconds)
    if len(steps) < 1 or not np.isfinite(steps).all() or seconds[-1] <= seconds[0]:
        raise ECGFileError("has a column of times that does not grow; each must be later than the one before.")
    _check_repeats(steps, seconds)
    step = (seconds[-1] - seconds[0]) / len(steps)
    rounding = steps[steps > 0].min() if (steps == 0).any() else step / 2
    line = seconds[0] + step * np.arange(len(seconds))
    if (steps < 0).any() or np.abs(seconds - line).max() > rounding or np.abs(steps - step).max() > rounding:
        at = int(np.abs(steps - step).argmax())
        raise ECGFileError(
            f"has irregular times: {seconds[at + 1]:g} s follows {seconds[at]:g} s, and the mean step is {step:g} s."
        )
    return _simplest(1 / step, len(steps), seconds)


def _check_repeats(steps: np.ndarray, seconds: np.ndarray) -> None:
    """Refuse a row that is there twice: times that are rounded coarsely repeat often, and evenly."""
    repeats = np.flatnonzero(steps == 0)
    fewest = max(_FEWEST_REPEATS, _FEWEST_REPEATS_PER_TIME * len(steps))
    if repeats.size and (repeats.size < fewest or np.ptp(np.diff(repeats)) > 1):
        raise ECGFileError(
            f"has irregular times: {seconds[repeats[0]]:g} s is there twice; each row once was expected."
        )


def _simplest(rate: float, num_steps: int, seconds: np.ndarray) -> float:
    """Return the whole number of Hz that times rounded as these are would also have, or else the rate."""
    sample = seconds[:1000]
    digits = next((each for each in range(10) if np.allclose(sample, sample.round(each), rtol=0, atol=1e-10)), 10)
    duration, rounding = num_steps / rate, 10.0**-digits
    whole = round(rate)
    return float(whole) if whole and abs(num_steps / whole - duration) <= rounding else rate


def _check_index(numbers: np.ndarray) -> None:
    """Refuse numbers of samples of which one is there twice or absent; they may begin anew, as those of packets do."""
    steps = np.diff(numbers)
    steps = steps[steps >= 0]
    if not steps.any() or (steps != np.rint(steps)).any():
        return
    if steps.min() == 0 or steps.max() >= 2 * np.median(steps):
        raise ECGFileError(
            "has an irregular index: a sample's number is there twice, or some are absent; each once was expected."
        )


def _units(stated: list[str], names: list[str] | None, common: list[str] | None) -> list[str] | None:
    """Return each signal's unit, or None where none is stated; counts are no unit."""
    if common is not None and len(common) == len(stated):
        stated = [unit or other for unit, other in zip(stated, common, strict=True)]
    elif common is not None and len(common) == 1:
        stated = [unit or common[0] for unit in stated]
    stated = ["" if is_no_unit(unit) else unit for unit in stated]
    if not any(stated):
        return None
    lacking = [name for name, unit in zip(names or [], stated, strict=False) if not unit and is_known_lead(name)]
    if lacking:
        raise ECGFileError(f"states a unit for some leads only, none for {', '.join(lacking)}.")
    return stated
