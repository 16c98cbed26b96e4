"""Every number of a report on a run: scores, decisions, calibration, agreement, subgroups, and what was published."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..configuration_enecg import Task
from ..data.ptbxl.labels import TASK_NAMES
from ..evaluation.agreement import agreement
from ..evaluation.calibration import METHODS, calibrated_outputs, fit_calibration
from ..evaluation.operating_points import operating_points
from ..evaluation.records import has_targets
from ..evaluation.reliability import calibration_scores
from ..evaluation.resampling import PATIENT, RECORD
from ..evaluation.scoring import evaluate_task
from ..evaluation.subgroups import GROUPS, age_decades, score_subgroups
from ..evaluation.thresholds import f1_thresholds, sensitivity_thresholds, specificity_thresholds
from ..hub.card import PTBXL
from ..runs.predictions import Predictions
from ..runs.run import PREDICTIONS, Run
from .published import published_results

RESAMPLED = (PATIENT, RECORD)

_LEAST_RECORDS = 2000  # of PTB-XL's fold 10, which has 2198; a part of it is not what others were tested on
_LEAST_FORM_RECORDS = 800  # most records have no statement on form


@dataclass(frozen=True)
class ReportOptions:
    """How a report's numbers are made.

    Attributes:
        calibration (`str`): Of `METHODS`. Single-label tasks are always calibrated by temperature.
        resample (`str`): `"patient"` draws patients with all their records, `"record"` draws single records.
        num_resamples (`int`): Bootstrap resamples.
        seed (`int`): Seed of their draw.
        confidence (`float`): Share of the resamples inside an interval.
        sensitivity, specificity (`float`, *optional*): What each label's threshold must reach on the validation
            records; without either, thresholds are the model's own, which have the best F1 there.

    Raises:
        ValueError: if a name is unknown, a share is out of range, or both shares are given.
    """

    calibration: str = "temperature"
    resample: str = PATIENT
    num_resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    sensitivity: float | None = None
    specificity: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("calibration", self.calibration, METHODS),
            ("resample", self.resample, RESAMPLED),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
        if self.sensitivity is not None and self.specificity is not None:
            raise ValueError("Give sensitivity or specificity, not both: one threshold cannot choose both.")
        for name in ("sensitivity", "specificity"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, for instance 0.9; got {share}.")

    def aim(self) -> str:
        """Return for what thresholds are chosen, in words."""
        if self.sensitivity is not None:
            return f"a sensitivity of {100 * self.sensitivity:g} % at least"
        if self.specificity is not None:
            return f"a specificity of {100 * self.specificity:g} % at least"
        return "the highest F1"


def evaluate_run(run: Run, options: ReportOptions) -> dict[str, Any]:
    """Compute what a report shows of a run's test records, task by task.

    Args:
        run (`Run`): The run.
        options (`ReportOptions`): How.

    Returns:
        `dict[str, Any]`, ready for JSON: from a task to
            - **scores**: what `evaluate_task` gives;
            - **decisions**: what `operating_points` gives, None where there are no thresholds; **calibration**: the
              fields of the `Calibration` fitted on the validation records; **as_predicted** and **calibrated**: what
              `calibration_scores` gives without and with it (classification only);
            - **agreement**: what `agreement` gives (regression only);
            - **subgroups**: from a column to what `score_subgroups` gives;
            - **lead_sets** and **experts**: what the run computed, see `Run`; empty where there is none;
            - **published**: published results as dicts, and **why_not_published**, a sentence where there are none.

    Raises:
        ValueError: if an age is no number or negative.
    """
    return {task.name: _evaluate_task(run, task, options) for task in run.tasks}


def patients_to_draw(split: Predictions, options: ReportOptions) -> pd.Series | None:
    """Return each record's patient where patients are drawn, else None."""
    return split.records["patient_id"] if options.resample == PATIENT else None


def _evaluate_task(run: Run, task: Task, options: ReportOptions) -> dict[str, Any]:
    test = run.splits["test"]
    targets, outputs = test.targets[task.name], test.outputs[task.name]
    settings: dict[str, Any] = {
        "num_resamples": options.num_resamples,
        "seed": options.seed,
        "confidence": options.confidence,
        "patients": patients_to_draw(test, options),
    }
    result: dict[str, Any] = {"scores": evaluate_task(task, targets, outputs, **settings)}
    if task.is_regression:
        result["agreement"] = agreement(task, targets, outputs, **settings)
    else:
        result |= _evaluate_probabilities(run, task, options, settings)
    result["subgroups"] = {
        column: score_subgroups(task, targets, outputs, groups, **settings)
        for column, groups in _groups(run, test).items()
        if column != task.name or task.is_regression  # one class has no score
    }
    result["lead_sets"] = {name: by_task[task.name] for name, by_task in run.lead_sets.items()}
    result["experts"] = run.experts.get(task.name, {})
    reason = _why_not_published(run, task)
    rows = [] if reason else [asdict(row) for row in published_results(task.name)]
    return {**result, "published": rows, "why_not_published": reason}


def _evaluate_probabilities(run: Run, task: Task, options: ReportOptions, settings: dict[str, Any]) -> dict[str, Any]:
    """Return decisions and calibration, both by what the validation records tell."""
    validation, test = (run.splits[split] for split in ("validation", "test"))
    targets, outputs = test.targets[task.name], test.outputs[task.name]
    is_single = task.problem_type == "single_label_classification"
    thresholds = None if is_single else _thresholds(task, validation, options)
    calibration = fit_calibration(
        task,
        validation.targets[task.name],
        validation.outputs[task.name],
        "temperature" if is_single else options.calibration,
    )
    return {
        "decisions": operating_points(task, targets, calibrated_outputs(task, outputs), thresholds, **settings)
        if is_single or thresholds
        else None,
        "calibration": calibration.to_dict(),
        "as_predicted": calibration_scores(task, targets, outputs, **settings),
        "calibrated": calibration_scores(task, targets, calibration.apply(outputs), **settings),
    }


def _thresholds(task: Task, validation: Predictions, options: ReportOptions) -> list[float] | None:
    """Choose thresholds on calibrated probabilities by the validation records; the model's own have the best F1."""
    given = has_targets(task, validation.targets[task.name])
    targets = validation.targets[task.name][given]
    probabilities = calibrated_outputs(task, validation.outputs[task.name][given])
    is_own = options.sensitivity is None and options.specificity is None
    if not given.any() or (is_own and task.thresholds):
        return task.thresholds if is_own else None
    if options.sensitivity is not None:
        return sensitivity_thresholds(targets, probabilities, options.sensitivity)
    if options.specificity is not None:
        return specificity_thresholds(targets, probabilities, options.specificity)
    return f1_thresholds(targets, probabilities)


def _groups(run: Run, test: Predictions) -> dict[str, list[Any]]:
    """Return each record's group, by the columns that the run kept."""
    groups: dict[str, list[Any]] = {}
    for column in GROUPS:
        if column in test.records:
            values = test.records[column]
            groups[column] = _decades(run, values) if column == "age" else [_one_spaced(value) for value in values]
    return groups


def _decades(run: Run, ages: pd.Series) -> list[str]:
    try:
        return age_decades(ages.to_numpy(dtype=np.float64, na_value=np.nan))
    except ValueError as error:
        raise ValueError(f"{run.folder / PREDICTIONS}: column 'age': {error}") from error


def _one_spaced(value: Any) -> Any:
    """Return a text without the blanks with which PTB-XL fills up names of devices."""
    return " ".join(value.split()) if isinstance(value, str) else value


def _why_not_published(run: Run, task: Task) -> str:
    """Return why published results do not stand beside a task's; an empty text where they do."""
    if task.name not in TASK_NAMES:
        return f"No published results are kept for the task {task.name}."
    name, num_records = (
        run.info.dataset.name,
        int(has_targets(task, run.splits["test"].targets[task.name]).sum()),
    )
    if run.info.dataset.tested != ["test"]:  # an evaluation on other splits
        return "Published results are not shown: they are on PTB-XL's test fold, and these records are of other folds."
    if name != PTBXL:
        return f"Published results are not shown: they are on PTB-XL, and these records are {name}."
    if num_records < (_LEAST_FORM_RECORDS if task.name == "form" else _LEAST_RECORDS):
        return (
            f"Published results are not shown: they are on the whole of PTB-XL's fold 10, and these {num_records} "
            "records are a part of it."
        )
    return ""
