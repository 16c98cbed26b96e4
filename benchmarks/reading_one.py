"""Reading PTB-XL records one at a time with `read_ecg`, against ecgdatakit on the same files.

    pip install ecgdatakit
    python benchmarks/reading_one.py [--data_dir PTB-XL]

Without a folder it reads simulated records. Every file is read once before, so that both read from memory; the two
take turns, and the fastest turn of each counts, in CPU time. `read_ecg` compares each lead's checksum.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dataset_scripts.simulate_ptbxl import simulate_ptbxl
from modeling_enecg.io import read_ecg

TURNS = 7


def seconds_per_record(read: Callable[[str], object], paths: Sequence[str]) -> float:
    start = time.process_time()
    for path in paths:
        read(path)
    return (time.process_time() - start) / len(paths)


def compare(data_dir: Path, peer: Callable[[str], object]) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, one used; Python {platform.python_version()}, ", end="")
    print(f"NumPy {np.__version__}, ecgdatakit {version('ecgdatakit')}")
    for folder, sampling_rate in (("records100", 100), ("records500", 500)):
        paths = [str(path) for path in sorted(data_dir.glob(f"{folder}/*/*.hea"))]
        for read in (read_ecg, peer):
            seconds_per_record(read, paths)
        turns = [(seconds_per_record(read_ecg, paths), seconds_per_record(peer, paths)) for _ in range(TURNS)]
        ours, theirs = (min(times) for times in zip(*turns, strict=True))
        print(
            f"{sampling_rate} Hz, {len(paths)} records: {1e6 * ours:.0f} µs of CPU per record, "
            f"{1e6 * theirs:.0f} µs with ecgdatakit: {theirs / ours:.1f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="PTB-XL, or records in its layout")
    data_dir = parser.parse_args().data_dir
    try:
        peer = import_module("ecgdatakit").FileParser().parse
    except ImportError as error:
        raise SystemExit(f"Skipped: {error.name} is not installed; pip install ecgdatakit.") from None
    if data_dir is not None:
        compare(data_dir, peer)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(simulate_ptbxl(Path(folder) / "simulated", num_records=400), peer)


if __name__ == "__main__":
    main()
