"""Studies: one YAML file in, a checked `Study` and its runs out."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..settings import SettingsError, check_fields, merged, missing_fields, read_settings, suggest
from ..training.recipe import Recipe, load_recipe

STUDIES = "experiments"  # the folder of `configs` that holds them, one folder a paper
TASK_AXIS = "task"  # its options are columns of the tables; other axes make the rows
FIGURES = ("comparison", "lines", "curves")
COSTS = ("trainable_share", "seconds", "peak_mb", "gpu_peak_mb")

SMALL, MEDIUM = "small", "medium"
FORM_NOTES = {
    SMALL: "The small form: small backbones from random weights and few epochs, whatever the rows are called. Its "
    "scores tell that the road works, and nothing else.",
    MEDIUM: "The medium form: small backbones, pre-trained on the training fold alone, and few epochs. What it shows "
    "holds at this size and for these records, and need not hold at the published ones.",
}

_NUMBER = re.compile(r"\d+(\.\d+)?")

Overrides = dict[str, Any]


class StudyError(ValueError):
    """A study that cannot be run as written."""


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        name (`str`): Its folder's name.
        row (`str`): The row of the tables that it belongs to.
        options (`dict[str, str]`): By axis, what was chosen; of a control only the task.
        seed (`int`): Seed of weights, order and subsets.
        recipe_file (`str`): The recipe's file in `configs`.
        overrides (`dict[str, Any]`): What differs from it.
        starts_from (`str`, *optional*): The run whose model it adapts.
    """

    name: str
    row: str
    options: dict[str, str]
    seed: int
    recipe_file: str
    overrides: Overrides
    starts_from: str | None = None

    def recipe(self, configs: str | Path, folder: Path, **settings: Any) -> Recipe:
        """Return the recipe.

        Args:
            configs (`str` or `Path`): The folder of recipes.
            folder (`Path`): Holds the study's runs.
            **settings: Further fields, such as `data_dir`.

        Raises:
            SettingsError: if a field is not legal.
        """
        given = {**settings, "output_dir": str(folder / self.name), "seed": self.seed, "subset_seed": self.seed}
        if self.starts_from is not None:
            given["model"] = str(folder / self.starts_from)
        return load_recipe(Path(configs) / self.recipe_file, changes=merged(self.overrides, given))


@dataclass(frozen=True)
class Study:
    """An experiment: a recipe, and what is varied in it.

    Options are recipe fields that differ from the recipe's own, laid over it like one recipe over another that it
    extends; an option with a `recipe` starts from that one instead.

    Attributes:
        name (`str`): Such as `"post_training/main_table"`.
        title (`str`): Heading of its tables and figures.
        recipe (`str`): File in `configs` that all runs share.
        axes (`dict[str, dict[str, dict]]`): What is varied: by axis, from an option's name to its recipe fields; the
            study runs every combination. The options of an axis `task` are columns of the tables.
        figure (`str`): `"comparison"` of rows, `"lines"` over an axis whose options begin with numbers, or training
            `"curves"`.
        metrics (`list[str]`): What the tables hold, as `evaluate_task` calls it.
        seeds (`list[int]`): Each combination runs with every one.
        over (`str`, *optional*): The axis of lines.
        controls (`dict[str, dict]`): Runs beside the product, with every task: from a name to recipe fields.
        before (`dict[str, dict]`): Runs that come first; another one starts from their model by `model: NAME`.
        against (`str`, *optional*): A row; a further table holds what every other one scores more than it, with paired
            intervals by patient. Or an option of an axis: each row is held against that with this option instead.
        costs (`list[str]`): Of `trainable_share`, `seconds`, `peak_mb` and `gpu_peak_mb`, what a further table holds.
        published (`list[dict[str, str]]`): `model` and `mode` of results in `published_results.csv` to stand beside.
        notes (`list[str]`): Sentences under the tables: what a paper states, and where.

    Raises:
        StudyError: if a value is not legal.
    """

    name: str
    title: str
    recipe: str
    axes: dict[str, Any]
    figure: str
    metrics: list[str]
    seeds: list[int] = field(default_factory=lambda: [1])
    over: str | None = None
    controls: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    against: str | None = None
    costs: list[str] = field(default_factory=list)
    published: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise StudyError(f"{self.name}: seeds: at least one is needed.")
        self._check_choice("figure", self.figure, FIGURES)
        for cost in self.costs:
            self._check_choice("costs", cost, COSTS)
        for axis, options in {**self.axes, "controls": self.controls, "before": self.before}.items():
            for name, option in options.items():
                if not isinstance(option, dict):
                    raise StudyError(f"{self.name}: {axis}: {name}: expected recipe fields, got {option!r}.")
        for axis, options in self.axes.items():
            if not options:
                raise StudyError(f"{self.name}: axes: {axis}: at least one option is needed.")
        if self.figure == "lines":
            self._check_choice("over", self.over, tuple(self.axes))
            for name in self.axes[str(self.over)]:
                if not _NUMBER.match(name):
                    raise StudyError(f"{self.name}: axes: {self.over}: {name!r} must begin with a number, as 10 %.")
        if self.against is not None:
            options = {name for options in self.axes.values() for name in options}
            self._check_choice("against", self.against, sorted({run.row for run in self.runs()} | options))

    def _check_choice(self, key: str, value: Any, choices: Sequence[str]) -> None:
        if value not in choices:
            near = suggest(value, choices)
            raise StudyError(f"{self.name}: {key}: {value!r} is not one of {', '.join(choices)}.{near}")

    def runs(self) -> list[StudyRun]:
        """Return all runs, in order; a combination that comes to the same recipe as another is one run.

        Raises:
            StudyError: if two runs that differ have the same name.
        """
        runs: dict[str, StudyRun] = {}
        for run in itertools.chain(self._first_runs(), self._combinations(), self._control_runs()):
            known = runs.setdefault(run.name, run)
            if (known.recipe_file, known.overrides, known.seed) != (run.recipe_file, run.overrides, run.seed):
                raise StudyError(f"{self.name}: two runs are called {run.name}; rename an option.")
        return list(runs.values())

    def compared_rows(self) -> dict[str, str]:
        """Return, by row, the one that it is held against."""
        if self.against is None:
            return {}
        rows = {run.row: run.options for run in self.runs()}
        if self.against in rows:
            return {row: self.against for row in rows if row != self.against}
        axis = next(axis for axis, options in self.axes.items() if self.against in options)
        return {
            row: self._row({**options, axis: self.against})
            for row, options in rows.items()
            if options.get(axis, self.against) != self.against
        }

    def _first_runs(self) -> Iterator[StudyRun]:
        for name, option in self.before.items():
            yield self._run(name, {}, [option], self.seeds[0], name)

    def _combinations(self) -> Iterator[StudyRun]:
        for chosen in itertools.product(*self.axes.values()):
            options = dict(zip(self.axes, chosen, strict=True))
            row = self._row(options)
            parts = [self.axes[axis][option] for axis, option in options.items()]
            for seed in self.seeds:
                yield self._run(row, options, parts, seed)

    def _row(self, options: Mapping[str, str]) -> str:
        """Return what the row of a combination is called."""
        return ", ".join(option for axis, option in options.items() if axis != TASK_AXIS) or self.title

    def _control_runs(self) -> Iterator[StudyRun]:
        tasks = self.axes.get(TASK_AXIS, {"": {}})
        for (row, control), (task, option) in itertools.product(self.controls.items(), tasks.items()):
            for seed in self.seeds:
                yield self._run(row, {TASK_AXIS: task} if task else {}, [option, control], seed)

    def _run(
        self, row: str, options: dict[str, str], parts: Sequence[Overrides], seed: int, name: str | None = None
    ) -> StudyRun:
        overrides: Overrides = {}
        for part in parts:
            overrides = merged(overrides, part)
        recipe_file = overrides.pop("recipe", self.recipe)
        starts_from = overrides.pop("model") if overrides.get("model") in self.before else None
        tasks = "-".join(overrides.get("tasks", ())) if TASK_AXIS in options else ""
        words = [row, tasks, f"seed {seed}"]
        name = name or "_".join(_slug(word) for word in words if word)
        return StudyRun(name, row, options, seed, recipe_file, overrides, starts_from)


def load_study(configs: str | Path, name: str, form: str | None = None, seeds: Sequence[int] | None = None) -> Study:
    """Read a study's file, `configs/experiments/NAME.yaml`.

    With `extends`, the name of another file in the same folder, it says only what differs from that. What its field
    `small` or `medium` holds is laid over it for that form; an option set to `null` is left out.

    Args:
        configs (`str` or `Path`): The folder of recipes.
        name (`str`): Such as `"post_training/main_table"`.
        form (`str`, *optional*): `"small"` or `"medium"`, instead of the full form.
        seeds (`Sequence[int]`, *optional*): Instead of the study's own.

    Raises:
        StudyError: if there is no such study, it has no such form, or it is not legal.
    """
    known = list_studies(configs)
    if name not in known:
        raise StudyError(f"There is no experiment {name!r} in {Path(configs) / STUDIES}.{suggest(name, known)}")
    path = Path(configs) / STUDIES / f"{name}.yaml"
    try:
        content = read_settings(path)
        forms = {each: content.pop(each, None) for each in FORM_NOTES}
        if form is not None and forms.get(form) is None:
            raise StudyError(f"{path}: there is no {form} form.")
        content = {**_without_null(merged(content, forms[form] if form else {})), "name": name}
        if form is not None:
            content["name"] = f"{name}_{form}"
            content["title"] = f"{content.get('title')} ({form} form)"
            content["notes"] = [FORM_NOTES[form], *content.get("notes", [])]
        check_fields(content, Study, "")
    except SettingsError as error:
        raise StudyError(f"{path}: {error}") from error
    if missing := missing_fields(content, Study):
        raise StudyError(f"{path}: lacks {', '.join(missing)}.")
    return Study(**content | ({"seeds": list(seeds)} if seeds else {}))


def list_studies(configs: str | Path, form: str | None = None) -> list[str]:
    """Return the names of all studies, or those that have a form.

    A file whose name begins with `_` is for others to extend.
    """
    folder = Path(configs) / STUDIES
    paths = [path for path in folder.glob("*/*.yaml") if not path.name.startswith("_")]
    if form is not None:
        paths = [path for path in paths if form in read_settings(path)]
    return sorted(str(path.relative_to(folder).with_suffix("").as_posix()) for path in paths)


def leading_number(option: str) -> float:
    """Return the number that the name of an option of lines begins with, as 10 of `10 %`."""
    found = _NUMBER.match(option)
    assert found is not None  # the study has checked it
    return float(found[0])


def _without_null(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is null: fields of the study, options and controls, but not the recipe fields in them."""
    kept = {key: value for key, value in content.items() if value is not None}
    for key in ("controls", "before"):
        if isinstance(kept.get(key), dict):
            kept[key] = {name: option for name, option in kept[key].items() if option is not None}
    if isinstance(kept.get("axes"), dict):
        axes = kept["axes"].items()
        kept["axes"] = {
            axis: {name: option for name, option in options.items() if option is not None}
            for axis, options in axes
            if isinstance(options, dict)
        }
    return kept


def _slug(text: str) -> str:
    """Return a name that is fit for a folder."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
