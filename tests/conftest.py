import csv
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedConfig

from modeling_enecg import BACKBONES, ECGBackboneModel, EnECGModel
from modeling_enecg.cli import main
from modeling_enecg.data.ptbxl.labels import SCP_STATEMENTS
from modeling_enecg.data.ptbxl.metadata import COLUMNS
from modeling_enecg.data.ptbxl.ptbxl import PTBXL
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.leads import STANDARD_LEADS
from tests.helpers.prediction import save_calibrated_model, write_recordings
from tests.helpers.tiny_models import TASKS, tiny_backbone_configs

RATES = {"lr": 100, "hr": 500}


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The folder of upstream inputs and outputs, one sub-folder a backbone."""
    if "ENECG_PARITY_DIR" not in os.environ:
        pytest.skip("ENECG_PARITY_DIR is not set")
    return Path(os.environ["ENECG_PARITY_DIR"])


@pytest.fixture(scope="session")
def formats_dir() -> Path:
    """The folder of sample files of all formats, with their true values in expected.json."""
    if "ENECG_FORMATS_DIR" not in os.environ:
        pytest.skip("ENECG_FORMATS_DIR is not set")
    return Path(os.environ["ENECG_FORMATS_DIR"])


@pytest.fixture(scope="session")
def ptbxl_dir() -> Path:
    """A copy of PTB-XL, or a part of it in the release's layout."""
    if "PTBXL_DIR" not in os.environ:
        pytest.skip("PTBXL_DIR is not set to a copy of PTB-XL")
    return Path(os.environ["PTBXL_DIR"])


@pytest.fixture(scope="session")
def filtered_dir() -> Path:
    """A folder of own data with band-passed records of PTB-XL."""
    if "ENECG_FILTERED_DIR" not in os.environ:
        pytest.skip("ENECG_FILTERED_DIR is not set")
    return Path(os.environ["ENECG_FILTERED_DIR"])


@pytest.fixture(scope="session")
def challenge_dir() -> Path:
    """The folder of real records of the PhysioNet Challenges, with their findings in the headers."""
    if "ENECG_CHALLENGE_DIR" not in os.environ:
        pytest.skip("ENECG_CHALLENGE_DIR is not set")
    return Path(os.environ["ENECG_CHALLENGE_DIR"])


@pytest.fixture
def tiny_configs() -> dict[str, PreTrainedConfig]:
    """A small architecture of every backbone, by model type, for input of shape (batch_size, 12, 150)."""
    return tiny_backbone_configs()


@pytest.fixture
def tiny_experts(tiny_configs) -> dict[str, ECGBackboneModel]:
    """A small ECGFounder and a small ST-MEM with random weights."""
    torch.manual_seed(0)
    names = ("ecgfounder", "stmem")
    return {name: BACKBONES[f"enecg-{name}"](tiny_configs[f"enecg-{name}"]).eval() for name in names}


@pytest.fixture
def inputs() -> torch.Tensor:
    """A batch for the tiny experts."""
    return torch.randn(4, 12, 150, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def single(tiny_experts) -> EnECGModel:
    """One expert with linear heads."""
    torch.manual_seed(0)
    return EnECGModel.from_experts({"founder": tiny_experts["ecgfounder"]}, TASKS)


@pytest.fixture(scope="session")
def calibrated_model(tmp_path_factory) -> Path:
    """The folder of a calibrated model of two experts, not to be changed."""
    return save_calibrated_model(tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="session")
def new_recordings(simulated, tmp_path_factory) -> Path:
    """A folder of recordings, fit to be scored or not, as `write_recordings` names them; not to be changed."""
    return write_recordings(tmp_path_factory.mktemp("new"), simulated)


@pytest.fixture(scope="session")
def sound_release(tmp_path_factory) -> Path:
    """A folder in PTB-XL's layout, not to be changed: noise as records 1 to 12 at both rates, folds 1 to 10, 1, 2."""
    folder = tmp_path_factory.mktemp("sound") / "ptbxl"
    rows = []
    for ecg_id in range(1, 13):
        for end, rate in RATES.items():
            signal = np.random.default_rng(ecg_id).integers(-2000, 2000, size=(12, 10 * rate)).astype("<i2")
            write_record(folder / f"records{rate}" / "00000" / f"{ecg_id:05d}_{end}", signal, rate)
        rows.append(describe_record(ecg_id))
    write_csv(folder / "ptbxl_database.csv", list(COLUMNS), rows)
    columns = ["", "description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
    statements = [
        {"": s.code, "diagnostic_class": s.superclass, "diagnostic_subclass": s.subclass} | dict.fromkeys(s.kinds, 1.0)
        for s in SCP_STATEMENTS
    ]
    write_csv(folder / "scp_statements.csv", columns, statements)
    return folder


@pytest.fixture
def release(sound_release, tmp_path) -> Path:
    """A copy of `sound_release` to change at will."""
    return Path(shutil.copytree(sound_release, tmp_path / "ptbxl"))


@pytest.fixture
def build(tmp_path) -> Callable[..., PTBXL]:
    """A function that prepares a PTB-XL dataset, with a cache of its own for each test."""

    def build(data_dir: Path, config_name: str = "100hz", num_proc: int | None = None, **options: str) -> PTBXL:
        options = {"cache_dir": str(tmp_path / "cache")} | options
        builder = PTBXL(config_name=config_name, data_dir=str(data_dir), **options)
        builder.download_and_prepare(num_proc=num_proc)
        return builder

    return build


def describe_record(ecg_id: int) -> dict[str, object]:
    filenames = {f"filename_{end}": f"records{rate}/00000/{ecg_id:05d}_{end}" for end, rate in RATES.items()}
    return filenames | {
        "ecg_id": ecg_id,
        "patient_id": f"{1000 + ecg_id}.0",
        "age": 30.0 + ecg_id,
        "sex": ecg_id % 2,
        "device": "CS-12   E",
        "scp_codes": str({"NORM": 100.0, "SR": 0.0} if ecg_id % 2 else {"IMI": 35.0, "AFIB": 0.0}),
        "validated_by_human": True,
        "strat_fold": (ecg_id - 1) % 10 + 1,
    }


def write_record(path: Path, signal: np.ndarray, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".dat").write_bytes(signal.T.tobytes())
    lines = [f"{path.name} 12 {rate} {signal.shape[1]}"]
    for name, lead in zip(STANDARD_LEADS, signal, strict=True):
        checksum = int(lead.sum(dtype=np.int64)) % 65536
        lines.append(f"{path.name}.dat 16 1000.0(0)/mV 16 0 {lead[0]} {checksum} 0 {name.upper()}")
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")


def write_csv(file: Path, columns: list[str], rows: Iterable[dict[str, object]]) -> None:
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """200 simulated records in PTB-XL's layout, not to be changed."""
    return simulate_ptbxl(tmp_path_factory.mktemp("simulated") / "ptbxl", num_records=200, seed=0)


@pytest.fixture(scope="session")
def training_cache(tmp_path_factory) -> Path:
    """Where the tests of training keep prepared records."""
    return tmp_path_factory.mktemp("training_cache")


@pytest.fixture
def write_xml(tmp_path):
    """A function that writes an XML file and returns its path."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "record.xml"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.fixture
def counts() -> np.ndarray:
    """Samples of the 12 standard leads."""
    return np.random.default_rng(0).integers(-3000, 3000, size=(12, 50), dtype=np.int16)


@pytest.fixture
def run(capsys) -> Callable[..., str]:
    """A function that runs the command in this process; it returns what was printed."""

    def run(*arguments):
        main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture
def fail(capsys) -> Callable[..., str]:
    """A function that runs the command, checks that it fails in one line with status 1, and returns the line."""

    def fail(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        message = str(caught.value.code)
        assert not isinstance(caught.value.code, int)  # a text is printed to standard error, with status 1
        assert message.startswith(f"enecg {arguments[0]}: ")
        assert len(message.strip().splitlines()) == 1, message
        assert capsys.readouterr().out == ""
        return message

    return fail


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what the fuzz test recorded: its seeds, and what came of the cases."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for text in (value for name, value in report.user_properties if name == "fuzz"):
            terminalreporter.write_line(f"fuzz test of {text}")
