"""One output of a model explained for one recording, by two methods, each with the controls that it has to pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.beats import find_beats
from ..decisions import activated
from ..ecg_file import channel_name
from ..evaluation.fiducials import delineate
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..judged_recording import as_record, judge_recording
from ..modeling_enecg import EnECGModel
from ..recording import ECGRecord
from ..signal_quality import UNUSABLE
from ..tasks import Task
from .controls import (
    FRACTIONS,
    LARGEST_CORRELATION,
    Deletion,
    References,
    deletion,
    rank_correlation,
    reference_deletions,
    with_random_weights,
)
from .gradients import NUM_STEPS, integrated_gradients
from .occlusion import occlude
from .scored_record import CELL_S, Output, ScoredRecord
from .segments import SEGMENTS, BeatParts, parts_of, segment_of

BASELINE = "each lead's median in the model's input: a flat line at its isoelectric level"
LARGEST_COMPLETENESS_ERROR = 0.1
METHODS = ("integrated_gradients", "occlusion")


@dataclass(frozen=True, eq=False)
class Attribution:
    """What one method says.

    Attributes:
        cells (`np.ndarray` of shape `(num_leads, num_columns)`): What each 10 ms of each lead adds to the output,
            signed, in the output's unit.
        by_lead (`dict[str, float]`): The sum over a lead; of occlusion, by how much the output falls without it.
        by_segment (`dict[str, float]`): The same of a segment in all leads and beats.
        lead_shares (`dict[str, float]`): A lead's share of the magnitudes, which sum to 1.
        segment_shares (`dict[str, float]`): The same of a segment.
        deletion ([`Deletion`]): What happens to the output when the cells are removed in this order.
        random_weights_correlation (`float`, *optional*): Spearman's rank correlation of the magnitudes with those that
            the same method gives for the same model with random weights; None where one of them does not vary.
        random_weights_signed_correlation (`float`, *optional*): The same with the signs.
        warnings (`list[str]`): The controls that were not passed, in words.
    """

    cells: np.ndarray
    by_lead: dict[str, float]
    by_segment: dict[str, float]
    lead_shares: dict[str, float]
    segment_shares: dict[str, float]
    deletion: Deletion
    random_weights_correlation: float | None
    random_weights_signed_correlation: float | None
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the cells, ready for JSON."""
        curve = self.deletion
        return {
            "leads": _listed("lead", self.by_lead, self.lead_shares),
            "segments": _listed("segment", self.by_segment, self.segment_shares),
            "deletion": {
                "fractions": list(FRACTIONS),
                "scores": curve.scores.tolist(),
                "random_scores": curve.random_scores.tolist(),
                "area_difference": curve.area_difference,
                "beats_random": curve.beats_random,
                "beats_amplitude": curve.beats_amplitude,
            },
            "random_weights_correlation": self.random_weights_correlation,
            "random_weights_signed_correlation": self.random_weights_signed_correlation,
            "warnings": self.warnings,
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model gives an output for a recording, as far as two methods tell.

    Attributes:
        task (`str`): The task.
        label (`str`): Its label, or the name of a regression's output.
        unit (`str`): Of the output and of all that adds up to it: `"logit"`, or a regression's own.
        score (`float`): The output, the mean over the recording's windows.
        probability (`float`, *optional*): The model's own, uncalibrated; None of a regression.
        baseline_score (`float`): The output where every lead is flat.
        lead_names (`list[str]`): The leads that the model reads.
        beats (`np.ndarray`): The R peaks, in seconds.
        parts ([`BeatParts`]): Where the parts of a beat lie, and which of them were delineated.
        segments (`np.ndarray` of shape `(num_columns,)`): Of each 10 ms, as an index of `SEGMENTS`.
        num_windows (`int`): Into how many windows the recording was cut.
        num_steps (`int`): Of the integrated gradients.
        completeness_error (`float`): By how much their sum differs from `score - baseline_score`, as a share of that.
        attributions (`dict[str, Attribution]`): By method, see `METHODS`.
        warnings (`list[str]`): What concerns the whole explanation.
    """

    task: str
    label: str
    unit: str
    score: float
    probability: float | None
    baseline_score: float
    lead_names: list[str]
    beats: np.ndarray
    parts: BeatParts
    segments: np.ndarray
    num_windows: int
    num_steps: int
    completeness_error: float
    attributions: dict[str, Attribution]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return all but what belongs to single cells, ready for JSON."""
        return {
            "task": self.task,
            "label": self.label,
            "unit": self.unit,
            "score": self.score,
            "probability": self.probability,
            "baseline": BASELINE,
            "baseline_score": self.baseline_score,
            "num_windows": self.num_windows,
            "num_steps": self.num_steps,
            "completeness_error": self.completeness_error,
            "num_beats": len(self.beats),
            "segment_windows_s": {name: list(span) for name, span in self.parts.spans_s.items()},
            "segments_delineated": list(self.parts.delineated),
            **{name: each.to_dict() for name, each in self.attributions.items()},
            "warnings": self.warnings,
        }


def explain(
    model: EnECGModel,
    extractor: ECGFeatureExtractor | EnECGFeatureExtractor,
    recording: Any,
    task: str,
    label: str | None = None,
    num_steps: int = NUM_STEPS,
    force: bool = False,
    seed: int = 0,
    batch_size: int = 16,
) -> Explanation:
    """Explain one output of a model for one recording, and check the explanation.

    Args:
        model ([`EnECGModel`]): In eval mode; any experts and gate.
        extractor: Its feature extractor.
        recording: An [`ECGRecord`], or whatever the pipeline takes, of any length and leads.
        task (`str`): The task.
        label (`str`, *optional*): The label, or the output of a regression; by default the most probable one, or the
            only one.
        num_steps (`int`, *optional*, defaults to 64): Of the integrated gradients.
        force (`bool`, *optional*, defaults to False): Explain a recording whose signal is unusable as well.
        seed (`int`, *optional*, defaults to 0): Of the random orders and the random weights.
        batch_size (`int`, *optional*, defaults to 16): Windows computed at once.

    Returns:
        [`Explanation`]

    Raises:
        ValueError: if there is no such task or label, a regression of several outputs is given no label, the
            recording is unusable or does not fit, `num_steps` is not positive, or gradients are not finite.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be 1 or more; got {num_steps}.")
    wanted = _task(model, task)
    recording = as_record(recording)
    judged = judge_recording(recording, extractor, force)
    if judged.quality.verdict == UNUSABLE and not force:
        raise ValueError(f"The recording is unusable ({judged.quality}); --force explains it all the same.")
    num_samples = recording.signal_mv.shape[1]
    record = ScoredRecord(model, extractor, judged, num_samples, Output(task, 0), batch_size)
    logits = record.all_logits()
    index = _index(wanted, label, logits)
    record = record.with_output(index)
    standard = _standard(recording, extractor)
    beats = find_beats(standard)
    parts = parts_of(delineate(standard, beats))
    segments = segment_of((np.arange(record.num_columns) + 0.5) * CELL_S, beats, parts)
    explained = _Explained(record, segments, reference_deletions(record, _amplitudes(record), seed), num_steps)
    untrained = explained.before(with_random_weights(model, seed))
    by_gradients, by_occlusion = explained.by_gradients(untrained), explained.by_occlusion(untrained)
    flat, score = record.scores([record.is_seen, np.zeros_like(record.is_seen)])
    error = _completeness_error(by_gradients.cells, score, flat)
    warnings = [] if len(beats) else ["No beat was found, so that all is called rest."]
    if str(judged.quality):
        warnings.insert(0, f"The recording is {judged.quality.verdict}: {judged.quality}.")
    if judged.missing_leads:
        warnings.append(f"Leads are missing: {', '.join(judged.missing_leads)}.")
    if error > LARGEST_COMPLETENESS_ERROR:
        by_gradients.warnings.append(
            f"The integrated gradients do not add up to the output (completeness error {error:.1%}); "
            "more steps may help."
        )
    return Explanation(
        task=task,
        label=wanted.output_names[index],
        unit=(wanted.unit or "output") if wanted.is_regression else "logit",
        score=float(score),
        probability=None if wanted.is_regression else float(activated(wanted.problem_type, logits)[index]),
        baseline_score=float(flat),
        lead_names=record.lead_names,
        beats=beats,
        parts=parts,
        segments=segments,
        num_windows=len(record.windows),
        num_steps=num_steps,
        completeness_error=error,
        attributions=dict(zip(METHODS, (by_gradients, by_occlusion), strict=True)),
        warnings=warnings,
    )


@dataclass(frozen=True, eq=False)
class _Explained:
    """What both methods need."""

    record: ScoredRecord
    segments: np.ndarray
    references: References
    num_steps: int

    def before(self, model: EnECGModel) -> "_Explained":
        return _Explained(self.record.with_model(model), self.segments, self.references, self.num_steps)

    def by_gradients(self, untrained: "_Explained") -> Attribution:
        cells = integrated_gradients(self.record, self.num_steps)
        other = integrated_gradients(untrained.record, self.num_steps)
        seen = self.record.is_seen
        leads, segments = cells.sum(axis=1), self._summed(cells)
        magnitudes = np.abs(cells).sum(axis=1), self._summed(np.abs(cells))
        return self._attribution(cells, (leads, segments), magnitudes, (cells[seen], other[seen]))

    def by_occlusion(self, untrained: "_Explained") -> Attribution:
        found, other = occlude(self.record, self.segments), occlude(untrained.record, self.segments)
        sums = found.by_lead, found.by_segment
        magnitudes = np.abs(found.by_lead), np.abs(found.by_segment)
        cells = found.cells(self.record, self.segments)
        return self._attribution(cells, sums, magnitudes, (found.by_both, other.by_both))

    def _summed(self, cells: np.ndarray) -> np.ndarray:
        """Return the sum over each segment."""
        return np.bincount(self.segments, cells.sum(axis=0), minlength=len(SEGMENTS))

    def _attribution(
        self,
        cells: np.ndarray,
        sums: tuple[np.ndarray, np.ndarray],
        magnitudes: tuple[np.ndarray, np.ndarray],
        with_untrained: tuple[np.ndarray, np.ndarray],
    ) -> Attribution:
        correlation = rank_correlation(*map(np.abs, with_untrained))
        curve = deletion(self.record, cells, self.references)
        leads, segments = (each / (each.sum() or 1.0) for each in magnitudes)
        return Attribution(
            cells,
            by_lead=_named(self.record.lead_names, sums[0]),
            by_segment=_named(SEGMENTS, sums[1]),
            lead_shares=_named(self.record.lead_names, leads),
            segment_shares=_named(SEGMENTS, segments),
            deletion=curve,
            random_weights_correlation=correlation,
            random_weights_signed_correlation=rank_correlation(*with_untrained),
            warnings=_warnings(curve, correlation),
        )


def _warnings(curve: Deletion, correlation: float | None) -> list[str]:
    """Return what the controls say against an explanation."""
    warnings = []
    if not curve.beats_random:
        warnings.append(
            "Removing what it calls important changes the output no more than removing parts at random: "
            "do not rely on it."
        )
    if correlation is None:
        warnings.append("It does not vary, of this model or of one with random weights: it was not compared.")
    elif correlation > LARGEST_CORRELATION:
        warnings.append(
            f"A model of random weights marks much the same places (rank correlation {correlation:.2f}): where it "
            "marks, it shows the signal more than what the model learnt."
        )
    return warnings


def _task(model: EnECGModel, name: str) -> Task:
    if name not in model.tasks:
        raise ValueError(f"The model has no task {name!r}; there are {', '.join(model.tasks)}.")
    return model.tasks[name]


def _index(task: Task, label: str | None, logits: np.ndarray) -> int:
    """Return the output that is explained."""
    names = list(task.output_names)
    if label is not None:
        if label not in names:
            raise ValueError(f"The task {task.name!r} has no label {label!r}; there are {', '.join(names)}.")
        return names.index(label)
    if task.is_regression and len(names) > 1:
        raise ValueError(f"The task {task.name!r} has the outputs {', '.join(names)}; give one as label.")
    return int(logits.argmax())


def _standard(recording: ECGRecord, extractor: ECGFeatureExtractor | EnECGFeatureExtractor) -> ECGRecord:
    """Return a recording whose leads have their standard names."""
    signal_mv = recording.signal_mv
    names = recording.lead_names or extractor.names_of_rows(len(signal_mv))
    return ECGRecord(signal_mv, recording.sampling_rate, [channel_name(each) for each in names])


def _amplitudes(record: ScoredRecord) -> np.ndarray:
    """Return how far the model's input lies from the baseline in each cell."""
    grid = np.zeros(record.is_seen.shape)
    for index, (window, baselines) in enumerate(zip(record.windows, record.baselines, strict=True)):
        for name, baseline in baselines.items():
            deflection = (window[name] - baseline)[0].abs().float().cpu().numpy()
            grid += record.on_grid(index, name, deflection)
    return grid


def _completeness_error(cells: np.ndarray, score: float, flat: float) -> float:
    difference = score - flat
    return float(abs(cells.sum() - difference) / max(abs(difference), 1e-9))


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


def _listed(kind: str, values: dict[str, float], shares: dict[str, float]) -> list[dict[str, Any]]:
    """Return what is important, largest share first."""
    order = sorted(values, key=lambda name: -shares[name])
    return [{kind: name, "value": values[name], "share": shares[name]} for name in order]


__all__ = ["BASELINE", "METHODS", "Attribution", "Explanation", "explain"]
