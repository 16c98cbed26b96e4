"""Augmentation: training records varied as recordings vary, in mV, before a feature extractor sees them.

The set is that of Mehari and Strodthoff, arXiv 2103.12676 (crops, time-out, and the noises of a real recording, as
Moody et al., "A noise stress test for arrhythmia detectors", 1984, tell them apart), and of Raghu et al., "Data
Augmentation for Electrocardiograms", arXiv 2204.04360 (scaled amplitudes, masked stretches). Noise arises at the
electrodes and comes to the leads as any voltage does, so that limb leads keep to Einthoven's law.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from ..leads import DERIVED_LIMB_LEADS, STANDARD_LEADS, standard_lead_names

WANDER_HZ = (0.05, 0.5)  # breathing and slow movements
MUSCLE_HZ = (20.0, 150.0)
POWER_LINE_HZ = (50.0, 60.0)
_LIMB_ELECTRODES = ("RA", "LA", "LL")


@dataclass(frozen=True)
class Augmentation:
    """How training records are varied, each in another way in every epoch; nothing is by default.

    Attributes:
        time_crop (`float`): Seconds that are cut off the beginning or the end, at most, and never more than half of a
            record; what the model takes is then padded, which its `input_mask` says.
        amplitude_scale (`float`): All leads are multiplied by one factor, within this of 1.
        baseline_wander (`float`): Drift of 0.05 to 0.5 Hz; root mean square at an electrode, at most, in mV.
        power_line (`float`): A hum of 50 or 60 Hz; amplitude at an electrode, at most, in mV.
        gaussian_noise (`float`): White noise; root mean square at an electrode, at most, in mV.
        muscle_noise (`float`): Noise of 20 to 150 Hz, as of muscles; root mean square at an electrode, at most, in mV.
        time_mask (`float`): Seconds of one stretch in which all leads are flat, at most, and never more than half of a
            record.
        mixup (`float`): Records and their labels are blended with others', with shares drawn from a beta distribution
            with this for both parameters. Zhang et al., "mixup", arXiv 1710.09412.
    """

    time_crop: float = 0.0
    amplitude_scale: float = 0.0
    baseline_wander: float = 0.0
    power_line: float = 0.0
    gaussian_noise: float = 0.0
    muscle_noise: float = 0.0
    time_mask: float = 0.0
    mixup: float = 0.0

    def __bool__(self) -> bool:
        return any(astuple(self))

    def check_rate(self, sampling_rate: float) -> None:
        """Refuse noise that records of a rate cannot hold.

        Raises:
            ValueError: with the setting, and the rate that it needs.
        """
        for name, highest in (("power_line", max(POWER_LINE_HZ)), ("muscle_noise", MUSCLE_HZ[0])):
            if getattr(self, name) and sampling_rate <= 2 * highest:
                raise ValueError(
                    f"{name}: records of {sampling_rate:g} Hz cannot hold {highest:g} Hz; read them at more than "
                    f"{2 * highest:g} Hz, or leave it out."
                )


def record_rng(seed: int, epoch: int, record: int) -> np.random.Generator:
    """Return what varies a record in an epoch: the same wherever and whenever it is read."""
    return np.random.default_rng([seed, epoch, record])


def augmented(
    signal: np.ndarray,
    sampling_rate: float,
    lead_names: Sequence[str],
    settings: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """Vary a record by all that the settings ask for but mixup, which takes two.

    Args:
        signal (`np.ndarray` of shape `(num_leads, num_samples)`): In mV.
        sampling_rate (`float`): In Hz.
        lead_names (`Sequence[str]`): The leads, by any usual name.
        settings ([`Augmentation`]): How.
        rng (`np.random.Generator`): Decides.

    Returns:
        `np.ndarray` of shape `(num_leads, num_samples)`: A new signal in mV; with `time_crop` of fewer samples.

    Raises:
        ValueError: if the rate is too low for a noise.
    """
    settings.check_rate(sampling_rate)
    if settings.time_crop:
        signal = time_crop(signal, round(settings.time_crop * sampling_rate), rng)
    if settings.amplitude_scale:
        signal = signal * rng.uniform(1 - settings.amplitude_scale, 1 + settings.amplitude_scale)
    at_electrodes = electrode_noise(signal.shape[1], sampling_rate, settings, rng)
    if at_electrodes is not None:
        signal = signal + leads_of_electrodes(lead_names) @ at_electrodes
    if settings.time_mask:
        signal = time_mask(signal, round(settings.time_mask * sampling_rate), rng)
    return signal


def time_crop(signal: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Cut up to `most` samples off the beginning or the end, and never more than half of all."""
    num_cut = rng.integers(min(most, signal.shape[1] // 2) + 1)
    return signal[:, num_cut:] if rng.random() < 0.5 else signal[:, : signal.shape[1] - num_cut]


def time_mask(signal: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Put each lead's mean in place of a stretch of up to `most` samples, and never more than half of all."""
    num_masked = rng.integers(min(most, signal.shape[1] // 2) + 1)
    start = rng.integers(signal.shape[1] - num_masked + 1)
    masked = signal.copy()
    masked[:, start : start + num_masked] = signal.mean(axis=1, keepdims=True)
    return masked


def electrode_noise(
    num_samples: int, sampling_rate: float, settings: Augmentation, rng: np.random.Generator
) -> np.ndarray | None:
    """Return the sum of all noises at the nine electrodes, `(9, num_samples)` in mV, or None without any."""
    shape = (len(_LIMB_ELECTRODES) + 6, num_samples)
    noises = []
    for level, band in ((settings.baseline_wander, WANDER_HZ), (settings.muscle_noise, MUSCLE_HZ)):
        if level:
            noises.append(rng.uniform(0, level) * band_noise(shape, sampling_rate, band, rng))
    if settings.gaussian_noise:
        noises.append(rng.uniform(0, settings.gaussian_noise) * rng.standard_normal(shape))
    if settings.power_line:
        cycles = rng.choice(POWER_LINE_HZ) * np.arange(num_samples) / sampling_rate + rng.random()
        noises.append(rng.uniform(0, settings.power_line, (shape[0], 1)) * np.sin(2 * np.pi * cycles))
    return np.sum(noises, axis=0) if noises else None


def band_noise(
    shape: tuple[int, int], sampling_rate: float, band: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return Gaussian noise within a band of frequencies, whose root mean square is 1 in the long run.

    It is cut from noise that is long enough for the lowest frequency, so that it need not end as it began.

    Args:
        shape (`tuple[int, int]`): Rows, each with a noise of its own, and samples.
        sampling_rate (`float`): In Hz; what lies above its half is left out.
        band (`tuple[float, float]`): Lowest and highest frequency, in Hz.
        rng (`np.random.Generator`): Draws it.
    """
    length = max(2 * shape[1], round(2 * sampling_rate / band[0]))
    frequencies = np.fft.rfftfreq(length, 1 / sampling_rate)
    spectrum = rng.standard_normal((shape[0], len(frequencies), 2)) @ np.array([1, 1j])
    spectrum *= (band[0] <= frequencies) & (frequencies <= band[1])
    noise = np.fft.irfft(spectrum, length)
    return noise[:, : shape[1]] / np.sqrt((noise**2).mean(axis=1, keepdims=True))


def leads_of_electrodes(lead_names: Sequence[str]) -> np.ndarray:
    """Return by which weights leads follow from the electrodes RA, LA, LL and V1 to V6, `(num_leads, 9)`."""
    ra, la, ll, *chest = np.eye(len(_LIMB_ELECTRODES) + 6)
    leads = {"I": la - ra, "II": ll - ra}
    leads |= {name: i * leads["I"] + ii * leads["II"] for name, (i, ii) in DERIVED_LIMB_LEADS.items()}
    central_terminal = (ra + la + ll) / 3  # Wilson's
    leads |= {name: each - central_terminal for name, each in zip(STANDARD_LEADS[6:], chest, strict=True)}
    return np.stack([leads[name] for name in standard_lead_names(lead_names)])


__all__ = [
    "Augmentation",
    "augmented",
    "band_noise",
    "electrode_noise",
    "leads_of_electrodes",
    "record_rng",
    "time_crop",
    "time_mask",
]
