"""Run a study: each of its runs that is not done yet, then its tables and figures."""

import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from accelerate import PartialState

from ..conversion.published import PUBLISHED
from ..runs.lock import locked
from ..runs.processes import start_processes
from ..settings import SettingsError
from ..training.run import run_recipe
from .pictures import draw_pictures
from .results import read_results
from .study import Study, StudyError
from .tables import write_tables

CHECKPOINTS = "checkpoints"  # the folder in which recipes expect weights that were converted or pre-trained before
PRETRAIN = "pretrain"  # begins the names of recipes that leave the backbone which the rest of the name says


def run_study(
    study: Study,
    configs: str | Path,
    data_dir: str | Path,
    output_dir: str | Path,
    cache_dir: str | Path | None = None,
) -> Path:
    """Run what is left of a study, and write its tables and figures.

    Args:
        study (`Study`): What to run.
        configs (`str` or `Path`): The folder of recipes.
        data_dir (`str` or `Path`): The records, as in a recipe.
        output_dir (`str` or `Path`): Holds a folder for every study, with one for every run in its folder `runs`.
        cache_dir (`str` or `Path`, *optional*): Where prepared records and features are kept.

    Returns:
        `Path`: The study's folder: `table.md`, `table.csv`, `runs.csv`, `figures`, `runs`, and in `logs` what each run
            printed.

    Raises:
        FolderInUseError: if another process writes there.
        StudyError: as `check_studies` does, or if a run cannot be done.
    """
    start_processes()
    folder = Path(output_dir) / study.name
    settings = {"data_dir": str(data_dir), "cache_dir": None if cache_dir is None else str(cache_dir)}
    check_studies([study], configs)
    with locked(folder, "study"):
        return _run(study, configs, folder, settings)


def _run(study: Study, configs: str | Path, folder: Path, settings: Mapping[str, str | None]) -> Path:
    state, runs = PartialState(), study.runs()
    for number, run in enumerate(runs, 1):
        if state.is_main_process:
            print(f"{study.name}: {number} of {len(runs)}: {run.name}", flush=True)
        _forget_memory_peak()
        try:
            with _printing_to(folder / "logs" / f"{run.name}.txt"):
                run_recipe(run.recipe(configs, folder / "runs", **settings), f"{study.name}/{run.name}")
        except SettingsError as error:
            raise StudyError(f"{study.name}: {run.name}: {error}") from error
    if state.is_main_process:
        results = read_results(study, runs, folder / "runs")
        write_tables(study, results, folder)
        draw_pictures(study, results, folder / "figures")
    PartialState().wait_for_everyone()
    return folder


def check_studies(studies: Iterable[Study], configs: str | Path) -> None:
    """Refuse, before anything runs, studies with an illegal recipe, or without weights that must be there first.

    Raises:
        StudyError: with all folders that are missing, and how to make them.
    """
    paths = set()
    for study in studies:
        try:
            recipes = [run.recipe(configs, Path(study.name), data_dir="") for run in study.runs()]
        except SettingsError as error:
            raise StudyError(f"{study.name}: {error}") from error
        paths |= {source["path"] for recipe in recipes for source in recipe.experts.values() if "path" in source}
    missing = sorted(path for path in paths if Path(path).parts[0] == CHECKPOINTS and not Path(path).is_dir())
    if missing:
        raise StudyError(_how_to_get(missing, Path(configs)))


def _how_to_get(missing: Sequence[str], configs: Path) -> str:
    """Return what to do about folders of weights that are not there: pre-train some, convert the published ones."""
    own = {path: f"{PRETRAIN}_{Path(path).name}" for path in missing}
    own = {path: recipe for path, recipe in own.items() if (configs / f"{recipe}.yaml").is_file()}
    advice = []
    if own:
        commands = [f"enecg train {recipe} --data_dir DATA --output_dir {path}" for path, recipe in own.items()]
        advice.append(f"Weights to be pre-trained first are missing in {', '.join(own)}: {'; '.join(commands)}.")
    if published := [path for path in missing if path not in own]:
        commands = [weights.convert_command for weights in PUBLISHED if f"{CHECKPOINTS}/{weights.name}" in published]
        advice.append(
            f"Published weights are missing in {', '.join(published)}. `enecg experts` says where to get them; then: "
            f"{'; '.join(commands)}. Or take the small form, --small."
        )
    return " ".join(advice)


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Let a file have what a run prints at every epoch; the terminal shows which run it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shared = path if PartialState().is_main_process else os.devnull
    with open(shared, "a", encoding="utf-8") as log, redirect_stdout(log):
        yield


def _forget_memory_peak() -> None:
    """Let the peak memory of a run not be that of the run before, where the system can do so (Linux)."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
