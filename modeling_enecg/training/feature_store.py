"""The feature store: what frozen experts make of a dataset, computed once.

Features of a record never change while the experts are frozen, so every later epoch, task, seed and ablation reads
them from here. The result is exact: the store holds what the experts give in float32 and eval mode.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.lib.format import open_memmap
from tqdm import tqdm

from ..files import new_file
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from .data import Split

RECORDS_A_PART = 1024


def stored_features(
    model: EnECGModel, split: Split, folder: str | Path, batch_size: int = 64
) -> dict[str, np.ndarray]:
    """Return every expert's pooled features of a split, from the store where they are there.

    A file is named after all that determines it: the expert's weights and architecture, and the records with the
    feature extractor's settings. Its parts of 1024 records are shared among all processes and written one by one,
    so that after a kill those that are there are kept.

    Args:
        model (`EnECGModel`): Its experts compute in eval mode, on the model's device.
        split (`Split`): The records.
        folder (`str` or `Path`): The store.
        batch_size (`int`, *optional*, defaults to 64): Records computed at once.

    Returns:
        `dict[str, np.ndarray]`: By expert, float32 of shape `(num_records, feature_size)`, memory-mapped.
    """
    features = {}
    for view, (name, expert) in enumerate(model.backbones.items()):
        key = hashlib.sha256(f"{_digest(expert)} {split.records._fingerprint} {view}".encode()).hexdigest()[:32]
        path = Path(folder) / f"{key}.npy"
        if not path.exists():
            _compute_parts(expert, name, split, view, path.with_suffix(""), batch_size)
            if PartialState().is_main_process:
                _join_parts(path, (len(split), expert.config.feature_size))
        PartialState().wait_for_everyone()
        features[name] = np.load(path, mmap_mode="r")
    return features


def _compute_parts(
    expert: ECGBackboneModel, name: str, split: Split, view: int, folder: Path, batch_size: int
) -> None:
    """Write this process's share of the parts that are not there yet, then wait for the other processes'."""
    state = PartialState()
    starts = range(0, len(split), RECORDS_A_PART)[state.process_index :: state.num_processes]
    with tqdm(
        total=len(split), desc=f"Features of {name}", unit="record", disable=not state.is_main_process
    ) as progress:
        for start in starts:
            rows = range(start, min(start + RECORDS_A_PART, len(split)))
            path = folder / f"{start:010d}.npy"
            if not path.exists():
                with new_file(path) as aside:
                    np.save(aside, _compute(expert, split, view, rows, batch_size))
            progress.update(len(rows) * state.num_processes)
    state.wait_for_everyone()


def _join_parts(path: Path, shape: tuple[int, int]) -> None:
    parts = sorted(path.with_suffix("").glob("[0-9]*.npy"))
    with new_file(path) as aside:
        joined = open_memmap(aside, mode="w+", dtype=np.float32, shape=shape)
        for part in parts:
            values = np.load(part)
            start = int(part.stem)
            joined[start : start + len(values)] = values
        joined.flush()
    shutil.rmtree(path.with_suffix(""))


def _digest(expert: ECGBackboneModel) -> str:
    """Hash an expert's architecture and weights."""
    digest = hashlib.sha256(expert.config.to_json_string().encode())
    for name, tensor in sorted(expert.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.inference_mode()
def _compute(expert: ECGBackboneModel, split: Split, view: int, rows: range, batch_size: int) -> np.ndarray:
    was_training = expert.training
    expert.eval()
    batches = []
    for start in range(rows.start, rows.stop, batch_size):
        inputs = [split.inputs(index) for index in range(start, min(start + batch_size, rows.stop))]
        views = [values if isinstance(values, torch.Tensor) else values[view] for values in inputs]
        batches.append(expert(torch.stack(views).to(expert.device)).pooler_output.float().cpu())
    expert.train(was_training)
    return torch.cat(batches).numpy()
