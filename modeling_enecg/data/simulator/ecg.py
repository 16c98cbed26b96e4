"""The ECGs of the simulator: seeded 12-lead signals that show what their SCP codes state.

Each wave of a beat is a Gaussian kernel of the heart's dipole (McSharry et al. 2003, doi 10.1109/TBME.2003.808805;
in three dimensions: Sameni et al. 2007, doi 10.1155/2007/43407), timed from the R peak, with repolarisation stretched
by the square root of the RR interval (Bazett). Dower's matrix projects the dipole to the leads (Dower et al. 1980).
The waves' vectors follow textbook criteria of each finding; they are schematic and were fitted to no patient.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from ...leads import recorded_leads

SAMPLING_RATE = 500
NUM_SAMPLES = 10 * SAMPLING_RATE

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


class Simulated(NamedTuple):
    """A simulated ECG with its truth.

    Attributes:
        signal_mv (`np.ndarray` of shape `(12, 5000)`): The leads in the order of `STANDARD_LEADS`, in mV.
        clean_mv (`np.ndarray` of shape `(12, 5000)`): The same without noise and artefacts.
        beats (`np.ndarray`): The R peaks in seconds, from before the record to after it.
        is_ectopic (`np.ndarray`): Which of them are.
        waves (`dict[str, Wave]`): The waves of the beats that are conducted from the atria, by name.
    """

    signal_mv: np.ndarray
    clean_mv: np.ndarray
    beats: np.ndarray
    is_ectopic: np.ndarray
    waves: dict[str, Wave]


def simulate_record(
    findings: Iterable[str], rng: np.random.Generator, artefacts: Mapping[str, str] | None = None
) -> np.ndarray:
    """Simulate a 10 s 12-lead ECG at 500 Hz that shows the given findings.

    Args:
        findings (`Iterable[str]`): SCP codes out of `FINDINGS` and at most one of `RHYTHMS` (`"SR"` if none is
            given). Where two findings shape the same wave, the later one has it.
        rng (`np.random.Generator`): Draws all that varies from record to record.
        artefacts (`Mapping[str, str]`, *optional*): Where each artefact is: `"burst_noise"` and
            `"electrodes_problems"` in one of the leads of `DOWER`, `"baseline_drift"` and `"static_noise"` in all.

    Returns:
        `np.ndarray` of shape `(12, 5000)`: The leads in the order of `STANDARD_LEADS`, in mV.

    Raises:
        ValueError: if a finding is not simulated, or findings exclude each other.
    """
    return simulate_with_truth(findings, rng, artefacts).signal_mv


def simulate_with_truth(
    findings: Iterable[str], rng: np.random.Generator, artefacts: Mapping[str, str] | None = None
) -> Simulated:
    """Simulate the ECG that `simulate_record` does, with its beats and without its noise."""
    codes = list(findings)
    rhythm = _rhythm_of(codes)
    time = np.arange(NUM_SAMPLES) / SAMPLING_RATE
    beats, is_ectopic = beat_times(RHYTHMS[rhythm], "PVC" in codes, rng)
    stretch = np.sqrt(np.diff(beats).mean()) * rng.normal(1, 0.02)

    waves = _conducted_beat(codes, rhythm, stretch, rng)
    dipole = _dipole(waves, beats[~is_ectopic], time)
    if is_ectopic.any():
        dipole += _dipole(_vary(_stretch_repolarisation(ECTOPIC_BEAT, stretch), rng), beats[is_ectopic], time)
    axis = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3) * (8, 6, 15), degrees=True)
    breathing = 1 + 0.04 * np.sin(2 * np.pi * (rng.uniform(0.18, 0.28) * time + rng.uniform()))
    dipole = axis.as_matrix() @ dipole * breathing
    if rhythm == "AFIB":
        dipole += _fibrillatory_waves(time, rng)

    electrode_gains = rng.normal(1, 0.06, (len(DOWER), 1))
    clean = electrode_gains * (np.array(list(DOWER.values())) @ dipole)
    noisy = clean + _noise(time, artefacts or {}, rng)
    signal_mv, clean_mv = (recorded_leads(leads, list(DOWER))[0] for leads in (noisy, clean))
    return Simulated(signal_mv, clean_mv, beats, is_ectopic, waves)


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


def beat_times(rhythm: Rhythm, has_ectopy: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
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
