"""`enecg train`: a recipe is followed, from records to a model and its report."""

import argparse
import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from ..runs.portable import check_place
from ..runs.shipped import find_recipe
from ._parsers import Commands, new_parser


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "train",
        "Train a model as a recipe says: stages, scores, figures and a model card.",
        "enecg train ptbxl_smoke --data_dir PTB-XL --output_dir runs/smoke\n"
        "accelerate launch -m modeling_enecg.cli train ptbxl_smoke --data_dir PTB-XL --output_dir runs/smoke",
        "Killed, it goes on where it was when the same command runs again.",
        add_help=False,
    )
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "recipe", metavar="RECIPE", help="RECIPE is a YAML file, or the name of a shipped one (see `enecg recipes`)."
    )
    recipe.add_argument(
        "overrides",
        nargs=argparse.REMAINDER,
        metavar="--key value",
        help="A field of the recipe has this value instead; dots reach inside, as in "
        "--stages.post_training.learning_rate 1e-4. `enecg train --help` lists all fields.",
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="This help is shown.")
    parser.set_defaults(run=run, parser=parser)


class _Help(argparse.Action):
    """Shows help with all that a recipe may say, which takes seconds to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.epilog = f"{parser.epilog}\n\n{_all_fields()}"
        parser.print_help()
        parser.exit()


def run(options: argparse.Namespace) -> None:
    """Follow the recipe, and say what came out."""
    if {"-h", "--help"} & set(options.overrides):
        options.parser.parse_args(["--help"])
    file = find_recipe(options.recipe)
    if data_dir := _given(options.overrides, "data_dir"):
        check_place(data_dir)
    from ..training import load_recipe, run_recipe

    recipe = load_recipe(file, options.overrides)
    metrics = run_recipe(recipe, file.stem)
    if metrics:  # of several processes, the first one's
        print("\n".join(outcome(metrics, recipe.output_dir)))


def _given(overrides: Sequence[str], key: str) -> str | None:
    """Return what was typed for a key, before anything is imported that could read it in earnest."""
    values = [text.partition("=")[2] for text in overrides if text.startswith(f"--{key}=")]
    values += [value for name, value in itertools.pairwise(overrides) if name == f"--{key}"]
    return values[-1] if values else None


def outcome(metrics: Mapping[str, Any], folder: str) -> list[str]:
    """Return what to print at the end: each task's scores on the test fold, where the run lies, what comes next."""
    if "pretraining" in metrics:
        return _outcome_of_pretraining(metrics["pretraining"], folder)
    from ..reports.cells import interval_cell

    lines = []
    for task, scores in metrics["test"].items():
        cells = {
            metric: interval_cell(value)
            for metric, value in scores.items()
            if isinstance(value, Mapping) and value.get("point") is not None
        }
        points = ", ".join(f"{metric} {cell.text} ({cell.note})" for metric, cell in cells.items())
        lines.append(f"test, {task}: {points or 'no score could be told'}")
    return [
        *lines,
        f"{folder}: the model, its card README.md, metrics.json and figures",
        f"next: enecg report {shlex.quote(folder)}",
    ]


def _outcome_of_pretraining(summary: Mapping[str, Any], folder: str) -> list[str]:
    """Return what to print after a pre-training: what became of the features, where the backbone lies."""
    names = {"probe_score": "linear probe on validation", "effective_rank": "effective rank"}
    lines = [
        f"{name}: {summary['start'][key]:.3f} before, {summary['end'][key]:.3f} after"
        for key, name in names.items()
        if key in summary["start"] and key in summary["end"]
    ]
    if summary["collapsed_epochs"]:
        lines.append(f"the features collapsed in epoch {', '.join(map(str, summary['collapsed_epochs']))}")
    return [
        *lines,
        f"{folder}: the backbone, its card README.md and figures",
        f"next: enecg train RECIPE --experts {shlex.quote(f'{{own: {{path: {folder}}}}}')}",
    ]


def _all_fields() -> str:
    """Return help on the fields of a recipe and on the settings of its stages."""
    from ..settings import describe_fields
    from ..training.arguments import StageArguments
    from ..training.recipe import Recipe
    from ..training.stages import EVERY_STAGE

    inherited = {item.name: item.default for item in fields(StageArguments)}
    common = [item for item in fields(StageArguments) if item.name in StageArguments.__annotations__]
    parts = [
        "fields of a recipe:\n" + describe_fields(fields(Recipe), "  --"),
        "settings of every stage: these, and all of transformers' TrainingArguments:\n"
        + describe_fields(common, "  --stages.STAGE."),
    ]
    for name, (arguments, _) in EVERY_STAGE.items():
        text = f"stage {name}: {str(arguments.__doc__).strip().splitlines()[0]}"
        own = [item for item in fields(arguments) if item.name not in inherited]
        if own:
            text += "\n" + describe_fields(own, f"  --stages.{name}.")
        others = [item for item in fields(arguments) if item.default != inherited.get(item.name, item.default)]
        defaults = (f"{item.name} {item.default}" for item in others if item.default is not MISSING)
        parts.append(f"{text}\n  It has by default {', '.join(defaults)}.")
    return "\n\n".join(parts)
