"""A long table written in parts, by the processes of the launcher, that goes on after a kill."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from tqdm import tqdm

from ..runs.files import new_file, write_text
from ..runs.lock import locked


def write_in_parts(
    output: str | Path,
    digest: str,
    names: Sequence[str],
    make: Callable[[str], pa.Table],
    finish: Callable[[pa.Table], pa.Table] | None = None,
    finish_reads: Sequence[str] | None = None,
    what: str = "prediction",
) -> Path:
    """Write a Parquet file whose parts are made one by one.

    Each process makes its share of the parts, which are kept beside the output until it is whole: the same call goes
    on after a kill.

    Args:
        output (`str` or `Path`): The Parquet file.
        digest (`str`): Of all that determines the table: other parts are refused.
        names (`Sequence[str]`): The parts' names, in their order.
        make (`Callable[[str], pa.Table]`): Makes one part; all have one schema.
        finish (`Callable[[pa.Table], pa.Table]`, *optional*): Gives of the whole table the columns that only it can
            tell.
        finish_reads (`Sequence[str]`, *optional*, defaults to all): The columns that `finish` gets; the others are
            never in memory as a whole.
        what (`str`, *optional*, defaults to `"prediction"`): What goes on, for messages.

    Returns:
        `Path`: The file.

    Raises:
        FolderInUseError: if another process writes the same file.
        ValueError: if the output is a folder, or beside it there are parts of another table.
    """
    output, state = Path(output), PartialState()
    if output.is_dir():
        raise ValueError(f"{output} is a folder; give a file.")
    folder = Path(f"{output}.parts")
    with locked(folder, what):
        _check_same(folder, digest, what)
        paths = {name: folder / f"{name}.parquet" for name in names}
        own = [name for name in names[state.process_index :: state.num_processes] if not paths[name].exists()]
        for name in tqdm(own, desc=what.capitalize(), unit="part", disable=not state.is_main_process):
            with new_file(paths[name]) as aside:
                pq.write_table(make(name), aside)
        state.wait_for_everyone()
        if state.is_main_process:
            _join(list(paths.values()), output, finish, finish_reads)
            for path in paths.values():  # before what says whose they are
                path.unlink()
            shutil.rmtree(folder)
        state.wait_for_everyone()
    return output


def _check_same(folder: Path, digest: str, what: str) -> None:
    path = folder / "of.txt"
    if path.exists() and path.read_text(encoding="utf-8") != digest:
        raise ValueError(f"{folder} holds parts of another {what}; remove it, or choose another output.")
    PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        write_text(path, digest)
    PartialState().wait_for_everyone()


def _join(
    parts: Sequence[Path],
    output: Path,
    finish: Callable[[pa.Table], pa.Table] | None,
    finish_reads: Sequence[str] | None,
) -> None:
    schema, further = pq.read_schema(parts[0]), None
    if finish is not None:
        columns = None if finish_reads is None else list(finish_reads)
        further = finish(pa.concat_tables([pq.read_table(part, columns=columns) for part in parts]))
        schema = pa.schema([*schema, *further.schema], schema.metadata)
    with new_file(output) as aside, pq.ParquetWriter(aside, schema) as writer:
        first = 0
        for part in parts:
            table = pq.read_table(part)
            if further is not None:
                own = further.slice(first, len(table))
                table = pa.table([*table.columns, *own.columns], schema=schema)
            first += len(table)
            writer.write_table(table)


__all__ = ["write_in_parts"]
