"""The RR interval of a recording, from R peaks that the XQRS detector of `wfdb` finds on lead II.

XQRS's wavelet spans a fixed number of samples, so what it finds depends on the sampling rate. Of PTB-XL's first 400
records, it counted other waves as beats in more than a third at 100 Hz, and found no beat in 8 at 500 Hz. All signals
are therefore resampled to one rate that suits it.
"""

from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly
from wfdb.processing import xqrs_detect

from ..leads import STANDARD_LEADS

LEAD = STANDARD_LEADS.index("II")
DETECTION_RATE = 250  # Hz
UNITS_PER_MV = 1000
MIN_AMPLITUDE = 0.1  # mV from the lowest to the highest sample; XQRS adapts, and would find beats in the hiss below
MIN_SECONDS = 1
MIN_PEAKS = 3
MIN_RR, MAX_RR = 250.0, 3000.0  # ms: 240 and 20 beats per minute


def r_peaks(lead: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Return when the QRS complexes of a lead are, as XQRS finds them.

    Args:
        lead (`np.ndarray` of shape `(num_samples,)`): In mV, of a second at least.
        sampling_rate (`float`): In Hz.

    Returns:
        `np.ndarray`: In samples at `DETECTION_RATE` from the lead's beginning.
    """
    up, down = Fraction(DETECTION_RATE / sampling_rate).limit_denominator(10_000).as_integer_ratio()
    resampled = resample_poly(lead, up, down, padtype="line")
    return np.asarray(xqrs_detect(resampled, DETECTION_RATE, verbose=False))


def rr_interval(signal: np.ndarray, sampling_rate: int) -> float | None:
    """Measure the RR interval of a 12-lead recording.

    It is the median of the intervals between successive R peaks of lead II: unlike the mean, it hardly changes where
    the detector misses a beat or counts one twice, or with an early beat and its pause. Strong noise is not recognised
    as such: it gives some interval.

    Args:
        signal (`np.ndarray` of shape `(12, num_samples)`): int16, 1 unit = 1 µV, leads in the order of
            `STANDARD_LEADS`, as `signal_array` returns it.
        sampling_rate (`int`): In Hz.

    Returns:
        `float`, *optional*: In ms; None where it cannot be measured: the lead is flat (below 0.1 mV from lowest to
        highest) or shorter than a second, it has fewer than 3 R peaks, or the median is outside 250 to 3000 ms.
    """
    lead = signal[LEAD] / UNITS_PER_MV
    if len(lead) < MIN_SECONDS * sampling_rate or np.ptp(lead) < MIN_AMPLITUDE:
        return None
    return median_rr_ms(r_peaks(lead, sampling_rate), DETECTION_RATE)


def median_rr_ms(peaks: np.ndarray, sampling_rate: float = 1) -> float | None:
    """Return the median interval between successive R peaks, in ms.

    Args:
        peaks (`np.ndarray` of shape `(num_peaks,)`): When they are, in samples; in seconds by default.
        sampling_rate (`float`, *optional*, defaults to 1): Of those samples, in Hz.

    Returns:
        `float`, *optional*: None with fewer than 3 R peaks, or where it is outside 250 to 3000 ms.
    """
    if len(peaks) < MIN_PEAKS:
        return None
    interval = float(np.median(np.diff(peaks))) * 1000 / sampling_rate
    return interval if MIN_RR <= interval <= MAX_RR else None
