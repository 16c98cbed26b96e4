"""`enecg plan`: what a recipe will take."""

import argparse
import json
import sys
from dataclasses import asdict

from ..runs.shipped import find_recipe
from ._parsers import Commands, new_parser, quiet_libraries


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "plan",
        "Estimate what a recipe takes on PTB-XL, from short measured runs.",
        "enecg plan ptbxl_smoke --seed 1",
    )
    parser.add_argument("--json", action="store_true", help="The plan is printed as JSON.")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "recipe", metavar="RECIPE", help="RECIPE is a YAML file, or the name of a shipped one (see `enecg recipes`)."
    )
    recipe.add_argument(
        "overrides",
        nargs=argparse.REMAINDER,
        metavar="--key value",
        help="Last of all come fields that the run is to have, as for `enecg train`.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, and print the plan."""
    file = find_recipe(options.recipe)
    from ..training import load_recipe
    from ..training.plan import plan_recipe

    quiet_libraries()
    overrides = [f"--{name}=nowhere" for name in ("data_dir", "output_dir")]  # planning makes its own
    plan = plan_recipe(load_recipe(file, [*overrides, *options.overrides]))
    if options.json:
        content = asdict(plan) | {"total_seconds": plan.total_seconds, "peak_mb": plan.peak_mb}
        content["stages"] = {name: stage._asdict() for name, stage in plan.stages.items()}
        print(json.dumps(content, indent=2))
        return
    print(
        f"{options.recipe} on PTB-XL, one process on {plan.device}: about {_duration(plan.total_seconds)}, "
        f"{plan.peak_mb / 1e3:.1f} GB of memory, {plan.disk_gb:.1f} GB of disk"
    )
    for name, stage in plan.stages.items():
        # A pre-training also trains what is thrown away later.
        of_all = f" of {plan.num_parameters:,}" if stage.num_trainable <= plan.num_parameters else ""
        print(
            f"  {name}: {stage.num_epochs} epochs of {_duration(stage.seconds_an_epoch)}, "
            f"{stage.num_trainable:,}{of_all} parameters, {stage.peak_mb / 1e3:.1f} GB"
        )
    print(f"  all else (preparing, features, predictions): {_duration(plan.other_seconds)}")
    print(
        "Scaled up from two short runs on simulated records; memory without what is mapped from disk.", file=sys.stderr
    )


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s" if seconds > 10 else f"{seconds:.1f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
