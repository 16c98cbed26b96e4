"""The Huffman codes of SCP-ECG."""

import struct
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError

BITS_A_BYTE = 8
_DEFAULT = 19999  # stands for the number of tables where the standard's own is used
_ENTRY = struct.Struct("<BBBhI")  # bits of the prefix, bits in all, whether a value, value or table, prefix
_LONGEST_PREFIX = 32


class _Code(NamedTuple):
    """What a prefix means: a value, a value in the bits that follow, or a change of table."""

    value: int
    num_further_bits: int = 0
    changes_table: bool = False


class Table(NamedTuple):
    """The meaning of each prefix, which is written as text of 0 and 1, and the lengths of prefixes."""

    codes: dict[str, _Code]
    lengths: list[int]


def read_tables(section: bytes) -> list[Table]:
    """Return the tables of section 2; none where the samples are not coded.

    Args:
        section (`bytes`): The section without its header.

    Raises:
        ECGFileError: if a table is cut short, or no code of prefixes.
    """
    if len(section) < 2:
        raise ECGFileError("has a section 2 without a number of Huffman tables.")
    num_tables = int.from_bytes(section[:2], "little")
    if num_tables == _DEFAULT:
        return [_table(_default_codes())]
    tables = []
    at = 2
    for number in range(1, num_tables + 1):
        size = int.from_bytes(section[at : at + 2], "little")
        entries = section[at + 2 : at + 2 + size * _ENTRY.size]
        if not size or len(entries) < size * _ENTRY.size:
            raise ECGFileError(f"declares {num_tables} Huffman tables, and number {number} is empty or cut short.")
        tables.append(_table(_codes(entries, num_tables)))
        at += 2 + len(entries)
    return tables


def decode(encoded: bytes, tables: list[Table], num_values: int) -> np.ndarray:
    """Decode values, from the first table on.

    Args:
        encoded (`bytes`): The values of a lead.
        tables (`list[Table]`): From `read_tables`.
        num_values (`int`): How many are wanted.

    Returns:
        `np.ndarray` of shape `(num_values,)`, int64; shorter where the bits end before.

    Raises:
        ECGFileError: if bits have no meaning.
    """
    bits = bin(int.from_bytes(b"\1" + encoded, "big"))[3:]  # the 1 keeps leading zeros
    values: list[int] = []
    table, at = tables[0], 0
    while len(values) < num_values:
        code = None
        for length in table.lengths:
            code = table.codes.get(bits[at : at + length])
            if code is not None:
                break
        if code is None:
            if len(bits) - at < table.lengths[-1]:
                break
            raise ECGFileError(f"has bits that are no Huffman code: {bits[at : at + table.lengths[-1]]}.")
        at += length
        if code.changes_table:
            table = tables[code.value - 1]
        elif not code.num_further_bits:
            values.append(code.value)
        else:
            further = bits[at : at + code.num_further_bits]
            if len(further) < code.num_further_bits:
                break
            values.append(_signed(further))
            at += code.num_further_bits
    return np.array(values, dtype=np.int64)


def _signed(bits: str) -> int:
    return int(bits, 2) - (int(bits[0]) << len(bits))


def _default_codes() -> dict[str, _Code]:
    """Return the standard's table: 0 to 8 by ones, a zero and a sign, others in 8 or 16 further bits."""
    codes = {"0": _Code(0), "1" * 9 + "0": _Code(0, 8), "1" * 10: _Code(0, 16)}
    for value in range(1, 9):
        codes["1" * value + "00"] = _Code(value)
        codes["1" * value + "01"] = _Code(-value)
    return codes


def _codes(entries: bytes, num_tables: int) -> dict[str, _Code]:
    """Read a table of the file; prefixes are stored with their first bit lowest."""
    codes = {}
    for prefix_bits, all_bits, is_value, value, prefix in _ENTRY.iter_unpack(entries):
        further = all_bits - prefix_bits
        if not 1 <= prefix_bits <= _LONGEST_PREFIX or not 0 <= further <= 16 or prefix >> prefix_bits:
            raise ECGFileError(f"has a Huffman code of {all_bits} bits with the prefix {prefix:b} of {prefix_bits}.")
        if is_value and further and value:
            raise ECGFileError(f"has a Huffman code with both the value {value} and {further} further bits.")
        if not is_value and (further or not 1 <= value <= num_tables):
            raise ECGFileError(f"has a Huffman code that changes to table {value} of {num_tables}.")
        codes[f"{prefix:0{prefix_bits}b}"[::-1]] = _Code(value, further, not is_value)
    return codes


def _table(codes: dict[str, _Code]) -> Table:
    ordered = sorted(codes)
    for shorter, longer in pairwise(ordered):
        if longer.startswith(shorter):
            raise ECGFileError(f"has a Huffman table where {shorter} begins {longer}.")
    return Table(codes, sorted({len(prefix) for prefix in codes}))
