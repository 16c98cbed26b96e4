"""Embedding recordings and datasets into a table: the features that a model's heads read, whatever a file is like."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg.data.sources import DatasetOptions
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction.embedder import Embedder
from modeling_enecg.prediction.embeddings import EmbeddingOptions, embed_dataset, embed_files, read_embeddings
from modeling_enecg.recording import ECGRecord
from modeling_enecg.windows import cut_windows
from tests.helpers.prediction import RECORDINGS, by_file
from tests.helpers.training import tiny_ecgfounder

pytestmark = pytest.mark.xdist_group("embeddings")  # its table is shared


@pytest.fixture(scope="module")
def table(embedder, new_recordings, tmp_path_factory) -> pd.DataFrame:
    output = embed_files(embedder, [new_recordings], tmp_path_factory.mktemp("table") / "all.parquet")
    assert [path.name for path in output.parent.iterdir()] == ["all.parquet"]
    return by_file(output, new_recordings)


@torch.inference_mode()
def features_of_auto_model(calibrated_model: Path, signals: list[np.ndarray], rate: float) -> dict[str, np.ndarray]:
    model, extractor = (
        AutoModel.from_pretrained(calibrated_model),
        AutoFeatureExtractor.from_pretrained(calibrated_model),
    )
    features = [model.extract_features(**extractor(each, rate, return_tensors="pt")) for each in signals]
    return {name: torch.cat([each[name] for each in features]).mean(dim=0).numpy() for name in model.experts}


def test_a_row_has_the_features_that_the_heads_of_auto_model_get(table, calibrated_model, new_recordings):
    record = read_ecg(new_recordings / "a")
    wanted = features_of_auto_model(calibrated_model, [record.signal_mv], record.sampling_rate)
    assert list(wanted) == ["first", "second"]
    for name, features in wanted.items():
        np.testing.assert_allclose(table.loc["a", name], features, rtol=0, atol=1e-6)
        assert np.ptp(features) > 0


def test_a_folder_gives_a_row_per_recording_with_verdict_and_reason(table):
    assert table.index.tolist() == RECORDINGS
    assert list(table) == ["quality", "error", "first", "second"]
    assert table["quality"].tolist() == ["ok", "unusable", "unusable", "ok", "unusable"]
    assert "damaged.dat, which is not there" in table.loc["damaged", "error"]
    assert "noise" in table.loc["noise", "error"]
    assert table["first"].notna().tolist() == [True, False, False, True, False]


def test_unusable_recordings_are_embedded_when_forced(embedder, new_recordings, tmp_path, table):
    options = EmbeddingOptions(force=True)
    forced = by_file(embed_files(embedder, [new_recordings], tmp_path / "all.parquet", options), new_recordings)
    assert forced["first"].notna().tolist() == [True, False, True, True, True]
    np.testing.assert_allclose(forced.loc["a", "first"], table.loc["a", "first"], rtol=0, atol=1e-6)


def test_features_are_lists_of_fixed_size(embedder, new_recordings, tmp_path, table):
    output = embed_files(embedder, [new_recordings], tmp_path / "half.parquet", EmbeddingOptions(float16=True))
    assert str(pq.read_schema(output).field("first").type) == "fixed_size_list<element: halffloat>[16]"
    half = by_file(output, new_recordings)
    np.testing.assert_allclose(half.loc["a", "first"], table.loc["a", "first"], rtol=2e-3, atol=1e-4)


def test_a_longer_recording_has_the_mean_over_its_windows(embedder, calibrated_model, new_recordings):
    record = read_ecg(new_recordings / "a")
    signal = np.concatenate([record.signal_mv, 0.5 * record.signal_mv[:, ::-1]], axis=1)
    found = embedder(ECGRecord(signal, record.sampling_rate, list(STANDARD_LEADS)))
    windows = cut_windows(signal, record.sampling_rate, 10)
    assert len(windows) == 2
    for name, features in features_of_auto_model(calibrated_model, windows, record.sampling_rate).items():
        np.testing.assert_allclose(found.features[name], features, rtol=0, atol=1e-6)


def test_a_backbone_alone_is_named_after_its_type(new_recordings, tmp_path):
    backbone = tiny_ecgfounder()
    backbone.save_pretrained(tmp_path / "backbone")
    embedder = Embedder(tmp_path / "backbone")
    record = read_ecg(new_recordings / "a")
    inputs = embedder.extractor(record.signal_mv, record.sampling_rate, return_tensors="pt")
    with torch.inference_mode():
        wanted = backbone(**inputs).pooler_output[0].numpy()
    found = embedder(record).features
    assert list(found) == ["ecgfounder"]
    np.testing.assert_allclose(found["ecgfounder"], wanted, rtol=0, atol=1e-6)


def test_an_interrupted_embedding_goes_on_without_what_is_done(embedder, new_recordings, tmp_path, reads, table):
    output = tmp_path / "all.parquet"
    reads.most = 3
    with pytest.raises(KeyboardInterrupt):
        embed_files(embedder, [new_recordings], output)
    assert not output.exists()
    reads.names, reads.most = [], None
    embed_files(embedder, [new_recordings], output)
    assert reads.names == ["noise", "b", "flat_chest"], "the first part was done"
    found = by_file(output, new_recordings)
    assert found.index.tolist() == RECORDINGS
    np.testing.assert_allclose(found.loc["below/b", "second"], table.loc["below/b", "second"], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def embedded(embedder, simulated, training_cache, tmp_path_factory) -> Path:
    """The table of a dataset's validation and test records, with labels and neighbours."""
    dataset = DatasetOptions(str(simulated), sampling_rate=100, cache_dir=str(training_cache))
    output = tmp_path_factory.mktemp("dataset") / "all.parquet"
    labels = ["superdiagnostic", "sex", "age"]
    options = EmbeddingOptions(num_neighbours=3)
    return embed_dataset(embedder, dataset, output, options, ["validation", "test"], labels)


def test_a_dataset_gives_a_row_per_record_with_its_labels_by_name(embedded, simulated):
    found = pd.read_parquet(embedded)
    known = pd.read_csv(simulated / "ptbxl_database.csv").set_index("ecg_id").loc[found["ecg_id"]]
    assert set(known["strat_fold"]) == {9, 10}
    assert len(found) == known["strat_fold"].size
    assert list(found)[:6] == ["ecg_id", "patient_id", "split", "superdiagnostic", "sex", "age"]
    assert found["sex"].tolist() == known["sex"].map({0: "male", 1: "female"}).tolist()
    assert found["age"].tolist() == known["age"].tolist()
    assert set(found["superdiagnostic"].explode().dropna()) <= {"NORM", "MI", "STTC", "CD", "HYP"}


def test_neighbours_are_the_other_records_nearest_in_standardised_features(embedded):
    found = pd.read_parquet(embedded)
    blocks = [np.stack(found[name]).astype(float) for name in ("first", "second")]
    points = np.concatenate([(each - each.mean(0)) / np.where(each.std(0) > 0, each.std(0), 1) for each in blocks], 1)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosines = points @ points.T
    np.fill_diagonal(cosines, -2)
    ids = found["ecg_id"].to_numpy()
    for row, (neighbours, similarities) in enumerate(zip(found["neighbours"], found["similarities"], strict=True)):
        nearest = np.argsort(-cosines[row])[:3]
        assert list(neighbours) == ids[nearest].tolist()
        np.testing.assert_allclose(similarities, cosines[row, nearest], atol=1e-5)


def test_a_record_is_most_similar_to_itself_in_a_table(embedded, embedder, simulated):
    known = read_embeddings(embedded)
    ecg_id = known.ids[4]
    record = read_ecg(simulated / f"records100/00000/{ecg_id:05d}_lr")
    (first, cosine), (_, second) = known.most_similar(embedder, record, 2)
    assert first == ecg_id
    assert cosine == pytest.approx(1, abs=1e-5)
    assert second < cosine


def test_a_table_of_another_model_is_not_compared(embedded, tmp_path, new_recordings):
    tiny_ecgfounder(3).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="made by another model"):
        read_embeddings(embedded).most_similar(Embedder(tmp_path / "other"), read_ecg(new_recordings / "a"), 1)


def test_an_unknown_column_of_a_dataset_is_refused(embedder, simulated, training_cache, tmp_path):
    dataset = DatasetOptions(str(simulated), sampling_rate=100, cache_dir=str(training_cache))
    with pytest.raises(ValueError, match=r"no column 'superdiagnosis'.*Did you mean superdiagnostic\?"):
        embed_dataset(embedder, dataset, tmp_path / "all.parquet", labels=["superdiagnosis"])
    assert not (tmp_path / "all.parquet").exists()
