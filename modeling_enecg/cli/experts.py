"""`enecg experts`: the backbones, and where their published weights are."""

import argparse

from ._parsers import Commands, new_parser


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands, "experts", "List the backbones, and where their published weights are.", "enecg experts"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the list."""
    from ..conversion.published import PUBLISHED

    for weights in PUBLISHED:
        print(f"{weights.name}: {weights.architecture}")
        print(f"  {weights.num_parameters:,} parameters; {weights.input_size}")
        print(f"  weights: {weights.source} ({weights.licence})")
        print(f"  {weights.convert_command}")
