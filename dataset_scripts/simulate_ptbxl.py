"""Simulate a small PTB-XL: seeded 12-lead ECGs that show what their SCP codes state, in PTB-XL's own layout.

Each wave of a beat is a Gaussian kernel of the heart's dipole (McSharry et al. 2003, doi 10.1109/TBME.2003.808805;
in three dimensions: Sameni et al. 2007, doi 10.1155/2007/43407), timed from the R peak, with repolarisation stretched
by the square root of the RR interval (Bazett). Dower's matrix projects the dipole to the leads (Dower et al. 1980).
The waves' vectors follow textbook criteria of each finding; they are schematic and were fitted to no patient.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from modeling_enecg.labels import SCP_STATEMENTS, SCPStatement, describe
from modeling_enecg.leads import STANDARD_LEADS, reorder_leads

SAMPLING_RATE = 500
NUM_SAMPLES = 10 * SAMPLING_RATE
UNITS_PER_MV = 1000

# Leads from the dipole's x (to the left), y (to the feet) and z (to the back).
DOWER = {
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
}


class Wave(NamedTuple):
    """A Gaussian kernel of the heart's dipole.

    Attributes:
        time (`float`): Peak, in seconds after the R peak.
        width (`float`): Standard deviation in seconds.
        vector (`tuple[float, float, float]`): Dipole at the peak in mV: to the left, to the feet, to the back.
    """

    time: float
    width: float
    vector: tuple[float, float, float]

    def scaled(self, gain: float) -> "Wave":
        """Return the wave with its vector multiplied."""
        left, feet, back = self.vector
        return self._replace(vector=(gain * left, gain * feet, gain * back))


class Rhythm(NamedTuple):
    """How beats follow each other: mean rate per minute, and respiratory and random change of RR, relative to it."""

    rates: tuple[float, float]
    respiratory: float
    irregularity: float


def _t_wave(left: float, feet: float, back: float) -> dict[str, Wave]:
    """Return the T wave as two kernels: it rises slowly and falls fast."""
    rise, fall = (0.45 * left, 0.45 * feet, 0.45 * back), (0.7 * left, 0.7 * feet, 0.7 * back)
    return {"T rise": Wave(0.22, 0.050, rise), "T fall": Wave(0.27, 0.035, fall)}


REPOLARISATION = ("ST", "T rise", "T fall")
QRS_ONSET = -0.045
PR_INTERVAL = (0.135, 0.185)
LONG_PR_INTERVAL = (0.23, 0.32)
LONG_QT_STRETCH = 1.35
LOW_VOLTAGE = 0.3

NORMAL_BEAT = {
    "P": Wave(-0.15, 0.018, (0.12, 0.12, -0.03)),
    "septal": Wave(-0.027, 0.008, (-0.15, -0.05, -0.25)),
    "main": Wave(0.0, 0.011, (1.1, 0.9, 0.33)),
    "basal": Wave(0.024, 0.010, (0.0, -0.15, 0.5)),
    **_t_wave(0.27, 0.22, -0.2),
}
ECTOPIC_BEAT = {"main": Wave(0.02, 0.032, (1.0, 1.1, 0.9)), **_t_wave(-0.6, -0.5, -0.6)}

# What each finding puts in the place of the normal beat's waves.
FINDING_WAVES: dict[str, dict[str, Wave]] = {
    "NDT": _t_wave(0.03, 0.03, -0.03),
    "NST_": {"ST": Wave(0.12, 0.045, (-0.14, -0.06, 0.0))},
    "ISC_": {"ST": Wave(0.12, 0.045, (-0.14, -0.04, 0.0)), **_t_wave(-0.32, -0.02, -0.12)},
    "IMI": {
        "septal": Wave(-0.024, 0.013, (0.05, -0.55, -0.2)),
        "main": Wave(0.004, 0.011, (1.1, 0.5, 0.4)),
        **_t_wave(0.27, -0.28, -0.2),
    },
    "ASMI": {
        "septal": Wave(-0.022, 0.013, (-0.05, 0.0, 0.5)),
        "main": Wave(0.002, 0.012, (1.0, 0.9, 0.75)),
        **_t_wave(0.08, 0.2, 0.3),
    },
    "LVH": {"main": Wave(0.002, 0.013, (2.4, 0.8, 1.35)), "basal": Wave(0.026, 0.011, (0.1, -0.15, 0.8))},
    "LAFB": {"septal": Wave(-0.026, 0.009, (-0.15, 0.3, -0.25)), "main": Wave(0.006, 0.014, (1.1, -0.8, 0.35))},
    "CRBBB": {"terminal": Wave(0.072, 0.021, (-0.65, 0.05, -0.65)), **_t_wave(0.33, 0.22, 0.22)},
    "CLBBB": {
        "septal": Wave(-0.015, 0.013, (0.3, 0.1, 0.3)),
        "main": Wave(0.010, 0.020, (0.7, 0.4, 0.85)),
        "basal": Wave(0.062, 0.022, (0.85, 0.2, 1.1)),
        "ST": Wave(0.14, 0.035, (-0.1, 0.0, -0.12)),
        **_t_wave(-0.35, -0.1, -0.35),
    },
}
FINDINGS = ("NORM", *FINDING_WAVES, "1AVB", "LNGQT", "LVOLT", "PVC")

RHYTHMS = {
    "SR": Rhythm((62, 97), 0.03, 0.015),
    "SBRAD": Rhythm((40, 57), 0.03, 0.015),
    "STACH": Rhythm((104, 140), 0.01, 0.01),
    "SARRH": Rhythm((62, 85), 0.16, 0.02),
    "AFIB": Rhythm((65, 120), 0.0, 0.22),
}

# Form statements that a finding's waves show as well.
SHOWN_FORMS = {
    "NDT": ("LOWT",),
    "NST_": ("STD_",),
    "ISC_": ("STD_", "INVT"),
    "IMI": ("QWAVE", "INVT"),
    "ASMI": ("QWAVE", "INVT"),
    "LVH": ("VCLVH",),
    "1AVB": ("LPR",),
}

# One cycle of patients. Folds run along it, so no superclass keeps to one residue modulo 10.
DIAGNOSES = (
    *("NORM", "IMI", "CLBBB", "LVH", "NDT", "NORM", "ASMI", "CRBBB", "LVH", "ISC_"),
    *("IMI", "LVH", "NORM", "NST_", "NORM", "1AVB", "NORM", "ASMI", "LAFB", "LNGQT"),
)
SECOND_FINDINGS = {"NORM": "LVOLT", "IMI": "1AVB", "ASMI": "1AVB", "CRBBB": "LAFB", "CLBBB": "1AVB", "LVH": "ISC_"}
SECOND_FINDING_SHARE = 0.2
ECTOPY_SHARE = 0.12
RHYTHM_SHARES = {"SR": 0.55, "SBRAD": 0.12, "STACH": 0.1, "SARRH": 0.1, "AFIB": 0.13}
ARTEFACT_SHARES = {"baseline_drift": 0.08, "static_noise": 0.12, "burst_noise": 0.04, "electrodes_problems": 0.03}
RECORDS_PER_REPEAT = 12
AGE_ABOVE_89 = 300

DEVICES = ("CS-12   E", "CS-12", "AT-6 C", "AT-6 C 5.5", "AT-60    3")
DATABASE_COLUMNS = (
    *("ecg_id", "patient_id", "age", "sex", "height", "weight", "nurse", "site", "device", "recording_date"),
    *("report", "scp_codes", "heart_axis", "infarction_stadium1", "infarction_stadium2", "validated_by"),
    *("second_opinion", "initial_autogenerated_report", "validated_by_human", "baseline_drift", "static_noise"),
    *("burst_noise", "electrodes_problems", "extra_beats", "pacemaker", "strat_fold", "filename_lr", "filename_hr"),
)
STATEMENT_COLUMNS = (
    *("", "description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"),
    *("Statement Category", "SCP-ECG Statement Description", "AHA code", "aECG REFID", "CDISC Code", "DICOM Code"),
)
README = """# Simulated ECGs in PTB-XL's layout

No patient is in here: the {num_records} records, their reports and their metadata were simulated with seed {seed} by
EnECG's `dataset_scripts/simulate_ptbxl.py`. Use them for demonstrations and tests; a score on them says nothing about
real ECGs. PTB-XL itself is at doi 10.13026/kfzx-aw45.
"""


def simulate_record(
    findings: Iterable[str], rng: np.random.Generator, artefacts: Mapping[str, str] | None = None
) -> np.ndarray:
    """Simulate a 10 s 12-lead ECG at 500 Hz that shows the given findings.

    Args:
        findings (`Iterable[str]`): SCP codes out of `FINDINGS` and at most one of `RHYTHMS` (`"SR"` if none is
            given). Where two findings shape the same wave, the later one has it.
        rng (`np.random.Generator`): Draws all that varies from record to record.
        artefacts (`Mapping[str, str]`, *optional*): For each artefact, one of `ARTEFACT_SHARES`, where it is:
            `"burst_noise"` and `"electrodes_problems"` in one of the leads of `DOWER`, the others in all leads.

    Returns:
        `np.ndarray` of shape `(12, 5000)`: The leads in the order of `STANDARD_LEADS`, in mV.

    Raises:
        ValueError: if a finding is not simulated, or findings exclude each other.
    """
    codes = list(findings)
    rhythm = _rhythm_of(codes)
    time = np.arange(NUM_SAMPLES) / SAMPLING_RATE
    beats, is_ectopic = _beat_times(RHYTHMS[rhythm], "PVC" in codes, rng)
    stretch = np.sqrt(np.diff(beats).mean()) * rng.normal(1, 0.02)

    dipole = _dipole(_conducted_beat(codes, rhythm, stretch, rng), beats[~is_ectopic], time)
    if is_ectopic.any():
        dipole += _dipole(_vary(_stretch_repolarisation(ECTOPIC_BEAT, stretch), rng), beats[is_ectopic], time)
    axis = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * (8, 6, 15), degrees=True)
    breathing = 1 + 0.04 * np.sin(2 * np.pi * (rng.uniform(0.18, 0.28) * time + rng.uniform()))
    dipole = axis.as_matrix() @ dipole * breathing
    if rhythm == "AFIB":
        dipole += _fibrillatory_waves(time, rng)

    electrode_gains = rng.normal(1, 0.06, (len(DOWER), 1))
    leads = electrode_gains * (np.array(list(DOWER.values())) @ dipole) + _noise(time, artefacts or {}, rng)
    return reorder_leads(leads, list(DOWER))


def _rhythm_of(codes: Sequence[str]) -> str:
    """Return the one rhythm among the findings, after checking them all."""
    unknown = [code for code in codes if code not in FINDINGS and code not in RHYTHMS]
    if unknown:
        raise ValueError(
            f"Cannot simulate {', '.join(map(repr, unknown))}; expected any of {', '.join(FINDINGS)} "
            f"and one of {', '.join(RHYTHMS)}."
        )
    rhythms = [code for code in codes if code in RHYTHMS]
    if len(rhythms) > 1:
        raise ValueError(f"Got the rhythms {', '.join(rhythms)}; a record has one.")
    if "AFIB" in rhythms and "1AVB" in codes:
        raise ValueError("Got AFIB with 1AVB; a PR interval needs P waves, so give 1AVB a sinus rhythm.")
    return rhythms[0] if rhythms else "SR"


def _beat_times(rhythm: Rhythm, has_ectopy: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the R peaks in seconds, from before the record to after it, and which of them are ectopic."""
    mean_rr = 60 / rng.uniform(*rhythm.rates)
    steps = np.arange(int(12 / mean_rr) + 8)
    swing = np.sin(2 * np.pi * (rng.uniform(0.18, 0.28) * mean_rr * steps + rng.uniform()))
    rr = mean_rr * (1 + rhythm.respiratory * swing + rhythm.irregularity * rng.standard_normal(len(steps)))
    beats = np.cumsum(np.maximum(rr, 0.36)) - 1 - mean_rr * rng.uniform()
    is_ectopic = np.zeros(len(beats), dtype=bool)
    if has_ectopy:
        inside = np.flatnonzero((beats > 1.5) & (beats < 9))[::3]
        chosen = rng.choice(inside, size=rng.integers(1, 3), replace=False)
        is_ectopic[chosen] = True
        # The next beat stays where it was: the pause after the early beat is fully compensatory.
        beats[chosen] = beats[chosen - 1] + rng.uniform(0.55, 0.65) * mean_rr
    return beats, is_ectopic


def _conducted_beat(codes: Sequence[str], rhythm: str, stretch: float, rng: np.random.Generator) -> dict[str, Wave]:
    """Return the waves of this record's beats that are conducted from the atria."""
    waves = dict(NORMAL_BEAT)
    for code in codes:
        waves |= FINDING_WAVES.get(code, {})
    p_wave = waves.pop("P")
    waves = _stretch_repolarisation(waves, stretch * (LONG_QT_STRETCH if "LNGQT" in codes else 1.0))
    if "LVOLT" in codes:
        waves = {name: wave.scaled(LOW_VOLTAGE) for name, wave in waves.items()}
    if rhythm != "AFIB":
        pr_interval = rng.uniform(*(LONG_PR_INTERVAL if "1AVB" in codes else PR_INTERVAL))
        waves["P"] = p_wave._replace(time=QRS_ONSET - pr_interval + 2.5 * p_wave.width)
    return _vary(waves, rng)


def _stretch_repolarisation(waves: Mapping[str, Wave], factor: float) -> dict[str, Wave]:
    """Return the waves with ST and T later and wider by a factor."""
    stretched = {
        name: wave._replace(time=wave.time * factor, width=wave.width * factor)
        for name, wave in waves.items()
        if name in REPOLARISATION
    }
    return {**waves, **stretched}


def _vary(waves: Mapping[str, Wave], rng: np.random.Generator) -> dict[str, Wave]:
    """Return the waves as one heart has them: all a little larger or smaller, and each a little different."""
    heart_gain = rng.uniform(0.85, 1.2)
    return {
        name: wave.scaled(heart_gain * rng.normal(1, 0.08))._replace(width=wave.width * rng.normal(1, 0.06))
        for name, wave in waves.items()
    }


def _dipole(waves: Mapping[str, Wave], beats: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return the dipole of shape `(3, num_samples)`; of each wave, only the nearest beat's kernel counts."""
    vectors = np.array([wave.vector for wave in waves.values()])
    kernels = np.empty((len(waves), len(time)))
    for row, wave in zip(kernels, waves.values(), strict=True):
        peaks = beats + wave.time
        distance = time - peaks[np.searchsorted((peaks[1:] + peaks[:-1]) / 2, time)]
        row[:] = np.exp(-0.5 * (distance / wave.width) ** 2)
    return vectors.T @ kernels


def _fibrillatory_waves(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the dipole of atrial fibrillation's f-waves: 5 to 8 per second, unsteady, clearest in V1."""
    wandering = np.interp(time, np.arange(11), rng.normal(0, 0.3, 11))
    phase = 2 * np.pi * (rng.uniform(5, 8) * time + wandering)
    wave = np.sin(phase) + 0.35 * np.sin(2 * phase + 1)
    return rng.uniform(0.05, 0.1) * np.outer((-0.2, 0.5, -0.8), wave)


def _noise(time: np.ndarray, artefacts: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
    """Return wander, mains hum, muscle noise and artefacts in mV, of shape `(8, num_samples)` for Dower's leads."""
    rows = (len(DOWER), 1)
    wander = rng.uniform(0.01, 0.05, rows) * (6 if "baseline_drift" in artefacts else 1)
    muscle = rng.uniform(0.004, 0.012, rows) * (4 if "static_noise" in artefacts else 1)
    noise = wander * np.sin(2 * np.pi * (rng.uniform(0.1, 0.45, rows) * time + rng.uniform(size=rows)))
    noise += rng.uniform(0, 0.008, rows) * np.sin(2 * np.pi * (50 * time + rng.uniform()))
    noise += muscle * rng.standard_normal(noise.shape)
    for kind, place in artefacts.items():
        if kind in ("burst_noise", "electrodes_problems"):
            noise[list(DOWER).index(place)] += _lead_artefact(kind, time, rng)
    return noise


def _lead_artefact(kind: str, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a burst of noise, or the jump and slow return of a loose electrode, in mV."""
    since = time - rng.uniform(1, 8)
    if kind == "burst_noise":
        return 0.3 * np.exp(-0.5 * (since / 0.3) ** 2) * rng.standard_normal(len(time))
    return np.where(since > 0, rng.choice([-1.5, 1.5]) * np.exp(-np.maximum(since, 0) / 0.6), 0.0)


def simulate_ptbxl(output_dir: str | Path, num_records: int = 600, seed: int = 0) -> Path:
    """Write a simulated dataset in PTB-XL's layout, at 100 and 500 Hz.

    The same seed writes the same bytes, and a record is the same however many follow it. The folder appears only when
    it is complete.

    Args:
        output_dir (`str` or `Path`): The folder to write; it must be absent or empty.
        num_records (`int`, *optional*, defaults to 600): How many records. From 200 on, each of folds 9 and 10 holds
            all five superclasses.
        seed (`int`, *optional*, defaults to 0): Draws everything; at least 0.

    Returns:
        `Path`: The folder written.

    Raises:
        ValueError: if `num_records` is below 1 or `seed` below 0.
        FileExistsError: if `output_dir` is a file or a folder that is not empty.
    """
    output_dir = Path(output_dir)
    if num_records < 1 or seed < 0:
        raise ValueError(f"Got num_records={num_records}, seed={seed}; need at least 1 record and a seed from 0 on.")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise FileExistsError(f"{output_dir} exists and is not an empty folder; choose another output_dir.")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output_dir.name}-", dir=output_dir.parent) as scratch:
        partial = Path(scratch) / "ptbxl"
        partial.mkdir()
        _write_dataset(partial, num_records, seed)
        if output_dir.exists():
            output_dir.rmdir()
        partial.rename(output_dir)
    return output_dir


def _write_dataset(folder: Path, num_records: int, seed: int) -> None:
    """Fill a folder with records, tables and README."""
    progress = tqdm(range(num_records), desc="Simulating", unit="record", disable=None)
    rows = [_write_record(folder, index, seed) for index in progress]
    _write_table(folder / "ptbxl_database.csv", DATABASE_COLUMNS, rows)
    _write_table(folder / "scp_statements.csv", STATEMENT_COLUMNS, map(_statement_row, SCP_STATEMENTS))
    (folder / "README.md").write_text(README.format(num_records=num_records, seed=seed), encoding="utf-8")


def _write_record(folder: Path, index: int, seed: int) -> dict[str, object]:
    """Simulate and write one record at both rates; return its row of `ptbxl_database.csv`."""
    rng = np.random.default_rng([seed, 2, index])
    patient, diagnoses = _draw_patient(index - (index + 1) // RECORDS_PER_REPEAT, seed)
    findings, artefacts = _draw_findings(diagnoses, rng), _draw_artefacts(rng)
    signal = simulate_record(findings, rng, artefacts)

    ecg_id = index + 1
    name = f"{ecg_id // 1000:02d}000/{ecg_id:05d}"
    files = {"filename_lr": f"records100/{name}_lr", "filename_hr": f"records500/{name}_hr"}
    _write_signal(folder / files["filename_lr"], resample_poly(signal, 1, 5, axis=1, padtype="line"), 100)
    _write_signal(folder / files["filename_hr"], signal, SAMPLING_RATE)
    return {"ecg_id": ecg_id} | patient | _record_columns(index, findings, rng) | artefacts | files


def _draw_patient(index: int, seed: int) -> tuple[dict[str, object], tuple[str, ...]]:
    """Draw a patient: columns of the database, and diagnoses that all the patient's records show.

    Each cycle of `DIAGNOSES` comes in an order of its own, with its folds one further on.
    """
    cycle, place = divmod(index, len(DIAGNOSES))
    case = int(np.random.default_rng([seed, 0, cycle]).permutation(len(DIAGNOSES))[place])
    rng = np.random.default_rng([seed, 1, index])
    age = rng.integers(*((18, 75) if DIAGNOSES[case] == "NORM" else (40, 92)))
    sex = int(rng.integers(2))
    height = rng.normal(176 - 12 * sex, 7)
    weight = rng.normal(24.5, 3) * (height / 100) ** 2
    columns = {
        "patient_id": index + 1.0,
        "age": float(age if age < 90 else AGE_ABOVE_89),
        "sex": sex,
        "height": np.round(height) if rng.random() < 0.4 else None,
        "weight": np.round(weight) if rng.random() < 0.6 else None,
        "strat_fold": (case + cycle) % 10 + 1,
    }
    return columns, _draw_diagnoses(DIAGNOSES[case], rng)


def _draw_diagnoses(first: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Return a patient's diagnosis, for some with what may come with it."""
    has_second = first in SECOND_FINDINGS and rng.random() < SECOND_FINDING_SHARE
    return (first, SECOND_FINDINGS[first]) if has_second else (first,)


def _draw_findings(diagnoses: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """Return the diagnoses, perhaps ectopic beats, and a rhythm that goes with them.

    AFIB is no normal ECG and has no PR interval; at a fast rate, a long one would hide the P wave in the T wave.
    """
    excluded = {"AFIB", "STACH"} if "1AVB" in diagnoses else {"AFIB"} if "NORM" in diagnoses else set()
    shares = {rhythm: share for rhythm, share in RHYTHM_SHARES.items() if rhythm not in excluded}
    rhythm = rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values()))
    ectopy = ("PVC",) if "NORM" not in diagnoses and rng.random() < ECTOPY_SHARE else ()
    return (*diagnoses, *ectopy, str(rhythm))


def _draw_artefacts(rng: np.random.Generator) -> dict[str, str]:
    """Return the record's artefacts, as columns of the database that say where they are."""
    return {
        kind: "all leads" if kind in ("baseline_drift", "static_noise") else str(rng.choice(list(DOWER)[2:]))
        for kind, share in ARTEFACT_SHARES.items()
        if rng.random() < share
    }


def scp_codes(findings: Iterable[str]) -> dict[str, float]:
    """Return the SCP codes of a record with their likelihoods, as PTB-XL gives them.

    Args:
        findings (`Iterable[str]`): What the record was simulated with.

    Returns:
        `dict[str, float]`: The findings and the forms they show as well; 100 for diagnoses, 0 (not stated) for others.
    """
    findings = list(findings)
    diagnostic = {statement.code for statement in SCP_STATEMENTS if "diagnostic" in statement.kinds}
    forms = [form for code in findings for form in SHOWN_FORMS.get(code, ())]
    return {code: 100.0 if code in diagnostic else 0.0 for code in (*findings, *forms)}


def _record_columns(index: int, findings: Sequence[str], rng: np.random.Generator) -> dict[str, object]:
    """Return the columns of the database that tell of the recording and its findings."""
    codes = scp_codes(findings)
    site = int(rng.integers(len(DEVICES)))
    taken = datetime(1984, 11, 9, 9) + timedelta(hours=8 * index, seconds=int(rng.integers(8 * 3600)))
    validated = bool(rng.random() < 0.75)
    return {
        "nurse": float(rng.integers(12)),
        "site": float(site),
        "device": DEVICES[site],
        "recording_date": taken.isoformat(sep=" "),
        "report": ", ".join(describe(code) for code in codes) + " (simulated)",
        "scp_codes": str(codes),
        "infarction_stadium1": "unknown" if {"IMI", "ASMI"} & set(findings) else None,
        "validated_by": float(rng.integers(6)) if validated else None,
        "second_opinion": bool(rng.random() < 0.03),
        "initial_autogenerated_report": not validated,
        "validated_by_human": validated,
        "extra_beats": "VES" if "PVC" in findings else None,
    }


def _statement_row(statement: SCPStatement) -> dict[str, object]:
    """Return a row of `scp_statements.csv`."""
    code, description, kinds, superclass, subclass = statement
    columns = {"": code, "description": description, "diagnostic_class": superclass, "diagnostic_subclass": subclass}
    return columns | dict.fromkeys(kinds, 1.0)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV file; what a row lacks stays empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_signal(path: Path, signal: np.ndarray, sampling_rate: int) -> None:
    """Write a signal of shape `(12, num_samples)` in mV as a WFDB record in format 16."""
    digital = np.rint(signal * UNITS_PER_MV).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".dat").write_bytes(digital.T.tobytes())
    lines = [f"{path.name} {len(digital)} {sampling_rate} {digital.shape[1]}"]
    for name, samples in zip(STANDARD_LEADS, digital, strict=True):
        checksum = int(samples.sum(dtype=np.int64)) % 65536
        lines.append(f"{path.name}.dat 16 {UNITS_PER_MV}.0(0)/mV 16 0 {samples[0]} {checksum} 0 {name.upper()}")
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


def main() -> None:
    """Write the dataset from the command line."""
    parser = argparse.ArgumentParser(description="Simulate a small PTB-XL in its own layout.")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write; absent or empty")
    parser.add_argument("--num_records", type=int, default=600, help="how many records (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws everything (default: %(default)s)")
    print(simulate_ptbxl(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
