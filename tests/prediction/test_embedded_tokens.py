"""Tokens in the table of features: what they are, how large they are, and that a kill changes nothing."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from modeling_enecg import STMEMModel
from modeling_enecg.attention_pool import flagged_tokens
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction.embedder import Embedder
from modeling_enecg.prediction.embeddings import EmbeddingOptions, embed_files, read_embeddings
from modeling_enecg.recording import ECGRecord
from tests.helpers.prediction import by_file
from tests.helpers.tiny_models import tiny_backbone_configs

WITH_TOKENS = EmbeddingOptions(tokens=True)
HALF_AND_STRIDE = EmbeddingOptions(tokens=True, token_stride=3, float16=True, num_neighbours=1)

pytestmark = pytest.mark.xdist_group("tokens")  # the model is shared


@pytest.fixture(scope="module")
def table(embedder, new_recordings, tmp_path_factory) -> Path:
    return embed_files(embedder, [new_recordings], tmp_path_factory.mktemp("table") / "all.parquet", WITH_TOKENS)


def tokens_of(row: pd.Series, expert: str) -> np.ndarray:
    return np.stack(row[f"{expert}.tokens"])


def test_the_mean_of_the_tokens_is_the_pooled_features_of_a_backbone_that_pools_by_the_mean(table, new_recordings):
    found = by_file(table, new_recordings)
    for name in ("a", "below/b"):
        for expert in ("first", "second"):
            tokens = tokens_of(found.loc[name], expert)
            assert len(tokens) > 1
            assert np.ptp(tokens, axis=0).max() > 0
            np.testing.assert_allclose(tokens.mean(axis=0), found.loc[name, expert], rtol=0, atol=1e-6)
    assert found["first.tokens"].notna().tolist() == found["first"].notna().tolist()


def test_tokens_are_lists_of_lists_of_fixed_size(table, embedder):
    number, width = embedder.token_shapes()["first"]
    column = pq.read_table(table)["first.tokens"].combine_chunks()
    assert str(column.type) == f"list<element: fixed_size_list<element: float>[{width}]>"
    assert [len(each) for each in column if each.is_valid] == [number, number]
    known = column.drop_null()
    numbers = known.flatten().flatten().to_numpy().reshape(len(known), -1, known.type.value_type.list_size)
    assert numbers.shape == (2, number, width)
    np.testing.assert_array_equal(numbers[1, 2], known[1].as_py()[2])


def test_a_stride_averages_successive_tokens_as_attention_pooling_does(table, embedder, new_recordings):
    row = by_file(table, new_recordings).loc["a"]
    found = embedder(read_ecg(new_recordings / "a"), token_stride=3).tokens["first"]
    wanted = flagged_tokens(torch.tensor(tokens_of(row, "first"))[None], None, 1, 3)[0, :, :-1]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert embedder.token_shapes(3)["first"] == found.shape


def test_tokens_of_a_longer_recording_stand_window_after_window(embedder, new_recordings):
    record = read_ecg(new_recordings / "a")
    twice = ECGRecord(np.tile(record.signal_mv, 2), record.sampling_rate, list(STANDARD_LEADS))
    once, found = embedder(record, token_stride=1).tokens["first"], embedder(twice, token_stride=1).tokens["first"]
    np.testing.assert_allclose(found, np.concatenate([once, once]), rtol=0, atol=1e-5)


def test_tokens_of_missing_leads_are_nan(tmp_path):
    backbone = STMEMModel(tiny_backbone_configs()["enecg-stmem"]).eval()
    backbone.save_pretrained(tmp_path)
    embedder = Embedder(tmp_path)
    rate, length = backbone.config.sampling_rate, backbone.config.sequence_length
    signal = np.random.default_rng(0).normal(size=(12, length))
    whole = embedder(ECGRecord(signal, rate, list(STANDARD_LEADS)), True, 1).tokens["stmem"]
    fewer = embedder(ECGRecord(signal[:11], rate, list(STANDARD_LEADS[:11])), True, 1).tokens["stmem"]
    assert whole.shape == fewer.shape == embedder.token_shapes()["stmem"]
    of_v6 = fewer.reshape(12, -1, fewer.shape[1])[11]
    assert np.isnan(of_v6).all()
    assert np.isnan(fewer).sum() == of_v6.size
    assert np.isfinite(whole).all()


def test_a_resumed_table_is_the_one_made_at_once(embedder, new_recordings, tmp_path, reads):
    at_once = embed_files(embedder, [new_recordings], tmp_path / "once.parquet", HALF_AND_STRIDE)
    output = tmp_path / "resumed.parquet"
    reads.names, reads.most = [], 3
    with pytest.raises(KeyboardInterrupt):
        embed_files(embedder, [new_recordings], output, HALF_AND_STRIDE)
    assert not output.exists()
    reads.most = None
    embed_files(embedder, [new_recordings], output, HALF_AND_STRIDE)
    assert pq.read_table(output).equals(pq.read_table(at_once), check_metadata=True)
    assert "halffloat" in str(pq.read_schema(output).field("first.tokens").type)
    assert pq.read_table(output)["neighbours"].to_pylist()[0] == [str(new_recordings / "below/b")]


def test_a_table_with_tokens_is_compared_without_reading_them(table, embedder, new_recordings):
    embedded = read_embeddings(table)
    assert not [name for name in embedded.table.column_names if name.endswith(".tokens")]
    assert embedded.most_similar(embedder, read_ecg(new_recordings / "a"), 1)[0][0] == str(new_recordings / "a")


def test_the_size_is_told_and_a_disk_without_so_much_room_is_refused(
    embedder, new_recordings, tmp_path, monkeypatch, caplog
):
    shapes = embedder.token_shapes()
    size = 5 * 4 * sum(number * width for number, width in shapes.values())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * size - 1))
    with pytest.raises(ValueError, match=r"tokens of 5 records \(first \d+ x \d+, .* need twice that"):
        embed_files(embedder, [new_recordings], tmp_path / "all.parquet", WITH_TOKENS)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * size))
    embed_files(embedder, [new_recordings], tmp_path / "all.parquet", WITH_TOKENS)
    assert f"take {size / 1e9:.3g} GB" in caplog.text


@pytest.mark.parametrize(
    ("options", "reason"), [({"token_stride": 0}, "1 or more"), ({"token_stride": 2}, "no tokens")]
)
def test_strides_that_cannot_be_meant_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        EmbeddingOptions(**options)
