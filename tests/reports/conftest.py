"""Two trained runs and a report on both, shared by the tests of reports."""

from pathlib import Path

import pytest

from tests.helpers.reports import Page, simulated_records, train_ensemble, train_run, write_report
from tests.helpers.training import read_json


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Path]:
    """The folders of both runs by name, not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    data_dir = simulated_records(folder)
    return {
        "ensemble": train_ensemble(data_dir, folder / "ensemble"),
        "single": train_run(data_dir, folder / "single", seed=3),
    }


@pytest.fixture(scope="session")
def report(runs, tmp_path_factory) -> Path:
    """The folder of a report on both."""
    return write_report(*runs.values(), output=tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page(report) -> Page:
    return Page(report / "report.html")


@pytest.fixture(scope="session")
def numbers(report) -> dict:
    return read_json(report / "report.json")["runs"]
