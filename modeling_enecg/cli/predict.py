"""`enecg predict`: recordings, or a whole dataset."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._paper import add_paper_arguments, check_paper, print_options
from ._parsers import (
    ANSWERS_OF_FILES,
    OF_A_DATASET,
    Commands,
    add_model_arguments,
    add_reading_arguments,
    check_model,
    check_plot,
    counted_verdicts,
    new_parser,
    quiet_libraries,
    reading_options,
    refuse_unused,
)

if TYPE_CHECKING:
    from ..export import OnnxPredictor
    from ..findings import Findings
    from ..prediction import Predictor
    from ..recording import ECGRecord


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "predict",
        "Predict recordings, or a whole dataset.",
        "enecg predict runs/smoke PTB-XL/records500/00000/00001_hr --plot ecg.png\n"
        "enecg predict runs/smoke new_recordings --output predictions.parquet",
    )
    add_model_arguments(parser, "; or a file of `enecg export`, which predicts recordings without torch")
    records = parser.add_argument_group("recordings")
    records.add_argument(
        "records",
        nargs="*",
        metavar="RECORD_OR_FOLDER",
        help="A record is an ECG file of any known format; of a folder, all that it and its sub-folders hold.",
    )
    add_reading_arguments(
        records,
        " Of a --dataset with several rates, this one is read; by default that on which the model was trained.",
    )
    records.add_argument("--json", action="store_true", help="The results are printed as JSON: a list of all records.")
    records.add_argument(
        "--plot", metavar="FILE.png", help="The ECG of one record is drawn here, with its findings; also .svg or .pdf."
    )
    records.add_argument(
        "--output",
        metavar="FILE.parquet",
        help="The predictions go into a table here, a row per file; the same command goes on after a kill.",
    )
    records.add_argument(
        "--force", action="store_true", help="Recordings whose signal is unusable (flat, noise) are scored as well."
    )
    add_paper_arguments(parser)
    dataset = parser.add_argument_group("a dataset, instead of recordings")
    dataset.add_argument(
        "--dataset",
        metavar="DIR_OR_ID",
        help="The dataset is a folder of PTB-XL, of MIMIC-IV-ECG or another public set, with a dataset.yaml, or of "
        "Parquet; or a Hub id.",
    )
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
    check_plot(options.plot)
    check_paper(options)
    if (options.dataset is None) == (not options.records):
        raise ValueError("Give records, or a --dataset.")
    if options.dataset is None:
        refuse_unused(options, OF_A_DATASET, "is for a --dataset; these are recordings.")
    else:
        refuse_unused(options, ANSWERS_OF_FILES, "is for recordings; a dataset says it itself.")
        refuse_unused(options, {"force": False}, "is for recordings; of a dataset all records are scored.")
    if _is_onnx(options):
        if options.adapter or options.output or options.dataset:
            raise ValueError("An ONNX file predicts RECORDs, and has no --adapter, --output or --dataset.")
    else:
        check_model(options)
    if options.dataset is not None:
        _predict_dataset(options)
    elif options.output is not None:
        _predict_files(options)
    else:
        _predict_records(options)


def _is_onnx(options: argparse.Namespace) -> bool:
    return Path(options.model).suffix == ".onnx"


def _predict_files(options: argparse.Namespace) -> None:
    if options.plot or options.json:
        raise ValueError("--output writes a table, and has no --plot or --json.")
    from ..prediction import Predictor
    from ..prediction.files import predict_files
    from ..runs.processes import start_processes

    quiet_libraries()
    state = start_processes()
    predictor = Predictor(options.model, options.adapter, state.device)
    output = predict_files(predictor, options.records, options.output, reading_options(options), options.force)
    if state.is_main_process:
        print(f"{output}: {counted_verdicts(output, 'files')}. The column error says why.")


def _predict_dataset(options: argparse.Namespace) -> None:
    if options.output is None or options.plot or options.json:
        raise ValueError("--dataset needs an --output, and has no --plot or --json.")
    from ..data.sources import DatasetOptions
    from ..prediction import Predictor
    from ..prediction.dataset import options_for, predict_dataset
    from ..runs.processes import start_processes

    quiet_libraries()
    state = start_processes()
    predictor = Predictor(options.model, options.adapter, state.device)
    dataset = DatasetOptions(options.dataset, on_error=options.on_error, cache_dir=options.cache_dir)
    dataset = options_for(predictor, dataset, options.sampling_rate)
    output = predict_dataset(predictor, dataset, options.output, options.split)
    if state.is_main_process:
        print(output)


def _predict_records(options: argparse.Namespace) -> None:
    from ..data.folder.recordings import find_recordings

    quiet_libraries()
    files = find_recordings(options.records)
    if options.plot and len(files) > 1:
        raise ValueError("--plot draws one record; give one.")
    predictor, reading = _record_predictor(options), reading_options(options)
    results = []
    for path in files:
        record = reading.read(path)
        try:
            found = predictor(record, options.force)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        results.append((path, record, found))
    if options.json:
        print(json.dumps([_described(predictor, *result) for result in results], indent=2))
    else:
        for result in results:
            _print_result(predictor, *result)
    if options.plot:  # after the findings, which a picture that cannot be drawn must not cost
        ((path, record, found),) = results
        _plot(record, found, Path(path).name, options)


def _record_predictor(options: argparse.Namespace) -> "Predictor | OnnxPredictor":
    if _is_onnx(options):
        from ..export import OnnxPredictor

        return OnnxPredictor(options.model)
    from ..prediction import Predictor

    return Predictor(options.model, options.adapter)


def _plot(record: "ECGRecord", found: "Findings", title: str, options: argparse.Namespace) -> None:
    from ..data.ptbxl.labels import describe
    from ..figures.ecg_header import finding_lines
    from ..figures.recording import plot_recording

    plot_recording(record, print_options(options, record), options.plot, title, finding_lines(found, describe))


def _described(
    predictor: "Predictor | OnnxPredictor", path: str, record: "ECGRecord", found: "Findings"
) -> dict[str, Any]:
    from ..evaluation.lead_sets import worth_on_leads

    worth = {task: worth_on_leads(predictor.model.tasks[task], found.missing_leads) or None for task in found}
    seconds = record.signal_mv.shape[1] / record.sampling_rate
    about = {"record": path, "seconds": seconds, "sampling_rate": record.sampling_rate}
    return {**about, "lead_names": record.lead_names, **found.to_dict(), "worth_on_these_leads": worth}


def _print_result(predictor: "Predictor | OnnxPredictor", path: str, record: "ECGRecord", found: "Findings") -> None:
    from ..data.ptbxl.labels import describe
    from ..evaluation.lead_sets import worth_on_leads

    print(path)
    seconds = record.signal_mv.shape[1] / record.sampling_rate
    print(f"  {seconds:.1f} s at {record.sampling_rate:g} Hz; quality: {found.quality.verdict}", end="")
    print(f" ({found.quality})" if str(found.quality) else "")
    if not found.is_scored:
        print("  Not scored: the signal is unusable. --force scores it all the same.")
        return
    missing = f"; missing: {', '.join(found.missing_leads)}" if found.missing_leads else ""
    print(f"  leads used: {', '.join(found.used_leads)}{missing}")
    for name, reason in found.left_out.items():
        print(f"  left out: {name} ({reason})")
    if novelty := found.describe_novelty():
        print(f"  {novelty}")
    for task, each in found.items():
        print(f"  {task}")
        for line in each:
            meaning = describe(line["label"])
            print(f"    {_line(line)}  {'' if meaning == line['label'] else meaning}".rstrip())
        if worth := worth_on_leads(predictor.model.tasks[task], found.missing_leads):
            print(f"    {worth}")
        weights = found.gate_weights[task]
        if len(weights) > 1:
            print("    gate: " + ", ".join(f"{expert} {weight:.2f}" for expert, weight in weights.items()))
    print("Research prototype, not a medical device.", file=sys.stderr)


def _line(finding: dict[str, Any]) -> str:
    """Return a finding's numbers: decision, calibrated probability, what it is held against, and the raw one."""
    if "value" in finding:
        interval = f" ({finding['lower']:.3f} to {finding['upper']:.3f})" if "lower" in finding else ""
        return f"{finding['value']:.3f} {finding['unit'] or ''}{interval}".rstrip() + f"  {finding['label']}"
    decision = "present" if finding["present"] else "-"
    held = "" if finding["threshold"] is None else f" of {finding['threshold']:.3f}"
    return f"{decision:8}{finding['score']:.3f}{held} (raw {finding['raw_score']:.3f})  {finding['label']:12}"
