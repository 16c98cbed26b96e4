"""Reading PTB-XL records in bulk, checks included, against `wfdb.rdsamp` in a loop on the same files.

    python benchmarks/reading.py [--data_dir PTB-XL]

Without a folder it reads simulated records. Every file is read once before, so that both read from memory.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import wfdb

from dataset_scripts.simulate_ptbxl import simulate_ptbxl
from dataset_scripts.wfdb16 import read_records

SECONDS = 10


def seconds_a_record_in_bulk(paths: Sequence[str], sampling_rate: int) -> float:
    start = time.perf_counter()
    _signals, errors = read_records(paths, sampling_rate, SECONDS * sampling_rate)
    if errors:
        raise SystemExit(f"{len(errors)} records cannot be read: {next(iter(errors.values()))}")
    return (time.perf_counter() - start) / len(paths)


def seconds_a_record_in_a_loop(paths: Sequence[str]) -> float:
    start = time.perf_counter()
    for path in paths:
        wfdb.rdsamp(path)
    return (time.perf_counter() - start) / len(paths)


def compare(data_dir: Path) -> None:
    print(f"{os.cpu_count()} CPU cores, wfdb {wfdb.__version__}")
    for folder, sampling_rate in (("records100", 100), ("records500", 500)):
        paths = [str(path.with_suffix("")) for path in sorted(data_dir.glob(f"{folder}/*/*.hea"))]
        seconds_a_record_in_bulk(paths, sampling_rate)
        bulk = min(seconds_a_record_in_bulk(paths, sampling_rate) for _ in range(3))
        loop = seconds_a_record_in_a_loop(paths)
        print(
            f"{sampling_rate} Hz, {len(paths)} records: {1e6 * bulk:.0f} µs a record in bulk, "
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
