"""Damaged files: a signal or one clear error comes back, in bounded time and memory.

`ENECG_FUZZ_CASES` sets the number of cases a format, and `--hypothesis-seed` another seed than the one that stands in
the summary of the run; the same seed gives the same cases.
"""

import os
import signal
import sys
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from modeling_enecg.feature_extraction_ecg import HIGHEST_HZ, LOWEST_HZ
from modeling_enecg.io import ECGFileError, ECGRecord, read_ecg
from tests.helpers.damaged_files import damaged_samples
from tests.helpers.valid_files import SAMPLES, Sample

SEED = 20261123
CASES = int(os.environ.get("ENECG_FUZZ_CASES", "500"))
MOST_SECONDS = 5  # of the processor
MOST_BYTES = 256 << 20
LONGEST_MESSAGE, LONGEST_NAME = 2000, 600
_WATCHED = ("open", "socket.", "subprocess.", "os.system", "os.remove", "os.rename", "pickle.find_class")
_CODE = (".py", ".pyc", ".so")

_events: list[tuple[str, tuple]] | None = None


def _note(event: str, arguments: tuple) -> None:
    if _events is not None and event.startswith(_WATCHED):
        _events.append((event, arguments))


class Tally:
    """What came of the cases so far, and what the dearest of them took."""

    def __init__(self) -> None:
        self.outcomes: Counter[type] = Counter()
        self.seconds = 0.0
        self.num_bytes = 0

    def __str__(self) -> str:
        outcomes = f"{self.outcomes[ECGRecord]} signals and {self.outcomes[ECGFileError]} errors"
        return f"{outcomes}, in at most {self.seconds:.3f} s and {self.num_bytes / (1 << 20):.1f} MiB each"


@pytest.fixture(scope="module", autouse=True)
def hook() -> None:
    """Have a hook for what is opened; it cannot be removed, and does nothing between readings."""
    sys.addaudithook(_note)


@pytest.fixture(scope="module", autouse=True)
def alarm() -> Iterator[None]:
    """Fail, rather than hang, when a reading does not end; `limited` sets the time."""

    def ring(*_: object) -> None:
        pytest.fail(f"reading took {MOST_SECONDS} s")

    before = signal.signal(signal.SIGPROF, ring)
    yield
    signal.signal(signal.SIGPROF, before)


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Fail if anything but files of the folder and Python's own modules is opened, or a file is written."""
    global _events
    _events = []
    try:
        yield
    finally:
        events, _events = _events, None
    for event, arguments in events:
        assert event == "open", (event, arguments)
        file, _, flags = arguments
        if not isinstance(file, int):
            path = os.fsdecode(file)
            assert path.endswith(_CODE) or os.path.realpath(path).startswith(f"{folder}/"), path
            assert flags & os.O_ACCMODE == os.O_RDONLY, path


@contextmanager
def limited(tally: Tally) -> Iterator[None]:
    """Fail if more time or memory is taken than may be, or a warning escapes."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        tracemalloc.start()
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            tally.seconds = max(tally.seconds, time.process_time() - started)
            num_bytes = tracemalloc.get_traced_memory()[1]
            tally.num_bytes = max(tally.num_bytes, num_bytes)
            tracemalloc.stop()
    assert num_bytes < MOST_BYTES
    assert not warned, str(warned[0])


def read_watched(sample: Sample, folder: Path, tally: Tally) -> None:
    """Read a sample, and check that what comes back is sane and was no more work than it may be."""
    for stale in folder.iterdir():
        stale.unlink()
    for name, content in sample.files.items():
        (folder / name).write_bytes(sample.seal(content))
    path = folder / sample.entry
    with watched(folder), limited(tally):
        try:
            result = read_ecg(path, **sample.stated)
        except ECGFileError as error:
            result = error
    tally.outcomes[type(result)] += 1
    if isinstance(result, ECGFileError):
        assert_clear(str(result), path)
    else:
        assert_sane(result)


def assert_clear(message: str, path: Path) -> None:
    assert message.startswith(f"{path}: ")
    assert len(message) < LONGEST_MESSAGE
    assert message.isprintable()
    assert "MemoryError" not in message
    assert "RecursionError" not in message


def assert_sane(record: ECGRecord) -> None:
    signal_mv, rate, names = record.signal_mv, record.sampling_rate, record.lead_names
    assert signal_mv.dtype == np.float64
    assert signal_mv.ndim == 2
    assert not np.isinf(signal_mv).any()
    assert not np.isnan(signal_mv).all()
    assert LOWEST_HZ <= rate <= HIGHEST_HZ
    assert len(set(names)) == len(names) == len(signal_mv) > 0
    assert all(name.isprintable() and len(name) < LONGEST_NAME for name in names)


@pytest.fixture
def seed(request) -> int:
    given = request.config.getoption("hypothesis_seed", None)
    return SEED if given is None else int(given)


@pytest.mark.parametrize("family", list(SAMPLES))
def test_of_a_damaged_file_a_signal_or_one_clear_error_comes_back(family, tmp_path, seed, record_property):
    tally = Tally()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=CASES,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(damaged_samples(SAMPLES[family]))
    def read(sample):
        hypothesis.note(f"{sample.entry} of {sample.files}, sealed by {sample.seal}")
        read_watched(sample, tmp_path, tally)

    try:
        read()
    finally:
        record_property("fuzz", f"{family}: seed {seed}, {tally}")
    assert tally.outcomes.total() >= CASES
    assert min(tally.outcomes[ECGRecord], tally.outcomes[ECGFileError]) > CASES // 50
