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
    "microvolt": 1e-3,
    "mv": 1.0,
    "millivolt": 1.0,
    "v": 1e3,
    "volt": 1e3,
}
LONGEST_HOURS = 14 * 24  # Holter recordings last up to two weeks
# Names of surface leads beyond the standard 12, as monitors, Holters and vectorcardiographs write them.
_OTHER_LEADS = re.compile(r"M?L[I]{1,3}|MCL ?\d|CM ?\d|CS ?5|V|V[3-6]R|V[7-9]|V?[XYZ]", re.IGNORECASE)
_ECG_PREFIX = re.compile(r"(ECG|EKG|EKG/ECG)\b[ _-]*|(ECG|EKG)(?=\d)", re.IGNORECASE)


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
    """Return how many mV a unit is, or None where it is no unit of voltage; case and blanks do not matter."""
    return MV_PER_UNIT.get(re.sub(r"s$", "", unit.strip().lower()))


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
