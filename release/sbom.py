"""What is shipped, as a software bill of materials in CycloneDX JSON: `python release/sbom.py FOLDER`.

It stands beside the wheel and sdist in the folder that holds them: their hashes, and every package that installing the
wheel brings on this Python and platform, in the version of constraints.txt, on which the tests ran, with its licence
and what it needs in turn. Optional dependencies are left out. The same files give the same bytes.
"""

import hashlib
import json
import sys
import tomllib
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
SHORT = 60  # characters of a licence's name; longer ones are its text


def tested_versions() -> dict[str, str]:
    """Return by normalised name the versions of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.partition("#")[0].split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version.strip() for name, version in pins}


def shipped_packages() -> dict[str, set[str]]:
    """Return what the wheel brings: by normalised name, the packages that each needs; `""` stands for the wheel.

    Raises:
        PackageNotFoundError: if one of them is not installed, so that its own needs are not known.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [("", Requirement(line)) for line in project["dependencies"]]
    needs: dict[str, set[str]] = {"": set()}
    seen: set[tuple[str, str]] = set()  # package and extra
    while waiting:
        needed_by, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        needs[needed_by].add(name)
        needs.setdefault(name, set())
        for extra in {"", *requirement.extras} - {extra for package, extra in seen if package == name}:
            seen.add((name, extra))
            own = map(Requirement, distribution(name).requires or [])
            waiting += [(name, each) for each in own if each.marker is None or each.marker.evaluate({"extra": extra})]
    return needs


def bill_of_materials(wheel: Path, sdist: Path) -> dict[str, Any]:
    """Return the content of the SBOM.

    Raises:
        KeyError: if constraints.txt lacks a package that the wheel brings.
    """
    name, version, _, _ = parse_wheel_filename(wheel.name)
    needs, tested = shipped_packages(), tested_versions()
    reference = {package: f"pkg:pypi/{package}@{tested[package]}" for package in needs if package}
    reference[""] = f"pkg:pypi/{name}@{version}"
    files = [
        {"type": "file", "bom-ref": file.name, "name": file.name, "hashes": [_hash(file)]} for file in (wheel, sdist)
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": _component("library", name, str(version), reference[""]) | {"components": files},
        },
        "components": [
            _component("library", package, tested[package], reference[package]) for package in sorted(needs) if package
        ],
        "dependencies": [
            {"ref": reference[package], "dependsOn": sorted(reference[each] for each in needs[package])}
            for package in sorted(needs)
        ],
    }


def _component(kind: str, name: str, version: str, reference: str) -> dict[str, Any]:
    component = {"type": kind, "bom-ref": reference, "name": name, "version": version, "purl": reference}
    return component | {"licenses": licences} if (licences := _licences(name)) else component


def _licences(name: str) -> list[dict[str, Any]]:
    """Return what a package says of its licence, as CycloneDX wants it."""
    about = cast(Message, distribution(name).metadata)
    if expression := about.get("License-Expression"):
        return [{"expression": expression}]
    text = about.get("License", "").strip()
    names = [line.split(" :: ")[-1] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    chosen = [text] if text and len(text) <= SHORT and "\n" not in text else names
    return [{"license": {"name": each}} for each in chosen]


def _hash(file: Path) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}


def main(folder: Path) -> None:
    """Write the SBOM of the wheel and sdist in a folder beside them."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    content = json.dumps(bill_of_materials(wheel, sdist), indent=2, ensure_ascii=False) + "\n"
    sdist.with_name(sdist.name.removesuffix(".tar.gz") + ".cdx.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
