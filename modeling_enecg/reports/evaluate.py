"""Every number of a report on a run: scores, decisions, calibration, agreement, subgroups, and what was published."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..configuration_enecg import Task
from ..data.ptbxl.labels import TASK_NAMES
from ..evaluation import Bootstrap, Scored, evaluate_task
from ..evaluation.agreement import agreement
from ..evaluation.bootstrap import PATIENT, RESAMPLED
from ..evaluation.calibration import METHODS, Calibration, calibrated_outputs, choose_calibration, fit_calibration
from ..evaluation.conformal import COVERAGE, conformal_scores
from ..evaluation.operating_points import operating_points
from ..evaluation.reliability import calibration_scores
from ..evaluation.subgroups import GROUPS, age_decades, score_subgroups
from ..evaluation.thresholds import (
    LEAST_POSITIVES,
    f1_thresholds,
    sensitivity_thresholds,
    specificity_thresholds,
)
from ..hub.card import PTBXL
from ..runs.predictions import Predictions
from ..runs.run import PREDICTIONS, Run
from .published import published_results

AUTO = "auto"
CALIBRATIONS = (AUTO, *METHODS)
FIGURE_FORMATS = ("png", "svg", "pdf")

_LEAST_RECORDS = 2000  # of PTB-XL's fold 10, which has 2198; a part of it is not what others were tested on
_LEAST_FORM_RECORDS = 800  # most records have no statement on form


@dataclass(frozen=True)
class ReportOptions:
    """How a report's numbers and figures are made.

    Attributes:
        calibration (`str`): `"auto"`, the model's own, or without one what `choose_calibration` finds; or of
            `METHODS`, to be fitted anew. Single-label tasks are always calibrated by temperature.
        resample (`str`): `"patient"` draws patients with all their records, `"record"` draws single records.
        num_resamples (`int`): Bootstrap resamples.
        seed (`int`): Seed of their draw.
        confidence (`float`): Share of the resamples inside an interval.
        sensitivity, specificity (`float`, *optional*): What each label's threshold must reach on the validation
            records; without either, thresholds are the model's own, which have the best F1 there.
        coverage (`float`): How often sets and intervals of conformal prediction shall hold the truth.
        figure_formats (`Sequence[str]`): Of `FIGURE_FORMATS`, the files of each figure; PNG, which the page shows, is
            always among them.

    Raises:
        ValueError: if a name is unknown, a number is out of range, or both shares are given.
    """

    calibration: str = AUTO
    resample: str = PATIENT
    num_resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    sensitivity: float | None = None
    specificity: float | None = None
    coverage: float = COVERAGE
    figure_formats: Sequence[str] = ("png",)

    def __post_init__(self) -> None:
        named = [("calibration", self.calibration, CALIBRATIONS), ("resample", self.resample, RESAMPLED)]
        named += [("figure_formats", each, FIGURE_FORMATS) for each in self.figure_formats]
        for name, value, known in named:
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
        if self.sensitivity is not None and self.specificity is not None:
            raise ValueError("Give sensitivity or specificity, not both: one threshold cannot choose both.")
        for name in ("sensitivity", "specificity"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, for instance 0.9; got {share}.")
        if not 0 < self.coverage < 1:
            raise ValueError(f"coverage must lie between 0 and 1, for instance 0.9; got {self.coverage}.")
        self.bootstrap()

    def bootstrap(self) -> Bootstrap:
        """Return how intervals are made."""
        return Bootstrap(self.num_resamples, self.seed, self.confidence, self.resample)

    def aim(self) -> str:
        """Return for what thresholds are chosen, in words."""
        if self.sensitivity is not None:
            return f"a sensitivity of {100 * self.sensitivity:g} % at least"
        if self.specificity is not None:
            return f"a specificity of {100 * self.specificity:g} % at least"
        return "the highest F1"


def evaluate_run(run: Run, options: ReportOptions, bootstrap: Bootstrap | None = None) -> dict[str, Any]:
    """Compute what a report shows of a run's test records, task by task.

    Args:
        run (`Run`): The run.
        options (`ReportOptions`): How.
        bootstrap (`Bootstrap`, *optional*): That of `options`, where it is shared with what else is computed.

    Returns:
        `dict[str, Any]`, ready for JSON: from a task to
            - **scores**: what `evaluate_task` gives;
            - **decisions**: what `operating_points` gives, None where there are no thresholds; **calibration**: the
              fields of the `Calibration`, and `is_own`, whether the model brought it along; None where there is none;
              **as_predicted** and **calibrated**: what `calibration_scores` gives without and with it (classification
              only; None where nothing is calibrated);
            - **agreement**: what `agreement` gives (regression only);
            - **conformal**: what `conformal_scores` gives, None without validation records;
            - **subgroups**: from a column to what `score_subgroups` gives;
            - **lead_sets** and **experts**: what the run computed, see `Run`; empty where there is none;
            - **published**: published results as dicts, and **why_not_published**, a sentence where there are none.

    Raises:
        ValueError: if an age is no number or negative.
    """
    bootstrap = bootstrap or options.bootstrap()
    return {task.name: _evaluate_task(run, task, options, bootstrap) for task in run.tasks}


def _evaluate_task(run: Run, task: Task, options: ReportOptions, bootstrap: Bootstrap) -> dict[str, Any]:
    validation, test = (run.splits[split].scored(task) for split in ("validation", "test"))
    result: dict[str, Any] = {"scores": evaluate_task(test, bootstrap), "conformal": None}
    if task.is_regression:
        result["agreement"] = agreement(test, bootstrap)
    else:
        result |= _evaluate_probabilities(validation, test, options, bootstrap)
    if len(validation) and len(test):
        by, of = (each.with_outputs(calibrated_outputs(task, each.outputs)) for each in (validation, test))
        result["conformal"] = conformal_scores(by, of, bootstrap, options.coverage)
    result["subgroups"] = {
        column: score_subgroups(test, groups, bootstrap)
        for column, groups in _groups(run, run.splits["test"]).items()
        if column != task.name or task.is_regression  # one class has no score
    }
    result["lead_sets"] = {name: by_task[task.name] for name, by_task in run.lead_sets.items()}
    result["experts"] = run.experts.get(task.name, {})
    reason = _why_not_published(run, task)
    rows = [] if reason else [asdict(row) for row in published_results(task.name)]
    return {**result, "published": rows, "why_not_published": reason}


def _evaluate_probabilities(
    validation: Scored, test: Scored, options: ReportOptions, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Return decisions and calibration, both by what the validation records tell."""
    is_single = test.task.problem_type == "single_label_classification"
    thresholds = None if is_single else _thresholds(validation, options)
    calibration, is_own = _calibration(validation, options)
    calibrated = None
    if calibration is not None:
        calibrated = calibration_scores(test.with_outputs(calibration.apply(test.outputs)), bootstrap)
    decided = test.with_outputs(calibrated_outputs(test.task, test.outputs))
    return {
        "decisions": operating_points(decided, bootstrap, thresholds) if is_single or thresholds else None,
        "calibration": None if calibration is None else {**calibration.to_dict(), "is_own": is_own},
        "as_predicted": calibration_scores(test, bootstrap),
        "calibrated": calibrated,
    }


def _calibration(validation: Scored, options: ReportOptions) -> tuple[Calibration | None, bool]:
    """Return the model's own calibration, or what is fitted as was asked for, and whether it is the model's own."""
    task, targets, outputs = validation.task, validation.targets, validation.outputs
    own = Calibration.of_task(task)
    if not len(validation) or (own is not None and options.calibration == AUTO):
        return own, True
    if options.calibration == AUTO:
        return choose_calibration(task, targets, outputs, validation.patients), False
    is_single = task.problem_type == "single_label_classification"
    return fit_calibration(task, targets, outputs, "temperature" if is_single else options.calibration), False


def _thresholds(validation: Scored, options: ReportOptions) -> list[float] | None:
    """Choose thresholds on calibrated probabilities by the validation records; the model's own have the best F1."""
    task, is_own = validation.task, options.sensitivity is None and options.specificity is None
    if not len(validation) or (is_own and task.thresholds):
        return task.thresholds if is_own else None
    probabilities = calibrated_outputs(task, validation.outputs)
    if options.sensitivity is not None:
        return sensitivity_thresholds(validation.targets, probabilities, options.sensitivity)
    if options.specificity is not None:
        return specificity_thresholds(validation.targets, probabilities, options.specificity)
    return f1_thresholds(validation.targets, probabilities, LEAST_POSITIVES)


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
    if run.info.dataset.name != PTBXL:
        return f"Published results are not shown: they are on PTB-XL, and these records are {run.info.dataset.name}."
    if run.info.dataset.tested != ["test"]:  # an evaluation on other splits
        return "Published results are not shown: they are on PTB-XL's test fold, and these records are of other folds."
    num_records = len(run.splits["test"].scored(task))
    if num_records < (_LEAST_FORM_RECORDS if task.name == "form" else _LEAST_RECORDS):
        return (
            f"Published results are not shown: they are on the whole of PTB-XL's fold 10, and these {num_records} "
            "records are a part of it."
        )
    return ""
