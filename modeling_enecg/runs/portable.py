"""Texts that may leave this machine: ids of the Hub, and no path of this one."""

import html
import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_PART = r"""[^\s/\\"'`<>|,;()\[\]{}]+"""
_HOME = r"(?:~(?:[A-Za-z][\w.-]*)?|\$\{?[A-Z_]{2,}\}?|%[A-Z_]{2,}%)"  # `~`, `~me`, `$HOME`, `${HOME}`, `%USERPROFILE%`
# An absolute path of at least two parts, anywhere in a text; a slash inside a word, a number or an address is none.
_MACHINE_PATH = re.compile(
    rf"(?<![\w.:/\\~-])(?:{_HOME}[/\\]|(?i:file):/+{_PART}/|[A-Za-z]:[/\\]|\\\\|/{_PART}/){_PART}(?:[/\\]{_PART})*[/\\]?"
)


def is_hub_id(path: str) -> bool:
    """Whether a text can be the id `org/name` of a repository on the Hub, and is no folder here."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path) is not None and not os.path.isdir(path)


def check_place(path: str) -> None:
    """Refuse what is neither a folder here nor an id of the Hub, with or without `@revision`.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not is_hub_id(path.partition("@")[0]):
        check_folder(path)


def check_folder(path: str) -> None:
    """Refuse what is no folder.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not os.path.isdir(path):
        raise FileNotFoundError(f"There is no folder {path}.")


def machine_paths(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Find the absolute paths in what was read from JSON or YAML.

    Args:
        value (`Any`): Dicts and lists of texts and numbers.
        field (`str`, *optional*): What the value is called.

    Yields:
        `tuple[str, str]`: The field, such as `experts.cnn.path`, and the path.
    """
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from machine_paths(inner, f"{field}.{key}".lstrip("."))
            yield from machine_paths(key, f"{field}.{key}".lstrip("."))
    elif isinstance(value, str):
        if _is_here(value):
            yield field, value
        else:
            yield from ((field, found) for found in _MACHINE_PATH.findall(value))


def without_machine_paths(value: Any) -> Any:
    """Return a copy of what could be JSON, in which of every absolute path only the last part is left."""
    if isinstance(value, dict):
        return {key: without_machine_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_machine_paths(inner) for inner in value]
    if isinstance(value, str):
        return _name(value) if _is_here(value) else _MACHINE_PATH.sub(lambda found: _name(found[0]), value)
    return value


def markdown_text(text: str) -> str:
    """Return a text on one line that Markdown, also in a table, shows as it is."""
    return re.sub(r"[\\`*|\[\]]", r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def _is_here(text: str) -> bool:
    """Whether a text is the absolute path of something that is there, also one of a single part or with spaces."""
    return os.path.isabs(text) and os.path.exists(text)


def _name(path: str) -> str:
    return PurePosixPath(path).name if path.startswith("/") else PureWindowsPath(path).name
