"""What is released: wheel and sdist are the same bytes from the same commit, whenever and wherever they are built."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from modeling_enecg.runs.portable import machine_paths

ROOT = Path(__file__).parents[1]
NOT_OF_THE_CHECKOUT = {".git", "runs", "site", "dist", "build"}


def copied(folder: Path) -> Path:
    """A copy of the checkout, of another time and for the owner alone."""

    def ignored(place: str, names: list[str]) -> set[str]:
        generated = {name for name in names if name == "__pycache__" or re.fullmatch(r"\..+_cache|\.venv.*", name)}
        return generated | (NOT_OF_THE_CHECKOUT if Path(place) == ROOT else set())

    shutil.copytree(ROOT, folder, ignore=ignored)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)
            os.utime(path, (1_500_000_000, 1_500_000_000))
    return folder


def build(checkout: Path, folder: Path) -> dict[str, Path]:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    return build(ROOT, tmp_path_factory.mktemp("built"))


def test_wheel_and_sdist_are_the_same_bytes_from_the_same_files(built, tmp_path):
    again = build(copied(tmp_path / "checkout"), tmp_path / "again")
    assert again.keys() == built.keys()
    assert len(built) == 2
    assert [name for name, file in built.items() if file.read_bytes() != again[name].read_bytes()] == []


def test_the_date_is_in_the_files(built):
    (wheel,) = (file for name, file in built.items() if name.endswith(".whl"))
    assert {entry.date_time[:3] for entry in zipfile.ZipFile(wheel).infolist()} == {(2023, 11, 14)}


def test_the_sdist_holds_what_it_takes_to_test_and_to_document(built):
    (sdist,) = (file for name, file in built.items() if name.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert tops >= {"modeling_enecg", "tests", "docs", "configs", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"}
    assert not tops & NOT_OF_THE_CHECKOUT


@pytest.fixture(scope="module")
def sbom(built) -> dict[str, Any]:
    """The content of the SBOM, which stands beside the files."""
    folder = next(iter(built.values())).parent
    subprocess.run([sys.executable, ROOT / "release" / "sbom.py", folder], check=True)
    (file,) = folder.glob("*.cdx.json")
    return json.loads(file.read_text("utf-8"))


def test_the_sbom_has_the_hashes_of_what_is_shipped(built, sbom):
    files = sbom["metadata"]["component"]["components"]
    hashes = {file["name"]: file["hashes"][0]["content"] for file in files}
    assert hashes == {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in built.items()}


def test_the_sbom_lists_what_installing_the_wheel_brings_and_no_more(sbom):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    versions = {each["name"]: each["version"] for each in sbom["components"]}
    needs = {each["ref"]: each["dependsOn"] for each in sbom["dependencies"]}
    assert {f"pkg:pypi/{name}@{versions[name]}" for name in direct} == set(
        needs[sbom["metadata"]["component"]["bom-ref"]]
    )
    assert {"tokenizers", "sympy"} <= versions.keys()  # what transformers and torch need
    assert not {"pytest", "pydicom", "onnx"} & versions.keys()
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert f"transformers=={versions['transformers']}" in pins


def test_the_sbom_says_nothing_of_the_machine_and_the_hour(built, sbom):
    assert list(machine_paths(sbom)) == []
    assert not {"serialNumber", "timestamp"} & (sbom.keys() | sbom["metadata"].keys())


def test_every_python_that_is_tested_is_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    lowest = project["requires-python"].removeprefix(">=")
    assert matrix["python"][0] == lowest
    assert matrix["dependencies"] == ["oldest", "newest"]
