"""`enecg simulate`: ECGs of no patient, to try everything on."""

import argparse

from ._parsers import Commands, new_parser


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "simulate",
        "Simulate a small PTB-XL in its own layout, to try everything on.",
        "enecg simulate simulated --num_records 600\n"
        "enecg train ptbxl_smoke --data_dir simulated --output_dir runs/smoke",
        "No patient is in it, and a score on it says nothing about real ECGs.",
    )
    where = parser.add_argument_group("where to write")
    where.add_argument(
        "output_dir", metavar="OUTPUT_DIR", help="OUTPUT_DIR is the folder to make; it must be absent or empty."
    )
    what = parser.add_argument_group("what to simulate")
    what.add_argument("--num_records", type=int, default=600, help="So many records are made; by default 600.")
    what.add_argument("--seed", type=int, default=0, help="The seed draws everything; by default 0.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Simulate, and print where."""
    from ..data.simulator.ptbxl_layout import simulate_ptbxl

    print(simulate_ptbxl(options.output_dir, options.num_records, options.seed))
