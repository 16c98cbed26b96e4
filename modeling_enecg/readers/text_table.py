"""The table of numbers in a text file: where it begins, how its cells are separated, what they mean."""

import csv
import re
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError

_COMMENT = re.compile(r"\s*(#|%|//)")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COUNT = re.compile(r"\d{1,9}(?:[.,]0)?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_QUOTED = re.compile(r'"([+-]?[0-9]+,[0-9]+)"')
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_COMMA_DECIMALS = re.compile(r"[+-]?\d+,0\d+|[+-]0,\d+", re.ASCII)
_DATE = r"(?:\d{4}[-/]\d\d[-/]\d\d|\d\d?[./]\d\d?[./]\d{4})"
_CLOCK = re.compile(
    rf"\[?(?:{_DATE}[T ])?(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)(?:Z|[+-]\d\d:?\d\d)?(?: {_DATE})?\]?",
    re.ASCII,
)
_NO_SAMPLE = {"", "nan", "na", "n/a", "null", "none", "-", "--"}
_DAY = 86400.0
_LONGEST_PREAMBLE = 20_000  # lines
_ROWS_THAT_TELL = 3
_STYLE_ROWS = 50


class Style(NamedTuple):
    """How a table is written: what separates its cells (None: blanks), and whether its decimal sign is a comma."""

    separator: str | None
    decimal_comma: bool


class Table(NamedTuple):
    """A table of numbers.

    Attributes:
        preamble (`list[str]`): The lines above it that are not blank.
        style (`Style`): How it is written.
        values (`np.ndarray` of shape `(num_rows, num_columns)`): NaN for an empty cell; clock times in seconds.
        clocks (`list[int]`): The columns of clock times.
    """

    preamble: list[str]
    style: Style
    values: np.ndarray
    clocks: list[int]


def read_table(text: str) -> Table:
    """Find and read the table of numbers that a text ends with.

    Raises:
        ECGFileError: if there is none, or a line in it is no row of numbers like the others.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbers = [number for number, line in enumerate(lines) if line.strip()]
    written = [lines[number] for number in numbers]
    style = _style(written)
    start = _start(written, style)
    preamble = written[:start]
    if _is_numbering(written[start : start + 1 + _ROWS_THAT_TELL], style):
        start += 1
    rows = [line for line in written[start:] if not _COMMENT.match(line)]
    cells = split(rows[0], style)
    _check_preamble(preamble, style, len(cells), lines)
    if len(cells) == 1:
        _check_blank_lines(numbers[start:])
    clocks = [column for column, cell in enumerate(cells) if _CLOCK.fullmatch(cell)]
    values = None if clocks else _read_plain(rows, style)
    if values is None:
        values = _read_cells(rows, style, lines, clocks)
    for column in clocks:
        values[:, column] = _across_midnight(values[:, column])
    return Table(preamble, style, values, clocks)


def split(line: str, style: Style) -> list[str]:
    """Return the cells of a line, without blanks and quotes around them."""
    if style.separator is None:
        return [cell.strip("\"'") for cell in line.split()]
    cells = next(csv.reader([line], delimiter=style.separator)) if '"' in line else line.split(style.separator)
    return [cell.strip().strip("\"'").strip() for cell in cells]


def _style(lines: list[str]) -> Style:
    """Tell the style from rows that most likely belong to the table: in the file's second half, and near its end."""
    begin = max(len(lines) // 2, len(lines) - 2 * _STYLE_ROWS)
    sample = [line.strip() for line in lines[begin:][:_STYLE_ROWS] if not _COMMENT.match(line)]
    for separator in ("\t", ";"):
        if _in_most(separator, sample):
            return Style(separator, _in_most(",", sample))
    if not _in_most(",", sample):
        return Style(None, False)
    if all(_COMMA_NUMBER.fullmatch(cell) for line in sample for cell in line.split()):
        one_cell = all(len(line.split()) == 1 for line in sample)
        if not one_cell or _has_decimal_commas(lines):
            return Style(None, True)
    quoted = [number for line in sample if '"' in line for number in _QUOTED.findall(line)]
    if quoted and all(_THOUSANDS.fullmatch(number) for number in quoted):
        raise ECGFileError(
            f'holds numbers such as "{quoted[0]}", of which the comma may be decimal or part thousands; '
            "write them with a decimal point."
        )
    return Style(",", bool(quoted))


def _in_most(character: str, sample: list[str]) -> bool:
    return sum(character in line for line in sample) * 2 > len(sample)


def _has_decimal_commas(lines: list[str]) -> bool:
    """Whether `1,045` is one number: whole ones never begin with 0, and where semicolons separate, commas do not."""
    return any(_COMMA_DECIMALS.fullmatch(line.strip()) or ";" in line for line in lines)


def _start(lines: list[str], style: Style) -> int:
    """Return where the table begins: with rows of numbers, as many in each."""
    for start in range(min(len(lines), _LONGEST_PREAMBLE)):
        widths = {_width(line, style) for line in lines[start : start + _ROWS_THAT_TELL]}
        if len(widths) == 1 and widths != {0}:
            return start
    raise ECGFileError("holds no table of numbers.")


def _is_numbering(lines: list[str], style: Style) -> bool:
    """Whether the first line numbers the columns, as pandas does, above rows of other numbers.

    A single column's number, and numbers that leave some out, are told only from values that are written with a
    decimal sign.
    """
    first, *others = (split(line, style) for line in lines)
    if first and not first[0]:  # above an index
        first, others = first[1:], [cells[1:] for cells in others]
    if not others or first in others or not all(map(_COUNT.fullmatch, first)):
        return False
    numbers = [int(re.split("[.,]", cell)[0]) for cell in first]
    counts_on = numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    sign = "," if style.decimal_comma else "."
    has_decimals = all(sign in cell for cells in others for cell in cells)
    if len(numbers) == 1 or not counts_on:
        return has_decimals and numbers == sorted(set(numbers)) and (counts_on or len(numbers) > 1)
    return True


def _check_preamble(preamble: list[str], style: Style, width: int, lines: list[str]) -> None:
    """Refuse a row of the table that another line cuts off from the rest: it would be lost."""
    widths = [_width(line, style) for line in preamble]
    if width in widths:
        first = widths.index(width)
        broken = next(line for line, each in zip(preamble[first:], widths[first:], strict=True) if each != width)
        raise _no_row(broken, width, lines)


def _check_blank_lines(numbers: list[int]) -> None:
    """Refuse a column of values, at lines of these numbers, in which some are missing; all may be apart alike."""
    steps = np.diff(numbers)
    if steps.size and steps.min() != steps.max():
        blank = numbers[int(steps.argmax())] + 2
        raise ECGFileError(f"line {blank} is empty among values, one per line; write nan for a missing sample.")


def _width(line: str, style: Style) -> int:
    """Return the number of cells of a row of numbers, 0 for any other line."""
    cells = split(line, style)
    if all(_value(cell, style) is not None for cell in cells) and any(_NUMBER.match(cell) for cell in cells):
        return len(cells)
    return 0


def _read_plain(rows: list[str], style: Style) -> np.ndarray | None:
    """Read a table without words, quotes around commas and clock times, the fast way; return None for any other."""
    separator = style.separator
    if style.decimal_comma:
        if separator == ",":
            return None
        rows = [row.replace(",", ".") for row in rows]
    if separator is not None:
        empty = re.compile(rf"(?<![^{separator}])[ ]*(?![^{separator}])")  # between separators, or at an end
        rows = [
            empty.sub("nan", row) if separator in (row[0], row[-1]) or separator * 2 in row else row for row in rows
        ]
    try:
        return np.loadtxt(rows, delimiter=separator, comments=None, quotechar='"', ndmin=2)
    except ValueError:
        return None


def _read_cells(rows: list[str], style: Style, lines: list[str], clocks: list[int]) -> np.ndarray:
    width = len(split(rows[0], style))
    values = np.empty((len(rows), width))
    for index, row in enumerate(rows):
        cells = split(row, style)
        numbers = [_value(cell, style) for cell in cells]
        if None in numbers or len(numbers) != width:
            raise _no_row(row, width, lines)
        if ":" in row and any(":" in cell and column not in clocks for column, cell in enumerate(cells)):
            raise ECGFileError(
                f"line {lines.index(row) + 1}: {row.strip()[:60]!r} has a clock time in a column of numbers."
            )
        values[index] = numbers
    return values


def _no_row(row: str, width: int, lines: list[str]) -> ECGFileError:
    number = lines.index(row) + 1
    return ECGFileError(f"line {number}: {row.strip()[:60]!r} is no row of {width} numbers, as others are.")


def _value(cell: str, style: Style) -> float | None:
    """Return the number or, in seconds, the clock time of a cell; NaN if it is empty, None if it is neither."""
    number = cell.replace(",", ".") if style.decimal_comma else cell
    if _NUMBER.fullmatch(number):
        return float(number)
    if cell.lower() in _NO_SAMPLE:
        return np.nan
    clock = _CLOCK.fullmatch(cell)
    if clock is None:
        return None
    hours, minutes, seconds = clock.groups()
    return 3600 * float(hours or 0) + 60 * float(minutes) + float(seconds.replace(",", "."))


def _across_midnight(seconds: np.ndarray) -> np.ndarray:
    return seconds + _DAY * np.cumsum(np.diff(seconds, prepend=seconds[0]) < -_DAY / 2)
