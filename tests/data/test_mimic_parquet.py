import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from modeling_enecg.data.mimic_iv_ecg import mimic_iv_ecg
from modeling_enecg.data.mimic_iv_ecg.mimic_iv_ecg import MIMICIVECG
from modeling_enecg.data.mimic_iv_ecg.parquet import main, write_parquet
from tests.helpers.mimic_release import write_mimic_iv, write_release


@pytest.fixture(scope="module")
def mimic(tmp_path_factory) -> Path:
    """A folder with `ecg` and `iv`, not to be changed."""
    folder = tmp_path_factory.mktemp("mimic_for_parquet")
    write_release(folder / "ecg")
    write_mimic_iv(folder / "iv")
    return folder


def test_the_parquet_folder_loads_without_a_script_and_equals_the_builder(mimic, tmp_path):
    options = {"mimic_iv_dir": str(mimic / "iv")}
    folder = write_parquet(mimic / "ecg", tmp_path / "parquet", **options)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "loaded"))
    builder = MIMICIVECG(data_dir=str(mimic / "ecg"), cache_dir=str(tmp_path / "cache"), **options)
    builder.download_and_prepare()
    built = builder.as_dataset()
    assert loaded.keys() == built.keys()
    for split in built:
        assert loaded[split].features == built[split].features
        assert loaded[split].to_list() == built[split].to_list()
    card = (folder / "README.md").read_text()
    assert "Do not publish this folder" in card
    assert "license: other" in card
    counts = [len(built[split]) for split in built]
    assert f"| records | {' | '.join(map(str, counts))} |" in card
    assert f"| with `potassium_abnormality` | {' | '.join(str(count // 2) for count in counts)} |" in card
    assert "{%" not in card
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "loaded", "parquet"]


def test_the_card_says_which_tasks_have_no_labels(mimic, tmp_path):
    card = (write_parquet(mimic / "ecg", tmp_path / "parquet") / "README.md").read_text()
    assert "No labels of `age`: `patients.csv` was not there." in card
    assert "license: odbl" in card


def test_the_command_line_leaves_no_folder_after_an_error(tmp_path):
    with pytest.raises(SystemExit, match=r"error: MIMIC-IV-ECG: data_dir: .* has no record_list.csv"):
        main(["--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "new" / "parquet")])
    assert list((tmp_path / "new").iterdir()) == []


def test_an_output_folder_with_files_is_refused_and_left_alone(mimic, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="exists and is not an empty folder"):
        main(["--data_dir", str(mimic / "ecg"), "--output_dir", str(tmp_path)])
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_script_runs_with_several_processes(mimic, tmp_path):
    root = Path(mimic_iv_ecg.__file__).parents[3]
    folders = ["--data_dir", str(mimic / "ecg"), "--output_dir", str(tmp_path / "out")]
    subprocess.run(
        [sys.executable, root / "dataset_scripts" / "mimic_iv_ecg.py", *folders, "--num_proc", "2"],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
    )
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["README.md", "croissant.json", "default"]
