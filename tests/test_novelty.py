"""How unlike the records that a model knows a recording is: the distance, its rank, and what travels with it."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import kstest, multivariate_normal
from transformers import AutoModel, pipeline

from modeling_enecg import EnECGModel
from modeling_enecg.data.simulator.ecg import simulate_record
from modeling_enecg.decisions import LEVELS
from modeling_enecg.heads import PRIOR_RECORDS, feature_statistics
from modeling_enecg.novelty import Novelty
from modeling_enecg.signal_quality import SignalQuality
from tests.helpers.tiny_models import RHYTHM, SEX
from tests.helpers.training import tiny_ecgfounder

SIZES = (7, 5)


def draw(num_records: int, seed: int, sizes=SIZES, shift: float = 0.0) -> list[np.ndarray]:
    """Correlated features of two experts whose scales differ, always of the same distribution."""
    mixing = np.random.default_rng(0).normal(size=(sum(sizes), sum(sizes))) * np.geomspace(3, 0.1, sum(sizes))[:, None]
    features = np.random.default_rng(seed).normal(size=(num_records, sum(sizes))) @ mixing + 5 + shift
    first, second = np.split(features.astype(np.float32), [sizes[0]], axis=1)
    return [first, 100 * second]


def distances(novelty: Novelty, features: list[np.ndarray]) -> torch.Tensor:
    return novelty([torch.from_numpy(each) for each in features])


@pytest.mark.parametrize("num_records", [12, 200])
def test_distance_is_that_of_the_low_rank_gaussian_with_shrunken_variances(num_records):
    train, others = draw(num_records, 1), draw(20, 2)
    mean, std = (torch.cat(each).double().numpy() for each in zip(*map(feature_statistics, train), strict=True))
    known, new = ((np.concatenate(each, axis=1) - mean) / std for each in (train, others))
    variances, axes = np.linalg.eigh(known.T @ known / num_records)
    rank = min(16, num_records // 3, len(mean) - 1)
    variances[: len(mean) - rank] = variances[: len(mean) - rank].mean()
    variances = (num_records * variances + PRIOR_RECORDS * variances.mean()) / (num_records + PRIOR_RECORDS)
    gaussian = multivariate_normal(np.zeros(len(mean)), axes * variances @ axes.T)
    wanted = -2 * (gaussian.logpdf(new) - gaussian.logpdf(np.zeros(len(mean)))) / len(mean)
    novelty = Novelty.fit(train, draw(30, 3))
    assert novelty.rank == rank
    np.testing.assert_allclose(distances(novelty, others), wanted, rtol=1e-3)


def test_ranks_of_further_records_are_uniform_and_of_foreign_ones_beyond_all():
    novelty = Novelty.fit(draw(400, 1), draw(1000, 2))
    ranks = novelty.ranks(distances(novelty, draw(1000, 3)))
    assert kstest(ranks.numpy(), "uniform").pvalue > 0.01
    assert 0 < (ranks > 0.99).float().mean() < 0.03
    noise = [
        np.random.default_rng(4).normal(scale=each.std(), size=each.shape).astype(np.float32) for each in draw(9, 4)
    ]
    assert (novelty.ranks(distances(novelty, noise)) > 0.99).all()
    assert (novelty.ranks(distances(novelty, draw(9, 5, shift=50))) == 1).all()


@pytest.mark.parametrize("num_records", [1, 2, 5, 12])
def test_few_records_with_many_features_still_tell_what_is_foreign(num_records):
    sizes = (40, 24)
    novelty = Novelty.fit(draw(num_records, 1, sizes), draw(100, 2, sizes))
    assert novelty.rank == num_records // 3
    ranks = novelty.ranks(distances(novelty, draw(100, 3, sizes)))
    assert 0.3 < ranks.mean() < 0.7
    assert (novelty.ranks(distances(novelty, draw(9, 4, sizes, shift=500))) > 0.99).all()


def test_features_that_never_vary_give_finite_distances():
    constant = [np.ones((20, 4), dtype=np.float32), np.zeros((20, 3), dtype=np.float32)]
    novelty = Novelty.fit(constant, constant)
    assert distances(novelty, constant).tolist() == [0] * 20
    assert torch.isfinite(distances(novelty, [each + 1 for each in constant])).all()


def test_rank_is_the_share_of_validation_records_that_lie_nearer():
    validation = draw(500, 2)
    novelty = Novelty.fit(draw(100, 1), validation)
    known = distances(novelty, validation)
    others = distances(novelty, draw(50, 3))
    shares = (known < others[:, None]).double().mean(dim=1)
    np.testing.assert_allclose(novelty.ranks(others), shares, atol=0.01)
    at_levels = torch.from_numpy(np.quantile(known.double().numpy(), LEVELS))
    np.testing.assert_allclose(novelty.ranks(at_levels), LEVELS, atol=1e-4)


@pytest.mark.parametrize("fault", ["none", "nan"])
def test_records_that_cannot_be_known_are_refused(fault):
    bad = draw(0 if fault == "none" else 5, 1)
    bad[0][3:] = np.nan
    with pytest.raises(ValueError, match="training records, and finite features"):
        Novelty.fit(bad, draw(5, 2))
    with pytest.raises(ValueError, match="validation records, and finite features"):
        Novelty.fit(draw(5, 2), bad)


@pytest.fixture(scope="module")
def records() -> list[np.ndarray]:
    """Normal ECGs at 500 Hz."""
    generator = np.random.default_rng(0)
    return [simulate_record(["NORM"], generator) for _ in range(81)]


@pytest.fixture
def model(records) -> EnECGModel:
    """Two experts that know all of these but the last."""
    model = new_model()
    fit(model, records[:-1])
    return model


def new_model(**fields) -> EnECGModel:
    torch.manual_seed(0)
    experts = {"first": tiny_ecgfounder(0), "second": tiny_ecgfounder(1)}
    return EnECGModel.from_experts(experts, [RHYTHM, SEX], **fields)


def new_pipeline(model: EnECGModel) -> Any:
    return pipeline("ecg-classification", model=model, feature_extractor=model.feature_extractor())


@torch.no_grad()
def fit(model: EnECGModel, records: list[np.ndarray]) -> None:
    """Let a model know the first half of some records, and hold others against the second."""
    inputs = model.feature_extractor()(records, 500, return_tensors="pt")
    inputs.pop("gate_values", None)
    features = {name: each.numpy() for name, each in model.extract_features(**inputs).items()}
    half = len(records) // 2
    model.fit_novelty(
        *({name: each[rows] for name, each in features.items()} for rows in (slice(half), slice(half, None)))
    )


def test_novelty_is_the_same_after_saving_and_loading(model, tmp_path):
    inputs = torch.randn(4, 12, 1000)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    with torch.no_grad():
        features = model.extract_features(inputs)
        for ours, theirs in zip(model.novelty_of(features), loaded.novelty_of(features), strict=True):
            assert torch.equal(ours, theirs)
    assert loaded.config.novelty_rank == model.novelty.rank == 13
    loaded.set_novelty(None)
    loaded.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).novelty is None


def test_a_model_whose_file_lacks_its_novelty_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["novelty.axes"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing keys: novelty\.axes"):
        AutoModel.from_pretrained(tmp_path)


def test_a_model_that_knows_no_records_says_so(records):
    model, features = new_model(), {name: torch.zeros(1, 16) for name in ("first", "second")}
    with pytest.raises(ValueError, match="call fit_novelty"):
        model.novelty_of(features)
    with pytest.raises(ValueError, match="features of first, second are missing"):
        model.fit_novelty({}, {})
    assert not any(name.startswith("novelty") for name in model.state_dict())
    found = new_pipeline(model)(records[-1], sampling_rate=500)
    assert found.novelty is found.to_dict()["novelty"] is None


def test_a_model_from_before_there_was_novelty_loads(model, tmp_path):
    model.set_novelty(None)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("novelty_rank") is None
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert AutoModel.from_pretrained(tmp_path).novelty is None


def test_half_precision_changes_distances_little(model):
    inputs = torch.randn(4, 12, 1000)
    with torch.no_grad():
        whole = model.novelty_of(model.extract_features(inputs))[0]
        model.to(torch.bfloat16)
        half = model.novelty_of(model.extract_features(inputs.bfloat16()))[0]
    torch.testing.assert_close(half, whole, rtol=0.1, atol=0.05)


def test_the_pipeline_states_novelty_beside_what_it_finds(model, records):
    find = new_pipeline(model)
    known, other = records[-1], np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4
    records = [{"signal": signal, "sampling_rate": 500} for signal in (known, other)]
    for found, foreign in (find(records), find(records, batch_size=3)):
        assert found.novelty["rank"] <= 0.99
        assert found.quality.verdict == "ok"
        assert foreign.novelty["rank"] > 0.99
        assert foreign.novelty["distance"] > found.novelty["distance"]
        assert (foreign.quality.verdict, foreign.quality.reasons[-1]) == (
            "doubtful",
            "unlike the records that the model knows",
        )
        assert foreign.is_scored


def test_novelty_changes_no_finding(model, records):
    find = new_pipeline(model)
    signal = records[-1]
    with_novelty = find(signal, sampling_rate=500)
    model.set_novelty(None)
    assert find(signal, sampling_rate=500) == with_novelty


def test_what_is_unusable_has_no_novelty_unless_it_is_scored_all_the_same(model):
    find = new_pipeline(model)
    noise = np.random.default_rng(0).normal(scale=0.3, size=(12, 5000))
    assert find(noise, sampling_rate=500).novelty is None
    forced = find(noise, sampling_rate=500, force=True)
    assert forced.novelty["rank"] > 0.99
    assert forced.quality.verdict == "unusable"


def test_a_gate_that_leaves_experts_out_leaves_novelty_out(records):
    model = new_model(gate="encoder", top_k=1)
    fit(model, records)
    find = new_pipeline(model)
    assert find(records[-1], sampling_rate=500).novelty is None


def test_a_doubt_makes_no_verdict_better():
    assert SignalQuality("ok").with_doubt("odd") == SignalQuality("doubtful", ["odd"])
    assert SignalQuality("unusable", ["flat"]).with_doubt("odd") == SignalQuality("unusable", ["flat", "odd"])
