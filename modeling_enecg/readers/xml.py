"""ECGs in XML: GE MUSE and CardioSoft, HL7 aECG, Mortara ELI, Philips Sierra and Schiller SEMA."""

import codecs
import re
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder

from ..ecg_file import ECGFileError, FileContent, errors_of, need
from . import aecg, cardiosoft, mortara, muse, philips, schiller

_MOST_BYTES = 64 << 20
_STEP = 1 << 20  # bytes at a time
_LONGEST_TAG = 4 << 20  # bytes; the parser starts anew on an unfinished one at each step
_MOST_ELEMENTS = 300_000  # an element takes many times the memory of its text
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_UNKNOWN_TO_PARSER = ("gb2312", "gbk", "gb18030", "big5", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949")
ROOTS = {
    "RestingECG": muse.parse,
    "AnnotatedECG": aecg.parse,
    "restingecgdata": philips.parse,
    "SchillerEDI": schiller.parse,
    "CardiologyXML": cardiosoft.parse,
    "ECG": mortara.parse,
}


def read(path: Path) -> FileContent:
    """Read an ECG in XML; its root tells the format.

    Nothing but the file is opened: a DOCTYPE may name a DTD, which is not fetched, and entities are refused.

    Args:
        path (`Path`): The file, of at most 64 MiB.

    Raises:
        ImportError: if the package `defusedxml` is not installed.
        ECGFileError: if the file is damaged, too large, declares entities, or is of no known format.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ECGFileError(f"has {size} bytes; XML is read up to {_MOST_BYTES}.")
    with path.open("rb") as stream:
        root = _parse(stream)
    name = root.tag.rpartition(".")[2]  # Schiller writes the name of a Java class
    if name not in ROOTS:
        raise ECGFileError(f"is XML of no known format: its root is {name[:60]}; known are {', '.join(ROOTS)}.")
    return ROOTS[name](root)


def _parse(stream: BinaryIO) -> Element:
    """Return the root; tags are without namespaces."""
    etree = need("defusedxml.ElementTree", "defusedxml")
    encoding = _encoding(stream)
    parser = etree.DefusedXMLParser(target=_Tree(), encoding=encoding and "utf-8")
    stream = codecs.EncodedFile(stream, "utf-8", encoding) if encoding else stream
    parser.parser.AttlistDeclHandler = _refuse_default
    num_bytes = 0
    with errors_of("the XML parser"):
        while block := stream.read(_STEP):
            parser.feed(block if num_bytes else block.lstrip())
            num_bytes += len(block)
            if num_bytes - parser.parser.CurrentByteIndex > _LONGEST_TAG:
                raise ECGFileError(f"has a tag of more than {_LONGEST_TAG} bytes, which no ECG has.")
        return parser.close()


def _encoding(stream: BinaryIO) -> str | None:
    """Return the encoding where the parser would not find it: East Asian ones, and UTF-8 that is called UTF-16."""
    declared = _DECLARED.match(stream.read(300))
    stream.seek(0)
    if declared is None:
        return None
    try:
        name = codecs.lookup(declared[1].decode()).name
    except LookupError:
        return None
    if name.startswith("utf-16"):  # the declaration could not be read if it were
        return "utf-8"
    return name if name in _UNKNOWN_TO_PARSER else None


def _refuse_default(element: str, attribute: str, kind: str, default: str | None, required: bool) -> None:
    """Refuse what defusedxml lets pass: a default that every element of a name would get a copy of."""
    if default is not None:
        raise ECGFileError(f"declares a default of the attribute {attribute[:60]}, as no ECG does.")


class _Tree(TreeBuilder):
    """A builder of trees without namespaces, of bounded size."""

    num_elements = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self.num_elements += 1 + len(attrs)
        if self.num_elements > _MOST_ELEMENTS:
            raise ECGFileError(f"has more than {_MOST_ELEMENTS} elements and attributes, which no ECG has.")
        return super().start(tag.rpartition("}")[2], attrs)
