"""Base of the readers of ECG files: their result and error, units of voltage, names of channels, bounds of size."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import numpy as np

from .leads import is_standard_lead, standard_lead_name
from .recording import Metadata

MICROVOLTS_PER_MV = 1000.0
_MV_PER_UNIT = {
    **dict.fromkeys(("nv", "nanovolt"), 1e-6),
    **dict.fromkeys(("uv", "µv", "μv", "uvolt", "microv", "microvolt"), 1e-3),
    **dict.fromkeys(("mv", "mvolt", "milliv", "millivolt"), 1.0),
    **dict.fromkeys(("v", "volt"), 1e3),
}
# What stands in place of a unit where amplitudes are counts, or their unit is unknown.
_NO_UNITS = frozenset(
    [
        *("", "?", "-", "1", "none", "n/a", "nu", "unknown", "adc", "adu", "raw", "a.u.", "au", "lsb"),
        *("no unit", "no units", "unitless", "dimensionless", "arbitrary unit", "arbitrary units", "arb.u", "arb'u"),
        *("bit", "bits", "count", "counts", "digit", "digits", "unit", "units"),
    ]
)
LONGEST_HOURS = 14 * 24  # Holter recordings last up to two weeks
MOST_SAMPLES = 12 * 1000 * 3600 * 48  # of all leads: 12 at 1000 Hz for 48 hours
MOST_CHANNELS = 1024
_MOST_UNPACKED = (
    10_000_000  # samples that any small file may unpack to: a flat signal is compressed to next to nothing
)
_MOST_UNPACKED_PER_BYTE = 100  # beyond these
_LOWEST_CODES = tuple(-float(1 << (bits - 1)) for bits in (16, 24, 32, 64))
# Names of surface leads beyond the standard 12, as monitors, Holters and vectorcardiographs write them.
_OTHER_LEADS = re.compile(r"M?L[I]{1,3}|MCL ?\d|CM ?\d|CS ?5|V|V[3-6]R|V[7-9]|V?[XYZ]", re.IGNORECASE)
# The word stands first, or behind the kind that EEG systems write: "EEG EKG1-REF", "POL ECG"; FECG is a foetus's.
_ECG_PREFIX = re.compile(r"((EEG|POL)[ _-]+)?[FM]?(ECG|EKG)(?![A-Z])|(ECG|EKG)[LR]\b", re.IGNORECASE)
_OTHER_SIGNALS = re.compile(r"(EEG|EOG|EMG|ERG|MEG|PLETH|PPG|RESP(IRATION)?|ABP|ART|SPO2)(?![A-Z])", re.IGNORECASE)
# C1 to C6 are chest leads beside limb leads; otherwise, and beside other places on the head, they are such places.
_CHEST_OR_HEAD = re.compile(r"C[1-6]", re.IGNORECASE)
_HEAD = re.compile(
    r"(EEG[ _-]*)?(FP[12Z]|F[3478Z]|T[3-6]|P[34Z]|O[12Z]|CZ|(AF|FC|FT|CP|TP|PO)(\d{1,2}|Z))([-_ ].*)?", re.IGNORECASE
)
# Electrodes that are numbered by cap or cable (A1 to D32) go on beyond the last number that a lead has; C9 is V9.
_NUMBERED = re.compile(r"([CDL])(\d{1,3})", re.IGNORECASE)
_LAST_NUMBER = {"C": 9, "D": 3, "L": 3}
_CENTRAL = {"C3", "C4"}  # the two that sleep studies record beside a limb lead
# Names of leads that are none of the standard ones, and never become one because somebody says so.
_CERTAIN_OTHERS = re.compile(r"V[1-9]\d?R\b|V[7-9]\b|aV[RLF]", re.IGNORECASE)
_MULTIPLE = re.compile(r"(1|0?\.0{0,9}1)\s*([a-zµμ]+)")  # a digit's worth; 10 mV would rather be a range

largest_recording: ContextVar[int] = ContextVar("largest_recording", default=MOST_SAMPLES)  # in samples


class ECGFileError(ValueError):
    """A file that is not a readable ECG, or does not say all that is needed to read it."""


class ChannelKind(Enum):
    """What a channel's name says that it is."""

    LEAD = "a lead"
    OTHER_SIGNAL = "another signal"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class FileContent:
    """What a reader found in a file; None where the file does not say.

    Attributes:
        signal (`np.ndarray` of shape `(num_channels, num_samples)`): All channels of one sampling rate, float64, in
            their units; NaN where a sample is missing.
        sampling_rate (`float`, *optional*): Samples per second (Hz).
        units (`list[str]`, *optional*): Each channel's unit as the file spells it; `"mV"` for what is in mV already.
        names (`list[str]`, *optional*): Each channel's name as the file spells it.
        counts_per_unit (`np.ndarray` of shape `(num_channels,)`, *optional*): How many counts of the stored numbers
            are a unit; None where the signal consists of the stored numbers, or they do not matter.
        metadata ([`Metadata`]): What the file says besides.
        left_out (`Mapping[str, str]`): The names of channels that the reader left out, each with the reason.
        damaged_leads (`Mapping[str, str]`): The names of channels that the file itself calls invalid, which are NaN
            throughout, each with the reason.
    """

    signal: np.ndarray
    sampling_rate: float | None
    units: list[str] | None
    names: list[str] | None
    counts_per_unit: np.ndarray | None = None
    metadata: Metadata = field(default_factory=Metadata)
    left_out: Mapping[str, str] = field(default_factory=dict)
    damaged_leads: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1024)
def mv_per_unit(unit: str) -> float | None:
    """Return how many mV a unit, or a part of one such as `0.001mV`, is; None where it is no unit of voltage.

    Case and blanks do not matter.
    """
    name = unit.strip().lower()
    multiple = _MULTIPLE.fullmatch(name)
    mv = _MV_PER_UNIT.get((multiple[2] if multiple else name).removesuffix("s"))
    return mv if mv is None or not multiple else float(multiple[1]) * mv


def is_no_unit(text: str) -> bool:
    """Whether what stands in a unit's place says nothing, as `adu`, `counts` and, in UCUM, `{counts}` do."""
    return text.strip(" {}[]").lower() in _NO_UNITS


def channel_name(name: str) -> str:
    """Return a channel's name without blanks around it; a standard lead's in its standard spelling."""
    return standard_lead_name(name) if is_standard_lead(name) else " ".join(name.split())


def channel_kinds(names: Sequence[str]) -> list[ChannelKind]:
    """Return what each channel of a file is by its name; C1 to C6, D1 to D3 and L1 to L3 by the others' names, too."""
    return list(_channel_kinds(tuple(names)))


def is_known_lead(name: str) -> bool:
    """Whether a channel's name alone says that it is an ECG lead."""
    return _kind(name) is ChannelKind.LEAD


def contradicts(stated: str, given: str) -> bool:
    """Whether a channel of the stated name cannot be the lead that somebody says it is.

    A name that tells no certain lead (`ECG`, `MLII`, `col 0`) contradicts none.
    """
    if is_standard_lead(stated) or not is_standard_lead(given):
        return is_standard_lead(stated) and channel_name(stated) != channel_name(given)
    return _kind(stated) is ChannelKind.OTHER_SIGNAL or names_another_lead(stated)


def names_another_lead(text: str) -> bool:
    """Whether a text that is no standard lead's name names a lead: an inverted one, or one beyond the standard 12."""
    return not is_standard_lead(text) and bool(_CERTAIN_OTHERS.search(text))


def missing_as_nan(counts: np.ndarray) -> np.ndarray:
    """Return stored numbers as float64, NaN where a sample is the lowest code of the integers that they are.

    That code, -32768 in 16 bits, is what WFDB and many devices write for a missing sample. It is looked for in the
    narrowest integers of 16, 24, 32 or 64 bits that hold all samples, so that it counts in wider numbers and in text,
    too.

    Args:
        counts (`np.ndarray` of any shape): Integers, or real numbers that may be such.
    """
    signal = counts.astype(np.float64)
    if not signal.size or counts.dtype.kind == "u":
        return signal
    lowest = np.fmin.reduce(signal, axis=None)
    is_lowest_code = lowest in _LOWEST_CODES or (counts.dtype.itemsize == 1 and lowest == -128)
    if is_lowest_code and np.fmax.reduce(signal, axis=None) < -lowest and _are_whole(signal):
        signal[signal == lowest] = np.nan
    return signal


def check_size(num_channels: int, num_samples: int, sampling_rate: float, available: float) -> None:
    """Refuse declared sizes that no ECG has or the file cannot hold, before memory is taken for them.

    Args:
        num_channels (`int`): As declared.
        num_samples (`int`): A channel's, as declared.
        sampling_rate (`float`): As declared, in Hz.
        available (`float`): How many samples of all channels the bytes at hand can hold.

    Raises:
        ECGFileError: if a number is not positive, they do not fit each other, or there are more samples than are to
            be read.
    """
    if num_channels < 1 or num_samples < 1 or not 0 < sampling_rate < math.inf:
        raise ECGFileError(
            f"declares {num_channels} channels of {num_samples} samples at {sampling_rate:g} Hz; all must be positive."
        )
    if num_channels * num_samples > available:
        raise ECGFileError(
            f"declares {num_channels} channels of {num_samples} samples, but holds at most {available:.0f} samples: "
            "cut short, or its header is wrong."
        )
    if num_channels > MOST_CHANNELS or num_channels * num_samples > largest_recording.get():
        raise ECGFileError(
            f"declares {num_channels} channels of {num_samples} samples; at most {MOST_CHANNELS} channels and "
            f"{largest_recording.get()} samples are read. Cut the recording, or give a larger most_samples."
        )


def check_no_surplus(num_bytes: int, declared: str) -> None:
    """Refuse a file that goes on behind its last sample: where bytes were inserted, all samples after them are wrong.

    Args:
        num_bytes (`int`): How many bytes follow.
        declared (`str`): The length that the file declares, in words.
    """
    if num_bytes > 0:
        raise ECGFileError(
            f"declares {declared}, and holds {num_bytes} bytes more: its header is wrong, or bytes were inserted, as "
            "a transfer in text mode does."
        )


def check_unpacked(num_values: int, num_bytes: int) -> None:
    """Refuse what no compressed ECG of a file's size unpacks to, before memory is taken for it.

    Args:
        num_values (`int`): How many samples are declared.
        num_bytes (`int`): The file's size.
    """
    if num_values > _MOST_UNPACKED + _MOST_UNPACKED_PER_BYTE * num_bytes:
        raise ECGFileError(f"declares {num_values} values in {num_bytes} bytes: more than a signal is compressed to.")


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
            f"Reading this file needs the package {package or module}: pip install {package or module}."
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


@lru_cache(maxsize=64)  # the files of a data set name their channels alike
def _channel_kinds(names: tuple[str, ...]) -> list[ChannelKind]:
    electrodes = _numbered_electrodes(names)
    kinds = [ChannelKind.OTHER_SIGNAL if name in electrodes else _kind(name) for name in names]
    places = {
        name.strip().upper(): place for place, name in enumerate(names) if _CHEST_OR_HEAD.fullmatch(name.strip())
    }
    if places and not _are_chest_leads(places.keys(), [name for name in names if name not in electrodes]):
        for place in places.values():
            kinds[place] = ChannelKind.OTHER_SIGNAL
    return kinds


@lru_cache(maxsize=1024)
def _kind(name: str) -> ChannelKind:
    text = name.strip()
    if is_standard_lead(name) or _ECG_PREFIX.match(text) or _OTHER_LEADS.fullmatch(text):
        return ChannelKind.LEAD
    return ChannelKind.OTHER_SIGNAL if _OTHER_SIGNALS.match(text) else ChannelKind.UNKNOWN


def _numbered_electrodes(names: Sequence[str]) -> set[str]:
    """Return the channels of a letter whose numbers go on beyond those of leads."""
    numbered = [(name, match) for name in names if (match := _NUMBERED.fullmatch(name.strip()))]
    letters = {match[1].upper() for _, match in numbered if int(match[2]) > _LAST_NUMBER[match[1].upper()]}
    return {name for name, match in numbered if match[1].upper() in letters}


def _are_chest_leads(places: Iterable[str], names: Sequence[str]) -> bool:
    """Whether channels named C1 to C6 are chest leads: beside limb leads, no places on the head, and not C3, C4."""
    limb = [name for name in names if is_standard_lead(name) and channel_name(name)[0] != "V"]
    on_head = any(_HEAD.fullmatch(name.strip()) for name in names)
    return bool(limb) and not on_head and not set(places) <= _CENTRAL


def _are_whole(signal: np.ndarray) -> bool:
    return bool(((signal == np.rint(signal)) | np.isnan(signal)).all())
