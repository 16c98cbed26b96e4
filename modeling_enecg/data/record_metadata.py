"""Columns of a record beside its labels, for tables by sex, age, device or site."""

import datasets
import pandas as pd

from ..evaluation.subgroups import GROUPS, OLDEST


def record_metadata(records: datasets.Dataset) -> pd.DataFrame:
    """Return `ecg_id` and `patient_id` of each record, and of `GROUPS` the columns that the dataset has.

    Class labels are given by name. An age over 89, where the dataset marks such ages in `age_over_89`, is 90: it stays
    withheld. A column `age` that is no number is left out.

    Args:
        records (`datasets.Dataset`): The records.
    """
    features = records.features
    names = [name for name in GROUPS if name in features and (name != "age" or _is_number(features[name]))]
    frame: pd.DataFrame = records.select_columns(["ecg_id", "patient_id", *names]).to_pandas()
    for name in names:
        if isinstance(features[name], datasets.ClassLabel):
            classes = dict(enumerate(features[name].names))
            frame[name] = frame[name].map(classes)
    if "age" in names and "age_over_89" in features:
        is_withheld = pd.Series(records["age_over_89"][:], index=frame.index).eq(True)
        frame.loc[is_withheld, "age"] = float(OLDEST)
    return frame


def _is_number(feature: datasets.Value) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float"))
