"""Training records of several datasets, each seen as often as its weight says."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import datasets
import numpy as np

from .augmented_records import AugmentedRecords
from .epochs import EpochRecords
from .prepared import SignalRecords, Split, joined


@dataclass(frozen=True)
class Mix:
    """How datasets are mixed.

    Attributes:
        sizes (`tuple[int, ...]`): How many records each has, in order.
        weights (`tuple[float, ...]`): How often each one's are seen per epoch.

    Raises:
        ValueError: if an epoch would have none of a dataset.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        for size, weight, count in zip(self.sizes, self.weights, self.counts, strict=True):
            if count < 1:
                raise ValueError(f"a weight of {weight:g} leaves no record of {size} in an epoch; raise it.")

    @property
    def counts(self) -> list[int]:
        """How many records of each an epoch has."""
        return [round(size * weight) for size, weight in zip(self.sizes, self.weights, strict=True)]

    def __len__(self) -> int:
        return sum(self.counts)


class MixedRecords(EpochRecords):
    """The records of several datasets, joined one after the other; an epoch has some of each, others in every epoch.

    Of a dataset of `n` records with the weight `w` an epoch has `w * n`, rounded: with 1 every record once, with 0.25
    a quarter of them. Over the epochs every record of a dataset is seen as often as the others of it, but for one
    time. Which ones come follows from seed and epoch, whichever process reads them, and when.

    Args:
        records (`SignalRecords` or `AugmentedRecords`): The records.
        mix (`Mix`): How many of them each dataset has, and how often they are seen.
        seed (`int`): Seed of the order.
    """

    def __init__(self, records: SignalRecords | AugmentedRecords, mix: Mix, seed: int):
        super().__init__(records)
        self.records, self.mix, self.seed = records, mix, seed
        self._starts, self._turns = np.cumsum([0, *mix.sizes]), np.cumsum([0, *mix.counts])

    def __len__(self) -> int:
        return int(self._turns[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.records[self.place(index)]

    def place(self, index: int) -> int:
        """Return which of the records is an epoch's `index`."""
        number = int(np.searchsorted(self._turns, index, side="right")) - 1
        size = self.mix.sizes[number]
        turn = self.epoch * self.mix.counts[number] + index - int(self._turns[number])
        round_number, place = divmod(turn, size)
        return int(self._starts[number]) + int(_order(self.seed, number, round_number, size)[place])


@lru_cache(maxsize=16)
def _order(seed: int, number: int, round_number: int, size: int) -> np.ndarray:
    """Return the order in which a dataset's records come while each is seen once."""
    return np.random.default_rng([seed, number, round_number]).permutation(size)


def joined_datasets(splits: Mapping[str, Split]) -> Split:
    """Return the records of several datasets, prepared for the same model, as one split without labels.

    Args:
        splits (`Mapping[str, Split]`): By a dataset's place, its records.
    """
    return joined([_unlabelled(place, split) for place, split in splits.items()])


def _unlabelled(place: str, split: Split) -> Split:
    """Return a split with what all datasets have in common; its records are called by the dataset's place as well."""
    names = [f"{place}: {name}" for name in split.records["ecg_id"][:]]
    raw = split.raw.without("ecg_id")
    return Split(datasets.Dataset.from_dict({"ecg_id": names}), split.inputs, split.views, {}, raw)


__all__ = ["Mix", "MixedRecords", "joined_datasets"]
