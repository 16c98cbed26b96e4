import ast
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from scipy.signal import find_peaks

from modeling_enecg.data.ptbxl.labels import SCP_STATEMENTS, task_labels
from modeling_enecg.data.simulator.ecg import RHYTHMS, simulate_record
from modeling_enecg.data.simulator.ptbxl_layout import DIAGNOSES, scp_codes, simulate_ptbxl
from modeling_enecg.leads import STANDARD_LEADS

RATE = 500
R_PEAK = 250
SEEDS = range(8)
LEAD = {name: row for row, name in enumerate(STANDARD_LEADS)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_ptbxl(tmp_path_factory.mktemp("simulated") / "ptbxl", num_records=200, seed=0)


@pytest.fixture(scope="module")
def database(dataset: Path) -> pd.DataFrame:
    table = pd.read_csv(dataset / "ptbxl_database.csv")
    return table.assign(scp_codes=table["scp_codes"].map(ast.literal_eval))


def record(*findings: str, seed: int = 0) -> np.ndarray:
    return simulate_record(findings, np.random.default_rng(seed))


def r_peaks(signal: np.ndarray) -> np.ndarray:
    steepness = np.abs(signal[:, 10:] - signal[:, :-10]).sum(axis=0)
    energy = np.convolve(steepness, np.hanning(150), mode="same")
    return find_peaks(energy, height=0.4 * energy.max(), distance=0.3 * RATE)[0] + 5


def rr_intervals(signal: np.ndarray) -> np.ndarray:
    return np.diff(r_peaks(signal)) / RATE


def median_beat(signal: np.ndarray) -> np.ndarray:
    """The beat from 500 ms before to 500 ms after the QRS, relative to the PR segment."""
    inside = [peak for peak in r_peaks(signal) if R_PEAK <= peak < signal.shape[1] - R_PEAK]
    beat = np.median([signal[:, peak - R_PEAK : peak + R_PEAK] for peak in inside], axis=0)
    return beat - np.median(beat[:, R_PEAK - 50 : R_PEAK - 40], axis=1, keepdims=True)


def at(beat: np.ndarray, lead: str, start_ms: int, stop_ms: int) -> np.ndarray:
    return beat[LEAD[lead], R_PEAK + start_ms // 2 : R_PEAK + stop_ms // 2]


def qrs_width(signal: np.ndarray) -> float:
    magnitude = np.linalg.norm(median_beat(signal)[:, R_PEAK - 45 : R_PEAK + 75], axis=0)
    return np.ptp(np.flatnonzero(magnitude > 0.2 * magnitude.max())) / RATE


def pr_interval(signal: np.ndarray) -> float:
    """From the P wave's peak to the R peak, which the simulator makes as long as P onset to QRS onset."""
    beat = median_beat(signal)
    r_peak = np.argmax(at(beat, "II", -40, 40)) * 2 - 40
    return (r_peak - (np.argmax(at(beat, "II", -380, -90)) * 2 - 380)) / 1000


@pytest.mark.parametrize(
    ("rhythm", "slowest", "fastest"), [("SR", 60, 100), ("SBRAD", 35, 60), ("STACH", 100, 150), ("SARRH", 55, 95)]
)
def test_sinus_rhythms_keep_their_rates(rhythm: str, slowest: float, fastest: float) -> None:
    rates = [60 / rr_intervals(record("NORM", rhythm, seed=seed)).mean() for seed in SEEDS]
    assert slowest <= min(rates)
    assert max(rates) <= fastest


def test_atrial_fibrillation_is_irregular_and_sinus_arrhythmia_in_between() -> None:
    def irregularity(rhythm: str) -> float:
        intervals = (rr_intervals(record("LVH", rhythm, seed=seed)) for seed in SEEDS)
        return float(np.median([rr.std() / rr.mean() for rr in intervals]))

    assert irregularity("SR") < 0.05 < 0.08 < irregularity("SARRH") < 0.15 < irregularity("AFIB")


def test_atrial_fibrillation_has_no_p_wave() -> None:
    for seed in SEEDS:
        p_waves = {rhythm: np.ptp(at(median_beat(record(rhythm, seed=seed)), "II", -220, -80)) for rhythm in RHYTHMS}
        assert p_waves["AFIB"] < 0.75 * p_waves["SBRAD"]


def test_ectopic_beats_are_early_wide_and_followed_by_a_compensatory_pause() -> None:
    for seed in SEEDS:
        signal = record("NDT", "PVC", "SR", seed=seed)
        rr = rr_intervals(signal)
        early = int(np.argmin(rr[:-1]))
        assert rr[early] < 0.75 * np.median(rr)
        assert rr[early] + rr[early + 1] == pytest.approx(2 * np.median(rr), rel=0.1)


def test_only_first_degree_block_prolongs_pr() -> None:
    for seed in SEEDS:
        assert pr_interval(record("1AVB", "SBRAD", seed=seed)) > 0.2
        assert 0.12 < pr_interval(record("NORM", "SBRAD", seed=seed)) < 0.2


@pytest.mark.parametrize("block", ["CLBBB", "CRBBB"])
def test_bundle_branch_blocks_widen_qrs(block: str) -> None:
    for seed in SEEDS:
        assert qrs_width(record("NORM", seed=seed)) < 0.1 < 0.11 < qrs_width(record(block, seed=seed))


def test_bundle_branch_blocks_show_their_leads() -> None:
    for seed in SEEDS:
        right, left = (median_beat(record(block, seed=seed)) for block in ("CRBBB", "CLBBB"))
        assert at(right, "V1", 0, 150).max() > 0.4
        assert at(right, "V6", 0, 150).min() < -0.3
        assert at(left, "V1", -70, 20).max() < 0.15
        assert at(left, "V1", -80, 150).min() < -0.6
        assert min(at(left, lead, -70, 20).min() for lead in ("I", "V6")) > 0


def test_sokolow_lyon_index_tells_hypertrophy() -> None:
    def sokolow_lyon(beat: np.ndarray) -> float:
        return max(at(beat, lead, -60, 60).max() for lead in ("V5", "V6")) - at(beat, "V1", -60, 60).min()

    for seed in SEEDS:
        assert sokolow_lyon(median_beat(record("LVH", seed=seed))) > 3.5
        assert sokolow_lyon(median_beat(record("NORM", seed=seed))) < 3.5


def test_infarctions_have_q_and_inverted_t_waves_in_their_leads() -> None:
    for seed, (finding, leads) in itertools.product(SEEDS, [("IMI", ("III", "aVF")), ("ASMI", ("V1", "V2"))]):
        beat = median_beat(record(finding, "SR", seed=seed))
        for lead in leads:
            assert at(beat, lead, -80, 0).min() < -0.2, (finding, lead, seed)
            assert at(beat, lead, 160, 300).min() < -0.05, (finding, lead, seed)


@pytest.mark.parametrize("finding", ["NST_", "ISC_"])
def test_st_is_depressed_laterally_where_stated(finding: str) -> None:
    assert "STD_" in scp_codes([finding])
    for seed in SEEDS:
        depressed, normal = (at(median_beat(record(code, seed=seed)), "V5", 80, 110) for code in (finding, "NORM"))
        assert depressed.mean() < -0.04 < normal.mean()


def test_long_qt_delays_and_low_voltage_shrinks() -> None:
    for seed in SEEDS:
        beats = [median_beat(record(code, "SBRAD", seed=seed)) for code in ("NORM", "LNGQT")]
        normal, late = (150 + 2 * int(np.argmax(at(beat, "V5", 150, 500))) for beat in beats)
        assert late > 1.2 * normal
        low = median_beat(record("LVOLT", seed=seed))
        assert max(np.ptp(at(low, lead, -60, 60)) for lead in STANDARD_LEADS[:6]) < 0.6


def test_normal_beats_look_normal() -> None:
    for seed in SEEDS:
        beat = median_beat(record("NORM", seed=seed))
        r_waves = [at(beat, lead, -60, 60).max() for lead in ("V1", "V2", "V3", "V4")]
        assert r_waves[0] < r_waves[2] < r_waves[3]
        assert at(beat, "aVR", -60, 60).min() < -0.4
        assert 0.1 < at(beat, "V5", 150, 400).max() < 0.8


def test_einthoven_holds_in_what_is_written(dataset: Path) -> None:
    for folder in ("records100/00000/00001_lr", "records500/00000/00001_hr"):
        samples = wfdb.rdrecord(dataset / folder, physical=False).d_signal.astype(int)
        lead_i, lead_ii, lead_iii = samples.T[:3]
        assert np.abs(lead_ii - lead_i - lead_iii).max() <= 2


def test_wfdb_reads_both_rates_with_right_checksums(dataset: Path) -> None:
    for path, shape in (("records100/00000/00007_lr", (1000, 12)), ("records500/00000/00007_hr", (5000, 12))):
        written = wfdb.rdrecord(dataset / path, physical=False)
        assert written.d_signal.shape == shape
        assert written.checksum == [checksum % 65536 for checksum in written.calc_checksum()]
        assert written.init_value == written.d_signal[0].tolist()
        assert written.sig_name == [name.upper() for name in STANDARD_LEADS]
        assert set(written.units) == {"mV"}


def test_low_rate_is_the_high_rate_decimated(dataset: Path) -> None:
    low = wfdb.rdrecord(dataset / "records100/00000/00003_lr").p_signal
    high = wfdb.rdrecord(dataset / "records500/00000/00003_hr").p_signal
    assert np.corrcoef(low[:, 1], high[::5, 1])[0, 1] > 0.98


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_seed_gives_the_same_bytes_and_records_stand_alone(tmp_path: Path) -> None:
    first, second, longer, other = (
        files(simulate_ptbxl(tmp_path / str(number), num_records, seed))
        for number, (num_records, seed) in enumerate([(6, 3), (6, 3), (14, 3), (6, 4)])
    )
    table = Path("ptbxl_database.csv")
    assert first == second
    assert longer[table].startswith(first[table])
    assert all(longer[path] == content for path, content in first.items() if path.parts[0].startswith("records"))
    assert first[table] != other[table]


def test_tables_have_the_columns_and_statements_of_ptbxl(dataset: Path, database: pd.DataFrame) -> None:
    statements = pd.read_csv(dataset / "scp_statements.csv", index_col=0)
    assert statements.index.tolist() == [statement.code for statement in SCP_STATEMENTS]
    assert statements.loc["NDT", ["diagnostic", "form"]].tolist() == [1.0, 1.0]
    assert statements.columns[-1] == "DICOM Code"
    assert database.columns[[0, -1]].tolist() == ["ecg_id", "filename_hr"]
    assert database.shape == (200, 28)
    assert all((dataset / f"{name}.dat").is_file() for name in database["filename_hr"])


def test_every_record_has_a_rhythm_and_a_diagnosis_that_labels_know(database: pd.DataFrame) -> None:
    for codes in database["scp_codes"]:
        assert len(task_labels(codes, "rhythm")) == 1
        assert task_labels(codes, "superdiagnostic")
    assert set(DIAGNOSES) <= {code for codes in database["scp_codes"] for code in codes}


def test_folds_part_patients_and_hold_all_superclasses(database: pd.DataFrame) -> None:
    assert database["patient_id"].duplicated().any()
    assert (database.groupby("patient_id")["strat_fold"].nunique() == 1).all()
    assert set(database["strat_fold"]) == set(range(1, 11))
    for fold in (9, 10):
        codes = database.loc[database["strat_fold"] == fold, "scp_codes"]
        assert {label for row in codes for label in task_labels(row, "superdiagnostic")} == {
            *("CD", "HYP", "MI", "NORM", "STTC")
        }


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        simulate_ptbxl(tmp_path, num_records=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_left_of_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling_enecg.data.simulator.ptbxl_layout.SCP_STATEMENTS", (None,))
    with pytest.raises((TypeError, AttributeError)):
        simulate_ptbxl(tmp_path / "ptbxl", num_records=1)
    assert list(tmp_path.iterdir()) == []


def test_no_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_records=0"):
        simulate_ptbxl(tmp_path / "ptbxl", num_records=0)


@pytest.mark.parametrize(
    ("findings", "message"),
    [(["WPW"], "Cannot simulate 'WPW'"), (["SR", "AFIB"], "a record has one"), (["1AVB", "AFIB"], "needs P waves")],
)
def test_impossible_findings_are_refused(findings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_record(findings, np.random.default_rng(0))
