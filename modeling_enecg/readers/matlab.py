"""MATLAB files, as those of the PhysioNet Challenges without the header that belongs beside them, or of CPSC 2018.

Own code, because `scipy.io` crashes the interpreter on some damaged files.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ecg_file import ECGFileError, FileContent, check_unpacked
from ..metadata_values import measured, sex_of
from ..recording import Metadata
from .arrays import RATE_NAMES, Variable, signal_of
from .matlab_73 import read_variables

_SIGNAL = "val"
_HEADER = 128  # bytes of a file of version 5
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_COMPRESSED, _MATRIX = 15, 14
_CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single"} | {
    8 + 2 * power + is_unsigned: f"{'u' * is_unsigned}int{8 << power}" for power in range(4) for is_unsigned in (0, 1)
}
_IS_COMPLEX, _IS_LOGICAL = 1 << 11, 1 << 9
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_BYTES = (1, 2, 16)  # types of letters that take a byte: 16 is UTF-8
_CLASSES_4 = ("double", "char", "sparse")
_STORED_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
_NUMERIC = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
_LONGEST_DESCRIPTION = 4096  # bytes of a variable before its values
_MOST_VARIABLES = 10_000
_MOST_IN_STRUCTURE = 4_000_000  # values
_LONGEST_WORD = 100  # letters


def read(path: Path) -> FileContent:
    """Read the matrix `val`, or the only one there is; unit and names of leads are not in the file.

    Where no variable is a matrix, but one is a structure (as `ECG` of CPSC 2018, of `sex`, `age` and `data`), its
    fields count. The rate is that of a single number named `fs` or alike, if there is one.

    Versions 4 to 7.3 are read, and only matrices of numbers: no cells, objects or structures of several records.

    Args:
        path (`Path`): The file.

    Raises:
        ImportError: if the file is of version 7.3, and `h5py` is not installed.
        ECGFileError: if the file is damaged, or has no or several such matrices.
    """
    content = path.read_bytes()
    variables = _of_the_only_structure(_variables(path, content))
    variable = _signal_variable(variables)
    check_unpacked(math.prod(variable.shape), len(content))
    return FileContent(signal_of(variable.values()), _rate(variables), None, None, metadata=_metadata(variables))


def _variables(path: Path, content: bytes) -> list[Variable]:
    if content.startswith(b"MATLAB 7.3"):
        return read_variables(path)
    variables = []
    for variable in _version_5(content) if content.startswith(b"MATLAB") else _version_4(content):
        variables.append(variable)
        if len(variables) > _MOST_VARIABLES:
            raise ECGFileError(f"holds more than {_MOST_VARIABLES} variables.")
    return variables


def _of_the_only_structure(variables: list[Variable]) -> list[Variable]:
    """Put the fields of a structure in its place, where there is one and no matrix beside it."""
    structures = [each for each in variables if each.kind == "struct" and math.prod(each.shape) == 1]
    if _matrices(variables) or len(structures) != 1:
        return variables
    return [each for each in variables if each is not structures[0]] + structures[0].fields()


def _matrices(variables: list[Variable]) -> list[Variable]:
    return [each for each in variables if each.name and each.kind in _NUMERIC and math.prod(each.shape) > 1]


def _rate(variables: list[Variable]) -> float | None:
    numbers = (each for each in variables if each.kind in _NUMERIC and math.prod(each.shape) == 1)
    stated = [float(each.values().item()) for each in numbers if each.name.lower() in RATE_NAMES]
    return stated[0] if len(stated) == 1 else None


def _metadata(variables: list[Variable]) -> Metadata:
    """Return sex and age, where variables of these names state them."""
    short = {each.name.lower(): each for each in variables if math.prod(each.shape) <= _LONGEST_WORD}
    sex, age = short.get("sex"), short.get("age")
    codes = sex.values().astype(np.int64).ravel().tolist() if sex is not None and sex.kind == "char" else []
    years = age.values().item() if age is not None and age.kind in _NUMERIC and math.prod(age.shape) == 1 else None
    word = "".join(chr(code) for code in codes if 0 < code < 128)
    return Metadata(sex=sex_of(word), age_years=measured(age_years=years).get("age_years"))


def _signal_variable(variables: list[Variable]) -> Variable:
    matrices = _matrices(variables)
    named = [each for each in matrices if each.name == _SIGNAL] or matrices
    if len(named) != 1:
        found = ", ".join(f"{each.name} ({each.kind}, {'x'.join(map(str, each.shape))})" for each in variables)
        raise ECGFileError(f"expected a matrix of numbers named {_SIGNAL}, or a single one; found {found or 'none'}.")
    return named[0]


def _version_4(content: bytes) -> Iterator[Variable]:
    at = 0
    while at < len(content):
        layout, rows, columns, is_complex, name_length = _unpack("<5I", content, at)
        stored, kind = layout // 10, layout % 10
        if stored >= len(_STORED_4) or kind >= len(_CLASSES_4):
            raise ECGFileError(f"has a variable of the unknown type {layout} at byte {at}: damaged.")
        begin = at + 20 + name_length
        dtype = np.dtype(f"<{_STORED_4[stored]}")
        at = begin + rows * columns * dtype.itemsize * (2 if is_complex else 1)
        if at > len(content):
            raise ECGFileError(f"declares {rows} x {columns} values at byte {begin}, of {len(content)}: cut short.")
        name = content[begin - name_length : begin].rstrip(b"\0").decode("latin-1")
        values = np.frombuffer(content, dtype, rows * columns, begin).reshape((rows, columns), order="F")
        kind_name = "complex" if is_complex else _CLASSES_4[kind]
        yield Variable(name, kind_name, values.shape, lambda values=values: values)  # type: ignore[misc]


def _version_5(content: bytes) -> Iterator[Variable]:
    order = _BYTE_ORDERS.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ECGFileError("is a MATLAB file of unknown byte order, or cut short.")
    at = _HEADER
    while at < len(content):
        kind, data, at = _element(memoryview(content), at, order)
        if kind not in (_COMPRESSED, _MATRIX):
            raise ECGFileError(f"has an element of the type {kind} instead of a variable: damaged.")
        yield _variable(_Body(data, order, kind == _COMPRESSED), order)


class _Body(NamedTuple):
    """The elements that a variable consists of."""

    data: memoryview
    order: str
    is_compressed: bool

    def begin(self) -> memoryview:
        """Return those that describe it."""
        if not self.is_compressed:
            return self.data
        return memoryview(_unpacked(self.data, _LONGEST_DESCRIPTION)[0])[8:]

    def whole(self, num_values: int) -> memoryview:
        """Return all of a variable of so many values."""
        if not self.is_compressed:
            return self.data
        most = 2 * _LONGEST_DESCRIPTION + 8 * num_values
        unpacked, is_complete = _unpacked(self.data, most)
        kind, body, _ = _element(memoryview(unpacked), 0, self.order)
        if not is_complete or kind != _MATRIX:
            raise ECGFileError("holds a compressed variable that is cut short, or longer than it says.")
        return body


def _unpacked(data: memoryview, most: int) -> tuple[bytes, bool]:
    """Return so many unpacked bytes, and whether these are all, with a checksum that fits."""
    unpacker = zlib.decompressobj()
    try:
        return unpacker.decompress(data, most), unpacker.eof
    except zlib.error as error:
        raise ECGFileError(f"holds a damaged compressed variable: {error}.") from error


def _variable(body: _Body, order: str) -> Variable:
    description = body.begin()
    _, flags, at = _element(description, 0, order, boundary=8)
    (flag,) = _unpack(f"{order}I", flags, 0)
    kind = _CLASSES.get(flag & 0xFF, "object")
    if kind == "object":  # described in another way
        return Variable("", kind, (), lambda: np.empty(0))
    _, sizes, at = _element(description, at, order, boundary=8)
    _, name, at = _element(description, at, order, boundary=8)
    if len(sizes) % 4:
        raise ECGFileError("has a variable without a shape: damaged.")
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    if len(shape) > 32 or min(shape, default=-1) < 0:
        raise ECGFileError(f"has a variable of the shape {shape}: damaged.")
    if flag & (_IS_COMPLEX | _IS_LOGICAL):
        kind = "complex" if flag & _IS_COMPLEX else "logical"
    text = bytes(name).decode("latin-1")
    return Variable(text, kind, shape, lambda: _values(body, at, kind, shape), lambda: _fields(body, at))


def _values(body: _Body, at: int, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read the values of a matrix, which may be stored in fewer bytes than its kind has."""
    num_values = math.prod(shape)
    stored, data, _ = _element(body.whole(num_values), at, body.order, boundary=8)
    if kind == "char":
        letter = np.dtype(body.order + ("u1" if stored in _BYTES else "u2"))
        return np.frombuffer(data, letter, min(num_values, len(data) // letter.itemsize))
    dtype = np.dtype(body.order + _STORED.get(stored, "i1"))
    if stored not in _STORED or len(data) != num_values * dtype.itemsize:
        raise ECGFileError(f"declares a matrix of shape {shape}, and holds {len(data)} bytes of type {stored} for it.")
    return np.frombuffer(data, dtype).astype(kind).reshape(shape, order="F")


def _fields(body: _Body, at: int) -> list[Variable]:
    """Return the fields of a structure of one record."""
    content = body.whole(_MOST_IN_STRUCTURE)
    _, length, at = _element(content, at, body.order, boundary=8)
    _, names, at = _element(content, at, body.order, boundary=8)
    (size,) = _unpack(f"{body.order}i", length, 0)
    if size < 1 or len(names) > size * _MOST_VARIABLES:
        raise ECGFileError(f"has a structure of {len(names)} bytes of names, {size} each: damaged.")
    fields = []
    for begin in range(0, len(names), size):
        kind, data, at = _element(content, at, body.order, boundary=8)
        if kind != _MATRIX:
            raise ECGFileError(f"has an element of the type {kind} instead of a field: damaged.")
        name = bytes(names[begin : begin + size]).split(b"\0")[0].decode("latin-1")
        if len(data):
            fields.append(_variable(_Body(data, body.order, False), body.order)._replace(name=name))
    return fields


def _element(content: memoryview, at: int, order: str, boundary: int = 1) -> tuple[int, memoryview, int]:
    """Return an element's type and data, and where the next one begins; up to four bytes may stand in its tag."""
    kind, size = _unpack(f"{order}2I", content, at)
    begin = at + 8
    end = begin + -(-size // boundary) * boundary
    if kind >> 16:
        kind, size, begin, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    if begin + size > len(content) or (begin < at + 8 and size > 4):
        raise ECGFileError(f"ends within an element of {size} bytes: cut short, or damaged.")
    return kind, content[begin : begin + size], end


def _unpack(layout: str, content: bytes | memoryview, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, content, at)
    except struct.error as error:
        raise ECGFileError(f"ends within a description: {error}.") from error
