"""Common parts of the commands: how their help looks, and that libraries keep quiet."""

import argparse
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..runs.portable import check_place
from ..runs.shipped import find_model

if TYPE_CHECKING:
    from ..data.folder.recordings import ReadingOptions

ANSWERS_OF_FILES: Mapping[str, Any] = {"unit": None, "lead_names": None}  # what a dataset says itself
OF_A_DATASET: Mapping[str, Any] = {"split": None, "on_error": "raise", "cache_dir": None}
PICTURES = (".png", ".svg", ".pdf")

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


def add_model_arguments(parser: argparse.ArgumentParser, or_else: str = "") -> None:
    """Add the model and its adapters to a command.

    Args:
        parser (`argparse.ArgumentParser`): The command's.
        or_else (`str`, *optional*): What else the command takes for a model, for its help.
    """
    model = parser.add_argument_group("model")
    model.add_argument(
        "model",
        metavar="MODEL",
        help="MODEL is small, the model that comes with the package; or the folder or Hub id of an EnECG model, or of "
        f"an adapter that names its base{or_else}.",
    )
    model.add_argument(
        "--adapter",
        action="append",
        default=[],
        help="The adapter, a folder or Hub id, is put on the model. Several may be given.",
    )


def check_model(options: argparse.Namespace) -> None:
    """Refuse a model and adapters that are nowhere, before anything large is imported.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a shipped model and a folder here have the same name; or it is an ONNX file.
    """
    for place in (options.model, *options.adapter):
        if Path(place).suffix == ".onnx":
            raise ValueError(
                f"{place} is the graph of a model, which `enecg predict` alone computes; give the model that it was "
                "exported from."
            )
    find_model(options.model)
    for place in options.adapter:
        check_place(place)


def counted_verdicts(table: Path, rows: str) -> str:
    """Return how many rows, called so, a table has, and how many of each verdict."""
    import pyarrow.parquet as pq

    from ..signal_quality import DOUBTFUL, OK, UNUSABLE

    verdicts = pq.read_table(table, columns=["quality"])["quality"].to_pylist()
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (OK, DOUBTFUL, UNUSABLE))
    return f"{len(verdicts)} {rows}: {counts}"


def check_plot(file: str | None) -> None:
    """Refuse a picture that could not be written, before any work goes into it.

    Raises:
        ValueError: if the file's ending is of no such format.
    """
    if file is not None and Path(file).suffix.lower() not in PICTURES:
        raise ValueError(f"--plot writes {', '.join(PICTURES)}, by the file's ending; got {file}.")


def refuse_unused(options: argparse.Namespace, unused: Mapping[str, Any], reason: str) -> None:
    """Refuse options that were given, and would do nothing.

    Args:
        options (`argparse.Namespace`): Those of the command.
        unused (`Mapping[str, Any]`): Their defaults by name.
        reason (`str`): What they need, for the message.

    Raises:
        ValueError: if one differs from its default.
    """
    for name, default in unused.items():
        if getattr(options, name) != default:
            raise ValueError(f"--{name} {reason}")


def add_reading_arguments(group: "argparse._ArgumentGroup", rate_of_dataset: str = "") -> None:
    """Add what files that do not say it are told.

    Args:
        group: The command's group of recordings.
        rate_of_dataset (`str`, *optional*): What the sampling rate means for a dataset, for its help.
    """
    group.add_argument(
        "--sampling_rate",
        type=float,
        metavar="HZ",
        help=f"Files that do not say it have this rate.{rate_of_dataset}",
    )
    group.add_argument(
        "--unit", help="Files that do not say it have this unit: nV, uV, mV, V, or how many mV one count is."
    )
    group.add_argument(
        "--lead_names", metavar="I,II,...", help="Files that do not name their leads have these, in this order."
    )


def reading_options(options: argparse.Namespace) -> "ReadingOptions":
    """Return what `add_reading_arguments` was given."""
    from ..data.folder.recordings import ReadingOptions

    names = options.lead_names.split(",") if options.lead_names else None
    return ReadingOptions(options.sampling_rate, options.unit, names)


def quiet_libraries() -> None:
    """Leave the terminal to what the command itself has to say."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of names that peft still uses


__all__ = [
    "ANSWERS_OF_FILES",
    "OF_A_DATASET",
    "PICTURES",
    "Commands",
    "add_model_arguments",
    "add_reading_arguments",
    "check_model",
    "check_plot",
    "counted_verdicts",
    "new_parser",
    "quiet_libraries",
    "reading_options",
    "refuse_unused",
]
