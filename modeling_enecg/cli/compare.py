"""`enecg compare`: how two runs differ on the same test records."""

import argparse

from ..runs.portable import check_folder
from ._parsers import Commands, new_parser, quiet_libraries

CORRECTIONS = {"none": "none", "bonferroni": "bonferroni", "holm": "holm", "fdr": "benjamini-hochberg"}


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "compare",
        "Compare two runs on the same test records, label by label.",
        "enecg compare runs/smoke runs/other --output reports/smoke_against_other",
    )
    runs = parser.add_argument_group("runs")
    runs.add_argument(
        "first", metavar="RUN_A", help="RUN_A is the folder of a run; differences are this one minus the other."
    )
    runs.add_argument("second", metavar="RUN_B", help="RUN_B is the folder of another run.")
    how = parser.add_argument_group("how to compare")
    how.add_argument("--task", help="Only this task is compared.")
    how.add_argument("--metric", choices=("auroc", "auprc", "mae", "rmse", "r2"), help="Only this metric is compared.")
    how.add_argument(
        "--correction",
        choices=tuple(CORRECTIONS),
        default="holm",
        help="P-values are adjusted over a metric's labels in this way; by default by Holm's.",
    )
    how.add_argument(
        "--num_resamples", type=int, default=5000, help="The bootstrap draws so many resamples; by default 5000."
    )
    where = parser.add_argument_group("where to write")
    where.add_argument(
        "--output", metavar="FOLDER", help="Tables and figures go here; without it, the tables are printed."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compare; write or print the tables."""
    for folder in (options.first, options.second):
        check_folder(folder)
    from ..reports import ComparisonOptions, compare_runs, comparison_markdown, write_comparison

    quiet_libraries()
    settings = ComparisonOptions(options.task, options.metric, CORRECTIONS[options.correction], options.num_resamples)
    compared = compare_runs(options.first, options.second, settings)
    print(write_comparison(compared, options.output) if options.output else comparison_markdown(compared))
