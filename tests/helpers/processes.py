"""Processes that start at once.

A fresh interpreter imports torch and transformers for five seconds; these are forked from a server that has done so,
once for all tests of a worker. What reads its environment while it is imported needs a fresh one all the same.
"""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["modeling_enecg.training.run", "modeling_enecg.prediction.files"])


class Started:
    """A function that runs in a process of its own, in the project's folder, with one thread and no Hub."""

    def __init__(self, function: Callable[..., object], *arguments: object, **environment: str) -> None:
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        self._output = Path(name)
        with pytest.MonkeyPatch.context() as patch:  # of the server, too, if this starts it
            for key, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}.items():
                patch.setenv(key, value)
            self._process = _CONTEXT.Process(target=_call, args=(function, arguments, dict(os.environ), self._output))
            self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def end(self, timeout: float = 300) -> tuple[int, str]:
        """Wait for its end; return its exit status, negative after a signal, and what it printed."""
        self._process.join(timeout)
        if self.is_running:
            self._process.kill()
            self._process.join()
        output = self._output.read_text()
        self._output.unlink()
        return self._process.exitcode or 0, output


def run_in_two(function: Callable[..., object], *arguments: object) -> list[str]:
    """Run a function in two processes that know of each other, as `torchrun` does; return what each printed."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = [Started(function, *arguments, **place, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    ends = [each.end() for each in started]
    assert [status for status, _ in ends] == [0, 0], ends
    return [output for _, output in ends]


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def _call(
    function: Callable[..., object], arguments: tuple[object, ...], environment: dict[str, str], output: Path
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    function(*arguments)
