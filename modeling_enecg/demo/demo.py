"""A model behind the page: every question that the page asks, answered as HTML."""

from collections.abc import Sequence
from typing import NamedTuple

from ..explaining import explain
from ..findings import Findings, leading_findings
from ..prediction import Predictor
from .batch import batch_html
from .cards import error_html, result_html
from .neighbours import Neighbours
from .uploads import Recording, in_one_line
from .why import explanation_html


class Answer(NamedTuple):
    """What is to be seen of a recording.

    Attributes:
        html (`str`): Its findings, or a line that says what is wrong.
        output (`str`, *optional*): The output that is to be explained first, of `Demo.outputs`; None where nothing can
            be.
    """

    html: str
    output: str | None


class Demo:
    """A model that answers what the page asks.

    Args:
        predictor ([`Predictor`]): The model.
        neighbours ([`Neighbours`], *optional*): Records to compare recordings with.

    Attributes:
        outputs (`dict[str, tuple[str, str]]`): What can be explained: a name, and the task and label.
    """

    def __init__(self, predictor: Predictor, neighbours: Neighbours | None = None):
        self.predictor, self.neighbours = predictor, neighbours
        self.tasks = predictor.model.tasks
        self.outputs = {
            _output_name(task.name, label): (task.name, label)
            for task in self.tasks.values()
            for label in task.output_names
        }

    def findings(self, recording: Recording) -> Answer:
        """Return what the model finds in a recording, and which records are like it."""
        if recording.record is None:
            return Answer(error_html(recording.error), None)
        try:
            found = self.predictor(recording.record)
            html = result_html(recording.name, recording.record, found, self.tasks)
            if not found.is_scored:
                return Answer(html, None)
            if self.neighbours is not None:
                html += f'<div class="ecg-tasks ecg-neighbours">{self.neighbours.html(recording.record)}</div>'
            return Answer(html, self._strongest(found))
        except Exception as error:  # whatever a strange signal provokes
            return Answer(error_html(in_one_line(error)), None)

    def table(self, recordings: Sequence[Recording]) -> str:
        """Return what the model finds in several recordings."""
        results, told = [], []
        for each in recordings:
            found, error = self._found(each)
            results.append(found)
            told.append(each._replace(error=error))
        return batch_html(told, results, list(self.tasks.values()))

    def explanation(self, recording: Recording | None, output: str) -> str:
        """Return why the model gives an output for a recording; None is one that is no longer at hand."""
        if recording is None or recording.record is None:
            return error_html("The recording is no longer at hand; choose it again.")
        task, label = self.outputs[output]
        model, extractor = self.predictor.model, self.predictor.extractor
        try:
            return explanation_html(recording.record, explain(model, extractor, recording.record, task, label))
        except Exception as error:
            return error_html(in_one_line(error, "This recording cannot be explained."))

    def _strongest(self, found: Findings) -> str:
        """Return the output of the finding that ranks highest, before what is said of everybody, such as the sex."""
        several = {name: each for name, each in found.items() if self.tasks[name].is_multi_label}
        by_task = several or found
        best = next(iter(leading_findings(by_task, 1)), next(iter(by_task.values()))[0])
        task = next(name for name, findings in by_task.items() if any(each is best for each in findings))
        return _output_name(task, best["label"])

    def _found(self, recording: Recording) -> tuple[Findings | None, str]:
        if recording.record is None:
            return None, recording.error
        try:
            return self.predictor(recording.record), ""
        except Exception as error:
            return None, in_one_line(error)


def _output_name(task: str, label: str) -> str:
    return label if label == task else f"{task}: {label}"


__all__ = ["Answer", "Demo"]
