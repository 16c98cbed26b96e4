import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.ptbxl import ptbxl
from modeling_enecg.data.ptbxl.metadata import COLUMNS
from modeling_enecg.data.ptbxl.ptbxl import PTBXL
from tests.conftest import describe_record, write_csv
from tests.helpers.builders import all_rows

FEW, MANY = 500, 4_000
METADATA_BYTES = 10_000  # what may be held of a record until the build ends; its signal has 24,000

BUILD_AND_PRINT_PEAKS = """
import resource, sys
from modeling_enecg.data.ptbxl.ptbxl import PTBXL
for folder in sys.argv[2:]:
    PTBXL(data_dir=folder, cache_dir=sys.argv[1]).download_and_prepare()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def repeat_records(release: Path, folder: Path, num_records: int) -> Path:
    """Describe the files of 12 records over and over, under new ids."""
    shutil.copytree(release, folder)
    rows = [describe_record(index % 12 + 1) | {"ecg_id": index + 1} for index in range(num_records)]
    write_csv(folder / "ptbxl_database.csv", list(COLUMNS), rows)
    return folder


def prepared_files(builder: PTBXL) -> dict[str, tuple[int, int]]:
    """Return the inode and the time of change of each file of a prepared dataset."""
    files = Path(builder.cache_dir).iterdir()
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@contextmanager
def zeroed(files: list[Path]) -> Iterator[None]:
    """Zero files for a while, without a trace in their sizes and times."""
    before = {file: (file.read_bytes(), file.stat()) for file in files}
    for file, (content, status) in before.items():
        overwrite(file, bytes(len(content)), status)
    yield
    for file, (content, status) in before.items():
        overwrite(file, content, status)


def overwrite(file: Path, content: bytes, status: os.stat_result) -> None:
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_memory_grows_with_the_metadata_and_not_with_the_signals(sound_release, tmp_path):
    folders = [repeat_records(sound_release, tmp_path / str(number), number) for number in (FEW, MANY)]
    built = subprocess.run(
        [sys.executable, "-c", BUILD_AND_PRINT_PEAKS, tmp_path / "cache", *folders],
        env=os.environ | {"PYTHONPATH": str(Path(ptbxl.__file__).parents[3])},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    peak_of_few, peak_of_many = map(int, built.stdout.split())  # in KiB
    assert 1024 * (peak_of_many - peak_of_few) < METADATA_BYTES * (MANY - FEW)


def test_a_second_build_reads_no_record_and_leaves_the_files_alone(release, build, tmp_path):
    first = build(release)
    files, rows = prepared_files(first), all_rows(first)
    with zeroed(list(release.glob("records100/*/*"))):
        second = build(release)
        with pytest.raises(DatasetError):  # as it would be if the records were read
            build(release, cache_dir=str(tmp_path / "another cache"))
    assert prepared_files(second) == files
    assert all_rows(second) == rows


def test_a_build_that_failed_in_the_middle_is_done_anew(release, build, tmp_path, monkeypatch):
    monkeypatch.setattr(ptbxl, "CHUNK_SIZE", 4)
    with zeroed([release / "records100/00000/00007_lr.dat"]), pytest.raises(DatasetError, match="ecg_id 7"):
        build(release)
    assert not list(tmp_path.glob("cache/**/*.arrow"))
    assert all_rows(build(release)) == all_rows(build(release, cache_dir=str(tmp_path / "another cache")))


def test_a_build_that_was_killed_in_the_middle_is_done_anew(release, build, tmp_path, monkeypatch):
    read_records = ptbxl.read_records

    def die_in_the_second_chunk(paths, *arguments):
        if not paths[0].endswith("00001_lr"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read_records(paths, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ptbxl, "CHUNK_SIZE", 4)
        patch.setattr(ptbxl, "read_records", die_in_the_second_chunk)
        process = multiprocessing.get_context("fork").Process(target=build, args=(release,))
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.glob("cache/**/*.incomplete/*.arrow"))
    rows = all_rows(build(release))
    assert len(rows) == 12
    assert rows == all_rows(build(release, cache_dir=str(tmp_path / "another cache")))
