"""`enecg index`: from a folder of recordings to a data set of one's own."""

import argparse

from ._parsers import Commands, new_parser


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "index",
        "Read every recording of a folder, and write what the files say as labels.csv and dataset.yaml beside them.",
        "enecg index my_ecgs\nenecg train own_data --data_dir my_ecgs --output_dir runs/mine",
        "Patients' numbers become pseudonyms; names are never read. unreadable.csv has the files that cannot be read.",
    )
    what = parser.add_argument_group("what to read")
    what.add_argument("folder", metavar="FOLDER", help="FOLDER holds recordings of any known format, also in folders.")
    what.add_argument("--num_proc", type=int, default=1, metavar="N", help="N processes read; by default 1.")
    how = parser.add_argument_group("what to write")
    how.add_argument(
        "--clear_ids", action="store_true", help="Patients' numbers are kept as they are; by default they are hidden."
    )
    how.add_argument("--overwrite", action="store_true", help="A table and settings that are there are replaced.")
    how.add_argument("--seed", type=int, default=0, help="The seed draws the folds; by default 0.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Index, and print what was found."""
    from ..data.folder.index import index_folder

    index = index_folder(options.folder, options.num_proc, options.clear_ids, options.overwrite, options.seed)
    print(f"{options.folder}: {len(index.rows)} recordings of {len({row['patient'] for row in index.rows})} patients.")
    if index.unreadable:
        file, reason = next(iter(index.unreadable.items()))
        print(f"{len(index.unreadable)} files could not be read, such as {file}: {reason} All are in unreadable.csv.")
    if index.labels:
        print(f"To learn: {', '.join(index.labels)}. Next: enecg train own_data --data_dir {options.folder} ...")
    else:
        print("The files state no label; add columns to labels.csv and name them in dataset.yaml under labels.")
