"""Augmented training records: the same for every process and at every resumption, and only for training."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from modeling_enecg import Task
from modeling_enecg.data.augmentation import Augmentation
from modeling_enecg.data.augmented_records import AugmentedRecords, mixed
from modeling_enecg.data.prepared import SignalRecords, joined
from tests.helpers.tiny_models import SEX
from tests.helpers.training import ECGFOUNDER, STMEM, first_records, ptbxl_tasks, tiny_recipe, tiny_splits

EXPERTS = {"ecgfounder": {"config": ECGFOUNDER}, "stmem": {"config": STMEM | {"sequence_length": 900}}}
TASKS = ["superdiagnostic", "sex", "age"]
NOISY = Augmentation(time_crop=2.0, amplitude_scale=0.2, baseline_wander=0.2, gaussian_noise=0.02, time_mask=1.0)


@pytest.fixture(scope="module")
def split(simulated, training_cache):
    recipe = tiny_recipe(simulated, training_cache, experts=EXPERTS, tasks=TASKS)
    return first_records(tiny_splits(recipe)["train"], 12)


def records(split, **settings):
    return AugmentedRecords(split, ptbxl_tasks(TASKS), Augmentation(**settings), seed=1)


def noisy(split, seed=1):
    return AugmentedRecords(split, ptbxl_tasks(TASKS), NOISY, seed)


def flat(batches):
    return torch.cat([values.flatten() for batch in batches for values in batch["input_values"]])


def test_without_augmentation_records_are_those_that_were_prepared_before(split):
    for index in range(12):
        new, old = records(split)[index], SignalRecords(split)[index]
        for ours, theirs in zip(new["input_values"], old["input_values"], strict=True):
            assert torch.equal(ours, theirs)
        assert new["labels"].keys() == old["labels"].keys()
        assert new["lead_mask"].all()


def test_records_are_another_in_every_epoch_and_the_same_in_the_same_one(split):
    augmented, again = noisy(split), noisy(split)
    first = flat([augmented[3]])
    assert torch.equal(flat([again[3]]), first)
    augmented.epoch = 1
    assert not torch.equal(flat([augmented[3]]), first)
    augmented.epoch = 0
    assert torch.equal(flat([augmented[3]]), first)
    assert not torch.equal(flat([noisy(split, seed=2)[3]]), first)


def test_processes_that_read_follow_the_epoch_and_give_the_same(split):
    augmented, alone = noisy(split), noisy(split)
    loader = DataLoader(augmented, 4, num_workers=2, persistent_workers=True)
    for epoch in (0, 1):
        augmented.epoch = alone.epoch = epoch
        assert torch.equal(flat(loader), flat(DataLoader(alone, 4)))


def test_what_a_crop_cuts_off_is_padding(split):
    cropped = [records(split, time_crop=3.0)[index] for index in range(12)]
    recorded = torch.stack([each["input_mask"][0].sum() for each in cropped])
    assert 700 <= recorded.min() < 950
    for each in cropped:
        assert not each["input_values"][0][:, ~each["input_mask"][0]].any()


def test_mixup_blends_inputs_and_labels_by_one_share(split):
    plain, blended = SignalRecords(split), records(split, mixup=1.0)[2]
    shares = blended["labels"]["sex"]
    assert shares.shape == (2,)
    assert shares.sum() == pytest.approx(1)
    values, first = blended["input_values"][0], plain[2]["input_values"][0]
    fits = []
    for index in {*range(12)} - {2}:
        basis = torch.stack([first.flatten(), plain[index]["input_values"][0].flatten()]).T.double().numpy()
        weights, residual, *_ = np.linalg.lstsq(basis, values.flatten().double().numpy(), rcond=None)
        fits.append((residual.item(), index, weights))
    residual, index, weights = min(fits, key=lambda each: each[0])
    assert residual < 1e-6
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    for name in ("superdiagnostic", "age"):
        expected = weights[0] * plain[2]["labels"][name] + weights[1] * plain[index]["labels"][name]
        torch.testing.assert_close(blended["labels"][name].double(), expected.double(), atol=1e-4, rtol=1e-4)


def test_shares_are_over_the_classes_of_a_task_and_missing_where_the_label_is(split):
    task = Task.from_dict(SEX)
    labels = {"sex": np.array([1.0, np.nan, 0.0])}
    few = first_records(split, 3)
    few.labels = labels
    dataset = AugmentedRecords(few, [task], Augmentation(mixup=0.2), seed=0)
    for index, label in enumerate(labels["sex"]):
        shares = dataset[index]["labels"]["sex"]
        assert shares.shape == (2,)
        if np.isnan(label):
            assert shares.isnan().all()


def test_records_that_lack_different_leads_are_not_blended():
    first, other = (
        {
            "input_values": torch.full((2, 3), value),
            "lead_mask": torch.tensor([True, value > 1]),
            "input_mask": torch.tensor([True, True, value > 1]),
            "labels": {"age": torch.tensor(value)},
        }
        for value in (1.0, 3.0)
    )
    assert mixed(first, other, 0.5) is first
    other["lead_mask"] = first["lead_mask"]
    blended = mixed(first, other, 0.25)
    assert blended["input_values"].unique().tolist() == [2.5]
    assert blended["labels"]["age"] == 2.5
    assert blended["input_mask"].tolist() == [True, True, False]


def test_an_item_can_be_joined_to_a_batch_with_every_augmentation_on(split):
    batch = default_collate([records(split, mixup=0.4, time_crop=1.0)[index] for index in range(4)])
    assert [values.shape for values in batch["input_values"]] == [(4, 12, 1000), (4, 12, 900)]
    assert batch["lead_mask"].shape == (4, 12)


def test_splits_that_are_joined_or_selected_keep_their_raw_windows(split):
    both = joined([split, split.select(np.array([4, 2]))])
    assert len(both) == 14
    np.testing.assert_array_equal(both.raw[13].signal, split.raw[2].signal)
    assert both.raw.lowest_rate == 100
