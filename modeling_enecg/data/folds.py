"""Folds of whole patients in which every label is about equally frequent."""

from collections.abc import Sequence, Set

import numpy as np
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold


def stratified_folds(labels: np.ndarray, patients: Sequence[str], num_folds: int, seed: int = 0) -> np.ndarray:
    """Divide records into folds, all records of a patient in one, by iterative stratification over all labels.

    Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011. A patient has the
    labels that any of its records has.

    Args:
        labels (`np.ndarray` of shape `(num_records, num_labels)`): Whether a record has a label.
        patients (`Sequence[str]`): Each record's patient.
        num_folds (`int`): How many folds.
        seed (`int`, *optional*, defaults to 0): Seed of the division.

    Returns:
        `np.ndarray` of shape `(num_records,)`: Each record's fold, from 0.

    Raises:
        ValueError: if there are fewer patients than folds.
    """
    _, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    num_patients = int(patient_of.max(initial=-1)) + 1
    if num_patients < num_folds:
        raise ValueError(f"{num_folds} folds need as many patients; there are {num_patients}.")
    has_label = np.zeros((num_patients, max(labels.shape[1], 2)), dtype=int)  # a single column would pass for classes
    np.maximum.at(has_label[:, : labels.shape[1]], patient_of, labels.astype(int))
    fold_of_patient = np.empty(num_patients, dtype=int)
    splitter = MultilabelStratifiedKFold(num_folds, shuffle=True, random_state=seed)
    for fold, (_, chosen) in enumerate(splitter.split(np.zeros(num_patients), has_label)):
        fold_of_patient[chosen] = fold
    return fold_of_patient[patient_of]


def folds_by_label(found: Sequence[Set[str]], patients: Sequence[str], num_folds: int, seed: int = 0) -> np.ndarray:
    """Divide records as `stratified_folds` does; fewer patients than folds are the last folds' only ones.

    Args:
        found (`Sequence[Set[str]]`): The labels of each record.
        patients (`Sequence[str]`): Each record's patient.
        num_folds (`int`): How many folds.
        seed (`int`, *optional*, defaults to 0): Seed of the division.

    Returns:
        `np.ndarray` of shape `(num_records,)`: Each record's fold, from 0.
    """
    order = {patient: index for index, patient in enumerate(sorted(set(patients)))}
    if len(order) < num_folds:
        return np.array([order[patient] + num_folds - len(order) for patient in patients], dtype=int)
    names = sorted(set().union(*found))
    labels = np.array([[name in each for name in names] for each in found]).reshape(len(found), len(names))
    return stratified_folds(labels, patients, num_folds, seed)


__all__ = ["folds_by_label", "stratified_folds"]
