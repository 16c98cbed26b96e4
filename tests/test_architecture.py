"""What keeps the house in order: which file may import what, and what is installed."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "modeling_enecg"
FLAT = "flat files"

# Each may import only what stands after it.
ORDER = (
    *(
        "cli",
        "experiments",
        "training",
        "demo",
        "prediction",
        "explaining",
        "export",
        "reports",
        "data",
        "hub",
        "figures",
        "conversion",
        "adapters",
        "pretraining",
    ),
    *("runs", "settings", "evaluation", "readers", "auto", FLAT),
)
STAY = {"__init__.py", "version.py"}  # of the flat files; all others travel to the Hub
TRAVELLERS_NEED = {"torch", "transformers", "huggingface_hub", "safetensors", "numpy", "scipy"}
# What a model's code that travels does without: readers, by name when a file has their format, and explanations.
DYNAMIC_IMPORTS = {
    "io.py": 'import_module(f"{__package__}.readers.',
    "ecg_file.py": "import_module(module)",  # what a reader needs, such as pydicom
    "pipeline_ecg.py": 'import_module(f"{__package__}.explaining")',
}


class Import(NamedTuple):
    """One imported module.

    Attributes:
        file (`Path`): Where it is imported, relative to the package.
        line (`int`): The line.
        module (`str`): What, in full.
        names (`tuple[str, ...]`): What is taken from it; nothing of `import module`.
        level (`int`): Dots before it.
    """

    file: Path
    line: int
    module: str
    names: tuple[str, ...]
    level: int

    def __str__(self) -> str:
        return f"modeling_enecg/{self.file}:{self.line} imports {', '.join(self.names)} of {self.module}"


@cache
def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file: Path, package: Path = PACKAGE) -> Iterator[Import]:
    """Every import statement of a file, also those inside functions."""
    relative = file.relative_to(package)
    parents = ("modeling_enecg", *relative.parts[:-1])
    for node in ast.walk(syntax(file)):
        if isinstance(node, ast.Import):
            yield from (Import(relative, node.lineno, alias.name, (), 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield Import(relative, node.lineno, module, tuple(alias.name for alias in node.names), node.level)


@cache
def all_imports(package: Path = PACKAGE) -> list[Import]:
    return [found for file in sorted(package.rglob("*.py")) for found in imports_of(file, package)]


def room(file: Path) -> str:
    """The folder of the package that a file lies in."""
    return file.parts[0] if len(file.parts) > 1 else FLAT


def imported_rooms(found: Import, package: Path = PACKAGE) -> set[str]:
    """The folders of the package that an import reaches."""
    if found.module.split(".")[0] != "modeling_enecg":
        return set()
    parts = found.module.split(".")[1:]
    first = parts[:1] or found.names
    return {name if (package / name).is_dir() else FLAT for name in first}


def is_traveller(file: Path) -> bool:
    return room(file) == FLAT and file.name not in STAY


def strangers_of_travellers(found: Import) -> bool:
    """Whether a file that travels imports what a model folder on the Hub would lack."""
    top = found.module.split(".")[0]
    if top == "modeling_enecg":  # `from .name import Name` alone is seen by transformers, which copies the files
        parts = found.module.split(".")
        return not (found.level == 1 and len(parts) == 2 and (PACKAGE / f"{parts[1]}.py").is_file())
    return top not in TRAVELLERS_NEED and top not in sys.stdlib_module_names


def test_what_travels_to_the_hub_imports_only_what_is_there():
    wrong = [str(found) for found in all_imports() if is_traveller(found.file) and strangers_of_travellers(found)]
    assert wrong == []


def test_what_travels_imports_by_name_only_what_is_declared():
    for file in PACKAGE.glob("*.py"):
        calls = re.findall(r"^.*(?:import_module|__import__)\(.*$", file.read_text(encoding="utf-8"), re.MULTILINE)
        declared = DYNAMIC_IMPORTS.get(file.name)
        assert all(declared is not None and declared in call for call in calls), f"{file.name}: {calls}"


def test_every_folder_of_the_package_has_its_place():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/*.py")}
    assert folders == set(ORDER) - {FLAT}


def test_a_folder_imports_only_what_stands_after_it():
    wrong = [
        str(found)
        for found in all_imports()
        if found.file.name not in STAY or room(found.file) != FLAT  # the package's own door opens all of `auto`
        for reached in imported_rooms(found)
        if ORDER.index(reached) < ORDER.index(room(found.file))
    ]
    assert wrong == []


def test_no_folder_imports_itself_in_a_circle():
    """Modules of one folder may import each other, but in one direction."""
    edges: dict[str, set[str]] = {}
    for found in all_imports():
        name = ".".join(("modeling_enecg", *found.file.with_suffix("").parts)).removesuffix(".__init__")
        targets = {found.module} | {f"{found.module}.{part}" for part in found.names}
        edges.setdefault(name, set()).update(targets - {name})
    modules = edges.keys()
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(edges[name] & modules):
                if not name.startswith(f"{target}."):  # a folder's `__init__` collects what its modules offer
                    visit(target, (*path, name))
            done.add(name)

    for name in sorted(modules):
        visit(name, ())


def test_nothing_below_training_knows_a_recipe():
    above = ORDER[: ORDER.index("training") + 1]
    wrong = [
        str(file.relative_to(ROOT))
        for file in PACKAGE.rglob("*.py")
        if room(file.relative_to(PACKAGE)) not in above
        and any(
            "Recipe" in {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)}
            for node in ast.walk(syntax(file))
        )
    ]
    assert wrong == []


def test_the_package_does_not_import_the_scripts_beside_it():
    beside = {"dataset_scripts", "benchmarks", "tests", "train", "app"}
    assert [str(found) for found in all_imports() if found.module.split(".")[0] in beside] == []


def opens_files(file: Path) -> list[str]:
    """The calls of a file that read or write files, and its imports of libraries that draw, or read tables."""
    tree = syntax(file)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls]
    touching = re.compile(
        r"open|(read|write)_\w+|to_(csv|parquet|json|html)|savefig|load(txt)?|save|savez|fromfile|tofile"
    )
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    barred = {"matplotlib", "pandas", "pyarrow", "pathlib", "io", "os", "shutil", "tempfile"}
    return [name for name in names if touching.fullmatch(name)] + [
        module for module in modules if module.split(".")[0] in barred
    ]


def test_evaluation_takes_arrays_and_gives_numbers():
    found = {file.name: opens_files(file) for file in (PACKAGE / "evaluation").rglob("*.py")}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_installs_one_package(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"modeling_enecg"}


def test_the_wheel_holds_every_module_recipe_and_template(wheel):
    names = set(wheel.namelist())
    modules = {str(file.relative_to(ROOT)) for file in PACKAGE.rglob("*.py")}
    data = {
        f"modeling_enecg/{file.relative_to(ROOT)}"
        for folder in ("configs", "model_cards")
        for file in (ROOT / folder).rglob("*.*")
    }
    assert (modules | data | {"modeling_enecg/py.typed"}) - names == set()


def test_the_wheel_holds_every_file_beside_the_modules(wheel):
    """Tables, and the folders of shipped models."""
    beside = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert "modeling_enecg/data/folder/snomed.csv" in beside
    assert beside - set(wheel.namelist()) == set()


def test_what_is_imported_is_declared():
    """A package that a user lacks must be one that installing brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.match(r"[\w-]+", line)[0].lower().replace("-", "_") for group in groups for line in group}
    other_names = {
        "yaml": "pyyaml",
        "iterstrat": "iterative_stratification",
        "jinja2": "jinja2",
        "pynvml": "nvidia_ml_py",
        "sklearn": "scikit_learn",
    }
    tops = {found.module.split(".")[0] for found in all_imports()} - sys.stdlib_module_names - {"modeling_enecg"}
    assert {top for top in tops if other_names.get(top, top).lower() not in named} == set()
