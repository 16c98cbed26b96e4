"""The pages of the documentation: whole, linked, and true to the code."""

import ast
import re
import runpy
import shlex
import unicodedata
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from modeling_enecg.cli import main
from modeling_enecg.conversion.published import published_table
from modeling_enecg.runs.shipped import shipped_recipes
from modeling_enecg.training import Recipe
from tests.helpers.pages import DOCS, ROOT, blocks, navigation

PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"))]
LINK = re.compile(r"\]\((?P<place>[^)\s#]*)(?:#(?P<anchor>[^)\s]+))?\)")


def ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as Python-Markdown's `toc` names them."""
    headings = re.findall(r"^#{1,6} (.+)$", without_code(page.read_text("utf-8")), re.MULTILINE)
    plain = [unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode() for heading in headings]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", TEXTS, ids=ids(TEXTS))
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in LINK.finditer(without_code(page.read_text("utf-8"))):
        if "://" in link["place"]:
            continue
        target = (page.parent / link["place"]).resolve() if link["place"] else page
        stays = page.parent == ROOT or target.is_relative_to(DOCS)  # the site has the pages in docs/ alone
        if not (target.exists() and stays and (link["anchor"] is None or link["anchor"] in anchors(target))):
            broken.append(link[0])
    assert broken == []


def test_every_page_stands_once_in_the_navigation():
    """A new page needs a line under `nav` in mkdocs.yml."""
    listed = [page for pages in navigation().values() for page in pages]
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_a_page_has_one_title(page):
    assert len(re.findall(r"^# ", without_code(page.read_text("utf-8")), re.MULTILINE)) == 1


def test_the_readme_is_short_and_has_one_small_picture():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 150
    (picture,) = re.findall(r"^!\[.+\]\((.+)\)$", readme, re.MULTILINE)
    assert (ROOT / picture).stat().st_size < 200_000


def test_the_page_of_formats_is_what_the_code_says():
    """`python docs/formats_page.py` writes it anew."""
    assert (DOCS / "formats.md").read_text("utf-8") == runpy.run_path(str(DOCS / "formats_page.py"))["formats_page"]()


def test_the_page_of_backbones_shows_all_published_weights():
    assert published_table() in (DOCS / "backbones.md").read_text("utf-8")


def messages() -> str:
    """Every text in the package, a line each, with … for what is filled in."""
    found = set()
    for file in (ROOT / "modeling_enecg").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return "\n".join(text.replace("\n", " ") for text in found)


def test_every_entry_of_troubleshooting_is_a_message_of_the_code():
    entries = re.findall(r"^### `+ ?(.+?) ?`+$", (DOCS / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    known = messages()
    assert len(entries) > 30
    assert [entry for entry in entries if entry.removesuffix("…") not in known] == []


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=lambda page: page.name)
def test_every_name_of_the_api_is_there(page):
    names = re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert getattr(import_module(module), attribute).__doc__, name


@pytest.mark.parametrize("page", TEXTS, ids=ids(TEXTS))
def test_every_make_target_of_a_page_is_there(page):
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = re.findall(r"(?:`|^)make\s(\w[\w-]*)", page.read_text("utf-8"), re.MULTILINE)
    assert set(named) <= set(targets)


@pytest.mark.parametrize("page", TEXTS, ids=ids(TEXTS))
def test_what_a_page_imports_is_there(page):
    for block in blocks(page):
        for line in ast.parse(block.text).body if block.language == "python" else ():
            if isinstance(line, ast.ImportFrom) and str(line.module).startswith("modeling_enecg"):
                exec(ast.unparse(line), {})


def commands() -> list[tuple[str, list[str]]]:
    """Every line of a page or the README that calls `enecg`, with the page."""
    found = []
    for page in TEXTS:
        for block in blocks(page):
            if block.language == "bash":
                for line in block.text.replace("\\\n", " ").splitlines():
                    words = shlex.split(line, comments=True)
                    if words[:1] == ["enecg"]:
                        found.append((page.name, words[1:]))
    return found


def test_every_command_on_a_page_has_its_options(capsys):
    recipe, helps = {field.name for field in fields(Recipe)}, {}
    for page, (command, *rest) in commands():
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        if command.startswith("-"):
            continue
        if command == "train":
            assert {option.removeprefix("--").partition(".")[0] for option in options} <= recipe | {"help"}, page
            if not rest[0].startswith("--"):
                assert rest[0] in shipped_recipes() or rest[0] == "RECIPE" or rest[0].endswith(".yaml"), page
            continue
        if command not in helps:
            with pytest.raises(SystemExit, match="0"):
                main([command, "--help"])
            helps[command] = set(re.findall(r"--\w+", capsys.readouterr().out))
        assert options <= helps[command], f"{page}: enecg {command}"
    assert len(helps) > 10
