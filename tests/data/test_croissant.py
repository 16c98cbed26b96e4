"""Croissant metadata beside exported Parquet files: what the standard demands, and what is true of the files."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modeling_enecg.data.folder.parquet import write_parquet as write_folder_parquet
from modeling_enecg.data.folder.wfdb_folder import WFDBFolder
from modeling_enecg.data.ptbxl.parquet import write_parquet
from tests.helpers.ecg_folder import patients, write_folder

# Croissant 1.0, "Dataset": required of every set; and of each file, set of records and field in it.
REQUIRED = {"@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished"}
REQUIRED_OF_FILES = {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256"}


def metadata(folder: Path) -> dict:
    return json.loads((folder / "croissant.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("own")
    builder = WFDBFolder(data_dir=str(write_folder(place / "ecgs", patients())), cache_dir=str(place / "cache"))
    builder.download_and_prepare()
    return write_folder_parquet(builder, place / "parquet")


def test_what_the_standard_demands_is_there(own, simulated, tmp_path):
    for folder in (own, write_parquet(simulated, tmp_path / "parquet", ["100hz"])):
        found = metadata(folder)
        assert set(found) >= REQUIRED | {"distribution", "recordSet"}
        assert all(found[name] for name in REQUIRED)
        assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
        assert all(set(file) >= REQUIRED_OF_FILES for file in found["distribution"])


def test_files_are_named_with_their_checksums_and_columns(own):
    found = metadata(own)
    files = {file["contentUrl"]: file["sha256"] for file in found["distribution"]}
    parquet = sorted(own.glob("*/*.parquet"))
    assert files == {
        path.relative_to(own).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in parquet
    }
    for records, path in zip(found["recordSet"], parquet, strict=True):
        assert [field["name"] for field in records["field"]] == pq.read_schema(path).names
        assert {field["source"]["fileObject"]["@id"] for field in records["field"]} == {
            path.relative_to(own).as_posix()
        }


def test_class_labels_are_named_and_lists_are_repeated(own):
    fields = {field["name"]: field for field in metadata(own)["recordSet"][0]["field"]}
    assert fields["sex"]["description"].startswith("0 is ")
    assert fields["lead_names"]["repeated"]
    assert (fields["sampling_rate"]["dataType"], fields["ecg_id"]["dataType"]) == ("sc:Float", "sc:Text")


def test_of_own_records_nothing_is_claimed(own, simulated, tmp_path):
    found = metadata(own)
    assert (found["license"], found["url"], found["creator"][0]["name"]) == ("not stated",) * 3
    ptbxl = metadata(write_parquet(simulated, tmp_path / "parquet", ["100hz"]))
    assert (ptbxl["license"], ptbxl["datePublished"]) == ("cc-by-4.0", "2022-11-09")
