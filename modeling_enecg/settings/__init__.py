"""Settings of YAML files and command lines: read strictly, laid over each other, and checked."""

from .settings import (
    SettingsError,
    check_choice,
    check_fields,
    fits,
    merged,
    missing_fields,
    override,
    parse_overrides,
    read_settings,
    suggest,
)

__all__ = [
    "SettingsError",
    "check_choice",
    "check_fields",
    "fits",
    "merged",
    "missing_fields",
    "override",
    "parse_overrides",
    "read_settings",
    "suggest",
]
