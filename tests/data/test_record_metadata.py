"""What a run keeps of its records beside their labels."""

import datasets
import numpy as np

from modeling_enecg.data.record_metadata import record_metadata

IDS = {"ecg_id": [3, 5, 8], "patient_id": ["a", "b", "b"]}


def test_classes_are_named_and_columns_that_are_not_there_are_left_out():
    features = datasets.Features(
        {
            "ecg_id": datasets.Value("int64"),
            "patient_id": datasets.Value("string"),
            "sex": datasets.ClassLabel(names=["male", "female"]),
            "site": datasets.Value("string"),
            "height": datasets.Value("float32"),
        }
    )
    columns = {"sex": [1, 0, None], "site": ["north", None, "south"], "height": [170.0, 180.0, None]}
    frame = record_metadata(datasets.Dataset.from_dict(IDS | columns, features=features))
    assert list(frame) == ["ecg_id", "patient_id", "sex", "site"]
    assert frame["ecg_id"].tolist() == IDS["ecg_id"]
    assert frame["sex"].isna().tolist() == [False, False, True]
    assert frame["sex"].tolist()[:2] == ["female", "male"]


def test_ages_over_89_stay_withheld():
    columns = {"age": [89.0, None, None], "age_over_89": [False, True, None]}
    ages = record_metadata(datasets.Dataset.from_dict(IDS | columns))["age"].to_numpy(dtype=float)
    np.testing.assert_array_equal(ages, [89, 90, np.nan])


def test_an_age_that_is_no_number_is_left_out():
    frame = record_metadata(datasets.Dataset.from_dict(IDS | {"age": ["old", "young", "old"]}))
    assert list(frame) == ["ecg_id", "patient_id"]
