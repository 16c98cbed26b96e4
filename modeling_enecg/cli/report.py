"""`enecg report`: a page on finished runs."""

import argparse
from pathlib import Path

from ..runs.portable import check_folder
from ._parsers import Commands, new_parser, quiet_libraries


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "report",
        "Write a report on finished runs: an HTML page, Markdown, LaTeX tables, figures, numbers.",
        "enecg report runs/smoke",
    )
    what = parser.add_argument_group("runs")
    what.add_argument("runs", nargs="+", metavar="RUN", help="RUN is the folder of a run that ended.")
    what.add_argument(
        "--output", metavar="FOLDER", help="The report goes here; that of one run by default into its folder report."
    )
    how = parser.add_argument_group("how to judge")
    how.add_argument(
        "--calibration",
        choices=("auto", "temperature", "platt"),
        default="auto",
        help="Probabilities are calibrated in this way on the validation records; by default by the model's own "
        "calibration, or else by the better of both.",
    )
    how.add_argument(
        "--resample",
        choices=("patient", "record"),
        default="patient",
        help="Intervals draw patients with all their records (the default), or records.",
    )
    how.add_argument(
        "--num_resamples", type=int, default=1000, help="The bootstrap draws so many resamples; by default 1000."
    )
    how.add_argument(
        "--coverage",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="Prediction sets and intervals shall hold the truth so often; by default 0.9.",
    )
    how.add_argument(
        "--figure_formats",
        type=lambda text: tuple(text.split(",")),
        default=("png",),
        metavar="png,svg,pdf",
        help="Figures are also written in these formats, for print; by default as PNG alone, at 300 dpi.",
    )
    aim = how.add_mutually_exclusive_group()
    aim.add_argument(
        "--sensitivity",
        type=float,
        metavar="SHARE",
        help="Thresholds reach this sensitivity on the validation records.",
    )
    aim.add_argument(
        "--specificity", type=float, metavar="SHARE", help="Likewise, this specificity. By default: the best F1 there."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the report, and print where."""
    for folder in options.runs:
        check_folder(folder)
    if len(options.runs) > 1 and options.output is None:
        raise ValueError("Several runs need an --output folder for their report.")
    from ..reports import ReportOptions, write_full_report

    quiet_libraries()
    settings = ReportOptions(
        options.calibration,
        options.resample,
        options.num_resamples,
        sensitivity=options.sensitivity,
        specificity=options.specificity,
        coverage=options.coverage,
        figure_formats=options.figure_formats,
    )
    print(write_full_report(options.runs, options.output or Path(options.runs[0], "report"), settings))
