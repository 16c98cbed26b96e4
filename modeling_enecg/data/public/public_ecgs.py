"""A public data set in the layout of its release as a `datasets` builder.

    builder = PublicECGs(data_dir="georgia")  # or the folder of another set that `public_sets` describes
    builder.download_and_prepare(num_proc=4)
    record = builder.as_dataset(split="train")[0]

As a script it tells what the folder holds, and with `--output_dir` writes it as Parquet files:

    python dataset_scripts/public.py --data_dir georgia
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import datasets

from ..builder import CheckedConfig
from ..croissant import Publication
from ..errors import DatasetError
from ..folder.recordings import states_of_files
from ..folder.settings import FolderSettings
from ..folder.table import LabelTable
from ..folder.wfdb_folder import FEATURES, WFDBFolder
from .definition import PublicSet, public_sets
from .labels import PublicTable, public_table
from .records import described, has_diagnoses


def find_public_set(folder: str | Path) -> PublicSet | None:
    """Return the public data set that a folder holds: by its tables, else by what its headers say; None of others."""
    folder, known = Path(folder), public_sets().values()
    if not folder.is_dir():
        return None
    by_tables = next((each for each in known if each.is_in(folder)), None)
    return by_tables or next((each for each in known if each.headers and has_diagnoses(folder)), None)


@dataclass(eq=False)
class PublicECGsConfig(CheckedConfig):
    """What happens to a faulty record; see `CheckedConfig`."""

    def input_fingerprint(self) -> str:
        """Return a hash of the set's definition, and of name, size and time of its files."""
        public = self.public_set()
        content = f"{FEATURES} {public} {sorted(public.meanings().items())}"
        return hashlib.sha256(f"{content}\n{_state(self.folder)}".encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where the release lies."""
        if self.data_dir is None:
            raise DatasetError(None, None, "data_dir", "not given; expected the folder of a public data set")
        return Path(self.data_dir)

    def public_set(self) -> PublicSet:
        """Return the set that the folder holds.

        Raises:
            DatasetError: if it holds none that is known.
        """
        found = find_public_set(self.folder)
        if found is None:
            titles = ", ".join(each.title for each in public_sets().values())
            raise DatasetError(None, None, "data_dir", f"{self.folder} holds none of the sets {titles}")
        return found


class PublicECGs(WFDBFolder):
    """Builds a dataset from a folder in the layout of one of the public data sets that `public_sets` describes.

    Columns are those of [`WFDBFolder`], with the tasks that `public_table` describes. A column `<task>_unknown` names
    the labels of a multi-label task that are not known of a record; without it all are known where the task's column
    is not None.

    Args:
        data_dir (`str` or `Path`): The folder.
        cache_dir (`str`, *optional*): Where the Arrow files go; `datasets`' cache by default.
        on_error (`str`, *optional*, defaults to `"raise"`): See `CheckedConfig`.

    Raises:
        DatasetError: if the folder holds no set that is known, or its tables are faulty as a whole.
    """

    BUILDER_CONFIG_CLASS = PublicECGsConfig

    config: PublicECGsConfig

    def _info(self) -> datasets.DatasetInfo:
        public, info = self.config.public_set(), super()._info()
        info.description, info.homepage = public.title, public.source
        info.license, info.citation = public.licence, public.citation
        return info

    def settings(self) -> FolderSettings:
        """Return what the files of the set do not say themselves."""
        public = self.config.public_set()
        return FolderSettings(
            folder=self.config.folder,
            file=f"{public.name}.yaml",
            table=public.tables[0] if public.tables else "headers",
            record="file",
            sampling_rate=public.sampling_rate,
            unit=public.unit,
            lead_names=public.lead_names,
        )

    def label_table(self) -> LabelTable:
        """Return the tasks and rows that the release's tables or headers give."""
        return self._table().table

    def publication(self) -> Publication:
        """Return who published the set, and when."""
        public = self.config.public_set()
        return Publication(public.title, public.creators, public.published, public.version)

    def notes(self) -> list[str]:
        """Return sentences on the labels that whoever uses them should read."""
        return self._table().notes

    def _table(self) -> PublicTable:
        return _read_table(self.config.public_set().name, self.config.folder, _state(self.config.folder))


@lru_cache(maxsize=1)
def _read_table(name: str, folder: Path, state: str) -> PublicTable:
    """Read a release once for as long as its files are in the same state."""
    public = public_sets()[name]
    return public_table(public, described(public, folder))


def _state(folder: Path) -> str:
    visible = (Path(root) for root, _, _ in os.walk(folder) if not _is_hidden(Path(root).relative_to(folder)))
    return hashlib.sha256("".join(states_of_files(visible)).encode()).hexdigest()


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


__all__ = ["PublicECGs", "find_public_set"]
