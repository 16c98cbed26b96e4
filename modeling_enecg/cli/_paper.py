"""How the commands that draw a recording are told about its paper, and what they measure for its header."""

import argparse
from typing import TYPE_CHECKING

from ..figures.paper import GAINS, LAYOUTS, SPEEDS, Paper
from ._parsers import refuse_unused

if TYPE_CHECKING:
    from ..figures.recording import Print
    from ..recording import ECGRecord


def add_paper_arguments(parser: argparse.ArgumentParser) -> None:
    """Add layout, speed, gain and the patient's pseudonym to a command with `--plot`."""
    paper = parser.add_argument_group("paper of --plot, which is written as PNG, SVG or PDF by its ending")
    paper.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        default=Paper.layout,
        help="Rows times columns of leads (default: 3x4, with a rhythm strip); cabrera is 6x2 with the limb leads in "
        "the order aVL, I, -aVR, II, aVF, III. Fewer than 12 leads make a row each.",
    )
    paper.add_argument(
        "--speed",
        type=float,
        choices=SPEEDS,
        default=Paper.mm_per_second,
        metavar="MM_PER_S",
        help="25 (default) or 50 mm per second; the paper holds 10 s or 5 s.",
    )
    paper.add_argument(
        "--gain",
        type=float,
        choices=GAINS,
        default=Paper.mm_per_mv,
        metavar="MM_PER_MV",
        help="5, 10 (default) or 20 mm per mV.",
    )
    paper.add_argument(
        "--patient",
        metavar="PSEUDONYM",
        help="The header calls the patient so, and states age and sex; by default it says nothing of the patient.",
    )


def check_paper(options: argparse.Namespace) -> None:
    """Refuse a paper without a picture.

    Raises:
        ValueError: if something is said of the paper, and there is no `--plot`.
    """
    paper = {"layout": Paper.layout, "speed": Paper.mm_per_second, "gain": Paper.mm_per_mv, "patient": None}
    if options.plot is None:
        refuse_unused(options, paper, "is of the paper of --plot, which is not given.")


def print_options(options: argparse.Namespace, record: "ECGRecord") -> "Print":
    """Return how to print a recording, as `add_paper_arguments` was told, with what is measured in it."""
    from ..data.measured_print import measured_print

    return measured_print(record, Paper(options.layout, options.speed, options.gain), options.patient)


__all__ = ["add_paper_arguments", "check_paper", "print_options"]
