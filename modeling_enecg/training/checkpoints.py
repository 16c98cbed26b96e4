"""A stage's checkpoints: the newest sound one, from which a run that was killed goes on."""

import json
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..runs.files import write_text
from ..runs.processes import of_main_process

logger = logging.get_logger(__name__)

SEAL = "model.crc32"  # the checksum of a checkpoint's weights; safetensors has none


class SealCheckpoint(TrainerCallback):
    """Write the checksum of a checkpoint's weights beside them; one that was killed before has none to be held to."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seal the checkpoint that was just written."""
        weights = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / SAFE_WEIGHTS_NAME
        if state.is_world_process_zero and weights.is_file():
            write_text(weights.with_name(SEAL), _checksum(weights))


def last_sound_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end by as many processes, in all of them; None without.

    Damaged ones, as a kill or a power cut leaves them, are named and removed.
    """
    return of_main_process(lambda: _newest(folder, PartialState().num_processes))


def _newest(folder: Path, num_processes: int) -> str | None:
    paths = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True)
    for path in paths:
        fault = checkpoint_fault(path, num_processes)
        if fault is None:
            return str(path)
        logger.warning("%s is passed over: %s", path, fault)
        shutil.rmtree(path)
    if paths:
        logger.warning("No checkpoint in %s can be used: the stage starts anew.", folder)
    return None


def checkpoint_fault(path: Path, num_processes: int) -> str | None:
    """Return what is wrong with a checkpoint, or None.

    Args:
        path (`Path`): Its folder.
        num_processes (`int`): Processes that are to go on from it.
    """
    ranks = [""] if num_processes == 1 else [f"_{rank}" for rank in range(num_processes)]
    random_states = [f"rng_state{rank}.pth" for rank in ranks]
    try:
        best_step = json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8")).get("best_global_step")
    except (OSError, ValueError, AttributeError):
        return f"its {TRAINER_STATE_NAME} is missing or damaged."
    best = path.with_name(f"{PREFIX_CHECKPOINT_DIR}-{best_step}")
    weights = {path / SAFE_WEIGHTS_NAME} | ({best / SAFE_WEIGHTS_NAME} if best_step else set())
    for file in weights:
        if not _is_whole_safetensors(file):
            of_best = "" if file.parent == path else f" of {best.name}, the best so far,"
            return f"{file.name}{of_best} is missing or damaged."
    for name in (OPTIMIZER_NAME, SCHEDULER_NAME, *random_states):
        if not _is_whole_archive(path / name):
            return f"its {name} is missing or damaged, or of another number of processes."
    return None


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _is_whole_safetensors(path: Path) -> bool:
    try:
        with safe_open(path, "numpy") as tensors:
            is_whole = len(tensors.keys()) > 0
        seal = path.with_name(SEAL)
        return is_whole and (not seal.exists() or seal.read_text(encoding="utf-8") == _checksum(path))
    except (OSError, SafetensorError):
        return False


def _checksum(path: Path) -> str:
    checksum = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}"


def _is_whole_archive(path: Path) -> bool:
    """Whether a file that torch wrote, a ZIP archive with checksums, is there to its end."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


__all__ = ["SealCheckpoint", "checkpoint_fault", "last_sound_checkpoint"]
