import os
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from scipy.signal import resample_poly

from modeling_enecg.data.ptbxl import ptbxl
from modeling_enecg.data.ptbxl.metadata import read_metadata
from modeling_enecg.data.ptbxl.parquet import main, write_parquet
from modeling_enecg.data.ptbxl.ptbxl import FEATURES
from modeling_enecg.data.rows import signal_array
from modeling_enecg.data.rr_interval import LEAD, rr_interval
from modeling_enecg.data.simulator.ecg import NUM_SAMPLES, RHYTHMS, SAMPLING_RATE, beat_times, simulate_record
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl, write_signal
from modeling_enecg.data.wfdb16 import read_records
from tests.helpers.builders import all_rows

RATES = {"100hz": 100, "500hz": 500}
SEEDS = range(4)
UNMEASURED = 3  # the ecg_id of the record that is flat
TIME = np.arange(NUM_SAMPLES) / SAMPLING_RATE


def microvolts(signal_mv: np.ndarray, rate: int = SAMPLING_RATE) -> np.ndarray:
    if rate != SAMPLING_RATE:
        signal_mv = resample_poly(signal_mv, rate, SAMPLING_RATE, axis=1, padtype="line")
    return np.rint(1000 * signal_mv).astype(np.int16)


def true_beats(*findings: str, seed: int) -> np.ndarray:
    """The R peaks, in seconds, of the record of that seed, which draws them first.

    Beats cut off at its ends are left out: whether they count changes the median of an irregular rhythm.
    """
    beats, _ = beat_times(RHYTHMS[findings[-1]], "PVC" in findings, np.random.default_rng(seed))
    return beats[(beats > 0.1) & (beats < 9.9)]


def record(*findings: str, seed: int = 0) -> np.ndarray:
    return simulate_record(findings, np.random.default_rng(seed))


def beats_at(times: list[float], height: float = 1.0) -> np.ndarray:
    lead = sum(height * np.exp(-0.5 * ((TIME - time) / 0.012) ** 2) for time in times)
    return np.tile(lead, (12, 1))


@pytest.mark.parametrize("rate", RATES.values())
@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_the_interval_of_a_simulated_record_is_right_within_2_percent(rhythm, rate):
    for seed in SEEDS:
        true = 1000 * np.median(np.diff(true_beats("NORM", rhythm, seed=seed)))
        assert rr_interval(microvolts(record("NORM", rhythm, seed=seed), rate), rate) == pytest.approx(true, rel=0.02)


@pytest.mark.parametrize("finding", ["PVC", "LVOLT", "IMI", "CRBBB", "LAFB"])
def test_ectopic_beats_low_voltage_and_unusual_qrs_complexes_do_no_harm(finding):
    for seed in SEEDS:
        true = 1000 * np.median(np.diff(true_beats(finding, "SR", seed=seed)))
        assert rr_interval(microvolts(record(finding, "SR", seed=seed)), 500) == pytest.approx(true, rel=0.05)


def test_a_beat_missed_or_counted_twice_does_not_change_the_interval():
    times = [0.5 + 0.8 * beat for beat in range(12)]
    missed, doubled = times[:5] + times[6:], sorted([*times, times[5] + 0.3])
    for changed in (times, missed, doubled):
        assert rr_interval(microvolts(beats_at(changed)), 500) == pytest.approx(800, abs=4)


def test_the_interval_comes_from_lead_ii_alone():
    signal = microvolts(record("NORM", "SR"))
    others = np.zeros_like(signal)
    others[LEAD] = signal[LEAD]
    assert rr_interval(others, 500) == rr_interval(signal, 500)
    others[LEAD], others[0] = 0, signal[LEAD]
    assert rr_interval(others, 500) is None


def test_a_signal_that_spans_all_of_int16_is_measured():
    signal = microvolts(beats_at([0.5 + 0.8 * beat for beat in range(12)], height=65) - 32.5)
    assert int(signal.max()) - int(signal.min()) > 2**15
    assert rr_interval(signal, 500) == pytest.approx(800, abs=4)


@pytest.mark.parametrize("rate", RATES.values())
@pytest.mark.parametrize(
    "signal_mv",
    [
        np.zeros((12, NUM_SAMPLES)),
        np.full((12, NUM_SAMPLES), 32.767),
        np.random.default_rng(0).uniform(-0.02, 0.02, (12, NUM_SAMPLES)),
        np.tile(np.linspace(-30, 30, NUM_SAMPLES), (12, 1)),
        np.tile(np.where(TIME > 5, 2.0, 0.0), (12, 1)),
        beats_at([5]),
        beats_at([4, 5]),
        beats_at([0.5, 5, 9.5]),
        record("NORM", "SR")[:, : SAMPLING_RATE // 4],
    ],
    ids=[
        "zero",
        "saturated",
        "hiss",
        "ramp",
        "step",
        "one beat",
        "two beats",
        "13 beats a minute",
        "quarter of a second",
    ],
)
def test_what_cannot_be_measured_is_none(signal_mv, rate):
    assert rr_interval(microvolts(signal_mv, rate), rate) is None


def test_both_rates_of_real_records_agree_within_5_percent():
    if "PTBXL_DIR" not in os.environ:
        pytest.skip("PTBXL_DIR is not set to a copy of PTB-XL")
    folder = os.environ["PTBXL_DIR"]
    rows = sorted(read_metadata(folder)[0], key=lambda row: row["ecg_id"])[:40]
    intervals = {}
    for rate, column in ((100, "filename_lr"), (500, "filename_hr")):
        paths = [os.path.join(folder, row[column]) for row in rows]
        intervals[rate] = [rr_interval(signal, rate) for signal in read_records(paths, rate, 10 * rate).signals]
    assert None not in intervals[100] + intervals[500]
    np.testing.assert_allclose(intervals[100], intervals[500], rtol=0.05)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    """20 simulated records in PTB-XL's layout, two a fold and one of them a ramp, not to be changed."""
    folder = simulate_ptbxl(tmp_path_factory.mktemp("records") / "ptbxl", num_records=20)
    for rate, end in ((100, "lr"), (500, "hr")):
        ramp = np.tile(np.linspace(-1, 1, 10 * rate), (12, 1))
        write_signal(folder / f"records{rate}/00000/{UNMEASURED:05d}_{end}", ramp, rate)
    return folder


@pytest.mark.parametrize(("config_name", "rate"), RATES.items())
def test_the_builder_measures_every_record_and_keeps_what_it_could_not_as_none(records, build, config_name, rate):
    rows = all_rows(build(records, config_name, rr_interval=True))
    assert len(rows) == 20
    assert [row["rr_interval"] for row in rows] == [rr_interval(signal_array(row), rate) for row in rows]
    assert [row["ecg_id"] for row in rows if row["rr_interval"] is None] == [UNMEASURED]


def test_without_the_option_columns_and_cache_are_as_ever(records, build):
    plain, spelled_out, measured = build(records), build(records, rr_interval=False), build(records, rr_interval=True)
    assert plain.info.features == FEATURES
    assert "rr_interval" not in FEATURES
    assert spelled_out.cache_dir == plain.cache_dir != measured.cache_dir
    rows = all_rows(measured)
    assert list(rows[0]) == [*FEATURES, "rr_interval"]
    assert [{name: row[name] for name in FEATURES} for row in rows] == all_rows(plain)


def test_the_intervals_are_measured_once_and_served_from_the_cache(records, build, monkeypatch):
    first = build(records, rr_interval=True)
    monkeypatch.setattr(ptbxl, "rr_interval", None)
    second = build(records, rr_interval=True)
    assert all_rows(second) == all_rows(first)


def test_two_processes_measure_what_one_measures(records, build, tmp_path, monkeypatch):
    monkeypatch.setattr(ptbxl, "CHUNK_SIZE", 4)
    one, two = (
        build(records, num_proc=n, rr_interval=True, cache_dir=str(tmp_path / f"cache of {n}")) for n in (1, 2)
    )
    assert len(two.info.splits["train"].shard_lengths) == 2
    assert all_rows(one) == all_rows(two)


def test_a_faulty_record_that_is_skipped_does_not_shift_the_intervals(release, build):
    (release / "records100/00000/00003_lr.dat").unlink()
    rows = all_rows(build(release, on_error="skip", rr_interval=True))
    assert [row["rr_interval"] for row in rows] == [rr_interval(signal_array(row), 100) for row in rows]
    assert len(rows) == 11


def test_the_parquet_script_writes_the_column_and_its_card_counts_what_is_missing(records, build, tmp_path):
    main(["--data_dir", str(records), "--output_dir", str(tmp_path / "on"), "--config_name", "100hz", "--rr_interval"])
    built = build(records, rr_interval=True).as_dataset()
    loaded = load_dataset(str(tmp_path / "on"), cache_dir=str(tmp_path / "loaded"))
    for split in built:
        assert loaded[split].features == built[split].features
        assert loaded[split].to_list() == built[split].to_list()
    missing = {split: rows["rr_interval"][:].count(None) for split, rows in built.items()}
    assert sum(missing.values()) == 1
    counts = " | ".join(f"{missing[split]} of {len(built[split])}" for split in ("train", "validation", "test"))
    assert f"| `100hz` | {counts} |" in (tmp_path / "on" / "README.md").read_text()


def test_without_the_option_the_dataset_card_does_not_speak_of_it(records, tmp_path):
    folder = write_parquet(records, tmp_path / "off", ["100hz"])
    card = (folder / "README.md").read_text()
    assert "rr_interval" not in card
    assert "RR interval" not in card
