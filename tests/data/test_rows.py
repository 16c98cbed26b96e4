"""Signals as rows of datasets keep them: what their bytes must be."""

import datasets
import numpy as np
import pytest

from modeling_enecg.data.prepared import Views
from modeling_enecg.data.rows import row_signal, signal_array
from modeling_enecg.data.streaming import Stream
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.training import ptbxl_tasks, recipe_source, tiny_recipe, tiny_splits, tiny_start

WHOLE = np.arange(12_000, dtype="<i2").reshape(12, 1000)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"sampling_rate": 100.0},
        {"sampling_rate": 100.0, "lead_names": list(STANDARD_LEADS)},
        {"sampling_rate": 250.0, "lead_names": list(STANDARD_LEADS), "num_samples": 1000},
    ],
)
def test_a_signal_of_the_stated_length_is_read(said):
    signal = row_signal({"signal": WHOLE.tobytes(), **said}, 100)
    np.testing.assert_array_equal(signal.signal, WHOLE / 1000)
    assert (signal.sampling_rate, len(signal.lead_names)) == (said.get("sampling_rate", 100), 12)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"num_samples": 1000, "sampling_rate": 100.0, "lead_names": list(STANDARD_LEADS)}, "are 24000"),
        ({}, "got 23976 bytes; 12 leads of 1000 samples are 24000"),
        ({"sampling_rate": 100.0}, "12 leads of 1000 samples are 24000"),
        ({"sampling_rate": 100.0, "lead_names": list(STANDARD_LEADS[:5])}, "whole number of samples are multiples"),
    ],
)
def test_a_signal_that_was_cut_by_a_frame_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        row_signal({"signal": WHOLE.tobytes()[:-24], **said}, 100)


@pytest.mark.parametrize("said", [{"num_samples": 1000}, {"sampling_rate": None}])
def test_two_names_for_twelve_leads_are_refused(said):
    row = {"signal": WHOLE.tobytes(), "lead_names": ["I", "II"], **said}
    with pytest.raises(ValueError, match="got 24000 bytes; 2 leads of 1000 samples are 4000"):
        row_signal(row, 100)


def test_records_at_another_rate_than_is_asked_for_are_refused():
    with pytest.raises(ValueError, match="12 leads of 5000 samples are 120000"):
        row_signal({"signal": WHOLE.tobytes()}, 500)
    assert signal_array({"signal": WHOLE.tobytes()}).shape == (12, 1000)


@pytest.fixture
def cut(simulated, tmp_path):
    """A recipe on Parquet files of which a record is cut by a frame, and that record's id."""
    source = recipe_source(tiny_recipe(simulated, tmp_path / "cache"))
    table = source.read(["train"])["train"].select(range(8)).to_dict()
    table["signal"][3] = table["signal"][3][:-24]
    for split in ("train", "validation", "test"):
        datasets.Dataset.from_dict(table, source.features).to_parquet(tmp_path / "data" / f"{split}.parquet")
    return tiny_recipe(tmp_path / "data", tmp_path / "cache"), table["ecg_id"][3]


def test_training_on_a_cut_record_names_it(cut):
    recipe, record = cut
    with pytest.raises(ValueError, match=f"Record {record}: signal: got 23976 bytes"):
        tiny_splits(recipe)


def test_streaming_a_cut_record_names_it(cut):
    recipe, record = cut
    stream = Stream(recipe_source(recipe), Views(tiny_start(recipe).extractor), ptbxl_tasks(recipe.tasks))
    rows = {row["ecg_id"]: row for row in stream.rows()}
    with pytest.raises(ValueError, match=f"Record {record}: signal: got 23976 bytes"):
        stream.prepare(rows[record])
