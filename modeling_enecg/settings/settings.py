"""Settings of YAML files and command lines: read, laid over each other, and checked against a dataclass."""

import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from .strict_yaml import load_yaml


class SettingsError(ValueError):
    """Settings that cannot be followed as written."""


def read_settings(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file and what it extends.

    Raises:
        SettingsError: if a file cannot be read, is no mapping, or extends itself.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"Cannot read the recipe {path}: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"The recipe {path} must be a mapping of keys to values.")
    if "extends" not in content:
        return content
    name = content.pop("extends")
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise SettingsError(f"The recipe {path}: extends is the name of a file in the same folder; got {name!r}.")
    other = path.with_name(name)
    if other in (path, *extended_by):
        raise SettingsError(f"The recipe {path} extends itself, by way of {name}.")
    return merged(read_settings(other, (path, *extended_by)), content)


def merged(below: Any, above: Any) -> Any:
    """Lay settings over others; only mappings mix."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


def parse_overrides(arguments: Sequence[str], type_of: Callable[[str], Any]) -> list[tuple[str, Any]]:
    """Read `--key value` and `--key=value`.

    A text stays what was typed, also `a #1`, which YAML would cut short; all else is read as YAML. A key that is true
    or false may stand alone for true.

    Args:
        arguments (`Sequence[str]`): What stands on the command line.
        type_of (`Callable`): Gives the type of a key's value; `Any` where it is not known.

    Returns:
        `list[tuple[str, Any]]`: Keys without their dashes, and values, in order.

    Raises:
        SettingsError: if a key lacks its dashes or its value, or a value cannot be read.
    """
    pairs = []
    remaining = list(arguments)
    while remaining:
        key, equals, text = remaining.pop(0).partition("=")
        if not key.startswith("--") or len(key) == 2:
            raise SettingsError(f"Expected --key value, got {key!r}.")
        if not equals:
            stands_alone = not remaining or remaining[0].startswith("--")
            if stands_alone and type_of(key[2:]) is bool:
                text = "true"
            elif not remaining:
                raise SettingsError(f"{key} lacks a value.")
            else:
                text = remaining.pop(0)
        pairs.append((key[2:], _typed_value(key, text, type_of(key[2:]))))
    return pairs


def _typed_value(key: str, text: str, hint: Any) -> Any:
    """Return what was typed for a key, whose value has this type."""
    options = _options(hint)
    if str in options and options <= {str, types.NoneType}:
        return None if text == "null" and types.NoneType in options else text
    try:
        value = load_yaml(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{key}: cannot read the value {text!r}: {error}") from error
    is_plain = isinstance(value, str) and text[:1] not in ("'", '"')
    return text if is_plain else value


def override(content: dict[str, Any], keys: Sequence[str], value: Any, full_key: str) -> None:
    """Set a value inside nested mappings, whose keys come one by one."""
    if len(keys) == 1:
        content[keys[0]] = value
        return
    inner = content.setdefault(keys[0], {})
    if not isinstance(inner, dict):
        raise SettingsError(f"--{full_key}: {keys[0]} holds {inner!r} and has nothing inside.")
    override(inner, keys[1:], value, full_key)


def check_choice(key: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse a value that is none of the choices, with the nearest one."""
    if value not in choices:
        raise SettingsError(f"{key}: {value!r} is not one of {', '.join(map(str, choices))}.{suggest(value, choices)}")


def check_fields(values: Any, schema: type, prefix: str, reserved: Collection[str] = ()) -> None:
    """Refuse keys that the dataclass `schema` does not have, and values of another type."""
    if not isinstance(values, Mapping):
        raise SettingsError(f"{prefix.rstrip('.')}: expected settings, got {values!r}.")
    hints = typing.get_type_hints(schema)
    known = [item.name for item in fields(schema) if item.init and item.name not in reserved]
    for key, value in values.items():
        if key in reserved:
            raise SettingsError(f"{prefix}{key} is set by the run itself; leave it out.")
        if key not in known:
            raise SettingsError(f"Unknown key {prefix}{key}.{suggest(key, known)}")
        if not fits(value, hints[key]):
            raise SettingsError(f"{prefix}{key}: {value!r} is not of the type {_type_name(hints[key])}.")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML can stand for a type hint."""
    options = _options(hint)
    if len(options) > 1:
        return any(fits(value, option) for option in options)
    if hint is Any:
        return True
    plain = typing.get_origin(hint) or hint
    if plain is list and typing.get_args(hint):
        return isinstance(value, list) and all(fits(item, typing.get_args(hint)[0]) for item in value)
    if plain is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, plain)


def _options(hint: Any) -> set[Any]:
    """Return the types of which a type hint allows any."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return set(typing.get_args(hint)) if is_union else {hint}


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def suggest(given: Any, known: Sequence[Any]) -> str:
    """Return a sentence that offers the known name closest to a wrong one, or nothing."""
    close = get_close_matches(str(given), [str(choice) for choice in known], n=1)
    return f" Did you mean {close[0]}?" if close else ""


def missing_fields(values: Mapping[str, Any], schema: type) -> list[str]:
    """Return the fields of the dataclass `schema` that have no default and no value."""
    required = (item for item in fields(schema) if item.default is MISSING and item.default_factory is MISSING)
    return [item.name for item in required if item.name not in values]


def describe_fields(items: Iterable[Field], prefix: str = "--") -> str:
    """Return help on fields of dataclasses, a line each, with defaults; what says nothing of itself is left out."""
    described = [item for item in items if "help" in item.metadata]
    width = max(len(item.name) for item in described)
    return "\n".join(f"{prefix}{item.name:{width}}  {item.metadata['help']}{_default(item)}" for item in described)


def _default(item: Field) -> str:
    if item.default in (MISSING, None):
        return ""
    return f" Default: {str(item.default).lower() if isinstance(item.default, bool) else item.default}."
