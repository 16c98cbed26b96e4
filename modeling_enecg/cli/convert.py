"""`enecg convert`: a published checkpoint becomes a model folder."""

import argparse
import json
from pathlib import Path

from ._parsers import Commands, new_parser, quiet_libraries


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "convert",
        "Turn a published checkpoint into a model folder.",
        "enecg convert ecgfounder 12_lead_ECGFounder.pth checkpoints/ecgfounder",
        "`enecg experts` lists the backbones, and where their checkpoints are published.",
    )
    what = parser.add_argument_group("what to convert")
    what.add_argument("name", metavar="NAME", help="NAME is the backbone's, such as ecgfounder.")
    what.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="CHECKPOINT is the published file, or a .safetensors file with upstream's key names.",
    )
    what.add_argument(
        "--hyperparameters",
        metavar="FILE.json",
        help="The file gives the architecture in upstream's names. Without it, the published size is meant.",
    )
    where = parser.add_argument_group("where to write")
    where.add_argument(
        "output_dir", metavar="OUTPUT_DIR", help="OUTPUT_DIR is the folder to make; it must be absent or empty."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Convert, and say what was left out."""
    if not Path(options.checkpoint).is_file():
        raise FileNotFoundError(f"No checkpoint file at {options.checkpoint}.")
    from ..conversion import CONVERTERS, convert_checkpoint
    from ..settings import check_choice

    quiet_libraries()
    check_choice("name", options.name, sorted(CONVERTERS))
    report = convert_checkpoint(
        options.name, options.checkpoint, options.output_dir, _hyperparameters(options.hyperparameters)
    )
    print(f"{options.output_dir}: {report['num_parameters']:,} parameters of {options.name}.")
    for reason in sorted(set(report["dropped"].values())):
        keys = [key for key, why in report["dropped"].items() if why == reason]
        print(f"Left out {len(keys)} entries ({keys[0]}{', ...' if len(keys) > 1 else ''}): {reason}.")


def _hyperparameters(file: str | None) -> dict | None:
    if file is None:
        return None
    content = json.loads(Path(file).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a mapping of names to values.")
    return content
