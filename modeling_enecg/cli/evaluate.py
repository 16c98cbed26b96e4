"""`enecg evaluate`: a model on labelled records of any dataset."""

import argparse
from pathlib import Path

from ._parsers import Commands, add_model_arguments, check_model, new_parser, quiet_libraries


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "evaluate",
        "Test a model on labelled records of any dataset, with a report.",
        "enecg evaluate runs/smoke --dataset my_ecgs --output evaluations/here",
        "Tasks and labels are matched by name.",
    )
    add_model_arguments(parser)
    data = parser.add_argument_group("records")
    data.add_argument(
        "--dataset",
        required=True,
        metavar="DIR_OR_ID",
        help="The dataset is a folder of PTB-XL, of MIMIC-IV-ECG or another public set, with a dataset.yaml, or of "
        "Parquet; or a Hub id.",
    )
    data.add_argument(
        "--split",
        action="append",
        help="This split is tested; by default test, with validation to calibrate by.",
    )
    data.add_argument(
        "--sampling_rate",
        type=int,
        metavar="HZ",
        help="Of PTB-XL the records of this rate are read, 100 or 500 Hz; by default that on which the model was "
        "trained.",
    )
    data.add_argument(
        "--on_error",
        choices=("raise", "skip"),
        default="raise",
        help="A bad record ends the command (raise, the default), or is left out (skip).",
    )
    data.add_argument("--cache_dir", help="The dataset is kept here once read.")
    where = parser.add_argument_group("where to write")
    where.add_argument("--output", required=True, metavar="FOLDER", help="Predictions and report go here.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Predict, then report."""
    check_model(options)
    from ..data.sources import DatasetOptions
    from ..prediction import Predictor
    from ..prediction.dataset import options_for
    from ..prediction.labelled import evaluate_model
    from ..reports import ReportOptions, write_full_report
    from ..runs.processes import start_processes

    quiet_libraries()
    state = start_processes()
    predictor = Predictor(options.model, options.adapter, state.device)
    dataset = DatasetOptions(options.dataset, on_error=options.on_error, cache_dir=options.cache_dir)
    dataset = options_for(predictor, dataset, options.sampling_rate)
    name = Path(options.model).resolve().name if Path(options.model).exists() else options.model
    folder = evaluate_model(predictor, name, dataset, options.output, options.split or ("test",))
    if state.is_main_process:
        print(write_full_report([folder], folder / "report", ReportOptions()))
