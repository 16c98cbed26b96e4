"""`enecg explain`: where in a recording a model finds what it says, and whether the explanation can be relied on."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ._paper import add_paper_arguments, check_paper, print_options
from ._parsers import (
    Commands,
    add_model_arguments,
    add_reading_arguments,
    check_model,
    check_plot,
    new_parser,
    quiet_libraries,
    reading_options,
    refuse_unused,
)

if TYPE_CHECKING:
    from ..explaining import Explanation
    from ..recording import ECGRecord

_METHODS = ("integrated_gradients", "occlusion")  # as `explaining.explanation` has them, which is imported late


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "explain",
        "Tell which leads and parts of the beat a model's finding rests on, and check the explanation.",
        "enecg explain runs/smoke PTB-XL/records500/00000/00001_hr --task superdiagnostic --label NORM --plot why.png",
        "Integrated gradients and occlusion explain one output; each is held against a random order and against a "
        "model of random weights, and a warning says where it does no better.",
    )
    add_model_arguments(parser)
    record = parser.add_argument_group("recording")
    record.add_argument("record", metavar="RECORD", help="RECORD is an ECG file of any known format.")
    add_reading_arguments(record)
    record.add_argument(
        "--force", action="store_true", help="A recording whose signal is unusable (flat, noise) is explained as well."
    )
    what = parser.add_argument_group("explanation")
    what.add_argument("--task", required=True, help="This task of the model is explained.")
    what.add_argument(
        "--label", help="This label is explained, or this output of a regression; by default the most probable label."
    )
    what.add_argument(
        "--steps", type=int, default=64, metavar="N", help="The integrated gradients have N steps (default: 64)."
    )
    what.add_argument("--json", action="store_true", help="The numbers are printed as JSON.")
    what.add_argument(
        "--plot", metavar="FILE.png", help="The ECG is drawn here, coloured where the model looked; also .svg or .pdf."
    )
    what.add_argument(
        "--method",
        choices=_METHODS,
        default=_METHODS[0],
        help="The plot shows this method (default: integrated_gradients).",
    )
    add_paper_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Explain one output for one recording."""
    check_plot(options.plot)
    check_paper(options)
    if options.plot is None:
        refuse_unused(options, {"method": _METHODS[0]}, "chooses what --plot shows, which is not given.")
    check_model(options)
    from ..explaining import explain
    from ..prediction import Predictor

    quiet_libraries()
    record = reading_options(options).read(options.record)
    predictor = Predictor(options.model, options.adapter)
    model, extractor = predictor.model, predictor.extractor
    try:
        found = explain(model, extractor, record, options.task, options.label, options.steps, options.force)
    except ValueError as error:
        raise ValueError(f"{options.record}: {error}") from error
    if options.json:
        print(json.dumps({"record": options.record, **found.to_dict()}, indent=2))
    else:
        print("\n".join([options.record, *_lines(found)]))
        print("Research prototype, not a medical device.", file=sys.stderr)
    if options.plot:
        _plot(record, found, options)


def _lines(found: "Explanation") -> list[str]:
    from ..explaining.words import describe_deletion, headline, meaning, method_title, parts_line, ranked

    windows = f", the mean over {found.num_windows} windows" if found.num_windows > 1 else ""
    lines = [
        f"  {headline(found)}{windows}; {found.baseline_score:.3f} with every lead flat",
        f"  beats found: {len(found.beats)}; parts of a beat: {parts_line(found)}",
        *(f"  warning: {warning}" for warning in found.warnings),
    ]
    for method, each in found.attributions.items():
        lines.append(f"  {method_title(method).lower()}: {meaning(found, method)}")
        for kind, values, shares in (
            ("leads", each.by_lead, each.lead_shares),
            ("parts", each.by_segment, each.segment_shares),
        ):
            lines.append(f"    {kind:9}{ranked(values, shares)}")
        lines.append(f"    deletion {describe_deletion(each.deletion)}")
        if each.random_weights_correlation is not None:
            lines.append(f"    control  rank correlation with random weights {each.random_weights_correlation:.2f}")
        lines += [f"    warning: {warning}" for warning in each.warnings]
    return lines


def _plot(record: "ECGRecord", found: "Explanation", options: argparse.Namespace) -> None:
    from ..explaining.words import plot_explanation

    title = f"{Path(options.record).name}: why {found.label}?"
    plot_explanation(record, found, print_options(options, record), options.plot, title, options.method)
