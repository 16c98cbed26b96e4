"""Settings of YAML files and command lines: read strictly, laid over each other, and checked."""

from .settings import (
    SettingsError,
    check_choice,
    check_fields,
    describe_fields,
    fits,
    merged,
    missing_fields,
    override,
    parse_overrides,
    read_settings,
    suggest,
)
from .strict_yaml import load_yaml

__all__ = [
    "SettingsError",
    "check_choice",
    "check_fields",
    "describe_fields",
    "fits",
    "load_yaml",
    "merged",
    "missing_fields",
    "override",
    "parse_overrides",
    "read_settings",
    "suggest",
]
