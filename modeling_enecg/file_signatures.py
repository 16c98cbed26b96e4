"""Telling the format of a file by its first bytes."""

import re
from collections.abc import Callable

SNIFFED_BYTES = 4096
_FIRST_OF_GROUP_8 = (b"\0", b"\1", b"\5", b"\x08", b"\x12", b"\x16", b"\x18")  # length, character set, classes, dates

# By a format's module in readers/: whether a file has it, from its first bytes.
SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "dicom": lambda head: head[128:132] == b"DICM" or _looks_like_dicom(head),
    "edf": lambda head: head[:8] in (b"0       ", b"\xffBIOSEMI") and b"\n" not in head[:256],
    "ishne": lambda head: head[:8] in (b"ISHNE1.0", b"ANN  1.0"),
    "atc": lambda head: head[:8] == b"ALIVE\0\0\0",
    "mfer": lambda head: re.match(rb"@.\s?MFE?R ", head, re.DOTALL) is not None or _looks_like_mfer(head),
    "hdf5": lambda head: head[:8] == b"\x89HDF\r\n\x1a\n",
    "scp": lambda head: head[16:22] == b"SCPECG" or _looks_like_scp(head),
    "matlab": lambda head: head.startswith((b"MATLAB 5.0", b"MATLAB 7.3")) or _looks_like_matlab_4(head),
    "numpy": lambda head: head[:6] == b"\x93NUMPY" or head[:4] == b"PK\x03\x04",
    "xml": lambda head: _text_start(head).startswith("<"),
    "text": lambda head: bool(head.strip()) and _is_text(head),
}
# Files that are known and not read: how they begin, what they are, and the way on.
OTHER_FORMATS = (
    (b"PAR1", "Parquet", "save the recording as .npz or CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or Office document", "save the sheet as CSV"),
    (b"%PDF", "a PDF, a picture of an ECG", "export the recording itself"),
    (b"\x89PNG", "a picture", "export the recording itself"),
    (b"\xff\xd8\xff", "a picture", "export the recording itself"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
)


def format_of(head: bytes) -> str | None:
    """Return the module in readers/ that reads a file with these first bytes; None where none does."""
    if other_format(head) is not None:
        return None
    return next((name for name, has_signature in SIGNATURES.items() if has_signature(head)), None)


def other_format(head: bytes) -> tuple[str, str] | None:
    """Return what a file of a format that is not read is, and the way on; None where that is unknown."""
    return next(((what, way_on) for begin, what, way_on in OTHER_FORMATS if head.startswith(begin)), None)


def _looks_like_dicom(head: bytes) -> bool:
    """Whether the first element is one that DICOM begins with where the preamble of 128 bytes is left out."""
    is_group_8 = head[:2] == b"\x08\0" and head[3:4] == b"\0" and head[2:3] in _FIRST_OF_GROUP_8
    return head[:6] == b"\2\0\0\0UL" or is_group_8


def _looks_like_mfer(head: bytes) -> bool:
    """Whether the byte order is defined first, and a number of 1 to 4 bytes, a version or a character set after it."""
    return head[:3] in (b"\1\1\0", b"\1\1\1") and head[3:4] in b"\2\3\4\5\6" and 0 < int.from_bytes(head[4:5]) < 128


def _looks_like_scp(head: bytes) -> bool:
    """Whether the pointer section's number and length stand in its header and, again, in its first pointer."""
    return len(head) > 32 and head[8:10] == head[22:24] == b"\0\0" and any(head[10:14]) and head[10:14] == head[24:28]


def _looks_like_matlab_4(head: bytes) -> bool:
    """Whether a header of MATLAB 4 (type, rows, columns, imaginary part, length of the name) is plausible."""
    if len(head) < 20:
        return False
    kind, rows, columns, imaginary, name_length = (
        int.from_bytes(head[at : at + 4], "little") for at in range(0, 20, 4)
    )
    return kind < 100 and rows > 0 and columns > 0 and imaginary <= 1 and 1 < name_length < 64


def _text_start(head: bytes) -> str:
    """Return the beginning of a text in UTF-8 or UTF-16, without byte-order mark and blanks."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, errors="replace").lstrip()
    if head[:2] == b"<\0":
        return head.decode("utf-16-le", errors="replace")
    if head[:2] == b"\0<":
        return head.decode("utf-16-be", errors="replace")
    return head.decode("utf-8", errors="replace").lstrip()


def _is_text(head: bytes) -> bool:
    """Whether bytes are text: no control characters but blanks; UTF-16 only with its mark."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
