"""An explanation in words and as a picture, the same wherever it is shown."""

from pathlib import Path

from matplotlib.figure import Figure

from ..figures.beat_marks import BeatMarks
from ..figures.explained_ecg import Explained
from ..figures.recording import Print, plot_recording
from ..recording import ECGRecord
from .controls import Deletion
from .explanation import METHODS, Explanation
from .scored_record import CELL_S

COLOURS = "orange speaks for it, blue against it"
_SHOWN_LEADS = 5


def headline(found: Explanation) -> str:
    """Return what is explained, with its value."""
    if found.probability is None:
        return f"{found.task}: {found.label} {found.score:.3f} {found.unit}"
    return f"{found.task}: {found.label}, {found.unit} {found.score:.3f} (raw probability {found.probability:.3f})"


def method_title(method: str) -> str:
    """Return a method's name, as `METHODS` has it, in words."""
    return method.replace("_", " ").capitalize()


def meaning(found: Explanation, method: str) -> str:
    """Return what a method's numbers are, and how well they add up."""
    if method == METHODS[0]:
        return f"what adds up to the {found.unit}, {found.num_steps} steps, error {found.completeness_error:.2%}"
    return f"by how much the {found.unit} falls without it"


def ranked(values: dict[str, float], shares: dict[str, float], number: int | None = None) -> str:
    """Return leads or segments with values and shares, largest share first."""
    names = sorted(values, key=lambda name: -shares[name])[:number]
    return ", ".join(f"{name} {values[name]:+.2f} ({shares[name]:.0%})" for name in names)


def describe_deletion(deletion: Deletion) -> str:
    """Return how the deletion curve lies to the random ones."""
    difference = deletion.area_difference
    verdict = "lower than in any random order" if deletion.beats_random else "NOT lower than in every random order"
    side = "below" if difference > 0 else "above"
    return f"most important first: on average {abs(difference):.2f} {side} random, {verdict}"


def parts_line(found: Explanation) -> str:
    """Return what the parts of a beat are, and if they were not delineated, why."""
    return f"{found.parts}" + (f" ({found.parts.why_not})" if found.parts.why_not else "")


def picture_lines(found: Explanation, method: str = METHODS[0]) -> list[str]:
    """Return what a picture that stands alone says of an explanation."""
    each = found.attributions[method]
    return [
        f"{headline(found)}; {found.baseline_score:.3f} with every lead flat",
        f"{method_title(method)}: {COLOURS}",
        f"Leads: {ranked(each.by_lead, each.lead_shares, _SHOWN_LEADS)}",
        f"Parts of the beat: {ranked(each.by_segment, each.segment_shares)}",
        f"Deletion: {describe_deletion(each.deletion)}.",
        *(f"Warning: {warning}" for warning in [*found.warnings, *each.warnings]),
    ]


def plot_explanation(
    record: ECGRecord,
    found: Explanation,
    how: Print,
    path: str | Path | None = None,
    title: str | None = None,
    method: str = METHODS[0],
    lines: list[str] | None = None,
) -> Figure:
    """Draw a recording with a wash of colour where its explanation says that the model looked.

    Args:
        record ([`ECGRecord`]): The recording.
        found ([`Explanation`]): Its explanation.
        how ([`Print`]): Layout, and what is known of its beats and its patient.
        path (`str` or `Path`, *optional*): A `.png`, `.svg` or `.pdf` file to write.
        title (`str`, *optional*): A heading, such as the file's name.
        method (`str`, *optional*, defaults to `"integrated_gradients"`): Of `METHODS`.
        lines (`list[str]`, *optional*, defaults to those of `picture_lines`): Lines under the recording's own.

    Returns:
        `Figure`: As of `plot_recording`, and its errors.
    """
    edges_s = sorted({*sum(found.parts.spans_s.values(), ())})
    marks = BeatMarks(edges_s, caption=f"dotted: {found.parts}")
    explained = Explained(found.lead_names, found.attributions[method].cells, CELL_S, marks)
    lines = picture_lines(found, method) if lines is None else lines
    return plot_recording(record, how, path, title, lines, explained)


__all__ = [
    "COLOURS",
    "describe_deletion",
    "headline",
    "meaning",
    "method_title",
    "parts_line",
    "picture_lines",
    "plot_explanation",
    "ranked",
]
