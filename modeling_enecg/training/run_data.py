"""The records of a run: each split as the recipe takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..configuration_enecg import Task
from ..data.prepared import Split, Views, labelled_rows
from ..data.preparing import load_splits
from ..data.sources import SPLITS, DatasetOptions, Source, find_source
from ..data.streaming import Stream
from ..data.subsets import nested_subset, permuted
from ..feature_extraction_ecg import ECGFeatureExtractor
from ..feature_extraction_enecg import EnECGFeatureExtractor
from ..leads import LEAD_SETS
from .recipe import Recipe, RecipeError


def recipe_source(recipe: Recipe) -> Source:
    """Return a recipe's dataset; see `find_source`."""
    return find_source(
        DatasetOptions(
            recipe.data_dir,
            recipe.sampling_rate,
            recipe.on_error,
            "rr_interval" in recipe.tasks,
            recipe.dataset_options,
            recipe.num_proc,
            recipe.cache_dir,
        )
    )


class RunData:
    """A recipe's records, prepared for its model.

    Args:
        source (`Source`): The dataset.
        recipe (`Recipe`): Which records, and whether the training fold is streamed.
        extractor: Turns a record into the model's input.
        tasks (`Sequence[Task]`): The tasks.

    Attributes:
        all_splits (`dict[str, Split]`): All records; without `train` where that is streamed.
        rows (`dict[str, np.ndarray]`): Which of them count: those with a label, and of training the recipe's fraction.
        splits (`dict[str, Split]`): These.
        stream (`Stream`, *optional*): The training fold where it is streamed.
        labels (`dict[str, dict[str, np.ndarray]]`): By split and task, their targets.

    Raises:
        RecipeError: if a split is empty, or has no label of a task.
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        extractor: ECGFeatureExtractor | EnECGFeatureExtractor,
        tasks: Sequence[Task],
    ):
        self.source, self.recipe, self.extractor, self.tasks = source, recipe, extractor, tasks
        kept = SPLITS[1:] if recipe.streaming else SPLITS
        self.all_splits = load_splits(source, extractor, tasks, kept)
        self.rows = {name: labelled_rows(split.labels) for name, split in self.all_splits.items()}
        if "train" in self.rows:
            self.rows["train"] = self._fraction(self.rows["train"])
        self.splits = {name: split.select(self.rows[name]) for name, split in self.all_splits.items()}
        if recipe.permute_labels:
            for name in SPLITS[:2]:
                self.splits[name] = replace(
                    self.splits[name], labels=permuted(self.splits[name].labels, recipe.subset_seed)
                )
        self.stream = (
            Stream(source, Views(extractor), tasks, recipe.seed, recipe.shuffle_buffer) if recipe.streaming else None
        )
        self.labels = {name: split.labels for name, split in self.splits.items()}
        if self.stream is not None:
            self.labels["train"] = self.stream.labels
        _check_labels(self.labels)

    def _fraction(self, rows: np.ndarray) -> np.ndarray:
        if self.recipe.train_fraction == 1:
            return rows
        labels = {task: targets[rows] for task, targets in self.all_splits["train"].labels.items()}
        return rows[nested_subset(self.tasks, labels, self.recipe.train_fraction, self.recipe.subset_seed)]

    @property
    def num_train(self) -> int:
        """Number of training windows."""
        return len(self.splits["train"]) if self.stream is None else len(self.stream)

    def num_records(self) -> dict[str, int]:
        """Return each split's number of records; a long one may be several windows."""
        counts = {name: len(np.unique(split.records["ecg_id"][:])) for name, split in self.splits.items()}
        return counts if self.stream is None else counts | {"train": len(self.stream)}

    def test_on(self, lead_set: str) -> Split:
        """Return the test fold as if only the leads of a set had been recorded."""
        splits = load_splits(self.source, self.extractor, self.tasks, ["test"], LEAD_SETS[lead_set])
        return splits["test"].select(self.rows["test"])


def _check_labels(labels: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuse data without a label for something that is to be trained or measured."""
    empty = [name for name in SPLITS if name not in labels or not len(next(iter(labels[name].values())))]
    if empty:
        raise RecipeError(
            f"data_dir: no records with a label of the tasks in the {' and '.join(empty)} split "
            "(folds 1-8 train, 9 validation, 10 test)."
        )
    for split, by_task in labels.items():
        for task, targets in by_task.items():
            if np.isnan(targets).all():
                raise RecipeError(
                    f"tasks: no record of the {split} split has a label of {task!r}; leave the task out."
                )
