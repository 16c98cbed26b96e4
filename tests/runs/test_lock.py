"""Two runs never write beside each other, with real processes that are killed or left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from modeling_enecg.runs.files import new_file, write_text
from modeling_enecg.runs.lock import FolderInUseError, locked
from tests.helpers.processes import ROOT, free_port
from tests.helpers.training import recipe_fields, start_train, write_recipe

HOLD = """
import sys, time
from pathlib import Path
from modeling_enecg.runs.processes import start_processes
from modeling_enecg.runs.lock import locked
state = start_processes()
with locked(sys.argv[1]):
    Path(sys.argv[2] + str(state.process_index)).touch()
    time.sleep(120)
"""


@pytest.fixture
def hold(tmp_path):
    """A function that starts processes which hold a folder, and waits until they do."""
    script, started = tmp_path / "hold.py", []
    script.write_text(HOLD)

    def hold(folder: Path, num_processes: int = 1) -> subprocess.Popen:
        launcher = [
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            str(num_processes),
            "--master_port",
            free_port(),
        ]
        command = [sys.executable, *(launcher if num_processes > 1 else []), str(script), str(folder)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([*command, str(tmp_path / "holds_")], env=environment, start_new_session=True)
        started.append(process)
        while not all((tmp_path / f"holds_{rank}").exists() for rank in range(num_processes)):
            assert process.poll() is None
            time.sleep(0.05)
        return process

    yield hold
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        process.wait()


def try_to_lock(folder: Path) -> None:
    with locked(folder):
        pass


def test_a_second_run_is_refused_and_told_who_holds_the_folder(hold, tmp_path):
    holder = hold(tmp_path / "run")
    with pytest.raises(FolderInUseError, match=rf"a run is under way here, by process {holder.pid} \(hold.py\) on "):
        try_to_lock(tmp_path / "run")


def test_the_lock_goes_with_its_holder(hold, tmp_path):
    hold(tmp_path / "run").kill()
    for _attempt in range(100):
        try:
            try_to_lock(tmp_path / "run")
            break
        except FolderInUseError:
            time.sleep(0.05)
    assert not (tmp_path / "run").exists(), "a lock file, or an empty folder, was left"


def test_workers_whose_launcher_was_killed_still_hold_the_folder(hold, tmp_path):
    launcher = hold(tmp_path / "run", num_processes=2)
    locks = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert locks == [".lock", ".lock.1"]
    launcher.kill()
    launcher.wait()
    with pytest.raises(FolderInUseError, match="wait for it, or end it"):
        try_to_lock(tmp_path / "run")
    main = int((tmp_path / "run" / ".lock").read_text().split("process ")[1].split(" ")[0])
    os.kill(main, signal.SIGKILL)
    time.sleep(0.2)
    other = int((tmp_path / "run" / ".lock.1").read_text().split("process ")[1].split(" ")[0])
    with pytest.raises(FolderInUseError, match=f"process {other} "):
        try_to_lock(tmp_path / "run")


def test_a_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "run"):
        raise KeyError
    try_to_lock(tmp_path / "run")


def test_what_the_run_wrote_stays_and_its_lock_does_not(tmp_path):
    with locked(tmp_path / "run"):
        write_text(tmp_path / "run" / "metrics.json", "{}")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.json"]


def test_of_two_trainings_started_shortly_apart_one_is_refused(simulated, training_cache, tmp_path):
    config = write_recipe(tmp_path / "tiny.yaml", recipe_fields(simulated, tmp_path / "run", training_cache))
    first = start_train(config, "--seed", "1")
    time.sleep(0.5)
    second = start_train(config, "--seed", "2")
    ends = {seed: process.end() for seed, process in ((1, first), (2, second))}
    seed, refused = sorted(ends, key=ends.get)
    assert [ends[seed][0], ends[refused][0]] == [0, 1], ends
    assert "a run is under way here, by process" in ends[refused][1].splitlines()[-1]
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["seed"] == seed
    assert (tmp_path / "run" / "metrics.json").exists()


def test_leftovers_of_killed_writers_are_cleared_and_nothing_else(tmp_path):
    write_text(tmp_path / "figures" / "curves.svg", "kept")
    half = new_file(tmp_path / "figures" / "curves.png")
    half.__enter__().write_text("half")
    (tmp_path / ".new.folder").mkdir()
    (tmp_path / ".new.folder" / "config.json").touch()
    try_to_lock(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "curves.svg"]
