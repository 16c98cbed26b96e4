import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from modeling_enecg.data.ptbxl import ptbxl
from modeling_enecg.data.ptbxl.parquet import main, write_parquet


def test_the_parquet_folder_loads_without_a_script_and_equals_the_builder(sound_release, build, tmp_path):
    folder = write_parquet(sound_release, tmp_path / "parquet")
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) == [
        "100hz/test-00000-of-00001.parquet",
        "100hz/train-00000-of-00001.parquet",
        "100hz/validation-00000-of-00001.parquet",
        "500hz/test-00000-of-00001.parquet",
        "500hz/train-00000-of-00001.parquet",
        "500hz/validation-00000-of-00001.parquet",
        "README.md",
        "croissant.json",
    ]
    for name in ("100hz", "500hz"):
        loaded = load_dataset(str(folder), name, cache_dir=str(tmp_path / "loaded"))
        built = build(sound_release, name).as_dataset()
        assert loaded.keys() == built.keys()
        for split in built:
            assert loaded[split].features == built[split].features
            assert loaded[split].to_list() == built[split].to_list()
    card = (folder / "README.md").read_text()
    assert "| `100hz` | 100 Hz | 1000 | 10 | 1 | 1 | 0 |" in card
    assert "| AMI | anterior myocardial infarction | diagnostic | MI | AMI |" in card
    assert "{%" not in card
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".parquet")] == []


def test_the_dataset_card_lists_what_was_left_out(release, tmp_path):
    (release / "records100/00000/00003_lr.dat").unlink()
    folder = write_parquet(release, tmp_path / "parquet", ["100hz"], on_error="skip")
    card = (folder / "README.md").read_text()
    assert "| `100hz` | 100 Hz | 1000 | 9 | 1 | 1 | 1 |" in card
    assert "| ecg_id 3 | file | cannot be read" in card
    assert len(load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "loaded"))) == 9


def test_the_command_line_leaves_no_folder_after_an_error(release, tmp_path):
    (release / "records100/00000/00003_lr.dat").unlink()
    with pytest.raises(SystemExit, match="ecg_id 3: file: cannot be read"):
        main(["--data_dir", str(release), "--output_dir", str(tmp_path / "new" / "parquet")])
    assert list((tmp_path / "new").iterdir()) == []


def test_an_output_folder_with_files_is_refused_and_left_alone(release, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="full exists and is not an empty folder"):
        main(["--data_dir", str(release), "--output_dir", str(tmp_path / "full")])
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_the_script_runs_with_several_processes(sound_release, tmp_path):
    root = Path(ptbxl.__file__).parents[3]
    folders = ["--data_dir", str(sound_release), "--output_dir", str(tmp_path / "out")]
    subprocess.run(
        [sys.executable, root / "dataset_scripts" / "ptbxl.py", *folders, "--config_name", "100hz", "--num_proc", "2"],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
    )
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["100hz", "README.md", "croissant.json"]
