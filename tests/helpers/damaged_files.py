"""A strategy that damages the files of `valid_files`."""

import io
import re
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st

from tests.helpers.valid_files import SAMPLES, Sample

T = TypeVar("T")

_NUM_DRAWN = 192  # bytes: enough for the choices of nearly every case
_HEADER = 700  # bytes at the beginning that are damaged as often as all others
_NUMBER = re.compile(rb"[-+]?\d[\d.]*")
_WORD = re.compile(rb"[\w./~:]+")
_FIELD = re.compile(rb'(?<=>)[^<>]+(?=<)|(?<=")[^"<>]+(?=")|(?<=[,;\t\n])[^,;\t\n]+')  # of XML, or a cell
_BETWEEN_PARTS = re.compile(rb"(?<=\n)|(?<=>)(?=<)")  # lines, or elements of XML
_ABSURD = [
    *("0", "-1", "1", "2", "3", "7", "13", "255", "1025", "32768", "65536", "2147483647", "2147483648", "4294967296"),
    *("9223372036854775807", "9223372036854775808", "1" + "0" * 30, "1" + "0" * 400, "9" * 5000, "-" + "9" * 400),
    *("nan", "inf", "-inf", "1e308", "1e-308", "-1e308", "1e999", "0.0", "", " ", "0x10", "1_000", "٣", "½", "1,5"),
]
_ABSURD_BYTES = [
    struct.pack(order + layout, number)
    for order in "<>"
    for layout, numbers in {
        "B": (0, 1, 13, 127, 255),
        "H": (0, 1, 13, 1000, 32767, 32768, 65535),
        "I": (0, 1, 13, 10_000, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1),
        "Q": (0, 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
        "f": (0.0, -1.0, float("nan"), float("inf"), 1e38),
        "d": (0.0, -1.0, float("nan"), float("-inf"), 1e308, 5e-324),
    }.items()
    for number in numbers
]
_NOT_UTF_8 = [b"\xff", b"\xff\xfe", b"\xfe\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
_STRANGE = [
    *(*_NOT_UTF_8, b"\xef\xbb\xbf", b"\0", b"\r", b"\n\n", b"\x1a", b"\x1b[31m", b"%s%n{0}"),
    *("\u2028\x85\u202e\U0001f493".encode(), b'encoding="utf-32"', b"encoding='klingon'", b"[" * 300, b"(" * 300),
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>&b;", b"&#0;", b"]]>", b"<![CDATA[", b"<a>" * 3000, b'"', b"'" * 50, b"," * 999),
    *(b"#", b"%", b"0,", b"-" * 5000, b" " * 5000, b"_" * 5000, b'" ' * 2000),
]
_NAMES = [
    *(b"../record.dat", b"../../../../etc/passwd", b"/etc/passwd", b"/dev/zero", b"record", b"record.hea", b"~", b"."),
    *(b"..", b"./record.dat", b"a/../../b", b"C:\\a", b"\\\\host\\a", b"x" * 300, b"x/" * 3000, b"-", b"one", b"d1"),
]


class Choices:
    """The choices of a case, read off bytes that Hypothesis draws.

    It draws them at once: of what it draws one by one much is 0, and depends on which modules are loaded.
    """

    def __init__(self, drawn: bytes) -> None:
        self._drawn = io.BytesIO(drawn)

    def below(self, end: int) -> int:
        return int.from_bytes(self._drawn.read(3), "big") % end

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def new_bytes(self, most: int) -> bytes:
        return self._drawn.read(1 + self.below(most))


Damage = Callable[[Choices, bytes], bytes]


def _place(choices: Choices, content: bytes) -> int:
    end = len(content) if choices.below(2) else min(len(content), _HEADER)
    return choices.below(end + 1)


def _chunk(choices: Choices, content: bytes) -> tuple[int, int]:
    begin = _place(choices, content)
    return begin, min(begin + choices.one_of([1, 2, 4, 8, 10, 16, 80, 256, 999]), len(content))


def _put(content: bytes, begin: int, end: int, new: bytes) -> bytes:
    return content[:begin] + new + content[end:]


def _cut(choices: Choices, content: bytes) -> bytes:
    return content[: _place(choices, content)]


def _flip_bits(choices: Choices, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(1 + choices.below(4) if content else 0):
        damaged[_place(choices, content) % len(content)] ^= 1 << choices.below(8)
    return bytes(damaged)


def _overwrite(choices: Choices, content: bytes) -> bytes:
    begin, new = _place(choices, content), choices.new_bytes(16)
    return _put(content, begin, begin + len(new), new)


def _overwrite_number(choices: Choices, content: bytes) -> bytes:
    """Numbers of binary headers mostly stand at even places."""
    begin, new = _place(choices, content) & ~1, choices.one_of(_ABSURD_BYTES)
    return _put(content, begin, begin + len(new), new)


def _insert(choices: Choices, content: bytes) -> bytes:
    at = _place(choices, content)
    return _put(content, at, at, choices.one_of(_STRANGE) if choices.below(2) else choices.new_bytes(40))


def _delete(choices: Choices, content: bytes) -> bytes:
    return _put(content, *_chunk(choices, content), b"")


def _duplicate(choices: Choices, content: bytes) -> bytes:
    begin, end = _chunk(choices, content)
    at = choices.one_of([begin, end, choices.below(len(content) + 1)])
    return _put(content, at, at, content[begin:end] * choices.one_of([1, 1, 2, 50]))


def _replace_number(choices: Choices, content: bytes) -> bytes:
    """Replace a number that is written as text, in as many bytes or in as many as it needs."""
    found = list(_NUMBER.finditer(content[: 4 * _HEADER]))
    if not found:
        return content
    (begin, end), new = choices.one_of(found).span(), choices.one_of(_ABSURD).encode()
    if choices.below(2):
        end += len(content[end : begin + 8]) - len(content[end : begin + 8].lstrip(b" "))  # the blanks behind it
        new = new.ljust(end - begin)[: end - begin]
    return _put(content, begin, end, new)


def _replace_word(choices: Choices, content: bytes) -> bytes:
    """Put another word of the file, or a name of a file that may not be read, in place of a word."""
    words = list(_WORD.finditer(content[: 4 * _HEADER]))
    if not words:
        return content
    new = choices.one_of(words)[0] if choices.below(2) else choices.one_of(_NAMES)
    return _put(content, *choices.one_of(words).span(), new)


def _replace_field(choices: Choices, content: bytes) -> bytes:
    """Replace a whole text, attribute or cell, so that XML and tables stay what they are."""
    fields = list(_FIELD.finditer(content))
    if not fields:
        return content
    strange = choices.one_of([choices.one_of(_ABSURD).encode(), choices.one_of(_STRANGE), choices.one_of(fields)[0]])
    return _put(content, *choices.one_of(fields).span(), strange)


def _move_part(choices: Choices, content: bytes) -> bytes:
    """Delete, repeat or move a line or an element."""
    parts = _BETWEEN_PARTS.split(content)
    part = parts.pop(choices.below(len(parts)))
    for _ in range(choices.below(3)):
        parts.insert(choices.below(len(parts) + 1), part)
    return b"".join(parts)


def _disguise(choices: Choices, content: bytes) -> bytes:
    """Give a file the beginning of another format's."""
    other = choices.one_of([sample for samples in SAMPLES.values() for sample in samples])
    head = other.seal(other.files.get(other.entry, b""))[: choices.one_of([2, 8, 32, 132, 256])]
    return head + content[len(head) :]


_DAMAGES: tuple[Damage, ...] = (
    *(_flip_bits, _flip_bits, _flip_bits, _overwrite_number, _overwrite_number, _overwrite_number, _overwrite),
    *(_replace_number, _replace_number, _replace_number, _replace_field, _replace_field, _replace_field),
    *(_replace_word, _cut, _cut, _insert, _delete, _duplicate, _move_part, _disguise),
)


def damaged_samples(samples: list[Sample]) -> st.SearchStrategy[Sample]:
    """One of the samples, of whose files one has one to three damages."""
    drawn = st.binary(min_size=_NUM_DRAWN, max_size=_NUM_DRAWN)
    return drawn.map(lambda each: _damaged_sample(Choices(each), samples))


def _damaged_sample(choices: Choices, samples: list[Sample]) -> Sample:
    sample = choices.one_of(samples)
    name = choices.one_of(list(sample.files))
    content = sample.files[name]
    for _ in range(choices.one_of([1, 1, 2, 3])):
        content = choices.one_of(_DAMAGES)(choices, content)
    entry = choices.one_of([sample.entry] * 9 + [name])
    return sample._replace(files=sample.files | {name: content}, entry=entry)
