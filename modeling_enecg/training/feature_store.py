"""The feature store: what frozen experts make of a dataset, computed once.

Features of a record never change while the experts are frozen, so every later epoch, task, seed and ablation reads
them from here. As float32 the result is exact: the store holds what the experts give in eval mode.
"""

import hashlib
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from numpy.lib.format import open_memmap
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.prepared import Split
from ..data.streaming import PreparedRows, Stream
from ..expert_references import weights_digest
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from ..runs.files import new_file

RECORDS_A_PART = 64  # little is lost by a kill, and all processes have work
SMALLEST_DEVIATION = 1e-6  # of a feature, as a share of the largest


@dataclass(frozen=True)
class Precision:
    """How features are computed and kept.

    Args:
        bf16 (`bool`, *optional*, defaults to False): Run the experts under bfloat16 autocast: faster where the device
            has it, and inexact.
        dtype (`str`, *optional*, defaults to `"float32"`): On disk; `"float16"` takes half the space.
    """

    bf16: bool = False
    dtype: str = "float32"


def stored_features(
    model: EnECGModel, split: Split, folder: str | Path, precision: Precision = Precision(), batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Return every expert's pooled features of a split, from the store where they are there.

    A file is named after all that determines it: the expert's weights and architecture, the records, the feature
    extractor's settings and the precision. Its parts of 64 records are shared among all processes and written one
    by one, so that after a kill those that are there are kept.

    Args:
        model (`EnECGModel`): Its experts compute in eval mode, on the model's device.
        split (`Split`): The records.
        folder (`str` or `Path`): The store.
        precision ([`Precision`], *optional*): Float32 throughout by default.
        batch_size (`int`, *optional*, defaults to 16): Records computed at once: 192 leads, and 3 GB with TEMPO.

    Returns:
        `dict[str, np.ndarray]`: By expert, an array of shape `(num_records, feature_size)`, memory-mapped.
    """
    features = {}
    for index, (name, expert) in enumerate(model.backbones.items()):
        path = Path(folder) / f"{_key(expert, split, split.views.of_expert(index), precision)}.npy"
        if not path.exists():
            job = _Job(expert, split, split.views.of_expert(index), precision, batch_size)
            _compute_parts(job, name, path.with_suffix(""))
            if PartialState().is_main_process:
                _join_parts(path, (len(split), expert.config.feature_size), precision.dtype)
        PartialState().wait_for_everyone()
        features[name] = np.load(path, mmap_mode="r")
    return features


def feature_statistics(features: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation over the records, 1 for a feature that hardly varies; each `(feature_size,)`.

    Args:
        features (`np.ndarray` of shape `(num_records, feature_size)`): Of one expert.
    """
    values = features.astype(np.float64)
    return statistics_of(values.mean(axis=0), values.std(axis=0))


def statistics_of(mean: np.ndarray, deviation: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features' mean and standard deviation as a model takes them, 1 for one that hardly varies."""
    deviation = deviation.copy()
    deviation[deviation < SMALLEST_DEVIATION * max(deviation.max(), np.abs(mean).max())] = 1.0
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


@torch.inference_mode()
def stream_statistics(model: EnECGModel, stream: Stream, batch_size: int = 16) -> dict[str, Any]:
    """Return mean and standard deviation of every expert's features over all processes' records.

    Args:
        model (`EnECGModel`): Its experts compute in eval mode, on the model's device.
        stream (`Stream`): The records.
        batch_size (`int`, *optional*, defaults to 16): Records computed at once.
    """
    device, was_training = model.device, model.training
    model.eval()
    sums = {name: torch.zeros(2, expert.config.feature_size).double() for name, expert in model.backbones.items()}
    loader = DataLoader(PreparedRows(stream), batch_size, num_workers=stream.options.num_proc or 0)
    is_silent = not PartialState().is_main_process
    for batch in tqdm(loader, "Statistics of features", unit="batch", disable=is_silent):
        inputs = {name: _moved(batch[name], device) for name in ("input_values", "lead_mask", "input_mask")}
        for name, features in model.extract_features(**inputs).items():
            values = features.double().cpu()
            sums[name] += torch.stack([values.sum(dim=0), values.square().sum(dim=0)])
    model.train(was_training)
    totals = {name: reduce(each.to(device), "sum").cpu().numpy() / len(stream) for name, each in sums.items()}
    return {
        name: statistics_of(mean, np.sqrt(np.maximum(square - mean**2, 0))) for name, (mean, square) in totals.items()
    }


def _key(expert: ECGBackboneModel, split: Split, input_name: str, precision: Precision) -> str:
    parts = (expert.config.to_json_string(), weights_digest(expert), split.inputs[input_name]._fingerprint, precision)
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Job:
    """One expert's features of one input of a split."""

    expert: ECGBackboneModel
    split: Split
    input_name: str
    precision: Precision
    batch_size: int

    @torch.inference_mode()
    def compute(self, rows: range, progress: tqdm) -> np.ndarray:
        """Return the features of some records, the expert in eval mode."""
        was_training, device = self.expert.training, self.expert.device
        self.expert.eval()
        batches = []
        for start in range(rows.start, rows.stop, self.batch_size):
            views = self.split.batch(self.input_name, range(start, min(start + self.batch_size, rows.stop)))
            with torch.autocast(device.type, torch.bfloat16) if self.precision.bf16 else nullcontext():
                features = self.expert(**{name: view.to(device) for name, view in views.items()}).pooler_output
            batches.append(features.float().cpu())
            progress.update(len(features))
        self.expert.train(was_training)
        features = torch.cat(batches).numpy()
        if np.abs(features).max() > np.finfo(self.precision.dtype).max:
            raise ValueError(
                f"Features of {self.input_name} exceed the range of {self.precision.dtype}; keep float32."
            )
        return features.astype(self.precision.dtype)


def _compute_parts(job: _Job, name: str, folder: Path) -> None:
    """Write this process's share of the parts that are not there yet, then wait for the other processes'."""
    state, num_records = PartialState(), len(job.split)
    starts = range(0, num_records, RECORDS_A_PART)[state.process_index :: state.num_processes]
    parts = {folder / f"{start:010d}.npy": range(start, min(start + RECORDS_A_PART, num_records)) for start in starts}
    missing = {path: rows for path, rows in parts.items() if not path.exists()}
    with tqdm(
        total=sum(map(len, parts.values())),
        initial=sum(len(rows) for path, rows in parts.items() if path not in missing),
        desc=f"Features of {name}" + (f" (1 of {state.num_processes})" if state.num_processes > 1 else ""),
        unit="record",
        disable=not state.is_main_process,
    ) as progress:
        for path, rows in missing.items():
            with new_file(path) as aside:
                np.save(aside, job.compute(rows, progress))
    state.wait_for_everyone()


def _join_parts(path: Path, shape: tuple[int, int], dtype: str) -> None:
    parts = sorted(path.with_suffix("").glob("[0-9]*.npy"))
    with new_file(path) as aside:
        joined = open_memmap(aside, mode="w+", dtype=dtype, shape=shape)
        for part in parts:
            values = np.load(part)
            start = int(part.stem)
            joined[start : start + len(values)] = values
        joined.flush()
    shutil.rmtree(path.with_suffix(""))


def _moved(values: Any, device: torch.device) -> Any:
    return [each.to(device) for each in values] if isinstance(values, list) else values.to(device)
