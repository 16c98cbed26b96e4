"""The figures of a report on a task, drawn into a folder and captioned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration_enecg import Task
from ..evaluation import Bootstrap, Scored
from ..evaluation.calibration import Calibration
from ..evaluation.curves import Band, precision_recall_band, roc_band
from ..evaluation.intervals import too_few
from ..evaluation.metrics import main_metric, metric_title
from ..evaluation.subgroups import GROUPS
from ..figures.labels import plot_per_label
from ..figures.probabilities import (
    NUM_LINES,
    Records,
    most_frequent,
    plot_calibration,
    plot_decision_curves,
    plot_ranking_curves,
)
from ..figures.regressions import plot_agreement
from ..figures.subgroups import plot_subgroups
from ..runs.run import Run
from .evaluate import ReportOptions
from .page import Picture


class TaskPictures:
    """Draws the figures of one task of a run.

    Args:
        scored (`Scored`): The task's test records.
        evaluated (`Mapping[str, Any]`): What `evaluate_run` gives of the task.
        folder (`Path`): Where the files go.
        prefix (`str`): How their names begin.
        options (`ReportOptions`): Says in which formats.
        bootstrap (`Bootstrap`): How the bands of curves are made.
    """

    def __init__(
        self,
        scored: Scored,
        evaluated: Mapping[str, Any],
        folder: Path,
        prefix: str,
        options: ReportOptions,
        bootstrap: Bootstrap,
    ) -> None:
        self.scored, self.task, self.evaluated = scored, scored.task, evaluated
        self.folder, self.prefix = folder, prefix
        self.formats = list(dict.fromkeys(["png", *options.figure_formats]))
        self.bootstrap = bootstrap
        self.title = f"{self.task.name}, {len(scored)} test records"
        self.pictures: dict[str, Picture] = {}

    def draw(self) -> dict[str, Picture]:
        """Draw all figures, and return those by kind."""
        if len(self.scored):
            if self.task.is_regression:
                self._draw_agreement()
            else:
                self._draw_probabilities()
            if self.evaluated["subgroups"]:
                self._draw_subgroups()
        return self.pictures

    def _add(self, kind: str, caption: str) -> list[Path]:
        stem = f"{self.prefix}_{kind}"
        self.pictures[kind] = Picture(f"{stem}.png", f"{self.task.name}: {caption}")
        return [self.folder / f"{stem}.{ending}" for ending in self.formats]

    def _draw_agreement(self) -> None:
        paths = self._add(
            "agreement",
            "predicted against true values (dashed: equal), and their differences with bias and limits of agreement; "
            "the bands are intervals.",
        )
        columns = dict(zip(self.task.output_names, self.scored.columns, strict=True))
        plot_agreement(columns, self.evaluated["agreement"]["per_output"], self.task.unit, paths, self.title)

    def _draw_probabilities(self) -> None:
        per_label = self.evaluated["scores"]["per_label"]
        paths = self._add("per_label", "AUROC and AUPRC of every label with intervals, the best AUROC on top.")
        plot_per_label(per_label, paths, self.title)
        as_predicted, frequent = self.evaluated["as_predicted"], most_frequent(self.evaluated["as_predicted"])
        self._draw_ranking(frequent)
        paths = self._add(
            "calibration",
            f"calibration curves of {self._share_of_labels(len(frequent))} labels (positives in brackets), in bins of "
            "about equally many records with Wilson intervals.",
        )
        plot_calibration(as_predicted, self.evaluated["calibrated"], paths, self.title)
        self._draw_decisions(frequent)

    def _draw_ranking(self, frequent: list[str]) -> None:
        records, per_label = self._records(frequent), self.evaluated["scores"]["per_label"]
        defined = [label for label in frequent if per_label[label]["auroc"]["point"] is not None]
        counts = {label: per_label[label]["num_positives"] for label in defined}
        shown = sorted(defined, key=lambda label: -counts[label])[:NUM_LINES]
        if not shown:
            return
        names = {
            label: f"{label} ({counts[label]}): AUROC {per_label[label]['auroc']['point']:.3f}, "
            f"AUPRC {per_label[label]['auprc']['point']:.3f}"
            for label in shown
        }
        paths = self._add(
            "ranking",
            f"ROC curves, and precision over recall, of {self._share_of_labels(len(shown))} labels (positives in "
            f"brackets); dotted is chance. At each point a band holds {100 * self.bootstrap.confidence:g} % of the "
            "resamples; curves of too few positives or negatives have none.",
        )
        bands = {names[label]: band for label in shown if (band := self._bands(*records[label])) is not None}
        plot_ranking_curves({names[label]: records[label] for label in shown}, paths, self.title, bands)

    def _bands(self, is_positive: np.ndarray, probabilities: np.ndarray) -> tuple[Band, Band] | None:
        """Return how far a label's two curves vary, None where resampling cannot tell."""
        resamples = self.bootstrap.resamples(self.scored)
        if any(too_few(resamples, chosen) for chosen in (is_positive, ~is_positive)):
            return None
        given = is_positive, probabilities, resamples.counts[1:], self.bootstrap.confidence
        return roc_band(*given), precision_recall_band(*given)

    def _draw_decisions(self, frequent: list[str]) -> None:
        calibration = self.evaluated["calibration"]
        calibrated = None
        if calibration is not None:
            fields = {key: value for key, value in calibration.items() if key != "is_own"}
            outputs = Calibration.from_dict(fields).apply(self.scored.outputs)
            calibrated = self._records(frequent, self.scored.with_outputs(outputs))
        paths = self._add(
            "net_benefit",
            f"net benefit of acting on the probability of {self._share_of_labels(len(frequent))} labels (positives in "
            "brackets), over the probability from which one acts. A model is of use where its line lies above those "
            "of acting on everybody and on nobody.",
        )
        plot_decision_curves(self._records(frequent), calibrated, paths, self.title)

    def _draw_subgroups(self) -> None:
        metric = main_metric(self.task) if not self.task.is_regression else "mae"
        unit = f", in {self.task.unit}" if self.task.unit and self.task.is_regression else ""
        title = f"{metric_title(metric)}{unit}"
        paths = self._add("subgroups", f"{title} by group (records in brackets).")
        by_name = {GROUPS[column]: scored for column, scored in self.evaluated["subgroups"].items()}
        plot_subgroups(by_name, metric, paths, f"{self.task.name}: {title}")

    def _records(self, labels: list[str], scored: Scored | None = None) -> dict[str, Records]:
        scored = scored or self.scored
        places = {label: index for index, label in enumerate(self.task.labels)}
        return {label: (scored.is_positive[:, places[label]], scored.outputs[:, places[label]]) for label in labels}

    def _share_of_labels(self, num_shown: int) -> str:
        shown = f"the {num_shown} most frequent of " if num_shown < self.task.num_outputs else ""
        return f"{shown}{self.task.num_outputs}"


def draw_task(
    run: Run,
    task: Task,
    evaluated: Mapping[str, Any],
    folder: Path,
    prefix: str,
    options: ReportOptions,
    bootstrap: Bootstrap,
) -> dict[str, Picture]:
    """Draw a task's figures into a folder, and return those by kind; arguments as of `TaskPictures`."""
    return TaskPictures(run.splits["test"].scored(task), evaluated, folder, prefix, options, bootstrap).draw()
