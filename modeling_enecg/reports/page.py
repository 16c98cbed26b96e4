"""A report as sections of text, tables and pictures, written as one HTML page and as Markdown."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jinja2

from ..runs.portable import markdown_text
from ..runs.shipped import template

FIGURES = "figures"  # the folder of the pictures, beside the Markdown


class Cell(NamedTuple):
    """A table's cell: what counts, and in small letters what comes with it, such as its interval."""

    text: str
    note: str = ""


class Row(NamedTuple):
    """A table's row; a faint one rests on too few records."""

    cells: list[Cell]
    is_faint: bool = False


class Table(NamedTuple):
    """A table with its caption; columns of numbers are those after the first `num_texts`."""

    caption: str
    columns: list[str]
    rows: list[Row]
    num_texts: int = 1


class Picture(NamedTuple):
    """A PNG file in the folder `FIGURES`, with its caption."""

    name: str
    caption: str


@dataclass
class Section:
    """A heading with what stands under it: paragraphs, then tables and pictures, then sections."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    parts: list[Table | Picture] = field(default_factory=list)
    sections: list["Section"] = field(default_factory=list)


def render_html(title: str, notices: Sequence[str], sections: Sequence[Section], folder: Path) -> str:
    """Return a page that holds all it needs, pictures too, and loads nothing.

    Args:
        title (`str`): The page's heading.
        notices (`Sequence[str]`): What a reader must know first.
        sections (`Sequence[Section]`): The content.
        folder (`Path`): Where the folder `FIGURES` with the pictures lies.
    """

    def embedded(picture: Picture) -> str:
        content = base64.b64encode((folder / FIGURES / picture.name).read_bytes()).decode("ascii")
        return f"data:image/png;base64,{content}"

    page = _environment(autoescape=True, embedded=embedded).get_template("report.html")
    return page.render(title=title, notices=notices, sections=sections)


def render_markdown(title: str, notices: Sequence[str], sections: Sequence[Section]) -> str:
    """Return the same as Markdown, with pictures as files; see `render_html`."""
    page = _environment(autoescape=False, figures=FIGURES).get_template("report.md")
    return page.render(title=title, notices=notices, sections=sections)


def render_latex(title: str, sections: Sequence[Section]) -> str:
    """Return the tables alone as LaTeX, each with its caption and label; see `render_html`."""
    tables = [
        (" – ".join([*headings, part.caption]), part) for headings, part in _walk(sections) if isinstance(part, Table)
    ]
    environment = _environment(autoescape=False)
    environment.filters["tex"] = _tex
    return environment.get_template("report.tex").render(title=title, tables=tables)


def _walk(
    sections: Sequence[Section], headings: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Table | Picture]]:
    """Give every table and picture in order, with the headings that it stands under."""
    for section in sections:
        own = (*headings, section.title)
        yield from ((own, part) for part in section.parts)
        yield from _walk(section.sections, own)


def _environment(autoescape: bool, **values: object) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["table"] = lambda part: isinstance(part, Table)
    environment.filters["plain"] = markdown_text
    environment.globals |= values
    return environment


_TEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "±": r"$\pm$",
    "²": r"\textsuperscript{2}",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "★": r"$\star$",
    "†": r"\textdagger{}",
    "–": "--",
    "…": r"\dots{}",
    "µ": r"\textmu{}",
}


def _tex(text: str) -> str:
    """Return a text on one line that LaTeX prints as it is."""
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))
