"""Records of several datasets, each seen as often as its weight says."""

from collections import Counter

import pytest
import torch

from modeling_enecg.data.epochs import EpochRecords
from modeling_enecg.data.mixed_records import Mix, MixedRecords


class Numbers(torch.utils.data.Dataset):
    """Records that are their own numbers."""

    def __getitem__(self, index):
        return index


def epoch_of(mixed, epoch):
    mixed.epoch = epoch
    return [mixed[index] for index in range(len(mixed))]


def test_an_epoch_has_of_each_dataset_what_its_weight_says():
    mixed = MixedRecords(Numbers(), Mix((10, 8, 5), (1.0, 0.25, 3.0)), seed=1)
    for epoch in range(4):
        seen = Counter(epoch_of(mixed, epoch))
        assert [seen[number] for number in range(10)] == [1] * 10
        assert sum(seen[number] for number in range(10, 18)) == 2
        assert [seen[number] for number in range(18, 23)] == [3] * 5
        assert len(mixed) == sum(seen.values()) == 27


def test_over_the_epochs_every_record_is_seen_as_often_as_the_others_of_its_dataset():
    mixed = MixedRecords(Numbers(), Mix((3, 8), (1.0, 0.4)), seed=1)
    epochs = [epoch_of(mixed, epoch)[3:] for epoch in range(8)]
    seen = Counter(number for epoch in epochs for number in epoch)
    assert set(seen) == set(range(3, 11))
    assert set(seen.values()) == {3}
    assert len({tuple(sorted(epoch)) for epoch in epochs}) > 4, "each epoch has others"


def test_the_order_follows_from_seed_and_epoch_alone():
    first, second = (MixedRecords(Numbers(), Mix((10, 8), (1.0, 0.5)), seed=3) for _ in range(2))
    epoch_of(first, 0)
    assert epoch_of(first, 2) == epoch_of(second, 2)
    other = MixedRecords(Numbers(), Mix((10, 8), (1.0, 0.5)), seed=4)
    assert epoch_of(other, 2) != epoch_of(second, 2)


def test_a_weight_that_leaves_no_record_is_refused():
    with pytest.raises(ValueError, match=r"a weight of 0\.01 leaves no record of 20"):
        Mix((10, 20), (1.0, 0.01))


def test_records_that_follow_an_epoch_themselves_follow_that_of_the_mix():
    inner = EpochRecords()
    MixedRecords(inner, Mix((3, 4), (1.0, 1.0)), seed=0).epoch = 5
    assert inner.epoch == 5
