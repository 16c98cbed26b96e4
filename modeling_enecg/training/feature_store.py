"""The feature store: what frozen experts make of a dataset, computed once.

Features of a record never change while the experts are frozen, so every later epoch, task, seed and ablation reads
them from here. As float32 the result is exact: the store holds what the experts give in eval mode.
"""

import hashlib
import math
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from filelock import FileLock, Timeout
from huggingface_hub.constants import HF_HOME
from numpy.lib.format import open_memmap
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers.utils import logging

from ..configuration_enecg import EnECGConfig
from ..data.cache import written_to_cache
from ..data.prepared import Split
from ..data.streaming import PreparedRows, Stream
from ..expert_references import weights_digest
from ..heads import counted_vectors, feature_size, heads_input, statistics_of
from ..modeling_backbone import ECGBackboneModel
from ..modeling_enecg import EnECGModel
from ..runs.files import new_file
from ..runs.processes import of_main_process

logger = logging.get_logger(__name__)

RECORDS_A_PART = 64  # little is lost by a kill, and all processes have work


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


@dataclass(frozen=True)
class FeatureSettings:
    """Whether and how features are kept; the fields of a recipe of the same names."""

    feature_store: bool = True
    feature_dtype: str = "float32"
    feature_bf16: bool = False
    cache_dir: str | None = None

    @property
    def folder(self) -> Path:
        """The store."""
        return Path(self.cache_dir or Path(HF_HOME) / "enecg") / "features"

    @property
    def precision(self) -> Precision:
        """How features are computed and kept."""
        return Precision(self.feature_bf16, self.feature_dtype)


def stored_features(
    model: EnECGModel, split: Split, folder: str | Path, precision: Precision = Precision(), batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Return what the heads take of every expert, for a split, from the store where it is there.

    A file is named after all that determines it (the expert's weights and architecture, the records, the feature
    extractor's settings, the pooling, the precision) and after its content, so that a damaged one is found out. Its
    parts of 64 records are shared among all processes and written one by one, so that a kill loses few of them. Any
    number of runs may share a store: one of them computes a file, and the others wait for it.

    Args:
        model (`EnECGModel`): Its experts compute in eval mode, on the model's device.
        split (`Split`): The records.
        folder (`str` or `Path`): The store.
        precision ([`Precision`], *optional*): Float32 throughout by default.
        batch_size (`int`, *optional*, defaults to 16): Records computed at once: 192 leads, and 3 GB with TEMPO.

    Returns:
        `dict[str, np.ndarray]`: By expert, an array of shape `(num_records, feature_size)`, or with attention pooling
            `(num_records, num_tokens, hidden_size + 1)`, memory-mapped.
    """
    features = {}
    for index, (name, expert) in enumerate(model.backbones.items()):
        job = _Job(expert, model.config, split, split.views.of_expert(index), precision, batch_size)
        features[name] = _stored(job, name, Path(folder) / job.key)
    return features


def _stored(job: "_Job", name: str, place: Path) -> np.ndarray:
    """Return the features of a job, from the store, or computed into it by all processes at once."""
    with written_to_cache(place.parent, f"the features of {name}"):
        found = of_main_process(lambda: _find(job, place))
        if found is None:
            with _alone(place):
                found = of_main_process(lambda: _find(job, place))  # another run may have been faster
                if found is None:
                    parts = _compute_parts(job, name, place)
                    found = of_main_process(lambda: _join_parts(job, place, parts))
    return np.load(place.with_name(str(found)), mmap_mode="r")


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold a file's lock for the processes of this run; another run that holds it is waited for."""
    if not PartialState().is_main_process:
        yield
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Another run computes the same features; waiting for it.")
        lock.acquire()
    try:
        yield
        Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()


def _find(job: "_Job", place: Path) -> str | None:
    """Return the name of a job's file if the store has it, whole; a damaged one is removed."""
    for path in place.parent.glob(f"{place.name}.*.npy"):
        try:
            features, stat = np.load(path, mmap_mode="r"), path.stat()
            checksum = _checksum(path, stat.st_mtime_ns, stat.st_size)
            if len(features) == len(job.split) and path.name == _name(place, checksum):
                return path.name
        except (OSError, ValueError):
            pass  # cut short
        logger.warning("The stored features in %s are damaged; they are computed anew.", path)
        path.unlink()
    return None


@cache
def _checksum(path: Path, modified_ns: int, size: int) -> int:
    """Return the checksum of a file's features, read once for as long as it stays as it is."""
    return zlib.crc32(np.load(path, mmap_mode="r"))


def _name(place: Path, checksum: int) -> str:
    return f"{place.name}.{checksum:08x}.npy"


def stream_statistics(model: EnECGModel, stream: Stream, batch_size: int = 16) -> dict[str, Any]:
    """Return mean and standard deviation of every expert's features over all processes' records.

    Args:
        model (`EnECGModel`): Its experts compute in eval mode, on the model's device.
        stream (`Stream`): The records.
        batch_size (`int`, *optional*, defaults to 16): Records computed at once.
    """
    sizes = {name: feature_size(model.config, expert) for name, expert in model.backbones.items()}
    sums = {name: torch.zeros(3, size).double() for name, size in sizes.items()}
    is_silent = not PartialState().is_main_process
    batches = _stream_batches(model, PreparedRows(stream), batch_size)
    for features in tqdm(batches, "Statistics of features", unit="batch", disable=is_silent):
        for name, each in features.items():
            values = counted_vectors(each.double())
            count = values.new_full(values.shape[1:], len(values))
            sums[name] += torch.stack([values.sum(dim=0), values.square().sum(dim=0), count])
    totals = {name: reduce(each.to(model.device), "sum").cpu().numpy() for name, each in sums.items()}
    means = {name: each[:2] / each[2] for name, each in totals.items()}
    return {
        name: statistics_of(mean, np.maximum(square - mean**2, 0), len(stream))
        for name, (mean, square) in means.items()
    }


def stream_features(
    model: EnECGModel, stream: Stream, num_records: int, batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Return every expert's features of some records, of all processes' alike, up to a batch more than asked for.

    Args:
        model (`EnECGModel`): Its experts compute in eval mode, on the model's device.
        stream (`Stream`): The records, of which the first of a shuffled epoch are taken.
        num_records (`int`): How many.
        batch_size (`int`, *optional*, defaults to 16): Records computed at once.
    """
    num_batches = math.ceil(num_records / PartialState().num_processes / batch_size)
    batches = islice(_stream_batches(model, PreparedRows(stream, epoch=0), batch_size), num_batches)
    gathered = gather_object([{name: values.numpy() for name, values in each.items()} for each in batches])
    return {name: np.concatenate([each[name] for each in gathered]) for name in model.experts}


@torch.inference_mode()
def _stream_batches(model: EnECGModel, rows: PreparedRows, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield every expert's features of this process's records, batch by batch."""
    device, was_training = model.device, model.training
    model.eval()
    try:
        for batch in DataLoader(rows, batch_size, num_workers=rows.stream.options.num_proc or 0):
            inputs = {name: _moved(batch[name], device) for name in ("input_values", "lead_mask", "input_mask")}
            yield {name: values.float().cpu() for name, values in model.extract_features(**inputs).items()}
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class _Job:
    """One expert's features of one input of a split."""

    expert: ECGBackboneModel
    config: EnECGConfig
    split: Split
    input_name: str
    precision: Precision
    batch_size: int

    @cached_property
    def key(self) -> str:
        """What names a job's file: all that determines its content."""
        records = self.split.inputs[self.input_name]._fingerprint
        pooling = (self.config.pooling, self.config.token_stride)
        parts = (self.expert.config.to_json_string(), weights_digest(self.expert), records, pooling, self.precision)
        return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]

    @torch.inference_mode()
    def compute(self, rows: range, progress: tqdm) -> np.ndarray:
        """Return the features of some records, the expert in eval mode."""
        was_training, device = self.expert.training, self.expert.device
        self.expert.eval()
        batches = []
        for start in range(rows.start, rows.stop, self.batch_size):
            views = self.split.batch(self.input_name, range(start, min(start + self.batch_size, rows.stop)))
            with torch.autocast(device.type, torch.bfloat16) if self.precision.bf16 else nullcontext():
                output = self.expert(**{name: view.to(device) for name, view in views.items()})
                batches.append(heads_input(self.config, self.expert, output).float().cpu())
            progress.update(len(batches[-1]))
        self.expert.train(was_training)
        features = torch.cat(batches).numpy()
        if np.abs(features).max() > np.finfo(self.precision.dtype).max:
            raise ValueError(
                f"Features of {self.input_name} exceed the range of {self.precision.dtype}; keep float32."
            )
        return features.astype(self.precision.dtype)


def _compute_parts(job: _Job, name: str, folder: Path) -> dict[Path, range]:
    """Write this process's share of the parts that are not there yet; return all, once all processes are done."""
    state, num_records = PartialState(), len(job.split)
    parts = {
        folder / f"{start:010d}.npy": range(start, min(start + RECORDS_A_PART, num_records))
        for start in range(0, num_records, RECORDS_A_PART)
    }
    own = dict(list(parts.items())[state.process_index :: state.num_processes])
    missing = {path: rows for path, rows in own.items() if not _is_part(path, rows)}
    with tqdm(
        total=sum(map(len, own.values())),
        initial=sum(len(rows) for path, rows in own.items() if path not in missing),
        desc=f"Features of {name}" + (f" (1 of {state.num_processes})" if state.num_processes > 1 else ""),
        unit="record",
        disable=not state.is_main_process,
    ) as progress:
        for path, rows in missing.items():
            with new_file(path) as aside:
                np.save(aside, job.compute(rows, progress))
    state.wait_for_everyone()
    return parts


def _is_part(path: Path, rows: range) -> bool:
    """Whether a part that an earlier run left is there to its end."""
    try:
        return len(np.load(path, mmap_mode="r")) == len(rows)
    except (OSError, ValueError):
        return False


def _join_parts(job: _Job, place: Path, parts: Mapping[Path, range]) -> str:
    """Write the whole file, remove its parts, and return its name."""
    checksum = 0
    for path in parts:
        checksum = zlib.crc32(np.load(path), checksum)
    target = place.with_name(_name(place, checksum))
    with new_file(target) as aside:
        shape = (len(job.split), *np.load(next(iter(parts)), mmap_mode="r").shape[1:])
        joined = open_memmap(aside, mode="w+", dtype=job.precision.dtype, shape=shape)
        for path, rows in parts.items():
            joined[rows.start : rows.stop] = np.load(path)
        joined.flush()
    shutil.rmtree(place)
    return target.name


def _moved(values: Any, device: torch.device) -> Any:
    return [each.to(device) for each in values] if isinstance(values, list) else values.to(device)
