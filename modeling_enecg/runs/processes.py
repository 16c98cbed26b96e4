"""Joining the processes of the launcher."""

import os
import re
from collections.abc import Callable
from typing import TypeVar, cast

import psutil
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers.utils import logging

logger = logging.get_logger(__name__)

T = TypeVar("T")


class ProcessesError(ValueError):
    """Processes that are not as was asked for."""


def start_processes(num_processes: int | None = None) -> PartialState:
    """Join the processes of the launcher, and refuse to run as fewer than were asked for, here or of accelerate."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    use_cpu = not torch.cuda.is_available()
    state = PartialState(cpu=use_cpu, **({"backend": "gloo"} if use_cpu and launched > 1 else {}))
    wanted = num_processes or _asked_of_accelerate() or launched
    if state.num_processes != wanted:
        raise ProcessesError(
            f"Asked for {wanted} processes, but running as {state.num_processes}. On CPUs use `torchrun "
            "--nproc_per_node N ...`: `accelerate launch --cpu --num_processes N` starts one process only."
        )
    if use_cpu and state.num_processes == 1 and torch.get_num_threads() < (os.cpu_count() or 1):
        logger.warning(
            "torch uses %d of %d cores; give accelerate launch --num_cpu_threads_per_process for more.",
            torch.get_num_threads(),
            os.cpu_count(),
        )
    return state


def of_main_process(function: Callable[[], T]) -> T:
    """Return in all processes what a function gives in the main one; it is called in no other."""
    state = PartialState()
    result = [function() if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(result)
    return cast(T, result[0])


def _asked_of_accelerate() -> int | None:
    """Return the `--num_processes` of the `accelerate launch` that started this process, if there is one.

    With `--cpu` it starts a single process whatever it was asked for, and tells it nothing.
    """
    launcher = psutil.Process().parent()
    command = launcher.cmdline() if launcher is not None else []
    if not any(part.endswith("launch") for part in command):
        return None
    asked = re.search(r"--num_processes[= ](\d+)", " ".join(command))
    return int(asked[1]) if asked else None
