"""Test suites of other projects, imported from a copy of their sources, and what of them does not apply here."""

import importlib
import os
import re
import sys
import unittest
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import transformers

# What is asked for past the tests themselves. Nothing here generates text, and graphs have tests of our own.
STAND_INS: dict[str, dict[str, Any]] = {
    "exporters.test_export": {"ExportTesterMixin": object},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {
        "config_common_kwargs": {
            "output_hidden_states": True,
            "return_dict": False,
            "dtype": "float16",
            "chunk_size_feed_forward": 5,
            "is_encoder_decoder": True,
            "architectures": ["SomeModel"],
            "id2label": {0: "label"},
            "label2id": {"label": 0},
            "problem_type": "regression",
        }
    },
}


def foreign_tests(project: str, module: str) -> ModuleType:
    """Import a module of another project's tests, or skip the module that asks for it.

    Args:
        project (`str`): The project; its sources at the installed version, as its source distribution has them, lie
            in the folder that the variable `ENECG_<PROJECT>_DIR` names.
        module (`str`): The module, by its name within their folder `tests`.
    """
    variable = f"ENECG_{project.upper()}_DIR"
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set to the sources of {project}", allow_module_level=True)
    folder = Path(os.environ[variable])
    found = re.search(r'__version__ = "(.*?)"', (folder / "src" / project / "__init__.py").read_text("utf-8"))
    if found is None or found[1] != version(project):
        pytest.skip(
            f"{variable} has {project} {found and found[1]}, not the installed {version(project)}",
            allow_module_level=True,
        )
    package = f"{project}_tests"
    if package not in sys.modules:
        _add_package(package, folder / "tests")
    with patch("transformers.utils.direct_transformers_import", return_value=transformers):
        return importlib.import_module(f"{package}.{module}")


def _add_package(name: str, folder: Path) -> None:
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    for module_name, content in STAND_INS.items():
        parent = module_name.partition(".")[0]
        sys.modules.setdefault(f"{name}.{parent}", ModuleType(f"{name}.{parent}"))
        module = ModuleType(f"{name}.{module_name}")
        vars(module).update(content)
        sys.modules[module.__name__] = module


def not_applicable(test: Any, reason: str) -> Any:
    """Return a test that skips with a reason where the given one fails, and fails where it does anything else."""

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            with patch.object(self, "subTest", lambda *about, **more: nullcontext(), create=True):
                test(self, *args, **kwargs)
        except unittest.SkipTest as skip:
            raise AssertionError(f"This entry is stale, the test skips itself: {skip}") from None
        except Exception as error:
            raise unittest.SkipTest(reason) from error
        raise AssertionError(f"This entry is stale, the test passes: {reason}")

    return run


def without(suite: type, reasons: Mapping[str, str]) -> dict[str, Any]:
    """Return what a class puts in the place of inherited tests that do not apply to it.

    Args:
        suite (`type`): Where the tests are inherited from.
        reasons (`Mapping[str, str]`): Why, by the tests' names.

    Raises:
        AttributeError: if the suite has no such test.
    """
    return {name: not_applicable(getattr(suite, name), reason) for name, reason in reasons.items()}
