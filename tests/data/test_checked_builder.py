"""What holds for every dataset builder and its script."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from datasets import load_dataset

from modeling_enecg.data.builder import CheckedBuilder
from modeling_enecg.data.folder import parquet as wfdb_folder_report
from modeling_enecg.data.folder import wfdb_folder
from modeling_enecg.data.mimic_iv_ecg import mimic_iv_ecg
from modeling_enecg.data.mimic_iv_ecg import parquet as mimic_parquet
from modeling_enecg.data.ptbxl import parquet as ptbxl_parquet
from modeling_enecg.data.ptbxl import ptbxl
from tests.helpers.ecg_folder import patients, write_folder
from tests.helpers.mimic_release import write_release


class Example(NamedTuple):
    """A dataset of which records can be broken."""

    data_dir: Path
    module: ModuleType
    builder_class: type[CheckedBuilder]
    main: Callable[[list[str]], None]
    options: list[str]  # of the script
    config_name: str
    train_signals: list[Path]
    other_splits: set[str]

    def build(self, cache_dir: Path, **options: str) -> CheckedBuilder:
        builder = self.builder_class(data_dir=str(self.data_dir), cache_dir=str(cache_dir), **options)
        builder.download_and_prepare()
        return builder


def ptbxl_example(release: Path, _: Path) -> Example:
    signals = [release / f"records100/00000/{ecg_id:05d}_lr.dat" for ecg_id in (*range(1, 9), 11, 12)]
    options = ["--config_name", "100hz"]
    splits = {"validation", "test"}
    return Example(release, ptbxl, ptbxl.PTBXL, ptbxl_parquet.main, options, "100hz", signals, splits)


def mimic_example(_: Path, tmp_path: Path) -> Example:
    folder = write_release(tmp_path / "mimic")  # all its patients are of folds 1 to 8
    signals = list(folder.rglob("*.dat"))
    builder_class = mimic_iv_ecg.MIMICIVECG
    return Example(folder, mimic_iv_ecg, builder_class, mimic_parquet.main, [], "default", signals, set())


def folder_example(_: Path, tmp_path: Path) -> Example:
    folder = write_folder(tmp_path / "ecgs", patients())
    signals = [folder / f"records/{number:02d}.dat" for number in (*range(1, 9), 11, 12)]
    options = ["--cache_dir", str(tmp_path / "cache")]
    splits = {"validation", "test"}
    builder_class = wfdb_folder.WFDBFolder
    return Example(folder, wfdb_folder, builder_class, wfdb_folder_report.main, options, "default", signals, splits)


@pytest.fixture(params=[ptbxl_example, mimic_example, folder_example], ids=["ptbxl", "mimic", "folder"])
def example(request, release, tmp_path) -> Example:
    return request.param(release, tmp_path)


def test_a_split_of_faulty_records_only_is_absent(example, tmp_path):
    for file in example.train_signals:
        file.unlink()
    for _ in ("built", "served from the cache"):
        builder = example.build(tmp_path / "cache", on_error="skip")
        assert builder.as_dataset().keys() == example.other_splits
        assert len(builder.skipped_records()) == len(example.train_signals)


def test_a_default_that_is_spelled_out_is_served_from_the_same_cache(example, tmp_path):
    caches = {example.build(tmp_path / "cache", **options).cache_dir for options in ({}, {"on_error": "raise"})}
    assert len(caches) == 1


def test_an_unknown_option_is_refused(example, tmp_path):
    with pytest.raises(ValueError, match="on_error is 'ignore'; expected 'raise' or 'skip'"):
        example.build(tmp_path / "cache", on_error="ignore")


@pytest.mark.parametrize("num_proc", [1, 2])
def test_small_parquet_files_are_numbered_and_hold_each_record_once(example, tmp_path, monkeypatch, num_proc):
    monkeypatch.setattr(example.module, "CHUNK_SIZE", 2)
    out = tmp_path / "parquet"
    arguments = ["--data_dir", str(example.data_dir), "--output_dir", str(out), *example.options]
    example.main([*arguments, "--max_shard_size", "1KB", "--num_proc", str(num_proc)])
    num_files = len(example.train_signals) // 2
    assert sorted(file.name for file in out.glob(f"{example.config_name}/train-*")) == [
        f"train-{index:05d}-of-{num_files:05d}.parquet" for index in range(num_files)
    ]
    loaded = load_dataset(str(out), cache_dir=str(tmp_path / "loaded"))
    built = example.build(tmp_path / "cache").as_dataset()
    assert {name: split.to_list() for name, split in loaded.items()} == {
        name: split.to_list() for name, split in built.items()
    }


def test_a_size_that_is_none_is_refused_and_nothing_written(example, tmp_path):
    arguments = ["--data_dir", str(example.data_dir), "--output_dir", str(tmp_path / "parquet"), *example.options]
    with pytest.raises(SystemExit, match="error: max_shard_size is 'big'; expected a size such as '500MB'"):
        example.main([*arguments, "--max_shard_size", "big"])
    assert not (tmp_path / "parquet").exists()
