"""The command `enecg` itself: its help, its speed, and how mistakes end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_enecg import __version__
from modeling_enecg.cli import main
from modeling_enecg.cli.main import command_names

COMMAND = Path(sys.executable).with_name("enecg")
HEAVY = ("torch", "transformers", "numpy", "scipy", "datasets", "pandas", "matplotlib")


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


def heavy_imports(*arguments):
    """Which large libraries the installed command imports, with what it says on standard error."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    process = subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in process.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rsplit("|", 1)[1].strip() for line in lines}
    assert len(modules) > 50
    said = [line for line in process.stderr.splitlines() if not line.startswith("import time:")]
    return modules & set(HEAVY), "\n".join(said)


def test_the_version_is_printed(capsys):
    assert printed(capsys, "--version") == f"enecg {__version__}\n"


def test_a_reader_who_has_enough_ends_a_command_without_a_word():
    with subprocess.Popen([COMMAND, "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_lists_every_command_and_says_what_the_project_is_not(capsys):
    output = printed(capsys, "--help")
    assert "not a medical device" in output
    for name in command_names():
        assert f"\n    {name} " in output or f"\n    {name}\n" in output


@pytest.mark.parametrize("name", command_names())
def test_a_command_explains_itself_in_sentences_with_an_example(capsys, name):
    output = printed(capsys, name, "--help")
    assert output.startswith(f"usage: enecg {name}")
    assert f"example:\n  enecg {name}" in output
    description = output.split("\n\n")[1]
    assert description[0].isupper()
    assert description.endswith(".")


def test_a_command_is_needed(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage: enecg" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("predict", "--help"), ("recipes",)])
def test_what_needs_no_library_imports_none(arguments):
    assert heavy_imports(*arguments) == (set(), "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "./nowhere", "record"),
        ("predict", "./nowhere", "--dataset", "data", "--output", "out.parquet"),
        ("evaluate", "./nowhere", "--dataset", "data", "--output", "out"),
        ("report", "nowhere"),
        ("compare", "nowhere", "nowhere"),
        ("push", "nowhere", "--to", "org/name"),
        ("train", "ptbxl_smoke", "--data_dir", "nowhere", "--output_dir", "out"),
        ("train", "ptbxl_smoke", "--data_dir=nowhere"),
        ("experiment", "all", "--data_dir", "nowhere", "--output_dir", "out"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_folder_that_is_not_there_is_named_at_once(arguments):
    folder = "./nowhere" if "./nowhere" in arguments else "nowhere"
    assert heavy_imports(*arguments) == (set(), f"enecg {arguments[0]}: There is no folder {folder}.")


def test_a_word_that_is_no_model_is_told_at_once_to_be_no_shipped_one_either():
    message = "There is no folder nowhere, and no shipped model of that name."
    assert heavy_imports("predict", "nowhere", "record") == (set(), f"enecg predict: {message}")


def test_a_library_that_is_missing_is_named_with_the_way_to_install_it(monkeypatch, fail):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setattr("modeling_enecg.cli.experts.run", _need_pydicom)
    assert fail("experts") == ("enecg experts: Reading this file needs the package pydicom: pip install pydicom.")


def _need_pydicom(options):
    from modeling_enecg.ecg_file import need

    need("pydicom")


def test_a_fault_in_the_code_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("modeling_enecg.cli.experts.run", lambda options: {}["absent"])
    with pytest.raises(KeyError):
        main(["experts"])


def test_a_package_of_an_extra_that_is_not_installed_is_named_with_the_extra(monkeypatch, fail):
    def without_pandas(*arguments):
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr("modeling_enecg.cli.experiment.check_folder", without_pandas)
    assert "pip install pandas brings it, or the project's extras train and formats" in fail("experiment", "--list")


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "model.onnx", "record", "--output", "t.parquet"),
        ("explain", "model.onnx", "record", "--task", "sex"),
        ("evaluate", "model.onnx", "--dataset", "data", "--output", "there"),
        ("export", "model.onnx", "other.onnx"),
    ],
)
def test_an_onnx_file_is_no_model_but_its_graph(fail, arguments):
    assert "model.onnx is the graph of a model, which `enecg predict` alone computes" in fail(*arguments)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("predict", "small", "record", "--layout", "6x2"), "layout"),
        (("predict", "small", "record", "--patient", "P1"), "patient"),
        (("explain", "small", "record", "--task", "sex", "--gain", "20"), "gain"),
        (("explain", "small", "record", "--task", "sex", "--method", "occlusion"), "method"),
        (("predict", "small", "record", "--split", "test"), "split"),
        (("predict", "small", "record", "--on_error", "skip"), "on_error"),
        (("predict", "small", "--dataset", "data", "--output", "t.parquet", "--unit", "mV"), "unit"),
        (("predict", "small", "--dataset", "data", "--output", "t.parquet", "--force"), "force"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(fail, arguments, option):
    assert fail(*arguments).startswith(f"enecg {arguments[0]}: --{option} ")
