import itertools

import numpy as np
import pytest

from modeling_enecg import Task
from modeling_enecg.data.subsets import nested_subset, permuted

FINDINGS = Task("findings", "multi_label_classification", ["common", "rare"])
SEX = Task("sex", "single_label_classification", ["male", "female"])
AGE = Task("age", "regression")


def targets(task, num_records=400):
    rng = np.random.default_rng(0)
    if task is FINDINGS:
        return (rng.random((num_records, 2)) < [0.6, 0.05]).astype(np.float32)
    if task is SEX:
        return np.where(rng.random(num_records) < 0.1, np.nan, rng.integers(2, size=num_records))
    return np.where(rng.random(num_records) < 0.1, np.nan, rng.normal(60, 15, num_records))


@pytest.mark.parametrize("task", [FINDINGS, SEX, AGE], ids=lambda task: task.name)
def test_smaller_shares_are_parts_of_larger_ones(task):
    labels = {task.name: targets(task)}
    shares = [nested_subset([task], labels, fraction, seed=3) for fraction in (0.1, 0.3, 0.5, 1.0)]
    for smaller, larger in itertools.pairwise(shares):
        assert set(smaller) < set(larger)
    assert [len(share) for share in shares] == pytest.approx([40, 120, 200, 400], abs=4)


def test_each_stratum_gives_its_share():
    labels = targets(FINDINGS)
    share = nested_subset([FINDINGS], {"findings": labels}, 0.25, seed=0)
    np.testing.assert_allclose(labels[share].sum(axis=0), labels.sum(axis=0) / 4, atol=4)
    ages = targets(AGE)
    share = nested_subset([AGE], {"age": ages}, 0.25, seed=0)
    assert np.nanmean(ages[share]) == pytest.approx(np.nanmean(ages), abs=1.5)


def test_a_seed_repeats_a_choice_and_another_makes_another():
    labels = {"sex": targets(SEX)}
    first, again, other = (nested_subset([SEX], labels, 0.5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_one_record_is_left_at_least():
    assert len(nested_subset([SEX], {"sex": np.array([0.0, 1.0])}, 0.01, seed=0)) == 1


def test_permuted_labels_stay_together_and_belong_to_others():
    labels = {"findings": targets(FINDINGS), "sex": targets(SEX)}
    mixed = permuted(labels, seed=0)
    np.testing.assert_array_equal(np.sort(mixed["sex"]), np.sort(labels["sex"]))
    order = np.random.default_rng(0).permutation(400)
    np.testing.assert_array_equal(mixed["findings"], labels["findings"][order])
    np.testing.assert_array_equal(mixed["sex"], labels["sex"][order])
    assert not np.array_equal(mixed["findings"], labels["findings"])
