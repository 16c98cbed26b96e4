"""Augmentation of streamed records: the same as of records at hand, but for mixup, which a stream cannot have."""

from functools import partial

import numpy as np
import pytest

from modeling_enecg.data.augmentation import Augmentation, augmented, record_rng
from modeling_enecg.data.prepared import Views
from modeling_enecg.data.ptbxl.parquet import write_parquet
from modeling_enecg.data.rows import row_signal
from modeling_enecg.data.streaming import Stream, StreamedBatches
from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe
from modeling_enecg.training.run import prepare
from tests.helpers.training import (
    ptbxl_tasks,
    recipe_fields,
    recipe_source,
    tiny_recipe,
    tiny_start,
    write_recipe,
)

NOISY = Augmentation(amplitude_scale=0.3, baseline_wander=0.2)


@pytest.fixture(scope="module")
def written(simulated, tmp_path_factory):
    return write_parquet(simulated, tmp_path_factory.mktemp("written") / "ptbxl", ["100hz"])


@pytest.fixture(scope="module")
def new_stream(written, training_cache):
    recipe = tiny_recipe(written, training_cache)
    views = Views(tiny_start(recipe).extractor)
    return partial(Stream, recipe_source(recipe), views, ptbxl_tasks(recipe.tasks), seed=3)


@pytest.fixture(scope="module")
def stream(new_stream):
    return new_stream(shuffle_buffer=50)


def test_a_streamed_record_is_varied_by_seed_epoch_and_its_row(stream):
    for number, row in zip(range(3), stream.rows(), strict=False):
        signal, rate, lead_names = row_signal(row, 100)
        varied = augmented(signal, rate, lead_names, NOISY, record_rng(3, 5, number))
        expected = stream.views.prepare(varied, rate, lead_names)["input_values"]
        np.testing.assert_array_equal(stream.prepare(row, 5, NOISY)["input_values"], expected)
        assert not np.array_equal(stream.prepare(row)["input_values"], expected)


def test_batches_are_varied_and_others_in_the_next_epoch(new_stream):
    stream = new_stream(shuffle_buffer=1)  # the same order in every epoch

    def first(epoch, augmentation=NOISY):
        batches = StreamedBatches(stream, 4, augmentation)
        batches.epoch = epoch
        return next(iter(batches))["input_values"].numpy()

    np.testing.assert_array_equal(first(0), first(0))
    np.testing.assert_array_equal(first(0, None), first(1, None))
    assert not np.array_equal(first(0), first(0, None))
    assert not np.array_equal(first(0), first(1))


def test_mixup_of_a_stream_is_refused(written, training_cache, tmp_path):
    stages = {"fine_tuning": {"global_batch_size": 16, "mixup": 0.2}}
    fields = recipe_fields(written, tmp_path / "run", training_cache, stages=stages, streaming=True)
    with pytest.raises(RecipeError, match=r"stages\.fine_tuning: mixup: a stream gives one record after the other"):
        prepare(load_recipe(write_recipe(tmp_path / "recipe.yaml", fields)), Run(tmp_path / "run"))
