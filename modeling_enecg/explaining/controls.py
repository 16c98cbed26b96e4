"""The controls that an explanation has to beat before it is believed.

The deletion curve follows Petsiuk, Das, Saenko, "RISE", arXiv 1806.07421, with random orders beside it; the comparison
with a model of random weights is that of Adebayo et al., "Sanity Checks for Saliency Maps", arXiv 1810.03292.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy.stats import spearmanr

from ..modeling_enecg import EnECGModel
from .scored_record import ScoredRecord

FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
NUM_RANDOM_ORDERS = 10
LARGEST_CORRELATION = 0.5  # with what a model of random weights gives


@dataclass(frozen=True, eq=False)
class References:
    """Deletion in orders that know nothing of the model.

    Attributes:
        random_scores (`np.ndarray` of shape `(num_orders, num_fractions)`): Cells in random orders.
        amplitude_scores (`np.ndarray` of shape `(num_fractions,)`): Those of the largest deflections first.
    """

    random_scores: np.ndarray
    amplitude_scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Deletion:
    """The output while the most important cells are removed first, that is made flat.

    Attributes:
        scores (`np.ndarray` of shape `(num_fractions,)`): The output with each of `FRACTIONS` removed.
        random_scores (`np.ndarray` of shape `(num_fractions,)`): The same in random order, the mean over the orders.
        area (`float`): Under the curve.
        random_areas (`np.ndarray` of shape `(num_orders,)`): Under that of each random order.
        amplitude_area (`float`): Under that of the largest deflections first.
    """

    scores: np.ndarray
    random_scores: np.ndarray
    area: float
    random_areas: np.ndarray
    amplitude_area: float

    @property
    def area_difference(self) -> float:
        """How much lower the curve lies than the random ones, on average; in the output's unit."""
        return float(self.random_areas.mean()) - self.area

    @property
    def beats_random(self) -> bool:
        """Whether the curve lies lower than that of every random order."""
        return bool(self.area < self.random_areas.min())

    @property
    def beats_amplitude(self) -> bool:
        """Whether the curve lies lower than that of the largest deflections first."""
        return self.area < self.amplitude_area


def reference_deletions(record: ScoredRecord, amplitudes: np.ndarray, seed: int = 0) -> References:
    """Remove cells in random orders, and by their deflection.

    Args:
        record ([`ScoredRecord`]): The recording before the model.
        amplitudes (`np.ndarray` of shape `(num_leads, num_columns)`): The deflection in each cell.
        seed (`int`, *optional*, defaults to 0): Of the random orders.
    """
    generator = np.random.default_rng(seed)
    orders = [generator.random(record.is_seen.shape) for _ in range(NUM_RANDOM_ORDERS)]
    scores = record.scores(removal for order in [*orders, amplitudes] for removal in _removals(record, order))
    *random, amplitude = scores.reshape(len(orders) + 1, len(FRACTIONS))
    return References(np.stack(random), amplitude)


def deletion(record: ScoredRecord, importance: np.ndarray, references: References) -> Deletion:
    """Remove the most important cells first, and compare.

    Args:
        record ([`ScoredRecord`]): The recording before the model.
        importance (`np.ndarray` of shape `(num_leads, num_columns)`): Signed: what speaks for the output most is
            removed first, what speaks against it last.
        references ([`References`]): What `reference_deletions` gave.
    """
    scores = record.scores(_removals(record, importance))
    areas = np.trapezoid(references.random_scores, FRACTIONS, axis=1)
    return Deletion(
        scores,
        references.random_scores.mean(axis=0),
        float(np.trapezoid(scores, FRACTIONS)),
        areas,
        float(np.trapezoid(references.amplitude_scores, FRACTIONS)),
    )


def _removals(record: ScoredRecord, importance: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the cells to remove for each fraction of those that the model sees."""
    seen = np.flatnonzero(record.is_seen)
    order = seen[np.argsort(-importance.flat[seen], kind="stable")]
    for fraction in FRACTIONS:
        removal = np.zeros(record.is_seen.size, dtype=bool)
        removal[order[: round(fraction * len(order))]] = True
        yield removal.reshape(record.is_seen.shape)


def with_random_weights(model: EnECGModel, seed: int = 0) -> EnECGModel:
    """Return a model of the same architecture whose experts, heads and gates were never trained.

    Args:
        model ([`EnECGModel`]): The model; the random numbers of torch are left as they were.
        seed (`int`, *optional*, defaults to 0): Of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = deepcopy(model.config)
        config.expert_references = None
        untrained = EnECGModel(config)
    cast(torch.nn.Module, untrained).to(model.device, model.dtype)
    return untrained.eval()


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two arrays of one shape; None where one does not vary."""
    if not np.ptp(first) or not np.ptp(second):
        return None
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


__all__ = [
    "FRACTIONS",
    "LARGEST_CORRELATION",
    "NUM_RANDOM_ORDERS",
    "Deletion",
    "References",
    "deletion",
    "rank_correlation",
    "reference_deletions",
    "with_random_weights",
]
