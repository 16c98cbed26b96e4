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
_SHOWN_LEADS = 5


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
    windows = f", the mean over {found.num_windows} windows" if found.num_windows > 1 else ""
    lines = [
        f"  {_headline(found)}{windows}; {found.baseline_score:.3f} with every lead flat",
        f"  beats found: {len(found.beats)}; the parts of a beat are windows about the R peak, no delineation",
        *(f"  warning: {warning}" for warning in found.warnings),
    ]
    for name, each in found.attributions.items():
        is_gradients = name == _METHODS[0]
        lines.append(f"  {name.replace('_', ' ')}: {_meaning(found, is_gradients)}")
        for kind, values, shares in (
            ("leads", each.by_lead, each.lead_shares),
            ("parts", each.by_segment, each.segment_shares),
        ):
            lines.append(f"    {kind:9}{_ranked(values, shares)}")
        lines.append(f"    deletion {_deletion(each.deletion.area_difference, each.deletion.beats_random)}")
        if each.random_weights_correlation is not None:
            lines.append(f"    control  rank correlation with random weights {each.random_weights_correlation:.2f}")
        lines += [f"    warning: {warning}" for warning in each.warnings]
    return lines


def _headline(found: "Explanation") -> str:
    if found.probability is None:
        return f"{found.task}: {found.label} {found.score:.3f} {found.unit}"
    return f"{found.task}: {found.label}, {found.unit} {found.score:.3f} (raw probability {found.probability:.3f})"


def _meaning(found: "Explanation", is_gradients: bool) -> str:
    if is_gradients:
        return f"what adds up to the {found.unit}, {found.num_steps} steps, error {found.completeness_error:.2%}"
    return f"by how much the {found.unit} falls without it"


def _ranked(values: dict[str, float], shares: dict[str, float], number: int | None = None) -> str:
    names = sorted(values, key=lambda name: -shares[name])[:number]
    return ", ".join(f"{name} {values[name]:+.2f} ({shares[name]:.0%})" for name in names)


def _deletion(difference: float, beats_random: bool) -> str:
    verdict = "lower than in any random order" if beats_random else "NOT lower than in every random order"
    side = "below" if difference > 0 else "above"
    return f"most important first: on average {abs(difference):.2f} {side} random, {verdict}"


def _plot(record: "ECGRecord", found: "Explanation", options: argparse.Namespace) -> None:
    from ..explaining.scored_record import CELL_S
    from ..explaining.segments import WINDOWS
    from ..figures.explained_ecg import Explained
    from ..figures.recording import plot_recording

    each = found.attributions[options.method]
    lines = [
        f"{_headline(found)}; {found.baseline_score:.3f} with every lead flat",
        f"{options.method.replace('_', ' ').capitalize()}: orange speaks for it, blue against it",
        f"Leads: {_ranked(each.by_lead, each.lead_shares, _SHOWN_LEADS)}",
        f"Parts of the beat: {_ranked(each.by_segment, each.segment_shares)}",
        f"Deletion: {_deletion(each.deletion.area_difference, each.deletion.beats_random)}.",
        *(f"Warning: {warning}" for warning in [*found.warnings, *each.warnings]),
    ]
    title = f"{Path(options.record).name}: why {found.label}?"
    explained = Explained(found.lead_names, each.cells, CELL_S, sorted({*sum(WINDOWS.values(), ())}))
    plot_recording(record, print_options(options, record), options.plot, title, lines, explained)
