"""All that a cache keeps, taken from it; as a program, in a process that may be one that can only read it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modeling_enecg.data.sources import DatasetOptions, find_source
from modeling_enecg.training.feature_store import stored_features
from tests.helpers.training import ECGFOUNDER, tiny_model, tiny_recipe, tiny_splits


def read_all(cache: Path, ptbxl: Path, *others: Path) -> dict[str, Any]:
    """Sizes and a sum over prepared records, features, and the training fold of other datasets."""
    recipe = tiny_recipe(ptbxl, cache)
    splits = tiny_splits(recipe)
    features = stored_features(tiny_model(recipe), splits["test"], cache / "features")
    return {
        "prepared": {name: len(split) for name, split in splits.items()},
        "features": float(features["ecgfounder"].sum()),
        "others": [len(_train_fold(each, 100, cache)) for each in others],
    }


def read_what_is_not_there(cache: Path, ptbxl: Path) -> list[str]:
    """The messages of reading another dataset, other prepared records, other features."""
    recipe = tiny_recipe(ptbxl, cache)
    shorter = tiny_recipe(ptbxl, cache, experts={"ecgfounder": {"config": ECGFOUNDER | {"sequence_length": 500}}})
    test = tiny_splits(recipe)["test"]
    return [
        _message(lambda: _train_fold(ptbxl, 500, cache)),
        _message(lambda: tiny_splits(shorter)),
        _message(lambda: stored_features(tiny_model(recipe, seed=1), test, cache / "features")),
    ]


def _train_fold(data_dir: Path, sampling_rate: int, cache: Path) -> Any:
    return find_source(DatasetOptions(str(data_dir), sampling_rate, cache_dir=str(cache))).read(["train"])["train"]


def _message(function: Callable[[], Any]) -> str:
    try:
        function()
    except ValueError as error:
        return str(error)
    return "read"


if __name__ == "__main__":
    cache, ptbxl, *others = map(Path, sys.argv[1:])
    print(json.dumps([read_all(cache, ptbxl, *others), read_what_is_not_there(cache, ptbxl)]))
