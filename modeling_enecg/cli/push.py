"""`enecg push`: a model, a backbone or an adapter goes to the Hub."""

import argparse

from ..runs.portable import check_folder
from ._parsers import Commands, new_parser, quiet_libraries


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "push",
        "Publish a model, a backbone or an adapter on the Hub.",
        "enecg push runs/smoke --to org/name --private",
        "Patients' predictions stay here.",
    )
    what = parser.add_argument_group("what to publish")
    what.add_argument(
        "folder", metavar="FOLDER", help="FOLDER is a run's, its folder adapter, or what `enecg convert` made."
    )
    what.add_argument(
        "--base", metavar="ORG/NAME", help="The base of an adapter that was trained on a folder is here on the Hub."
    )
    what.add_argument(
        "--accept_licence",
        action="append",
        default=[],
        metavar="EXPERT",
        help="You have the right to publish this expert's weights, though its licence does not give it to everybody.",
    )
    where = parser.add_argument_group("where to publish")
    where.add_argument(
        "--to", required=True, metavar="ORG/NAME", help="The repository gets it; it is made if need be."
    )
    where.add_argument("--private", action="store_true", help="A new repository is made private.")
    where.add_argument("--revision", metavar="BRANCH", help="The commit goes to this branch; it is made if need be.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Push, and print the address."""
    check_folder(options.folder)
    from ..hub.push import push_folder

    quiet_libraries()
    address = push_folder(
        options.folder,
        options.to,
        private=options.private,
        revision=options.revision,
        base=options.base,
        accept_licences=options.accept_licence,
    )
    print(address)
