"""Settings of YAML files and command lines: read, laid over each other, and checked against a dataclass."""

import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml


class SettingsError(ValueError):
    """Settings that cannot be followed as written."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads `5e-4` as the number that YAML 1.2 says it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_settings(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file and what it extends.

    Raises:
        SettingsError: if a file cannot be read, is no mapping, or extends itself.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
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


def parse_overrides(arguments: Sequence[str], flags: Collection[str]) -> list[tuple[str, Any]]:
    """Read `--key value` and `--key=value`; one of the flags may stand alone for true. Values are YAML."""
    pairs = []
    remaining = list(arguments)
    while remaining:
        key, equals, text = remaining.pop(0).partition("=")
        if not key.startswith("--") or len(key) == 2:
            raise SettingsError(f"Expected --key value, got {key!r}.")
        if not equals:
            stands_alone = not remaining or remaining[0].startswith("--")
            if stands_alone and key[2:] in flags:
                text = "true"
            elif not remaining:
                raise SettingsError(f"{key} lacks a value.")
            else:
                text = remaining.pop(0)
        try:
            pairs.append((key[2:], yaml.load(text, _Loader)))
        except yaml.YAMLError as error:
            raise SettingsError(f"{key}: cannot read the value {text!r}: {error}") from error
    return pairs


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
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in typing.get_args(hint))
    if hint is Any:
        return True
    plain = origin or hint
    if plain is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if plain is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, plain)


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
