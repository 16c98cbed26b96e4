"""The command `enecg`."""

from .main import main

__all__ = ["main"]
