"""Building PTB-XL at 100 Hz against merely reading and writing as many bytes, and the memory that it takes.

    python benchmarks/building.py [--data_dir PTB-XL] [--num_records 21799] [--work_dir DIR]

The records, simulated ones without a folder, are first repeated under new ids until there are as many as PTB-XL has:
600 MB, and as much for each build, on the disk of `--work_dir`. Each run is a process of its own, timed after its
imports. "From the disk" starts with the records out of the page cache, as far as the system grants that (Linux). The
runs take turns, and the fastest of each counts. Memory is that of the process and its children together, with Python,
PyTorch and `datasets`, each page divided by the number of processes that share it (Linux): libraries that this script
has loaded as well count by their share, some 60 MB less than the resident size.
"""

import argparse
import csv
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path

import datasets
import psutil
import pyarrow

from modeling_enecg.data.ptbxl.metadata import DATABASE_CSV, STATEMENTS_CSV
from modeling_enecg.data.ptbxl.ptbxl import PTBXL
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl

TURNS = 2
SAMPLING_PERIOD = 0.05  # s between two looks at the memory


def repeat_records(source: Path, target: Path, num_records: int) -> Path:
    """Write the 100 Hz records of a folder in PTB-XL's layout over and over, under new ids and names."""
    target.mkdir()
    shutil.copy(source / STATEMENTS_CSV, target)
    with open(source / DATABASE_CSV, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with open(target / DATABASE_CSV, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        for ecg_id, row in enumerate(islice(cycle(rows), num_records), start=1):
            name = f"{ecg_id // 1000:02d}000/{ecg_id:05d}"
            files = {"filename_lr": f"records100/{name}_lr", "filename_hr": f"records500/{name}_hr"}
            _copy_record(source / row["filename_lr"], target / files["filename_lr"])
            writer.writerow(row | files | {"ecg_id": ecg_id})
    return target


def _copy_record(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    header = source.with_suffix(".hea").read_text(encoding="utf-8")
    target.with_suffix(".hea").write_text(header.replace(source.name, target.name), encoding="utf-8")
    shutil.copyfile(source.with_suffix(".dat"), target.with_suffix(".dat"))


def build(data_dir: Path, cache_dir: Path, num_proc: int | None = None) -> None:
    datasets.disable_progress_bars()
    PTBXL(data_dir=str(data_dir), cache_dir=str(cache_dir)).download_and_prepare(num_proc=num_proc)


def read_and_write(files: Sequence[Path], target: Path, num_bytes: int) -> None:
    """Read files whole, one after the other, and write as many bytes as told."""
    for file in files:
        with open(file, "rb") as stream:
            stream.read()
    block = bytes(2**20)
    with open(target, "wb") as stream:
        for _ in range(num_bytes // len(block)):
            stream.write(block)


def measure(function: Callable[..., None], *arguments: object) -> tuple[float, int]:
    """Run a function in a process of its own; return the seconds it takes and the peak memory in bytes."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_seconds, args=(sender, function, arguments))
    process.start()
    sender.close()
    peak = 0
    while not receiver.poll(SAMPLING_PERIOD):
        peak = max(peak, shared_out_bytes(process.pid))
    seconds = receiver.recv()
    process.join()
    return seconds, peak


def _send_seconds(sender: Connection, function: Callable[..., None], arguments: tuple[object, ...]) -> None:
    start = time.perf_counter()
    function(*arguments)
    sender.send(time.perf_counter() - start)


def shared_out_bytes(pid: int | None) -> int:
    """Return the memory of a process and of all below it, each page divided by the number of its sharers."""
    total = 0
    process = psutil.Process(pid)
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            total += member.memory_full_info().pss
    return total


def forget(files: Sequence[Path]) -> None:
    """Drop files from the page cache."""
    os.sync()
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def compare(data_dir: Path, work_dir: Path) -> None:
    """Print what the build takes, and what reading and writing its bytes takes."""
    files = sorted(file for file in data_dir.rglob("*") if file.is_file())
    cache_dir, copy = work_dir / "cache", work_dir / "copy"
    build(data_dir, cache_dir)
    seconds, _ = measure(build, data_dir, cache_dir)
    num_read = sum(file.stat().st_size for file in files)
    num_written = sum(file.stat().st_size for file in cache_dir.rglob("*.arrow"))
    print(f"{len(files)} files of {num_read / 1e6:.0f} MB to read, {num_written / 1e6:.0f} MB to write")
    print(f"a second build, served from the cache: {seconds:.1f} s")
    runs: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {
        "read and write": (read_and_write, (files, copy, num_written)),
        "build": (build, (data_dir, cache_dir)),
        "build, num_proc=2": (build, (data_dir, cache_dir, 2)),
    }
    for source in ("the disk", "memory"):
        turns: dict[str, list[tuple[float, int]]] = {name: [] for name in runs}
        for name in [*runs] * TURNS:
            function, arguments = runs[name]
            shutil.rmtree(cache_dir, ignore_errors=True)
            copy.unlink(missing_ok=True)
            if source == "the disk":
                forget(files)
            turns[name].append(measure(function, *arguments))
        floor, _ = min(turns["read and write"])
        for name, results in turns.items():
            seconds, peak = min(results)[0], max(peak for _, peak in results)
            print(f"from {source:8}  {name:17} {seconds:6.1f} s ({seconds / floor:4.1f}x), peak {peak / 1e6:5.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="PTB-XL, or records in its layout")
    parser.add_argument("--num_records", type=int, default=21_799, help="how many records to build")
    parser.add_argument(
        "--work_dir", type=Path, help="on the disk to measure; the system's temporary folder by default"
    )
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; Python {platform.python_version()}, ", end="")
    print(f"datasets {datasets.__version__}, PyArrow {pyarrow.__version__}")
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        work_dir = Path(folder)
        source = options.data_dir or simulate_ptbxl(work_dir / "simulated", num_records=400)
        compare(repeat_records(source, work_dir / "ptbxl", options.num_records), work_dir)


if __name__ == "__main__":
    main()
