"""PTB-XL as a dataset on a local Hub."""

import zlib

import pytest

from modeling_enecg.data.ptbxl.parquet import main as ptbxl_main
from tests.helpers.hub import COMMIT, IGNORED_WARNINGS, run_elsewhere

pytestmark = [
    pytest.mark.xdist_group("hub_dataset"),  # its Hub is shared
    pytest.mark.usefixtures("hub"),
    *IGNORED_WARNINGS,
]


READ = """
import json, zlib
from datasets import load_dataset

def digests(rows):
    return [[row["ecg_id"], zlib.crc32(row["signal"]), row["superdiagnostic"]] for row in rows]

loaded = load_dataset("org/ptbxl", "100hz")
streamed = load_dataset("org/ptbxl", "500hz", split="train", streaming=True)
print(json.dumps({name: digests(split) for name, split in loaded.items()} | {"streamed": digests(streamed)}))
"""


def test_a_pushed_dataset_loads_and_streams(hub, sound_release, build, tmp_path, capsys):
    arguments = ["--data_dir", str(sound_release), "--output_dir", str(tmp_path / "parquet"), "--push_to", "org/ptbxl"]
    fault = hub.fault("cut_upload", COMMIT, times=1000)
    with pytest.raises(SystemExit, match=r"error: org/ptbxl: the connection to the Hub broke .* Run the same command"):
        ptbxl_main(arguments)
    fault.times = 0
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "parquet").rglob("*")}
    ptbxl_main(arguments)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "parquet").rglob("*")} == written
    assert f"Pushed {hub.url}/datasets/org/ptbxl/commit/" in capsys.readouterr().out
    files = hub.files("org/ptbxl", kind="dataset")
    assert 'load_dataset("org/ptbxl", "100hz")' in files["README.md"].decode()
    assert not any(str(tmp_path).encode() in content for content in files.values())

    read = run_elsewhere(READ, hub.environment())
    built = {**build(sound_release, "100hz").as_dataset()}
    built["streamed"] = build(sound_release, "500hz").as_dataset()["train"]
    assert read == {
        name: [[row["ecg_id"], zlib.crc32(row["signal"]), row["superdiagnostic"]] for row in rows]
        for name, rows in built.items()
    }


def test_a_dataset_pushed_again_keeps_no_shard_of_before(hub, sound_release, tmp_path):
    folder = tmp_path / "parquet"
    arguments = ["--data_dir", str(sound_release), "--output_dir", str(folder), "--config_name", "100hz"]
    ptbxl_main([*arguments, "--push_to", "org/shards", "--private"])
    shard = folder / "100hz" / "train-00000-of-00001.parquet"
    shard.rename(shard.with_name("train-00000-of-00002.parquet"))
    ptbxl_main([*arguments, "--push_to", "org/shards"])
    files = {path for path in hub.files("org/shards", kind="dataset") if "train" in path}
    assert files == {"100hz/train-00000-of-00002.parquet"}
