"""The findings of a model in one recording, and what they rest on."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .signal_quality import SignalQuality

NOTE_BYTES = 8192


class Note(NamedTuple):
    """What is known of a recording before any model: the verdict, and the leads as [`Findings`] has them."""

    quality: SignalQuality
    used_leads: Sequence[str]
    missing_leads: Sequence[str]
    left_out: Mapping[str, str]


class Findings(dict[str, list[dict[str, Any]]]):
    """By task a list, as `decisions.findings` gives it; empty lists where the recording is unusable.

    Attributes:
        quality ([`SignalQuality`]): The verdict on the recording, with its reasons.
        used_leads (`list[str]`): The leads that the model read.
        missing_leads (`list[str]`): The standard leads that it did not, because they were not recorded or have gaps.
        left_out (`dict[str, str]`): Channels that were left out, by name, each with the reason.
        gate_weights (`dict[str, dict[str, float]]`): By task, each expert's weight.
        novelty (`dict[str, float]`, *optional*): How unlike the records that the model knows the recording is:
            `distance`, about 1 for those, and `rank`, the share of validation records that lie nearer. None where the
            model cannot tell, as without [`Novelty`] or with `top_k`, or nothing was scored.
        explanation ([`Explanation`], *optional*): Of the output that was to be explained.
    """

    def __init__(
        self,
        tasks: Mapping[str, list[dict[str, Any]]],
        quality: SignalQuality,
        used_leads: Sequence[str],
        missing_leads: Sequence[str],
        left_out: Mapping[str, str],
        gate_weights: Mapping[str, Mapping[str, float]],
        novelty: Mapping[str, float] | None = None,
    ):
        super().__init__(tasks)
        self.quality = quality
        self.used_leads, self.missing_leads = list(used_leads), list(missing_leads)
        self.left_out = dict(left_out)
        self.gate_weights = {task: dict(weights) for task, weights in gate_weights.items()}
        self.novelty = None if novelty is None else dict(novelty)
        self.explanation: Any = None

    @property
    def is_scored(self) -> bool:
        """Whether the recording was fit to be scored, or scored all the same."""
        return any(self.values())

    def describe_novelty(self) -> str:
        """Return the novelty in words, nothing where there is none."""
        if self.novelty is None:
            return ""
        nearer = f"{self.novelty['rank']:.1%} of the validation records"
        return f"novelty: distance {self.novelty['distance']:.2f}, further than {nearer}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON; an explanation only where one was asked for."""
        explanation = {} if self.explanation is None else {"explanation": self.explanation.to_dict()}
        return {
            "quality": vars(self.quality),
            "used_leads": self.used_leads,
            "missing_leads": self.missing_leads,
            "left_out": self.left_out,
            "novelty": self.novelty,
            "tasks": dict(self),
            "gate_weights": self.gate_weights,
            **explanation,
        }


def leading_findings(found: Mapping[str, list[dict[str, Any]]], limit: int = 6) -> list[dict[str, Any]]:
    """Return the labels that are present in any classification task and the most probable others, highest first.

    A label that several tasks have counts once, where it ranks highest.
    """
    classified = [each for task in found.values() for each in task if "score" in each]
    ranked = sorted(classified, key=lambda each: (not each["present"], -each["score"]))
    first = {each["label"]: each for each in reversed(ranked)}
    return [each for each in ranked if first[each["label"]] is each][:limit]


def write_note(note: Note) -> np.ndarray:
    """Return what a pipeline has to remember of a recording while its windows go through the model.

    transformers joins windows of several recordings to a batch and takes it apart again, which only numbers survive.

    Returns:
        `np.ndarray` of shape `(1, NOTE_BYTES)`: bytes of JSON, filled up with zeros.
    """
    text = _note_text(note)
    if len(text) > NOTE_BYTES:  # very many other channels: their number has to do
        text = _note_text(note._replace(left_out={f"{len(note.left_out)} channels": "no standard leads"}))
    return np.frombuffer(text.ljust(NOTE_BYTES, b"\0"), dtype=np.uint8)[None].copy()


def _note_text(note: Note) -> bytes:
    return json.dumps([vars(note.quality), *note[1:]]).encode()


def read_note(note: np.ndarray) -> Note:
    """Return what `write_note` was given."""
    quality, *leads = json.loads(note.tobytes().rstrip(b"\0"))
    return Note(SignalQuality(**quality), *leads)


__all__ = ["Findings", "Note", "leading_findings", "read_note", "write_note"]
