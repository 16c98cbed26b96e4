"""The command `enecg`: finds its commands, runs one, and ends every mistake in its input in one line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from ..version import __version__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every mistake in its input ends in one line on standard error and exit status 1.

    Args:
        arguments (`Sequence[str]`, *optional*): What stands behind `enecg`; by default, on the command line.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the output has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        sys.exit(1)
    except Exception as error:
        line = _mistake(error)
        if line is None:
            raise
        sys.exit(f"enecg {options.command}: {line}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enecg",
        description="12-lead ECG foundation models. Research prototype, not a medical device.",
        epilog="`enecg COMMAND --help` tells more of a command, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name in command_names():
        import_module(f".{name}", __package__).add_parser(commands)
    return parser


def command_names() -> list[str]:
    """Return the names of all commands: the modules beside this one, but for those that begin with `_`."""
    modules = (module.name for module in iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in modules if name != "main" and not name.startswith("_"))


def _mistake(error: Exception) -> str | None:
    """Return the line that tells of an error, or None where it is not the user's to mend but a fault in the code."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("modeling_enecg"):
        return f"{error}; pip install {error.name} brings it, or the project's extras train and formats."
    if isinstance(error, ValueError | OSError) or (isinstance(error, ImportError) and error.name is None):
        return " ".join(str(error).split())
    from safetensors import SafetensorError

    if isinstance(error, SafetensorError):
        return " ".join(str(error).split())
    if "datasets" in sys.modules and isinstance(error, sys.modules["datasets"].exceptions.DatasetGenerationError):
        return _mistake(error.__cause__) if isinstance(error.__cause__, Exception) else None
    from ..hub.upload import NETWORK_ERRORS

    if isinstance(error, NETWORK_ERRORS):
        return f"The connection to the Hub broke ({type(error).__name__}); try again."
    return None


__all__ = ["command_names", "main"]
