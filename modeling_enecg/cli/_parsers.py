"""Common parts of the commands: how their help looks, and that libraries keep quiet."""

import argparse
import textwrap
import warnings
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def new_parser(
    commands: Commands, name: str, summary: str, example: str, more: str = "", add_help: bool = True
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: Those of `enecg`.
        name (`str`): What it is called.
        summary (`str`): A sentence on what it does, for the list of commands.
        example (`str`): Lines that call it.
        more (`str`, *optional*): Further sentences for its own help.
        add_help (`bool`, *optional*, defaults to `True`): Whether `--help` shows what the parser knows.
    """
    return commands.add_parser(
        name,
        help=summary[0].lower() + summary[1:].rstrip("."),
        description=textwrap.fill(f"{summary} {more}", 100),
        epilog=f"example:\n{textwrap.indent(example, '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=add_help,
    )


def quiet_libraries() -> None:
    """Leave the terminal to what the command itself has to say."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of names that peft still uses


__all__ = ["Commands", "new_parser", "quiet_libraries"]
