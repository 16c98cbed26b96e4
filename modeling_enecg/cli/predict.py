"""`enecg predict`: recordings, or a whole dataset."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs.portable import check_place
from ._parsers import Commands, new_parser, quiet_libraries

if TYPE_CHECKING:
    from ..io import ECGRecord


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "predict",
        "Predict recordings, or a whole dataset.",
        "enecg predict runs/smoke PTB-XL/records500/00000/00001_hr --plot ecg.png\n"
        "enecg predict runs/smoke --dataset my_ecgs --output predictions.parquet",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "model",
        metavar="MODEL",
        help="MODEL is the folder or Hub id of an EnECG model, or of an adapter that names its base.",
    )
    model.add_argument(
        "--adapter",
        action="append",
        default=[],
        help="The adapter, a folder or Hub id, is put on the model. Several may be given.",
    )
    records = parser.add_argument_group("recordings")
    records.add_argument("records", nargs="*", metavar="RECORD", help="RECORD is an ECG file of any known format.")
    records.add_argument("--sampling_rate", type=float, metavar="HZ", help="Files that do not say it have this rate.")
    records.add_argument(
        "--unit", help="Files that do not say it have this unit: nV, uV, mV, V, or how many mV one count is."
    )
    records.add_argument(
        "--lead_names", metavar="I,II,...", help="Files that do not name their leads have these, in this order."
    )
    records.add_argument("--json", action="store_true", help="The results are printed as JSON: a list of all records.")
    records.add_argument(
        "--plot", metavar="FILE.png", help="The 12-lead ECG of one record is drawn here, with its findings."
    )
    dataset = parser.add_argument_group("a dataset, instead of recordings")
    dataset.add_argument(
        "--dataset",
        metavar="DIR_OR_ID",
        help="The dataset is a folder of PTB-XL, of MIMIC-IV-ECG, with a dataset.yaml, or of Parquet; or a Hub id.",
    )
    dataset.add_argument("--output", metavar="FILE.parquet", help="The predictions go here.")
    dataset.add_argument(
        "--split", action="append", help="This split is predicted: train, validation or test. By default all are."
    )
    dataset.add_argument(
        "--on_error",
        choices=("raise", "skip"),
        default="raise",
        help="A bad record ends the command (raise, the default), or is left out (skip).",
    )
    dataset.add_argument("--cache_dir", help="The dataset is kept here once read.")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Predict what was given."""
    if (options.dataset is None) == (not options.records):
        raise ValueError("Give records, or a --dataset.")
    for place in (options.model, *options.adapter):
        check_place(place)
    if options.dataset is not None:
        _predict_dataset(options)
    else:
        _predict_records(options)


def _predict_dataset(options: argparse.Namespace) -> None:
    if options.output is None or options.plot or options.json:
        raise ValueError("--dataset needs an --output, and has no --plot or --json.")
    from ..data.sources import DatasetOptions
    from ..prediction import Predictor
    from ..prediction.dataset import predict_dataset
    from ..runs.processes import start_processes

    quiet_libraries()
    state = start_processes()
    dataset = DatasetOptions(
        options.dataset,
        sampling_rate=int(options.sampling_rate or DatasetOptions.sampling_rate),
        on_error=options.on_error,
        cache_dir=options.cache_dir,
    )
    output = predict_dataset(Predictor(options.model, options.adapter), dataset, options.output, options.split)
    if state.is_main_process:
        print(output)


def _predict_records(options: argparse.Namespace) -> None:
    if options.plot and len(options.records) > 1:
        raise ValueError("--plot draws one record; give one.")
    from ..io import read_ecg
    from ..prediction import Predictor

    quiet_libraries()
    predictor = Predictor(options.model, options.adapter)
    lead_names = options.lead_names.split(",") if options.lead_names else None
    results = []
    for path in options.records:
        record = read_ecg(path, options.sampling_rate, options.unit, lead_names)
        try:
            tasks = predictor(record)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        results.append({"record": str(path), **_describe_record(record), "tasks": tasks})
        if options.plot:
            _plot(record, tasks, Path(path).name, options.plot)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            _print_result(result)


def _plot(record: "ECGRecord", tasks: dict[str, Any], title: str, file: str) -> None:
    from ..data.ptbxl.labels import describe
    from ..figures.paper_ecg import plot_ecg
    from ..leads import STANDARD_LEADS
    from ..prediction import leading_findings

    findings = [(f"{label} {describe(label)}", score) for label, score in leading_findings(tasks)]
    order = [lead for lead in STANDARD_LEADS if lead in record.lead_names]
    rows = [record.lead_names.index(lead) for lead in order]
    plot_ecg(record.signal_mv[rows], record.sampling_rate, order, file, title, findings)


def _describe_record(record: "ECGRecord") -> dict[str, Any]:
    from ..leads import missing_leads

    return {
        "seconds": record.signal_mv.shape[1] / record.sampling_rate,
        "sampling_rate": record.sampling_rate,
        "lead_names": record.lead_names,
        "missing_leads": missing_leads(record.signal_mv, record.lead_names),
    }


def _print_result(result: dict[str, Any]) -> None:
    from ..data.ptbxl.labels import describe

    print(result["record"])
    missing = f"; missing: {', '.join(result['missing_leads'])}" if result["missing_leads"] else ""
    print(f"  {result['seconds']:.1f} s at {result['sampling_rate']:g} Hz; {', '.join(result['lead_names'])}{missing}")
    for name, task in result["tasks"].items():
        print(f"  {name}")
        unit = f" {task['unit']}" if task.get("unit") else ""
        for label, value in sorted(task["outputs"].items(), key=lambda output: -output[1]):
            print(f"    {value:8.3f}{unit}  {label:12} {describe(label)}")
        if len(task["gate_weights"]) > 1:
            weights = ", ".join(f"{expert} {weight:.2f}" for expert, weight in task["gate_weights"].items())
            print(f"    gate: {weights}")
    print("Research prototype, not a medical device.", file=sys.stderr)
