"""Values of HDF5 files, in bounds: the library itself unpacks any chunk to whatever it says, and follows any link."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..ecg_file import ECGFileError, check_unpacked, errors_of, need

_GZIP, _SHUFFLE = 1, 2  # the library's numbers of filters
_MOST_CHUNKS = 20_000
_MOST_BYTES = 1 << 29  # that the chunks with one record's values unpack to: they may hold many others
_MOST_MEMBERS = 1000


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for reading; whatever the library raises becomes an `ECGFileError`.

    Raises:
        ImportError: if `h5py` is not installed.
    """
    h5py = need("h5py")
    with errors_of("h5py"), h5py.File(path, "r", locking=False) as file:
        yield file


def members(group: Any) -> dict[str, Any]:
    """Return the data sets and groups of a group; what it links to elsewhere is left out."""
    h5py = need("h5py")
    if len(group) > _MOST_MEMBERS:
        raise ECGFileError(f"holds {len(group)} members; at most {_MOST_MEMBERS} were expected.")
    return {name: group[name] for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)}


def is_numeric(member: Any) -> bool:
    """Whether a member is a data set of numbers."""
    return getattr(member, "dtype", None) is not None and member.shape is not None and member.dtype.kind in "iuf"


def values(dataset: Any, row: int | None = None) -> np.ndarray:
    """Return a data set's values, or those of one place of its first axis.

    Args:
        dataset (`h5py.Dataset`): Of numbers, stored in this file, plain or compressed with gzip.
        row (`int`, *optional*): The place.

    Raises:
        ECGFileError: if values are missing, are stored elsewhere or compressed otherwise, or would take too much.
    """
    if dataset.external or dataset.is_virtual:
        raise ECGFileError(f"{dataset.name} is stored in other files; copy it into one with h5repack.")
    shape = dataset.shape if row is None else (1, *dataset.shape[1:])
    check_unpacked(math.prod(shape), dataset.file.id.get_filesize())
    found = _of_chunks(dataset, row or 0, shape) if dataset.chunks else _of_a_whole(dataset, row)
    return found.reshape(shape if row is None else shape[1:])


def _of_a_whole(dataset: Any, row: int | None) -> np.ndarray:
    """Read what is stored without chunks; where nothing is stored, the library would give zeros."""
    needed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.id.get_storage_size() < needed or needed > dataset.file.id.get_filesize():
        raise ECGFileError(
            f"{dataset.name} declares {needed} bytes that the file does not hold: cut short, or damaged."
        )
    return np.asarray(dataset[()] if row is None else dataset[row])


def _of_chunks(dataset: Any, row: int, shape: tuple[int, ...]) -> np.ndarray:
    """Read the chunks that hold values of one row, or of all where `shape` is the whole one."""
    chunk, filters = dataset.chunks, _filters(dataset)
    chunk_bytes = math.prod(chunk) * dataset.dtype.itemsize
    begin = (row, *(0 for _ in shape[1:]))
    starts = [
        range(first // size * size, first + length, size)
        for first, length, size in zip(begin, shape, chunk, strict=True)
    ]
    num_chunks = math.prod(map(len, starts))
    if num_chunks > _MOST_CHUNKS or num_chunks * chunk_bytes > _MOST_BYTES:
        raise ECGFileError(
            f"{dataset.name} lies in {num_chunks} chunks of {chunk_bytes} bytes; repack it with h5repack."
        )
    found = np.empty(shape, dataset.dtype)
    for start in product(*starts):
        part = _chunk(dataset, start, filters, chunk_bytes)
        # Where the chunk lies in what is wanted, and the wanted part in the chunk.
        low = [max(at, first) for at, first in zip(start, begin, strict=True)]
        high = [
            min(at + size, first + length) for at, size, first, length in zip(start, chunk, begin, shape, strict=True)
        ]
        target = tuple(slice(a - first, b - first) for a, b, first in zip(low, high, begin, strict=True))
        source = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, start, strict=True))
        found[target] = part[source]
    return found


def _filters(dataset: Any) -> list[int]:
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(number) for number in range(creation.get_nfilters())]
    unknown = [name.decode(errors="replace") for number, _, _, name in filters if number not in (_GZIP, _SHUFFLE)]
    if unknown:
        raise ECGFileError(
            f"{dataset.name} is stored with {unknown[0][:40]}; repack it with gzip: h5repack -f GZIP=4."
        )
    return [number for number, *_ in filters]


def _chunk(dataset: Any, start: tuple[int, ...], filters: list[int], num_bytes: int) -> np.ndarray:
    """Read a chunk, and undo its filters, the last one first."""
    skipped, content = dataset.id.read_direct_chunk(start)
    for place, number in reversed([*enumerate(filters)]):
        if skipped >> place & 1:
            continue
        if number == _GZIP:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, num_bytes + 1)
        elif len(content) == num_bytes:  # shuffled: first bytes first, then second ones
            content = np.frombuffer(content, np.uint8).reshape(dataset.dtype.itemsize, -1).T.tobytes()
    if len(content) != num_bytes:
        raise ECGFileError(
            f"{dataset.name} has a chunk of {len(content)} bytes, and {num_bytes} belong there: damaged."
        )
    return np.frombuffer(content, dataset.dtype).reshape(dataset.chunks)
