"""The features of many recordings in one Parquet file, and the records that are most alike by them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..data.folder.recordings import ReadingOptions, find_recordings, states_beside
from ..data.rows import row_signal
from ..data.sources import DatasetOptions
from ..ecg_file import ECGFileError
from ..evaluation.similarity import FeatureSpace
from ..runs.predictions import IDS
from ..settings import suggest
from ..signal_quality import UNUSABLE, SignalQuality
from .dataset import fingerprints, parts_of, read_splits
from .embedder import Embedder, Window
from .files import NOTHING_TO_ADD, parts_of_files
from .parts import write_in_parts
from .tokens import TOKENS, check_room, token_column

NEIGHBOURS, SIMILARITIES = "neighbours", "similarities"
_MADE_BY, _EXPERTS = b"enecg.made_by", b"enecg.experts"  # of the table's metadata
_RECORDS_WITH_TOKENS = 32  # per part: 100 MB of MOMENT's
_NOT_READ = (ECGFileError, ImportError, OSError, ValueError)


@dataclass(frozen=True)
class EmbeddingOptions:
    """What a table of features holds.

    Args:
        float16 (`bool`, *optional*, defaults to False): Keep features in half precision.
        force (`bool`, *optional*, defaults to False): Embed recordings whose signal is unusable as well.
        num_neighbours (`int`, *optional*, defaults to 0): So many most similar records of the table stand in each
            row's `neighbours`, with their `similarities`; see [`FeatureSpace`].
        tokens (`bool`, *optional*, defaults to False): Keep every expert's tokens as well.
        token_stride (`int`, *optional*, defaults to 1): The mean of so many successive tokens of a row is kept for
            one, as with attention pooling.

    Raises:
        ValueError: if a number is too small, or tokens are to be averaged that are not kept.
    """

    float16: bool = False
    force: bool = False
    num_neighbours: int = 0
    tokens: bool = False
    token_stride: int = 1

    def __post_init__(self) -> None:
        if self.token_stride < 1:
            raise ValueError(f"token_stride must be 1 or more; got {self.token_stride}.")
        if self.token_stride > 1 and not self.tokens:
            raise ValueError(f"token_stride is {self.token_stride}, but no tokens are kept; ask for tokens as well.")
        if self.num_neighbours < 0:
            raise ValueError(f"The number of neighbours must be 0 or more; got {self.num_neighbours}.")


@dataclass(frozen=True)
class _Job:
    """An embedder with its options, which makes the rows of some records."""

    embedder: Embedder
    options: EmbeddingOptions
    reserved: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        taken = {*self.reserved, "quality", "error", NEIGHBOURS, SIMILARITIES} & self.embedder.sizes.keys()
        if taken:
            raise ValueError(f"The experts {', '.join(sorted(taken))} are named like other columns of the table.")

    @property
    def stride(self) -> int | None:
        """The stride of the tokens that are kept; None where none are."""
        return self.options.token_stride if self.options.tokens else None

    def write(
        self,
        output: str | Path,
        texts: Iterable[str],
        parts: Mapping[str, Any],
        num_records: int,
        make: Callable[[str], pa.Table],
    ) -> Path:
        """Write the table; `texts` determine its records."""
        if self.stride is not None:
            check_room(output, self.embedder.token_shapes(self.stride), num_records, self.dtype)
        digest = hashlib.sha256("\n".join([self.embedder.digest, repr(self.options), *texts]).encode()).hexdigest()
        finish = self._with_neighbours if self.options.num_neighbours else None
        reads = [self.reserved[0], *self.embedder.sizes]
        return write_in_parts(output, digest, list(parts), make, finish, reads, "embedding")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers in the table."""
        return np.dtype(np.float16 if self.options.float16 else np.float32)

    def columns(self, recordings: Sequence[Callable[[], Any]]) -> dict[str, pa.Array]:
        """Return the verdicts on recordings, why they have no features, and their features.

        Args:
            recordings (`Sequence[Callable]`): Each gives a recording, or raises why it cannot be read.
        """
        prepared: list[tuple[SignalQuality, list[Window]]] = []
        errors: list[str | None] = []
        for read in recordings:
            try:
                quality, windows = self.embedder.prepare(read(), self.options.force)
            except _NOT_READ as error:
                quality, windows = SignalQuality(UNUSABLE), []
                errors.append(str(error))
            else:
                errors.append(str(quality) or None)
            prepared.append((quality, windows))
        found = self.embedder.embed(prepared, self.stride)
        columns = {
            "quality": pa.array([each.quality.verdict for each in found], pa.string()),
            "error": pa.array(errors, pa.string()),
        }
        for name, size in self.embedder.sizes.items():
            rows = [None if each.features is None else self._kept(name, each.features[name]) for each in found]
            columns[name] = pa.array(rows, pa.list_(pa.from_numpy_dtype(self.dtype), size))
        if self.options.tokens:
            for name, backbone in self.embedder.backbones.items():
                kept = [None if each.tokens is None else self._kept(name, each.tokens[name]) for each in found]
                columns[name + TOKENS] = token_column(kept, backbone.config.hidden_size, self.dtype)
        return columns

    def _kept(self, name: str, values: np.ndarray) -> np.ndarray:
        if self.options.float16 and np.nanmax(np.abs(values)) > np.finfo(np.float16).max:
            raise ValueError(f"Features of {name} exceed the range of float16; keep float32.")
        return values.astype(self.dtype)

    def table(self, columns: Mapping[str, Any]) -> pa.Table:
        """Return a table that knows by what it was made."""
        experts = "\n".join(self.embedder.sizes)
        return pa.table(dict(columns)).replace_schema_metadata({_MADE_BY: self.embedder.digest, _EXPERTS: experts})

    def _with_neighbours(self, table: pa.Table) -> pa.Table:
        has, features = _features(table, list(self.embedder.sizes))
        ids = table.column(0)
        lists: list[list[Any] | None] = [None] * len(table)
        cosines: list[np.ndarray | None] = [None] * len(table)
        if has.any():
            space, known = FeatureSpace(features), ids.filter(pa.array(has)).to_pylist()
            rows, similarities = space.nearest(self.options.num_neighbours)
            for place, own, values in zip(np.flatnonzero(has), rows, similarities, strict=True):
                lists[place], cosines[place] = [known[row] for row in own], values
        neighbours, similarities = pa.array(lists, pa.list_(ids.type)), pa.array(cosines, pa.list_(pa.float32()))
        return pa.table({NEIGHBOURS: neighbours, SIMILARITIES: similarities})


def embed_files(
    embedder: Embedder,
    places: Sequence[str | Path],
    output: str | Path,
    options: EmbeddingOptions = EmbeddingOptions(),
    reading: ReadingOptions = NOTHING_TO_ADD,
) -> Path:
    """Write the features of recordings into a table with a row per file.

    It is written in parts by the processes of the launcher; the same call goes on after a kill.

    Args:
        embedder ([`Embedder`]): The model or backbone.
        places (`Sequence[str | Path]`): Recordings, and folders, which are searched with their sub-folders.
        output (`str` or `Path`): The Parquet file: `file`; `quality`, the verdict; `error`, why a file could not be
            read or has no features, or what makes it doubtful; by expert its `pooler_output`, the mean over the
            recording's windows, as a list of floats, null where the recording is unusable; where asked for by expert
            `<expert>.tokens`, lists of lists of floats, `(num_windows * num_tokens, hidden_size)`, NaN where a token
            is of what is missing; and the neighbours.
        options ([`EmbeddingOptions`], *optional*): What the table holds.
        reading ([`ReadingOptions`], *optional*): What files that do not say it are told.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: as `find_recordings` and `write_in_parts` do, if features exceed the range of float16, or if
            there is not room enough for the tokens.
    """
    job, files = _Job(embedder, options, ("file",)), find_recordings(places)
    parts = parts_of_files(files, _most_records(options))

    def make(name: str) -> pa.Table:
        own = parts[name]
        columns = job.columns([partial(_read, file, reading) for file in own])
        return job.table({"file": pa.array(own, pa.string()), **columns})

    return job.write(output, [repr(reading), *files, *states_beside(files)], parts, len(files), make)


def _read(file: str, reading: ReadingOptions) -> Any:
    try:
        return reading.read(file)
    except _NOT_READ as error:
        raise ValueError(str(error).removeprefix(f"{file}: ")) from error


def embed_dataset(
    embedder: Embedder,
    dataset: DatasetOptions,
    output: str | Path,
    options: EmbeddingOptions = EmbeddingOptions(),
    splits: Sequence[str] | None = None,
    labels: Sequence[str] = (),
) -> Path:
    """Write the features of a dataset's records into a table with a row per record; else as `embed_files`.

    Args:
        embedder ([`Embedder`]): The model or backbone.
        dataset ([`DatasetOptions`]): The dataset.
        output (`str` or `Path`): The Parquet file: `ecg_id`, `patient_id` and `split` stand in the place of `file`.
        options ([`EmbeddingOptions`], *optional*): What the table holds.
        splits (`Sequence[str]`, *optional*, defaults to all): Which.
        labels (`Sequence[str]`, *optional*): Columns of the dataset that the table has as well.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: if there is no such split, column, or record; or as `write_in_parts` does.
    """
    job = _Job(embedder, options, (*IDS, "split", *labels))
    rows = read_splits(dataset, splits)
    _check_columns(labels, next(iter(rows.values())).column_names)
    parts = parts_of(rows, _most_records(options))

    def make(name: str) -> pa.Table:
        split, indices = parts[name]
        records = rows[split].select(indices)
        columns = job.columns([partial(_record, row, dataset.sampling_rate) for row in records])
        kept = records.select_columns(list(IDS)).with_format("arrow")[:]
        ids = {each: kept[each] for each in IDS} | {"split": pa.array([split] * len(records), pa.string())}
        return job.table({**ids, **{each: _label_column(records, each) for each in labels}, **columns})

    texts = [str(dataset.sampling_rate), *labels, *fingerprints(rows)]
    return job.write(output, texts, parts, sum(map(len, rows.values())), make)


def _most_records(options: EmbeddingOptions) -> int | None:
    """Return how many records a part has at most: few with tokens, which are held in memory."""
    return _RECORDS_WITH_TOKENS if options.tokens else None


def _record(row: Mapping[str, Any], sampling_rate: float) -> dict[str, Any]:
    return row_signal(row, sampling_rate)._asdict()


def _label_column(records: datasets.Dataset, name: str) -> pa.Array:
    """Return a column of a dataset, with the names of labels that it keeps as numbers."""
    feature, values = records.features[name], records[name][:]
    try:
        if isinstance(feature, datasets.ClassLabel):
            return pa.array([None if value is None else feature.int2str(value) for value in values], pa.string())
        if isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.ClassLabel):
            names = [None if value is None else feature.feature.int2str(value) for value in values]
            return pa.array(names, pa.list_(pa.string()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"The column {name!r} holds what none of its labels is: {error}") from error
    return records.select_columns([name]).with_format("arrow")[:][name]


def _check_columns(labels: Sequence[str], known: Sequence[str]) -> None:
    known = [name for name in known if name not in (*IDS, "signal")]
    for name in labels:
        if name not in known:
            raise ValueError(
                f"The dataset has no column {name!r}; there are {', '.join(known)}.{suggest(name, known)}"
            )


@dataclass(frozen=True, eq=False)
class EmbeddedRecords:
    """A table of features that was written before.

    Attributes:
        table (`pa.Table`): The records that have features, without their tokens.
        features (`dict[str, np.ndarray]`): By expert, their features, float32 of shape `(num_records, feature_size)`.
        ids (`list`): The records' `file` or `ecg_id`.
        made_by (`str`): The digest of the embedder.
    """

    table: pa.Table
    features: dict[str, np.ndarray]
    ids: list[Any]
    made_by: str

    @cached_property
    def space(self) -> FeatureSpace:
        """The space in which the records are compared."""
        return FeatureSpace(list(self.features.values()))

    def most_similar(
        self, embedder: Embedder, recording: Any, number: int, force: bool = False
    ) -> list[tuple[Any, float]]:
        """Return the records that are most similar to a recording.

        Args:
            embedder ([`Embedder`]): The one that made the table.
            recording: An [`ECGRecord`], or whatever the pipeline takes.
            number (`int`): How many.
            force (`bool`, *optional*, defaults to False): Compare an unusable recording as well.

        Returns:
            `list[tuple[Any, float]]`: The id and the cosine of each, most similar first.

        Raises:
            ValueError: if another model made the table, or the recording is unusable or does not fit.
        """
        self.check_made_by(embedder)
        found = embedder(recording, force)
        if found.features is None:
            raise ValueError(f"The recording is unusable ({found.quality}); --force compares it all the same.")
        query = self.space.place([found.features[name][None] for name in self.features])
        rows, cosines = self.space.nearest(number, query)
        return [(self.ids[row], float(cosine)) for row, cosine in zip(rows[0], cosines[0], strict=True)]

    def check_made_by(self, embedder: Embedder) -> None:
        """Raise a ValueError if another embedder made the table."""
        if embedder.digest != self.made_by:
            raise ValueError("The table's features were made by another model, or by other weights of it.")

    def describe(self, record_id: Any) -> str:
        """Return what the table knows of a record besides its features and who it is."""
        row = self.table.slice(self.ids.index(record_id), 1).to_pylist()[0]
        skipped = {*self.features, *IDS, "file", "split", "quality", "error", NEIGHBOURS, SIMILARITIES}
        return "; ".join(f"{column} {label_text(value)}" for column, value in row.items() if column not in skipped)


def label_text(value: Any) -> str | None:
    """Return a label as text; several of one record are one text."""
    if isinstance(value, list):
        return " + ".join(map(str, value)) or None
    return None if value is None else str(value)


def read_embeddings(path: str | Path) -> EmbeddedRecords:
    """Read a table that `embed_files` or `embed_dataset` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table, or no record in it has features.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        schema = pq.read_schema(path)
        table = pq.read_table(path, columns=[name for name in schema.names if not name.endswith(TOKENS)])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
    metadata = table.schema.metadata or {}
    if _MADE_BY not in metadata:
        raise ValueError(f"{path} is no table of features; `enecg embed MODEL DATA --output {path}` writes one.")
    experts = metadata[_EXPERTS].decode().split("\n")
    has, features = _features(table, experts)
    if not has.any():
        raise ValueError(f"No record in {path} has features; its column error says why.")
    table = table.filter(pa.array(has))
    named = dict(zip(experts, features, strict=True))
    return EmbeddedRecords(table, named, table.column(0).to_pylist(), metadata[_MADE_BY].decode())


def _features(table: pa.Table, experts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return which rows have features, and these by expert as float32."""
    has = table[experts[0]].is_valid().to_numpy()
    columns = [table[name].filter(pa.array(has)).combine_chunks() for name in experts]
    return has, [
        each.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(each), -1) for each in columns
    ]


__all__ = [
    "NEIGHBOURS",
    "SIMILARITIES",
    "EmbeddedRecords",
    "EmbeddingOptions",
    "embed_dataset",
    "embed_files",
    "label_text",
    "read_embeddings",
]
