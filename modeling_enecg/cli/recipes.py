"""`enecg recipes`: the recipes that are shipped."""

import argparse

from ..runs.shipped import shipped_recipes
from ._parsers import Commands, new_parser


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "recipes",
        "List the shipped recipes, which `enecg train` takes by name.",
        "enecg recipes",
        "Each is a YAML file, whose first line says what it is for.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print each recipe's name and first line."""
    recipes = shipped_recipes()
    width = max(map(len, recipes))
    for name, file in recipes.items():
        with file.open(encoding="utf-8") as lines:
            print(f"{name:{width}}  {next(lines).removeprefix('#').strip()}")
