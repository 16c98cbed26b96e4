"""From physical 12-lead signals to what a backbone was pre-trained on.

A feature extractor is a list of named steps, saved in `preprocessor_config.json`, so that a reader of that file sees
all that happens to a signal. Signals are arrays of shape `(num_leads, num_samples)` in millivolts (mV); every step
works on the last axis in float64 and takes any leading axes. A step asks by the names of its arguments for what it
needs beside the signal and its settings: `rate` (Hz), `target_rate`, `sequence_length`, `padding_value`.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.signal
from transformers import BatchFeature, FeatureExtractionMixin
from transformers.utils import logging

from .calibration import without_calibration
from .leads import STANDARD_LEADS, recorded_leads

logger = logging.get_logger(__name__)

# An ECG's deflections are a few mV; the bounds leave room for artefacts (PTB-XL's 16 bits end at 32.8 mV) and for
# very low voltage, and lie below ADC units and µV, and above volts.
LARGEST_MV = 50.0
SMALLEST_MV = 0.01
FEW_SAMPLES = 0.01  # of all: so few that are too large are spikes, and not the unit
LOWEST_HZ, HIGHEST_HZ = 10, 100_000  # beyond these no ECG is recorded, and resampling would fill the memory
# What filters leave of a constant is rounding, and far below this.
FLAT_MV = 1e-9


def resample(
    signal: np.ndarray, rate: float, target_rate: float, method: str, sampling_rate: float | None = None
) -> np.ndarray:
    """Resample to the extractor's rate, or to one on the way there.

    The methods are Fourier (`"fourier"`), resampy's filter (`"kaiser"`), linear interpolation (`"linear"`), and
    `"decimate_end_to_end"`: a Chebyshev filter over all leads laid end to end, then every so many samples.
    """
    target_rate = sampling_rate or target_rate
    if rate == target_rate:
        return signal
    num_samples = round(signal.shape[-1] * target_rate / rate)
    if num_samples < 1:
        raise ValueError("the signal is too short.")
    if method == "fourier":
        return scipy.signal.resample(signal, num_samples, axis=-1)
    if method == "kaiser":
        up, down = Fraction(target_rate / rate).limit_denominator(10_000).as_integer_ratio()
        resampled = scipy.signal.resample_poly(signal, up, down, axis=-1, window=kaiser_filter(up, down))
        return resampled[..., :num_samples]
    if method == "decimate_end_to_end":
        factor = int(rate // target_rate)
        if rate % target_rate or signal.shape[-1] % factor:
            raise ValueError(
                f"{rate:g} Hz and {signal.shape[-1]} samples are no multiples of those at {target_rate:g} Hz."
            )
        shape = (*signal.shape[:-1], num_samples)
        return scipy.signal.decimate(signal.reshape(*signal.shape[:-2], -1), factor, axis=-1).reshape(shape)
    if method != "linear":
        raise ValueError(
            f"the method {method!r} is unknown; fourier, kaiser, linear or decimate_end_to_end was expected."
        )
    position = np.linspace(0, signal.shape[-1] - 1, num_samples)
    left = np.minimum(position.astype(int), signal.shape[-1] - 2)
    weight = position - left
    return signal[..., left] * (1 - weight) + signal[..., left + 1] * weight


@lru_cache(maxsize=16)
def kaiser_filter(up: int, down: int) -> np.ndarray:
    """Return the filter with which resampy 0.4 resamples ("kaiser_best"), for scipy's polyphase resampling.

    It is a sinc of 50 zero crossings per side under a Kaiser window, stretched where the rate falls. resampy reads it
    off a table in whole steps, from the fraction of a sample at which an output lies; so does this, or models that
    have seen its signals would see others (by some 1e-5 of the amplitude).

    Args:
        up (`int`): The new rate, with `down` in lowest terms.
        down (`int`): The old rate.
    """
    num_zeros, table_size, beta, rolloff = 50, 8192, 12.9846, 0.9173473712608761
    scale = min(1.0, up / down)
    step = int(scale * table_size) / table_size  # zero crossings per sample
    half_width = math.ceil((num_zeros / step + 1) * up)
    distance = np.arange(-half_width, half_width + 1) / up  # in samples, from the input to the output
    whole = np.maximum(np.where(distance > 0, np.floor(distance), np.ceil(-distance) - 1), 0)
    position = scale * (np.abs(distance) - whole) + step * whole  # in zero crossings
    window = np.i0(beta * np.sqrt(np.maximum(1 - (position / num_zeros) ** 2, 0))) / np.i0(beta)
    return scale * rolloff / up * np.where(position <= num_zeros, window * np.sinc(rolloff * position), 0)


def clip(signal: np.ndarray, limit_mv: float) -> np.ndarray:
    """Limit amplitudes to `-limit_mv` ... `limit_mv`."""
    return signal.clip(-limit_mv, limit_mv)


def crop_or_pad(
    signal: np.ndarray,
    rate: float,
    target_rate: float,
    sequence_length: int,
    padding_value: float,
    position: str = "middle",
) -> np.ndarray:
    """Take what gives `sequence_length` samples, of the middle or the start, or append `padding_value` up to there."""
    length = round(sequence_length * rate / target_rate)
    surplus = signal.shape[-1] - length
    if surplus >= 0:
        start = {"middle": surplus // 2, "start": 0}[position]
        return signal[..., start : start + length]
    padding = [(0, 0)] * (signal.ndim - 1) + [(0, -surplus)]
    return np.pad(signal, padding, constant_values=padding_value)


def butterworth(
    signal: np.ndarray, rate: float, kind: str, cutoff_hz: float | Sequence[float], order: int, form: str = "sos"
) -> np.ndarray:
    """Filter forward and backward (zero phase), as second-order sections (`"sos"`) or transfer function (`"ba"`)."""
    if form == "sos":
        return scipy.signal.sosfiltfilt(scipy.signal.butter(order, cutoff_hz, kind, fs=rate, output="sos"), signal)
    return scipy.signal.filtfilt(*scipy.signal.butter(order, cutoff_hz, kind, fs=rate), signal)


def fir_bandpass(
    signal: np.ndarray,
    rate: float,
    cutoff_hz: Sequence[float],
    duration_s: float,
) -> np.ndarray:
    """Filter forward and backward by a windowed sinc (Hamming) as long as `duration_s`, with an odd number of taps."""
    taps = scipy.signal.firwin(int(duration_s * rate) | 1, cutoff_hz, pass_zero=False, fs=rate)
    return scipy.signal.filtfilt(taps, 1.0, signal)


def notch(signal: np.ndarray, rate: float, frequency_hz: float, quality: float) -> np.ndarray:
    """Remove one frequency, such as mains hum, forward and backward (zero phase)."""
    return scipy.signal.filtfilt(*scipy.signal.iirnotch(frequency_hz, quality, fs=rate), signal)


def remove_baseline(signal: np.ndarray, rate: float, window_s: float) -> np.ndarray:
    """Subtract each lead's moving median; beyond the ends the signal counts as zero."""
    window = int(window_s * rate) // 2 * 2 + 1
    return signal - np.apply_along_axis(scipy.signal.medfilt, -1, signal, window)


def standardize(signal: np.ndarray, scope: str, epsilon: float = 0.0) -> np.ndarray:
    """Subtract the mean and divide by the standard deviation, of the whole record or lead by lead; a flat one is 0."""
    axes = (-2, -1) if scope == "record" else (-1,)
    centred = signal - signal.mean(axis=axes, keepdims=True)
    deviation = signal.std(axis=axes, keepdims=True)
    return np.divide(centred, deviation + epsilon, out=np.zeros_like(centred), where=deviation > FLAT_MV)


def scale_to_range(signal: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
    """Scale each lead so that its smallest value is -1 and its largest 1; `epsilon` is added to its range."""
    smallest = signal.min(axis=-1, keepdims=True)
    return 2 * (signal - smallest) / (np.ptp(signal, axis=-1, keepdims=True) + epsilon) - 1


STEPS: dict[str, Callable[..., np.ndarray]] = {
    "resample": resample,
    "clip": clip,
    "crop_or_pad": crop_or_pad,
    "butterworth": butterworth,
    "fir_bandpass": fir_bandpass,
    "notch": notch,
    "remove_baseline": remove_baseline,
    "standardize": standardize,
    "scale_to_range": scale_to_range,
}
_KNOWN = ("rate", "target_rate", "sequence_length", "padding_value")  # what the extractor itself gives a step
_ARGUMENTS = {name: frozenset(inspect.signature(step).parameters) for name, step in STEPS.items()}


class ECGFeatureExtractor(FeatureExtractionMixin):
    """Turn physical ECG signals into the `input_values` of one backbone.

    Args:
        sampling_rate (`float`, *optional*, defaults to 500): Samples per second (Hz) that the backbone takes.
        sequence_length (`int`, *optional*, defaults to 5000): Samples that the backbone takes.
        lead_names (`list[str]`, *optional*, defaults to the 12 standard leads): Leads that it takes, in its order.
        steps (`list[dict]`, *optional*): What to do, in order: each a `name` of `STEPS` and that step's arguments.
            By default resample, crop or pad, and standardise over the record.
        padding_value (`float`, *optional*, defaults to 0.0): What shorter signals are filled up with.

    Example:
    ```python
    >>> import numpy as np
    >>> from modeling_enecg import ECGFeatureExtractor
    >>> extractor = ECGFeatureExtractor(sampling_rate=250, sequence_length=2250)
    >>> signal = np.random.default_rng(0).normal(size=(12, 5000))
    >>> extractor(signal, sampling_rate=500, return_tensors="pt")["input_values"].shape
    torch.Size([1, 12, 2250])

    ```
    """

    model_input_names = ["input_values"]

    def __init__(
        self,
        sampling_rate: float = 500,
        sequence_length: int = 5000,
        lead_names: Sequence[str] = STANDARD_LEADS,
        steps: Sequence[Mapping[str, Any]] | None = None,
        padding_value: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for name, value in {"sampling_rate": sampling_rate, "sequence_length": sequence_length}.items():
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {value!r}.")
        self.sampling_rate = sampling_rate
        self.sequence_length = sequence_length
        self.lead_names = list(lead_names)
        self.padding_value = padding_value
        if steps is None:
            steps = [
                {"name": "resample", "method": "fourier"},
                {"name": "crop_or_pad"},
                {"name": "standardize", "scope": "record"},
            ]
        self.steps = [dict(step) for step in steps]
        for step in self.steps:
            _check_step(step)

    def __call__(
        self,
        signals: np.ndarray | Sequence[np.ndarray],
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
        return_tensors: str | None = None,
        padding: bool | str = True,
        device: Any = None,
    ) -> BatchFeature:
        """Prepare one or several records.

        A lead that is missing, not among `lead_names` or NaN throughout, is derived where it is a limb lead and I and
        II are there. Otherwise the steps work on the leads that are there, and its row is 0.

        Args:
            signals (`np.ndarray` of shape `(num_leads, num_samples)` or a list of them): Amplitudes in mV. Lengths may
                differ. A calibration pulse at the end is left out.
            sampling_rate (`float`, *optional*): Samples per second (Hz) of the signals. Without it the extractor's own
                rate is taken, with a warning.
            lead_names (`Sequence[str]`, *optional*): The signals' leads, row by row, in any order; some may be left
                out. Without it the rows must be the extractor's leads in its order, or the 12 standard leads.
            return_tensors (`str`, *optional*): `"pt"` for torch tensors, `"np"` for arrays.
            padding (`bool` or `str`, *optional*, defaults to `True`): For callers that say so to every extractor; all
                records come out in one length, and nothing else can be asked for.
            device (`str` or `torch.device`, *optional*): Where the tensors go; with `return_tensors="pt"` alone.

        Returns:
            `BatchFeature` with `input_values` of shape `(batch_size, num_leads, sequence_length)`, float32; where a
                record lacks leads also `lead_mask` of shape `(batch_size, num_leads)`, True for those there are; where
                one was padded also `input_mask` of shape `(batch_size, sequence_length)`, True for recorded samples.

        Raises:
            ValueError: if a signal has the wrong shape or none of the leads, holds NaN in a part of a lead or infinite
                values, is too short for a step or constant in all leads, or has amplitudes that no ECG in mV has; if
                there is to be no padding, or a device for what are no torch tensors.
        """
        check_output(return_tensors, padding, device)
        batch = batch_records(self.prepare(signals, sampling_rate, lead_names), return_tensors)
        return batch if device is None else batch.to(device)

    def prepare(
        self,
        signals: np.ndarray | Sequence[np.ndarray],
        sampling_rate: float | None = None,
        lead_names: Sequence[str] | None = None,
    ) -> list["PreparedRecord"]:
        """Prepare records without joining them; arguments and errors as of a call, but all leads may be missing."""
        rate = self._checked_rate(sampling_rate)
        if not len(signals):
            raise ValueError("Got no signal; pass an array of shape (num_leads, num_samples), or a list of them.")
        records = [signals] if np.ndim(signals[0]) == 1 else signals
        return [self._prepare(np.asarray(signal), rate, lead_names, f"Signal {i}") for i, signal in enumerate(records)]

    def window_seconds(self) -> float:
        """Return how long a recording the model sees at once."""
        return self.sequence_length / self.sampling_rate

    def skipped_seconds(self, num_samples: int, sampling_rate: float) -> float:
        """Return how much of a signal lies before the first sample of `input_values`, where its middle is taken.

        Args:
            num_samples (`int`): Of the signal.
            sampling_rate (`float`): Of the signal, in Hz.
        """
        rate, skipped = sampling_rate, 0.0
        for step in self.steps:
            if step["name"] == "resample":
                target = step.get("sampling_rate") or self.sampling_rate
                num_samples, rate = round(num_samples * target / rate), target
            elif step["name"] == "crop_or_pad":
                length = round(self.sequence_length * rate / self.sampling_rate)
                if step.get("position", "middle") == "middle":
                    skipped += max(num_samples - length, 0) // 2 / rate
                num_samples = length
        return skipped

    def names_of_rows(self, num_leads: int, name: str = "The signal") -> Sequence[str]:
        """Return what the rows of a signal without lead names are: the extractor's leads, or the 12 standard ones.

        Raises:
            ValueError: if it has another number of rows.
        """
        if num_leads == len(self.lead_names):
            return self.lead_names
        if num_leads == len(STANDARD_LEADS):
            return STANDARD_LEADS
        raise ValueError(
            f"{name} has {num_leads} leads; this extractor expects {len(self.lead_names)}: "
            f"{', '.join(self.lead_names)}. Pass lead_names to have them picked and ordered by name."
        )

    def _checked_rate(self, sampling_rate: float | None) -> float:
        if sampling_rate is None:
            logger.warning_once(
                f"No sampling_rate given: the signals are taken to have {self.sampling_rate} Hz. "
                "Pass sampling_rate to be sure."
            )
            return self.sampling_rate
        if not LOWEST_HZ <= sampling_rate <= HIGHEST_HZ:
            raise ValueError(
                f"sampling_rate must be a positive number of Hz from {LOWEST_HZ} to {HIGHEST_HZ}, got {sampling_rate}."
            )
        return sampling_rate

    def _prepare(
        self, signal: np.ndarray, rate: float, lead_names: Sequence[str] | None, name: str
    ) -> "PreparedRecord":
        check_shape(signal, name)
        signal = without_calibration(signal, rate)
        if lead_names is None:
            lead_names = self.names_of_rows(len(signal), name)
        leads, is_there = recorded_leads(signal, lead_names, self.lead_names)
        if not changes(signal):
            raise ValueError(f"{name} holds no ECG: every lead is constant.")
        if not len(leads):
            shape = (len(is_there), self.sequence_length)
            return PreparedRecord(np.zeros(shape, np.float32), is_there, np.ones(self.sequence_length, bool))
        check_signal(leads, name, [lead for lead, given in zip(self.lead_names, is_there, strict=True) if given])
        prepared, num_recorded = self._apply_steps(leads.astype(np.float64), rate, name)
        values = np.zeros((len(is_there), prepared.shape[-1]), dtype=np.float32)
        values[is_there] = prepared
        return PreparedRecord(values, is_there, np.arange(values.shape[-1]) < num_recorded)

    def _apply_steps(self, signal: np.ndarray, rate: float, name: str) -> tuple[np.ndarray, int]:
        """Return the signal after all steps, and how many of its samples were recorded."""
        num_recorded = signal.shape[-1]
        for step in self.steps:
            known = {
                "rate": rate,
                "target_rate": self.sampling_rate,
                "sequence_length": self.sequence_length,
                "padding_value": self.padding_value,
            }
            arguments = {key: value for key, value in known.items() if key in _ARGUMENTS[step["name"]]}
            arguments |= {key: value for key, value in step.items() if key != "name"}
            try:
                changed = STEPS[step["name"]](signal, **arguments)
            except ValueError as error:
                raise ValueError(
                    f"{name} of {signal.shape[-1]} samples at {rate:g} Hz fails in the step {step}: {error}"
                ) from error
            if step["name"] == "resample":
                rate = step.get("sampling_rate") or self.sampling_rate
                num_recorded = math.ceil(num_recorded * changed.shape[-1] / signal.shape[-1])
            elif step["name"] == "crop_or_pad":
                num_recorded = min(num_recorded, changed.shape[-1])
            signal = changed
        return signal, num_recorded


def _check_step(step: Mapping[str, Any]) -> None:
    """Refuse a step of an unknown name, or with arguments that it does not have or lacks."""
    if step.get("name") not in STEPS:
        raise ValueError(f"Unknown step {dict(step)}; its name must be one of {', '.join(STEPS)}.")
    given = {key: value for key, value in step.items() if key != "name"}
    known = _ARGUMENTS[step["name"]].intersection(_KNOWN).difference(given)
    try:
        inspect.signature(STEPS[step["name"]]).bind(None, **given, **dict.fromkeys(known))
    except TypeError as error:
        raise ValueError(f"The step {dict(step)} does not fit: {error}.") from error


class PreparedRecord(NamedTuple):
    """One record as a model takes it.

    Attributes:
        values (`np.ndarray` of shape `(num_leads, sequence_length)`): float32, 0 for missing leads.
        lead_mask (`np.ndarray` of shape `(num_leads,)`): True for leads that are there.
        input_mask (`np.ndarray` of shape `(sequence_length,)`): True for recorded samples, False for padding.
    """

    values: np.ndarray
    lead_mask: np.ndarray
    input_mask: np.ndarray


def batch_records(records: Sequence[PreparedRecord], return_tensors: str | None = None) -> BatchFeature:
    """Join prepared records, with masks only where one of them lacks something.

    Raises:
        ValueError: if a record has none of the leads.
    """
    values, lead_mask, input_mask = (np.stack(arrays) for arrays in zip(*records, strict=True))
    empty = np.flatnonzero(~lead_mask.any(axis=1))
    if len(empty):
        raise ValueError(f"Signal {empty[0]} has none of the leads that the model reads.")
    inputs = {"input_values": values}
    if not lead_mask.all():
        inputs["lead_mask"] = lead_mask
    if not input_mask.all():
        inputs["input_mask"] = input_mask
    return BatchFeature(inputs, tensor_type=return_tensors)


def check_output(return_tensors: str | None, padding: bool | str, device: Any) -> None:
    """Raise a `ValueError` unless a call of an extractor asks for what it can give."""
    if padding not in (True, "longest", "max_length"):
        raise ValueError(f"padding cannot be {padding!r}: all records come out in one length; leave it out.")
    if device is not None and return_tensors != "pt":
        raise ValueError(f'device needs return_tensors="pt"; got {return_tensors!r}.')


def check_shape(signal: np.ndarray, name: str) -> None:
    """Raise a `ValueError` unless a signal is of real numbers, of shape `(num_leads, num_samples)`."""
    if signal.ndim != 2 or signal.shape[1] < 2:
        raise ValueError(f"{name} has shape {signal.shape}; expected (num_leads, num_samples).")
    if not np.issubdtype(signal.dtype, np.number) or np.iscomplexobj(signal):
        raise ValueError(f"{name} has type {signal.dtype}; expected real numbers in mV.")


def changes(signal: np.ndarray) -> bool:
    """Whether some lead of a signal is not constant, or none has a sample; a lead with gaps is not looked at."""
    recorded = signal[~np.isnan(signal[:, 0])] if np.issubdtype(signal.dtype, np.floating) else signal
    return not len(recorded) or bool((recorded != recorded[:, :1]).any())


def check_signal(signal: np.ndarray, name: str, lead_names: Sequence[str]) -> None:
    """Refuse what cannot be an ECG in mV.

    Args:
        signal (`np.ndarray` of shape `(num_leads, num_samples)`): Amplitudes.
        name (`str`): How to call the signal in an error.
        lead_names (`Sequence[str]`): How to call its rows.

    Raises:
        ValueError: if a value is not finite, or the amplitudes are too large (ADC units or µV) or too small (V).
    """
    is_bad = ~np.isfinite(signal)
    if is_bad.any():
        leads = ", ".join(lead for lead, bad in zip(lead_names, is_bad.any(axis=1), strict=True) if bad)
        raise ValueError(
            f"{name} has {is_bad.sum()} values that are NaN or infinite (leads {leads}). "
            "Drop the record, or fill the gaps knowingly before."
        )
    deviations = np.abs(signal - np.median(signal, axis=1, keepdims=True))
    largest = float(deviations.max())
    if largest > LARGEST_MV:
        share = float((deviations > LARGEST_MV).mean())
        reason = (
            "Are these µV (divide by 1000) or ADC units (divide by the gain)?"
            if share > FEW_SAMPLES
            else f"Only {share:.2%} of the samples do not: spikes, as of a pacemaker, or artefacts. Cut or clip them."
        )
        raise ValueError(
            f"{name} deviates by up to {largest:.4g} from its leads' medians; in mV an ECG stays below "
            f"{LARGEST_MV:g}. {reason}"
        )
    if 0 < largest < SMALLEST_MV:
        raise ValueError(
            f"{name} deviates by at most {largest:.4g} from its leads' medians; in mV an ECG exceeds "
            f"{SMALLEST_MV:g}. Are these V (multiply by 1000)?"
        )


__all__ = ["ECGFeatureExtractor"]
