"""The `enecg` command: convert checkpoints, predict, evaluate, plan, report on runs, publish, run experiments."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.utils import logging

from ..conversion import CONVERTERS, convert_checkpoint
from ..conversion.published import PUBLISHED
from ..data.ptbxl.labels import describe
from ..figures.paper_ecg import plot_ecg
from ..hub.push import push_folder
from ..hub.upload import NETWORK_ERRORS
from ..io import ECGRecord, read_ecg
from ..leads import STANDARD_LEADS, missing_leads
from ..prediction import Predictor, leading_findings
from ..version import __version__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every mistake in its input ends in one line on standard error and exit status 1."""
    options = _parser().parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of names that peft still uses
    try:
        options.run(options)
    except (ValueError, OSError, SafetensorError) as error:
        sys.exit(f"enecg {options.command}: {' '.join(str(error).split())}")
    except NETWORK_ERRORS as error:
        sys.exit(f"enecg {options.command}: The connection to the Hub broke ({type(error).__name__}); try again.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enecg", description="12-lead ECG foundation models. Research prototype, not a medical device."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    convert = commands.add_parser("convert", help="turn a published checkpoint into a model folder")
    convert.add_argument("name", choices=sorted(CONVERTERS), help="the backbone")
    convert.add_argument("checkpoint", help="the published file, or a .safetensors with upstream's key names")
    convert.add_argument("output_dir", help="the folder to make")
    convert.add_argument("--hyperparameters", metavar="FILE.json", help="upstream's architecture; default: published")
    convert.set_defaults(run=_convert)

    experts = commands.add_parser("experts", help="list the backbones and where their published weights are")
    experts.set_defaults(run=_experts)

    predict = commands.add_parser("predict", help="predict recordings")
    predict.add_argument("model", help="folder or Hub id of an EnECG model, or of an adapter that names its base")
    predict.add_argument("records", nargs="*", metavar="record", help="ECG file of any known format")
    predict.add_argument("--sampling_rate", type=float, metavar="HZ", help="of files that do not say it")
    predict.add_argument("--unit", help="of files that do not say it: nV, uV, mV, V, or how many mV one count is")
    predict.add_argument("--lead_names", metavar="I,II,...", help="of files that do not say them, in their order")
    predict.add_argument("--adapter", action="append", default=[], help="folder or Hub id of an adapter on the model")
    predict.add_argument("--json", action="store_true", help="print JSON, one list of all records")
    predict.add_argument("--plot", metavar="FILE.png", help="draw the 12-lead ECG of one record with its findings")
    predict.add_argument(
        "--dataset", metavar="DIR_OR_ID", help="predict a dataset: PTB-XL, MIMIC-IV-ECG, dataset.yaml, Parquet, Hub id"
    )
    predict.add_argument("--output", metavar="FILE.parquet", help="with --dataset: where the predictions go")
    predict.add_argument("--split", action="append", help="with --dataset: train, validation or test; all by default")
    predict.add_argument("--on_error", choices=("raise", "skip"), default="raise", help="with --dataset: bad records")
    predict.add_argument("--cache_dir", help="with --dataset: where the dataset is kept once read")
    predict.set_defaults(run=_predict)

    plan = commands.add_parser("plan", help="estimate what a recipe takes on PTB-XL, from short measured runs")
    plan.add_argument("--json", action="store_true", help="print JSON")
    plan.add_argument("recipe", help="the recipe's YAML file")
    plan.add_argument("overrides", nargs=argparse.REMAINDER, help="last of all, --key value as of train.py")
    plan.set_defaults(run=_plan)

    evaluate = commands.add_parser("evaluate", help="test a model on labelled records of any dataset, with a report")
    evaluate.add_argument("model", help="folder or Hub id of an EnECG model, or of an adapter that names its base")
    evaluate.add_argument("--dataset", required=True, metavar="DIR_OR_ID", help="as of predict, with labels")
    evaluate.add_argument("--output", required=True, metavar="FOLDER", help="for predictions and report")
    evaluate.add_argument("--adapter", action="append", default=[], help="folder or Hub id of an adapter on the model")
    evaluate.add_argument("--split", action="append", help="tested; default: test, with validation to calibrate by")
    evaluate.add_argument("--sampling_rate", type=int, default=500, metavar="HZ", help="of PTB-XL: 100 or 500")
    evaluate.add_argument("--on_error", choices=("raise", "skip"), default="raise", help="bad records")
    evaluate.add_argument("--cache_dir", help="where the dataset is kept once read")
    evaluate.set_defaults(run=_evaluate)

    report = commands.add_parser("report", help="write a report on runs: an HTML page, Markdown, figures, numbers")
    report.add_argument("runs", nargs="+", metavar="run", help="folder of a run that ended")
    report.add_argument("--output", metavar="FOLDER", help="default: the folder report in that of the only run")
    report.add_argument("--calibration", choices=("temperature", "platt"), default="temperature")
    report.add_argument("--resample", choices=("patient", "record"), default="patient", help="what intervals draw")
    report.add_argument("--num_resamples", type=int, default=1000, help="of the bootstrap; default: 1000")
    aim = report.add_mutually_exclusive_group()
    aim.add_argument("--sensitivity", type=float, metavar="SHARE", help="that thresholds reach on the validation fold")
    aim.add_argument("--specificity", type=float, metavar="SHARE", help="likewise; default: the best F1 there")
    report.set_defaults(run=_report)

    compare = commands.add_parser("compare", help="compare two runs on the same test records, label by label")
    compare.add_argument("first", metavar="run_a", help="folder of a run; differences are this one minus the other")
    compare.add_argument("second", metavar="run_b", help="folder of another run")
    compare.add_argument("--task", help="compare this one only")
    compare.add_argument("--metric", choices=("auroc", "auprc", "mae", "rmse", "r2"), help="compare by this one only")
    compare.add_argument(
        "--correction", choices=("none", "bonferroni", "holm", "fdr"), default="holm", help="over a metric's labels"
    )
    compare.add_argument("--num_resamples", type=int, default=5000, help="of the bootstrap; default: 5000")
    compare.add_argument("--output", metavar="FOLDER", help="write tables and figures; default: print the tables")
    compare.set_defaults(run=_compare)

    push = commands.add_parser("push", help="publish a model, a backbone or an adapter on the Hub")
    push.add_argument("folder", help="a run's folder, its folder adapter, or what convert made")
    push.add_argument("--to", required=True, metavar="ORG/NAME", help="the repository; made if need be")
    push.add_argument("--private", action="store_true", help="make the repository private")
    push.add_argument("--revision", metavar="BRANCH", help="commit to this branch; made if need be")
    push.add_argument("--base", metavar="ORG/NAME", help="of an adapter trained on a folder: where that is on the Hub")
    push.add_argument(
        "--accept_licence",
        action="append",
        default=[],
        metavar="EXPERT",
        help="state the right to publish this expert's weights, though its licence does not give it to everybody",
    )
    push.set_defaults(run=_push)

    experiment = commands.add_parser("experiment", help="run an experiment of the papers: runs, tables, figures")
    experiment.add_argument("name", nargs="?", help="such as post_training/main_table; a paper, for all its; or all")
    experiment.add_argument("--list", action="store_true", help="list the experiments and their numbers of runs")
    experiment.add_argument("--data_dir", help="the records, as in a recipe")
    experiment.add_argument("--output_dir", help="where to write; the same command goes on with what is left")
    experiment.add_argument("--small", action="store_true", help="the small form: small backbones, few epochs")
    experiment.add_argument("--seeds", type=_whole_numbers, metavar="1,2,...", help="instead of the experiment's own")
    experiment.add_argument("--cache_dir", help="where prepared records and features are kept")
    experiment.add_argument("--configs", default="configs", help="folder of recipes; default: configs, here")
    experiment.set_defaults(run=_experiment)
    return parser


def _convert(options: argparse.Namespace) -> None:
    hyperparameters = None
    if options.hyperparameters:
        hyperparameters = json.loads(Path(options.hyperparameters).read_text(encoding="utf-8"))
        if not isinstance(hyperparameters, dict):
            raise ValueError(f"{options.hyperparameters} must hold a mapping of names to values.")
    report = convert_checkpoint(options.name, options.checkpoint, options.output_dir, hyperparameters)
    print(f"{options.output_dir}: {report['num_parameters']:,} parameters of {options.name}.")
    for reason in sorted(set(report["dropped"].values())):
        keys = [key for key, why in report["dropped"].items() if why == reason]
        print(f"Left out {len(keys)} entries ({keys[0]}{', ...' if len(keys) > 1 else ''}): {reason}.")


def _experts(options: argparse.Namespace) -> None:
    for weights in PUBLISHED:
        print(f"{weights.name}: {weights.architecture}")
        print(f"  {weights.num_parameters:,} parameters; {weights.input_size}")
        print(f"  weights: {weights.source} ({weights.licence})")
        print(f"  {weights.convert_command}")


def _predict(options: argparse.Namespace) -> None:
    if (options.dataset is None) == (not options.records):
        raise ValueError("Give records, or a --dataset.")
    if options.dataset is not None:
        _predict_dataset(options)
        return
    if options.plot and len(options.records) > 1:
        raise ValueError("--plot draws one record; give one.")
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
            findings = [(f"{label} {describe(label)}", score) for label, score in leading_findings(tasks)]
            order = [lead for lead in STANDARD_LEADS if lead in record.lead_names]
            rows = [record.lead_names.index(lead) for lead in order]
            plot_ecg(record.signal_mv[rows], record.sampling_rate, order, options.plot, Path(path).name, findings)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            _print_result(result)


def _predict_dataset(options: argparse.Namespace) -> None:
    from ..data.sources import DatasetOptions
    from ..prediction.dataset import predict_dataset  # needs the extra `train`
    from ..runs.processes import start_processes

    if options.output is None or options.plot or options.json:
        raise ValueError("--dataset needs an --output, and has no --plot or --json.")
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


def _evaluate(options: argparse.Namespace) -> None:
    from ..data.sources import DatasetOptions
    from ..prediction.labelled import evaluate_model
    from ..reports import ReportOptions, write_full_report  # needs the extra `train`
    from ..runs.processes import start_processes

    state = start_processes()
    dataset = DatasetOptions(
        options.dataset, options.sampling_rate, on_error=options.on_error, cache_dir=options.cache_dir
    )
    predictor = Predictor(options.model, options.adapter)
    name = Path(options.model).resolve().name if Path(options.model).exists() else options.model
    folder = evaluate_model(predictor, name, dataset, options.output, options.split or ("test",))
    if state.is_main_process:
        print(write_full_report([folder], folder / "report", ReportOptions()))


def _plan(options: argparse.Namespace) -> None:
    from ..training import load_recipe  # needs the extra `train`
    from ..training.plan import plan_recipe

    overrides = [f"--{name}=nowhere" for name in ("data_dir", "output_dir")]  # planning makes its own
    plan = plan_recipe(load_recipe(options.recipe, [*overrides, *options.overrides]))
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
        print(
            f"  {name}: {stage.num_epochs} epochs of {_duration(stage.seconds_an_epoch)}, "
            f"{stage.num_trainable:,} of {plan.num_parameters:,} parameters, {stage.peak_mb / 1e3:.1f} GB"
        )
    print(f"  all else (preparing, features, predictions): {_duration(plan.other_seconds)}")
    print(
        "Scaled up from two short runs on simulated records; memory without what is mapped from disk.", file=sys.stderr
    )


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as 1,2,3; got {text!r}") from None


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s" if seconds > 10 else f"{seconds:.1f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _push(options: argparse.Namespace) -> None:
    address = push_folder(
        options.folder,
        options.to,
        private=options.private,
        revision=options.revision,
        base=options.base,
        accept_licences=options.accept_licence,
    )
    print(address)


def _experiment(options: argparse.Namespace) -> None:
    from ..experiments import check_studies, list_studies, load_study, run_study  # needs the extra `train`
    from ..runs.processes import start_processes

    known = list_studies(options.configs)
    if options.list:
        for name in known:
            study = load_study(options.configs, name, options.small, options.seeds)
            print(f"{name}: {study.title} ({len(study.runs())} runs)")
        return
    if None in (options.name, options.data_dir, options.output_dir):
        raise ValueError("Give a name, --data_dir and --output_dir; or --list.")
    names = [name for name in known if options.name in ("all", name.split("/")[0])] or [options.name]
    studies = [load_study(options.configs, name, options.small, options.seeds) for name in names]
    check_studies(studies, options.configs)
    state = start_processes()
    for study in studies:
        folder = run_study(study, options.configs, options.data_dir, options.output_dir, options.cache_dir)
        if state.is_main_process:
            print(folder / "table.md")


def _report(options: argparse.Namespace) -> None:
    from ..reports import ReportOptions, write_full_report  # needs the extra `train`

    if len(options.runs) > 1 and options.output is None:
        raise ValueError("Several runs need an --output folder for their report.")
    settings = ReportOptions(
        options.calibration,
        options.resample,
        options.num_resamples,
        sensitivity=options.sensitivity,
        specificity=options.specificity,
    )
    print(write_full_report(options.runs, options.output or Path(options.runs[0], "report"), settings))


def _compare(options: argparse.Namespace) -> None:
    from ..reports import (  # needs the extra `train`
        ComparisonOptions,
        compare_runs,
        comparison_markdown,
        write_comparison,
    )

    correction = {"fdr": "benjamini-hochberg"}.get(options.correction, options.correction)
    settings = ComparisonOptions(options.task, options.metric, correction, options.num_resamples)
    compared = compare_runs(options.first, options.second, settings)
    print(write_comparison(compared, options.output) if options.output else comparison_markdown(compared))


def _describe_record(record: ECGRecord) -> dict[str, Any]:
    return {
        "seconds": record.signal_mv.shape[1] / record.sampling_rate,
        "sampling_rate": record.sampling_rate,
        "lead_names": record.lead_names,
        "missing_leads": missing_leads(record.signal_mv, record.lead_names),
    }


def _print_result(result: dict[str, Any]) -> None:
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
