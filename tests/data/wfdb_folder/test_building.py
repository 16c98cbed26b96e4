"""How a folder of records is built, served from the cache, and described by the script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from modeling_enecg.data.errors import DatasetError
from modeling_enecg.data.folder import wfdb_folder
from modeling_enecg.data.folder.parquet import main
from modeling_enecg.data.folder.settings import read_settings
from modeling_enecg.data.folder.wfdb_folder import WFDBFolder, input_fingerprint
from tests.helpers.builders import all_rows
from tests.helpers.ecg_folder import noise, patients, write_folder, write_record, write_settings, write_table
from tests.helpers.permissions import python_without_privileges, read_only
from tests.helpers.wfdb_folder import RECORD, ROW, remove

# Building


def test_the_same_inputs_are_served_from_the_cache_with_their_list_of_skipped_records(folder, build, monkeypatch):
    remove(".dat")(folder)
    first = build(folder, on_error="skip")
    monkeypatch.setattr(wfdb_folder, "read_signal", None)
    for data_dir in (folder, folder / "dataset.yaml"):
        second = build(data_dir, on_error="skip")
        assert second.cache_dir == first.cache_dir
        assert second.skipped_records() == first.skipped_records()
        assert all_rows(second) == all_rows(first)


def touch_signals(folder: Path) -> None:
    os.utime(folder / f"{RECORD}.dat", (0, 0))


def change_label(folder: Path) -> None:
    write_table(folder / "labels.csv", patients(sex=["x", "y"] * 6))


def change_settings(folder: Path) -> None:
    write_settings(folder, patient=None)


@pytest.mark.parametrize("change", [touch_signals, change_label, change_settings])
def test_a_change_of_any_input_is_built_anew(folder, build, change):
    first = build(folder)
    change(folder)
    assert build(folder).cache_dir != first.cache_dir


def test_a_change_of_a_file_that_holds_many_records_is_built_anew(tmp_path):
    (tmp_path / "labels.csv").write_text("record,sex\nexams.hdf5/7,f\nexams.hdf5/8,m\n")
    (tmp_path / "dataset.yaml").write_text("table: labels.csv\nrecord: record\nlabels: {sex: single_label}\n")
    fingerprints = set()
    for content in (b"some", b"other records"):
        (tmp_path / "exams.hdf5").write_bytes(content)
        fingerprints.add(input_fingerprint(read_settings(tmp_path)))
    assert len(fingerprints) == 2


def test_what_a_killed_build_left_is_not_listed(folder, build, tmp_path):
    remove(".dat")(folder)
    builder = WFDBFolder(data_dir=str(folder), cache_dir=str(tmp_path / "cache"), on_error="skip")
    killed = Path(f"{builder.cache_dir}.incomplete")
    killed.mkdir(parents=True)
    (killed / "skipped-00000007.jsonl").write_text('{"row": 7}\n')
    builder.download_and_prepare()
    assert [skipped["record"] for skipped in builder.skipped_records()] == [f"row {ROW}"]


def test_two_processes_build_what_one_builds(folder, build, tmp_path, monkeypatch):
    monkeypatch.setattr(wfdb_folder, "CHUNK_SIZE", 3)
    remove(".dat")(folder)
    one, two = (build(folder, num_proc=n, on_error="skip", cache_dir=str(tmp_path / f"cache of {n}")) for n in (1, 2))
    assert len(two.info.splits["train"].shard_lengths) == 2
    assert all_rows(one) == all_rows(two)
    assert one.skipped_records() == two.skipped_records()


def test_a_clear_error_also_comes_out_of_a_worker_process(folder, build, monkeypatch):
    monkeypatch.setattr(wfdb_folder, "CHUNK_SIZE", 3)
    remove(".dat")(folder)
    with pytest.raises(DatasetError, match=r"records/03, row 4: file: .*03.dat") as caught:
        build(folder, num_proc=2)
    assert (caught.value.record, caught.value.field) == (f"row {ROW}", "file")


def test_long_records_are_written_one_by_one(folder, build, monkeypatch):
    monkeypatch.setattr(wfdb_folder, "TABLE_BYTES", 1)
    written = build(folder).as_dataset(split="train").data["signal"]
    assert [len(chunk) for chunk in written.chunks if len(chunk)] == [1] * 10


def test_streaming_gives_the_same_records(folder, build):
    builder = build(folder)
    assert list(builder.as_streaming_dataset(split="train")) == list(builder.as_dataset(split="train"))


# The script


def test_the_script_tells_what_is_in_the_folder(tmp_path, capsys):
    rows = patients(
        findings=["AF;MI", "AF", "none", "", *["MI"] * 8], lvef=["", *(50.5 + number for number in range(11))]
    )
    folder = write_folder(tmp_path / "ecgs", rows[:-3] + rows[-2:], labels=["findings", "lvef", "sex"])
    write_record(folder / RECORD, noise(3, 250), rate=250, leads=("II", "V1", "V2"))
    (folder / "records/02.dat").unlink()
    main(["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--on_error", "skip"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    told = iter(lines)
    for expected in (
        "train validation",
        "records 9 1",
        "patients 9 1",
        "findings: multi_label (inferred: cells with ';')",
        "AF 1 0",
        "MI 7 1",
        "(none of them) 1 0",
        "(not known) 1 0",
        "lvef: regression (inferred: decimal numbers)",
        "lowest 51.5 57.5",
        "(not known) 1 0",
        "sex: single_label (inferred: 2 different values)",
        "m 5 1",
        "sampling rates: 9 × 100 Hz, 1 × 250 Hz",
        "lengths: 9 × 0.5 s, 1 × 1.0 s",
        "leads: 9 × I II III aVR aVL aVF V1 V2 V3 V4 V5 V6, 1 × II V1 V2",
        "no record in test: training needs some in each split",
        "records left out: 1",
    ):
        assert expected in told, (expected, lines)
    assert lines[-1].startswith("records/02, row 3: file: ")


def test_the_parquet_files_load_without_a_script_and_equal_the_builder(folder, build, tmp_path, capsys):
    out = tmp_path / "parquet"
    main(["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(out)])
    assert capsys.readouterr().out.endswith(f"Wrote {out}\n")
    loaded, built = load_dataset(str(out), cache_dir=str(tmp_path / "loaded")), build(folder).as_dataset()
    assert loaded.keys() == built.keys()
    for split in built:
        assert loaded[split].features == built[split].features
        assert loaded[split].to_list() == built[split].to_list()


def test_the_card_of_the_parquet_files_tells_what_the_script_tells(folder, tmp_path, capsys):
    remove(".dat")(folder)
    arguments = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--on_error", "skip"]
    main([*arguments, "--output_dir", str(tmp_path / "parquet")])
    told = capsys.readouterr().out.partition("Wrote ")[0]
    assert "records left out: 1\n  records/03, row 4: file:" in told
    assert f"```text\n{told}```" in (tmp_path / "parquet" / "README.md").read_text("utf-8")


def test_the_script_ends_with_one_line_on_a_fault(folder, tmp_path):
    arguments = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--output_dir"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"error: .*full exists and is not an empty folder"):
        main([*arguments, str(tmp_path / "full")])
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    remove(".dat")(folder)
    with pytest.raises(SystemExit, match=r"error: records/03, row 4: file: .*03.dat"):
        main([*arguments, str(tmp_path / "parquet")])
    assert not (tmp_path / "parquet").exists()


def test_the_script_reads_a_cache_that_is_read_only_and_names_the_setting_where_it_does_not_suffice(folder, tmp_path):
    arguments = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache")]
    main(arguments)
    script = (
        "import sys; from modeling_enecg.data.folder.parquet import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as error: print(error)"
    )
    with read_only(tmp_path / "cache"):
        assert "records left out: 0" in python_without_privileges("-c", script, *arguments)
    (tmp_path / "empty").mkdir()
    with read_only(tmp_path / "empty") as cache:
        told = python_without_privileges("-c", script, *arguments[:2], "--cache_dir", cache)
        not_written = python_without_privileges("-c", script, *arguments, "--output_dir", cache / "parquet")
    assert "error: [Errno 13] Permission denied" in not_written
    assert told.startswith(f"error: cache_dir: {cache} cannot be written to (Permission denied)")


def test_the_script_runs_with_several_processes(folder, tmp_path):
    root = Path(wfdb_folder.__file__).parents[3]
    options = ["--data_dir", str(folder), "--cache_dir", str(tmp_path / "cache"), "--num_proc", "2"]
    done = subprocess.run(
        [sys.executable, root / "dataset_scripts" / "wfdb_folder.py", *options],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "records left out: 0" in done.stdout
