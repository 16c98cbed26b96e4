"""What readers of ECG files share: their result, their error, units of voltage and names of channels."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import numpy as np

from .leads import is_standard_lead, standard_lead_name

MV_PER_UNIT = {
    "nv": 1e-6,
    "nanovolt": 1e-6,
    "uv": 1e-3,
    "µv": 1e-3,
    "μv": 1e-3,
    "uvolt": 1e-3,
    "microv": 1e-3,
    "microvolt": 1e-3,
    "mv": 1.0,
    "mvolt": 1.0,
    "milliv": 1.0,
    "millivolt": 1.0,
    "v": 1e3,
    "volt": 1e3,
}
LONGEST_HOURS = 14 * 24  # Holter recordings last up to two weeks
# Names of surface leads beyond the standard 12, as monitors, Holters and vectorcardiographs write them.
_OTHER_LEADS = re.compile(r"M?L[I]{1,3}|MCL ?\d|CM ?\d|CS ?5|V|V[3-6]R|V[7-9]|V?[XYZ]", re.IGNORECASE)
# The word stands first, or behind the kind that EEG systems write: "EEG EKG1-REF", "POL ECG"; FECG is a foetus's.
_ECG_PREFIX = re.compile(r"((EEG|POL)[ _-]+)?[FM]?(ECG|EKG)(?![A-Z])|(ECG|EKG)[LR]\b", re.IGNORECASE)
_OTHER_SIGNALS = re.compile(r"(EEG|EOG|EMG|ERG|MEG|PLETH|PPG|RESP(IRATION)?|ABP|ART|SPO2)(?![A-Z])", re.IGNORECASE)
_MULTIPLE = re.compile(r"(1|0?\.0{0,9}1)\s*([a-zµμ]+)")  # a digit's worth; 10 mV would rather be a range


class ECGFileError(ValueError):
    """A file that is not a readable ECG, or does not say all that is needed to read it."""


class FileContent(NamedTuple):
    """What a reader found in a file; None where the file does not say.

    Attributes:
        signal (`np.ndarray` of shape `(num_channels, num_samples)`): All channels of one sampling rate, float64, in
            their units; NaN where a sample is missing.
        sampling_rate (`float`, *optional*): Samples a second (Hz).
        units (`list[str]`, *optional*): Each channel's unit as the file spells it; `"mV"` for what is in mV already.
        names (`list[str]`, *optional*): Each channel's name as the file spells it.
    """

    signal: np.ndarray
    sampling_rate: float | None
    units: list[str] | None
    names: list[str] | None


def mv_per_unit(unit: str) -> float | None:
    """Return how many mV a unit, or a part of one such as `0.001mV`, is; None where it is no unit of voltage.

    Case and blanks do not matter.
    """
    name = unit.strip().lower()
    multiple = _MULTIPLE.fullmatch(name)
    mv = MV_PER_UNIT.get(re.sub(r"s$", "", multiple[2] if multiple else name))
    return mv if mv is None or not multiple else float(multiple[1]) * mv


def channel_name(name: str) -> str:
    """Return a channel's name without blanks around it; a standard lead's in its standard spelling."""
    try:
        return standard_lead_name(name)
    except ValueError:
        return " ".join(name.split())


def is_known_lead(name: str) -> bool:
    """Whether a channel's name says that it is an ECG lead."""
    is_other = _ECG_PREFIX.match(name.strip()) or _OTHER_LEADS.fullmatch(name.strip())
    return is_standard_lead(name) or bool(is_other)


def is_other_signal(name: str) -> bool:
    """Whether a channel's name says that it is something else than an ECG lead, measured in volts or not."""
    return bool(_OTHER_SIGNALS.match(name.strip())) and not is_known_lead(name)


def check_size(num_channels: int, num_samples: int, sampling_rate: float, available: float) -> None:
    """Refuse declared sizes that no ECG has or the file cannot hold, before memory is taken for them.

    Args:
        num_channels (`int`): As declared.
        num_samples (`int`): A channel's, as declared.
        sampling_rate (`float`): As declared, in Hz.
        available (`float`): How many samples of all channels the bytes at hand can hold.

    Raises:
        ECGFileError: if a number is not positive, or they do not fit each other.
    """
    if num_channels < 1 or num_samples < 1 or not 0 < sampling_rate < float("inf"):
        raise ECGFileError(
            f"declares {num_channels} channels of {num_samples} samples at {sampling_rate:g} Hz; all must be positive."
        )
    if num_channels * num_samples > available:
        raise ECGFileError(
            f"declares {num_channels} channels of {num_samples} samples, but holds at most {available:.0f} samples: "
            "cut short, or its header is wrong."
        )


def need(module: str, package: str | None = None) -> ModuleType:
    """Import a library that only some formats need.

    Args:
        module (`str`): The module.
        package (`str`, *optional*, defaults to `module`): What to install.

    Raises:
        ImportError: if it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"Reading this file needs the package {package or module}: pip install 'enecg[formats]'."
        ) from error


@contextmanager
def errors_of(library: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into an `ECGFileError`.

    Args:
        library (`str`): Its name, for the message.
    """
    try:
        yield
    except (ECGFileError, ImportError):
        raise
    except Exception as error:  # damaged bytes make parsers fail in any way
        raise ECGFileError(f"cannot be read by {library}: {type(error).__name__}: {error}") from error
