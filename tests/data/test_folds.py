"""Folds of whole patients."""

import numpy as np
import pytest

from modeling_enecg.data.folds import stratified_folds


@pytest.mark.parametrize("num_labels", [0, 1, 3])
def test_patients_stay_together_and_labels_are_spread_however_many_there_are(num_labels):
    labels = np.random.default_rng(0).random((60, num_labels)) < 0.4
    patients = [f"p{number // 2}" for number in range(60)]
    folds = stratified_folds(labels, patients, 5)
    assert (folds[::2] == folds[1::2]).all()
    assert sorted(np.bincount(folds).tolist())[0] >= 8
    for label in labels.T:
        counts = np.bincount(folds[label], minlength=5)
        assert counts.max() - counts.min() <= 4
