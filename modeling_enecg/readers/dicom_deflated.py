"""DICOM files in the deflated transfer syntax."""

import zlib
from mmap import mmap

from ..ecg_file import ECGFileError

_UID = b"1.2.840.10008.1.2.1.99"  # Deflated Explicit VR Little Endian
_PREAMBLE = 132  # bytes, with the magic DICM
_LENGTH = b"\2\0\0\0UL\4\0"  # the first element: how many bytes the others of its group have
_MOST_BYTES = 20_000_000  # that any small file may unpack to
_MOST_BYTES_A_BYTE = 100  # beyond these


def is_deflated(content: bytes | mmap) -> bool:
    """Whether a file names the deflated transfer syntax anywhere: pydicom would inflate it without bounds."""
    return content.find(_UID) >= 0


def inflate(content: bytes | mmap) -> bytes:
    """Return a deflated file's data set, which is explicit and little-endian.

    Args:
        content (`bytes`): The file, with its preamble and group of file information.

    Raises:
        ECGFileError: if it is damaged, cut short, or unpacks to far more than an ECG does.
    """
    begin = _PREAMBLE + len(_LENGTH) + 4
    if content[_PREAMBLE : begin - 4] != _LENGTH:
        raise ECGFileError("is deflated DICOM without the length of its file information; store it uncompressed.")
    begin += int.from_bytes(content[begin - 4 : begin], "little")
    if not is_deflated(content[:begin]):
        raise ECGFileError("names a deflated transfer syntax outside its file information: damaged.")
    most = _MOST_BYTES + _MOST_BYTES_A_BYTE * len(content)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = unpacker.decompress(content[begin:], most)
    except zlib.error as error:
        raise ECGFileError(f"holds damaged deflated data: {error}.") from error
    if not unpacker.eof:
        raise ECGFileError(f"unpacks to {len(inflated)} bytes without an end: cut short, or no ECG.")
    if is_deflated(inflated):
        raise ECGFileError("is deflated twice, as no DICOM file is.")
    return inflated
