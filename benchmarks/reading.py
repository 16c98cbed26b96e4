"""Reading PTB-XL records in bulk, checks included, against `wfdb.rdsamp` in a loop on the same files.

    python benchmarks/reading.py [--data_dir PTB-XL]

Without a folder it reads simulated records. Records are read in chunks, as the builder reads them. Every file is read
once before, so that both read from memory; the two take turns, and the fastest turn of each counts. `wfdb.rdsamp`
compares no checksum.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import wfdb

from modeling_enecg.data.ptbxl.ptbxl import CHUNK_SIZE, SECONDS
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.data.wfdb16 import read_records

TURNS = 3


def seconds_a_record_in_bulk(paths: Sequence[str], sampling_rate: int) -> float:
    start = time.perf_counter()
    for position in range(0, len(paths), CHUNK_SIZE):
        errors = read_records(paths[position : position + CHUNK_SIZE], sampling_rate, SECONDS * sampling_rate).errors
        if errors:
            raise SystemExit(f"{len(errors)} records cannot be read: {next(iter(errors.values()))}")
    return (time.perf_counter() - start) / len(paths)


def seconds_a_record_in_a_loop(paths: Sequence[str]) -> float:
    start = time.perf_counter()
    for path in paths:
        wfdb.rdsamp(path)
    return (time.perf_counter() - start) / len(paths)


def compare(data_dir: Path) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, one used; Python {platform.python_version()}, ", end="")
    print(f"NumPy {np.__version__}, wfdb {wfdb.__version__}")
    for folder, sampling_rate in (("records100", 100), ("records500", 500)):
        paths = [str(path.with_suffix("")) for path in sorted(data_dir.glob(f"{folder}/*/*.hea"))]
        seconds_a_record_in_bulk(paths, sampling_rate)
        turns = [
            (seconds_a_record_in_bulk(paths, sampling_rate), seconds_a_record_in_a_loop(paths)) for _ in range(TURNS)
        ]
        bulk, loop = (min(times) for times in zip(*turns, strict=True))
        print(
            f"{sampling_rate} Hz, {len(paths)} records: {1e6 * bulk:.0f} µs per record in bulk, "
            f"{1e6 * loop:.0f} µs with wfdb.rdsamp: {loop / bulk:.0f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="PTB-XL, or records in its layout")
    data_dir = parser.parse_args().data_dir
    if data_dir is not None:
        compare(data_dir)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(simulate_ptbxl(Path(folder) / "simulated", num_records=400))


if __name__ == "__main__":
    main()
