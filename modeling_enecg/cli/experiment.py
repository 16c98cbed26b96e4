"""`enecg experiment`: the papers' experiments."""

import argparse

from ..runs.portable import check_folder, check_place
from ..runs.shipped import shipped_folder
from ._parsers import Commands, new_parser, quiet_libraries


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "experiment",
        "Run an experiment of the papers: its runs, tables and figures.",
        "enecg experiment --list\n"
        "enecg experiment post_training/ablation --small --data_dir PTB-XL --output_dir runs/experiments",
    )
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="NAME is such as post_training/main_table; a paper's, for all of its; or all.",
    )
    what.add_argument("--list", action="store_true", help="The experiments are listed with their numbers of runs.")
    form = what.add_mutually_exclusive_group()
    form.add_argument(
        "--small",
        action="store_const",
        const="small",
        dest="form",
        help="The small form runs: small backbones from random weights, few epochs. It tells that the road works.",
    )
    form.add_argument(
        "--medium",
        action="store_const",
        const="medium",
        dest="form",
        help="The medium form runs: small backbones, pre-trained on the training fold; hours on two CPU cores.",
    )
    what.add_argument(
        "--seeds", type=_whole_numbers, metavar="1,2,...", help="Runs have these seeds instead of the experiment's."
    )
    what.add_argument("--configs", help="Recipes and experiments lie in this folder; by default, the shipped ones.")
    where = parser.add_argument_group("where to read and write")
    where.add_argument("--data_dir", help="The records lie here, as for `enecg train`.")
    where.add_argument("--output_dir", help="Results go here; the same command goes on with what is left.")
    where.add_argument("--cache_dir", help="Prepared records and features are kept here.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """List experiments, or run what is left of them."""
    if not options.list and None in (options.name, options.data_dir, options.output_dir):
        raise ValueError("Give a name, --data_dir and --output_dir; or --list.")
    if not options.list:
        check_place(options.data_dir)
    configs = options.configs or shipped_folder("configs")
    check_folder(str(configs))
    from ..experiments import check_studies, list_studies, load_study, run_study
    from ..runs.processes import start_processes

    quiet_libraries()
    known = list_studies(configs, options.form)
    if options.list:
        for name in known:
            study = load_study(configs, name, options.form, options.seeds)
            print(f"{name}: {study.title} ({len(study.runs())} runs)")
        return
    names = [name for name in known if options.name in ("all", name.split("/")[0])] or [options.name]
    studies = [load_study(configs, name, options.form, options.seeds) for name in names]
    check_studies(studies, configs)
    state = start_processes()
    for study in studies:
        folder = run_study(study, configs, options.data_dir, options.output_dir, options.cache_dir)
        if state.is_main_process:
            print(folder / "table.md")


def _whole_numbers(text: str) -> list[int]:
    from ..strict_numbers import whole_number

    try:
        return [whole_number(seed, "seed") for seed in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as 1,2,3; got {text!r}") from None
