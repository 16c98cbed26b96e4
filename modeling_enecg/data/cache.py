"""The cache of prepared datasets, and of what is computed from them: written to once, then only read."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets

from .errors import DatasetError

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class CachedDataset:
    """A dataset that is in the cache, or will be.

    `datasets` locks a cache before it looks into it, which nobody can do in one that is read-only. Since it puts a
    dataset's folder in place whole, by renaming it, one that is there can be read without a lock.

    Args:
        new_builder (`Callable[[str], datasets.DatasetBuilder]`): Makes the builder, of a cache's folder.
        cache_dir (`str`, *optional*): The cache; that of `datasets` by default.
    """

    def __init__(self, new_builder: Callable[[str], datasets.DatasetBuilder], cache_dir: str | None):
        self._new_builder = new_builder
        self._cache = cache_folder(cache_dir)
        with TemporaryDirectory() as elsewhere:  # a cache that it may lock
            self.builder = new_builder(elsewhere)
            self._place = self._cache / Path(self.builder.cache_dir).relative_to(elsewhere)

    def prepared(self, num_proc: int | None = None) -> datasets.DatasetBuilder:
        """Return the builder, its dataset in the cache.

        Args:
            num_proc (`int`, *optional*): Processes that read, where it is not there yet.

        Raises:
            DatasetError: if it is not there, and cannot be written there.
        """
        if (self._place / datasets.config.DATASET_INFO_FILENAME).is_file():
            self.builder.info = datasets.DatasetInfo.from_directory(str(self._place))
            self.builder._output_dir = str(self._place)
        else:
            with written_to_cache(self._cache, "this dataset"):
                self.builder = self._new_builder(str(self._cache))
                self.builder.download_and_prepare(num_proc=num_proc)
        return self.builder


def cache_folder(cache_dir: str | None) -> Path:
    """Return the cache's folder; that of `datasets` by default."""
    return Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser()


@contextmanager
def written_to_cache(cache: str | Path, what: str) -> Iterator[None]:
    """Say what to do where the cache that is written to meanwhile cannot be.

    Args:
        cache (`str` or `Path`): The folder.
        what (`str`): What is written there, for the message.

    Raises:
        DatasetError: if it may not be written to.
    """
    try:
        yield
    except OSError as error:
        place = Path(error.filename or "")
        concerns_it = place.is_relative_to(cache) or Path(cache).is_relative_to(place)  # its folders are made, too
        if error.errno not in _NOT_WRITABLE or not error.filename or not concerns_it:
            raise
        reason = f"{cache} cannot be written to ({error.strerror}), and does not hold {what} yet; give another place."
        raise DatasetError(None, None, "cache_dir", reason) from error


__all__ = ["CachedDataset", "cache_folder", "written_to_cache"]
