"""Occlusion: how much an output falls when a part of the recording is made flat.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv 1311.2901, with leads and wave segments
in the place of patches.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .scored_record import ScoredRecord
from .segments import SEGMENTS


@dataclass(frozen=True, eq=False)
class Occlusion:
    """By how much the output falls without a part of the recording; negative where it rises.

    Attributes:
        by_lead (`np.ndarray` of shape `(num_leads,)`): Without a lead.
        by_segment (`np.ndarray` of shape `(num_segments,)`): Without a segment in all leads and beats; see `SEGMENTS`.
        by_both (`np.ndarray` of shape `(num_leads, num_segments)`): Without a segment in one lead.
    """

    by_lead: np.ndarray
    by_segment: np.ndarray
    by_both: np.ndarray

    def cells(self, record: ScoredRecord, segments: np.ndarray) -> np.ndarray:
        """Return the fall of `by_both` spread evenly over its part's cells, `(num_leads, num_columns)`."""
        grid = np.zeros(record.is_seen.shape)
        for lead, falls in enumerate(self.by_both):
            for segment, fall in enumerate(falls):
                is_part = record.is_seen[lead] & (segments == segment)
                grid[lead, is_part] = fall / max(np.count_nonzero(is_part), 1)
        return grid


def occlude(record: ScoredRecord, segments: np.ndarray) -> Occlusion:
    """Measure how much the output falls without each lead, each segment, and each segment of each lead.

    Args:
        record ([`ScoredRecord`]): The recording before the model.
        segments (`np.ndarray` of shape `(num_columns,)`): Of each column, as `segment_of` gives it.
    """
    num_leads = len(record.lead_names)
    score, *others = record.scores(_removals(record, segments))
    falls = score - np.array(others)
    by_lead, by_segment, by_both = np.split(falls, [num_leads, num_leads + len(SEGMENTS)])
    return Occlusion(by_lead, by_segment, by_both.reshape(num_leads, len(SEGMENTS)))


def _removals(record: ScoredRecord, segments: np.ndarray) -> Iterator[np.ndarray]:
    """Yield what to remove: nothing, then each lead, each segment, and each segment of each lead."""
    rows, parts = np.arange(len(record.lead_names))[:, None], range(len(SEGMENTS))
    yield np.zeros(record.is_seen.shape, dtype=bool)
    yield from (record.is_seen & (rows == lead) for lead in range(len(rows)))
    yield from (record.is_seen & (segments == part) for part in parts)
    for lead in range(len(rows)):
        yield from (record.is_seen & (rows == lead) & (segments == part) for part in parts)


__all__ = ["Occlusion", "occlude"]
