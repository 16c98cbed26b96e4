"""The section of a report on one run: how it was made, what that cost, and its tasks."""

from collections.abc import Mapping
from typing import Any

from ..evaluation.patients import number_patients
from ..evaluation.subgroups import GROUPS
from ..hub.card import cost_rows
from ..runs.run import Run
from .page import Cell, Row, Section, Table
from .task_section import Pictures, task_section


def run_section(run: Run, name: str, evaluation: Mapping[str, Any], pictures: Mapping[str, Pictures]) -> Section:
    """Return everything that a report says of one run.

    Args:
        run (`Run`): The run.
        name (`str`): What the report calls it.
        evaluation (`Mapping[str, Any]`): What `evaluate_run` gives.
        pictures (`Mapping[str, Mapping[str, Picture]]`): By task and kind, what `draw_task` gives.
    """
    facts = Table("The run", ["what", "value"], [Row([Cell(what), Cell(value)]) for what, value in _facts(run)], 2)
    note = run.info.dataset.note
    tasks = [task_section(run, task, evaluation[task.name], pictures[task.name]) for task in run.tasks]
    missing = [GROUPS[column] for column in GROUPS if column not in run.splits["test"].records]
    lacking = f"No subgroups by {', '.join(missing)}: the run's predictions do not hold them." if missing else ""
    tables = [facts, _cost_table(run)] if run.info.stages else [facts]
    return Section(name, [text for text in (note, *run.info.remarks(), lacking) if text], [*tables], tasks)


def _facts(run: Run) -> list[tuple[str, str]]:
    info, test = run.info, run.splits["test"].records
    dataset, recipe = info.dataset, info.recipe or {}
    num_patients = number_patients(test["patient_id"], len(test)).max() + 1
    facts = [
        ("experts", "; ".join(f"{name}: {source}" for name, source in info.experts.items())),
        ("parameters", f"{info.num_parameters:,}"),
        ("records", str(dataset)),
        ("records of each split", ", ".join(f"{split} {count}" for split, count in dataset.num_records.items())),
        ("patients among the test records", f"{num_patients} with {len(test)} records"),
        ("device", f"{info.device}, {info.num_processes} process{'es' if info.num_processes > 1 else ''}"),
        ("seed of the training", str(recipe.get("seed", "not known"))),
        ("versions", ", ".join(f"{package} {version}" for package, version in info.versions.items())),
        ("commit", str(info.commit or "not known")),
    ]
    if recipe.get("permute_labels"):
        facts.append(("labels", "permuted before training: a control, not a result"))
    return facts


def _cost_table(run: Run) -> Table:
    columns = {
        "stage": "stage",
        "num_epochs": "epochs",
        "num_trainable": "trainable parameters",
        "seconds": "wall time",
        "peak_mb": "peak memory",
        "gpu_peak_mb": "peak GPU memory",
        "energy_wh": "GPU energy",
    }
    rows = []
    for texts in cost_rows(run.info):
        notes = {"num_trainable": f"{texts['share']} of all"}
        rows.append(Row([Cell(texts[key], notes.get(key, "")) for key in columns]))
    caption = "Cost by stage: time and energy since its last start, memory at its highest so far"
    return Table(caption, list(columns.values()), rows)
