"""`enecg embed`: what a model's experts make of recordings, as a table of features."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._parsers import (
    ANSWERS_OF_FILES,
    OF_A_DATASET,
    Commands,
    add_model_arguments,
    add_reading_arguments,
    check_model,
    check_plot,
    counted_verdicts,
    new_parser,
    quiet_libraries,
    reading_options,
    refuse_unused,
)

if TYPE_CHECKING:
    from ..prediction.embedder import Embedder
    from ..prediction.embeddings import EmbeddingOptions

_NEIGHBOURS = 5
_OF_A_TABLE: Mapping[str, Any] = {"float16": False, "tokens": False, "token_stride": 1, "label": []}


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "embed",
        "Write what a model's experts make of recordings, their features, into a table.",
        "enecg embed runs/smoke PTB-XL --output features.parquet --label superdiagnostic --plot map.png\n"
        "enecg embed checkpoints/ecgfounder new_recordings --output features.parquet --neighbours 5\n"
        "enecg embed runs/smoke tracing.xml --among features.parquet",
    )
    add_model_arguments(parser, ", or of a backbone alone")
    data = parser.add_argument_group("data")
    data.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="DATA is a recording; a folder of recordings, which is searched with its sub-folders; or a dataset: a "
        "folder of PTB-XL, of MIMIC-IV-ECG or another public set, with a dataset.yaml, or of Parquet, or a Hub id.",
    )
    data.add_argument("--split", action="append", help="Of a dataset this split is taken; by default all are.")
    data.add_argument(
        "--on_error",
        choices=("raise", "skip"),
        default="raise",
        help="A bad record of a dataset ends the command (raise, the default), or is left out (skip).",
    )
    data.add_argument("--cache_dir", help="A dataset is kept here once read.")
    add_reading_arguments(
        data, " Of a dataset with several rates, this one is read; by default that of the training, or 500 Hz."
    )
    table = parser.add_argument_group("table")
    table.add_argument(
        "--output",
        metavar="FILE.parquet",
        help="The table is written here: a row per recording, with `file` or `ecg_id`, `quality`, `error`, and a "
        "column of floats per expert. The same command goes on after a kill.",
    )
    table.add_argument(
        "--tokens",
        action="store_true",
        help="The table has every expert's tokens as well, in a column `<expert>.tokens`. What they take is said "
        "before.",
    )
    table.add_argument(
        "--token_stride",
        type=int,
        default=1,
        metavar="N",
        help="The mean of N successive tokens is kept for one (default: 1).",
    )
    table.add_argument("--float16", action="store_true", help="Features and tokens are kept in half precision.")
    table.add_argument(
        "--force", action="store_true", help="Recordings whose signal is unusable (flat, noise) are embedded as well."
    )
    table.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="COLUMN",
        help="The table has this column of the dataset as well; the first of them colours the plot.",
    )
    table.add_argument("--plot", metavar="FILE.png", help="A map of the records (t-SNE), by label, is drawn here.")
    similar = parser.add_argument_group("similar records")
    similar.add_argument(
        "--neighbours",
        type=int,
        metavar="N",
        help="The N most similar records of the table stand in each row. Similarity is the cosine between "
        "standardised features.",
    )
    similar.add_argument(
        "--among",
        metavar="FILE.parquet",
        help=f"The recordings are compared with those of an earlier table of the same model, and the {_NEIGHBOURS} or "
        "N most similar are printed.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Embed what was given, or print what is similar to it."""
    check_plot(options.plot)
    if (options.output is None) == (options.among is None):
        raise ValueError("Give an --output, or a table to look --among.")
    if options.plot and options.output is None:
        raise ValueError("--plot draws the table that --output names.")
    if options.neighbours is not None and options.neighbours < 1:
        raise ValueError(f"--neighbours must be 1 or more; got {options.neighbours}.")
    check_model(options)
    from ..data.sources import is_dataset

    if options.among is not None:
        refuse_unused(options, {**OF_A_DATASET, **_OF_A_TABLE}, "is for an --output; --among reads a table.")
        _print_similar(options)
    elif len(options.data) == 1 and is_dataset(options.data[0]):
        refuse_unused(options, ANSWERS_OF_FILES, "is for recordings; a dataset says it itself.")
        _embed(options, is_dataset=True)
    else:
        refuse_unused(
            options, {**OF_A_DATASET, "label": []}, "is for a dataset; these are recordings, which have none."
        )
        _embed(options, is_dataset=False)


def _embed(options: argparse.Namespace, is_dataset: bool) -> None:
    from ..prediction.embedder import Embedder
    from ..prediction.embeddings import EmbeddingOptions, embed_files
    from ..runs.processes import start_processes

    quiet_libraries()
    state = start_processes()
    embedder = Embedder(options.model, options.adapter, state.device)
    neighbours = options.neighbours or 0
    wanted = EmbeddingOptions(options.float16, options.force, neighbours, options.tokens, options.token_stride)
    if is_dataset:
        output = _embed_dataset(options, embedder, wanted)
    else:
        output = embed_files(embedder, options.data, options.output, wanted, reading_options(options))
    if state.is_main_process:
        sizes = ", ".join(f"{name} {size}" for name, size in embedder.sizes.items())
        counts = counted_verdicts(output, "records")
        print(f"{output}: {counts}. Features: {sizes}. The column error says why there are none.")
        if options.plot:
            try:
                _plot(output, options)
            except ValueError as error:
                raise ValueError(f"the table is written, and no map: {error}") from error


def _embed_dataset(options: argparse.Namespace, embedder: "Embedder", wanted: "EmbeddingOptions") -> Path:
    from ..data.sources import DatasetOptions
    from ..prediction.dataset import options_at
    from ..prediction.embeddings import embed_dataset

    dataset = DatasetOptions(options.data[0], on_error=options.on_error, cache_dir=options.cache_dir)
    dataset = options_at(embedder.trained_rates, dataset, options.sampling_rate)
    return embed_dataset(embedder, dataset, options.output, wanted, options.split, options.label)


def _plot(output: Path, options: argparse.Namespace) -> None:
    from ..evaluation.similarity import map_in_2d
    from ..figures.maps import plot_map
    from ..prediction.embeddings import label_text, read_embeddings

    embedded = read_embeddings(output)
    labels = [label_text(value) for value in embedded.table[options.label[0]].to_pylist()] if options.label else None
    by = f" by {options.label[0]}" if options.label else ""
    experts = ", ".join(embedded.features)
    title = f"{len(embedded.ids)} records{by}; features of {experts}"
    plot_map(map_in_2d(embedded.space.points), labels, options.plot, title)


def _print_similar(options: argparse.Namespace) -> None:
    from ..data.folder.recordings import find_recordings
    from ..prediction.embedder import Embedder
    from ..prediction.embeddings import read_embeddings

    quiet_libraries()
    embedded, reading = read_embeddings(options.among), reading_options(options)
    embedder = Embedder(options.model, options.adapter)
    for file in find_recordings(options.data):
        record = reading.read(file)
        try:
            similar = embedded.most_similar(embedder, record, options.neighbours or _NEIGHBOURS, options.force)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        print(f"{file}: most similar of {len(embedded.ids)} records, with the cosine")
        for name, cosine in similar:
            labels = embedded.describe(name)
            print(f"  {cosine:6.3f}  {name}{f'  ({labels})' if labels else ''}")
