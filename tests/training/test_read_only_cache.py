"""A cache that may only be read, as that of a colleague or a cluster: what it holds serves, the rest is refused."""

import json

import pytest

from modeling_enecg.data.ptbxl.parquet import write_parquet
from tests.helpers import caches
from tests.helpers.ecg_folder import patients, write_folder
from tests.helpers.permissions import python_without_privileges, read_only


@pytest.fixture(scope="module")
def found(simulated, tmp_path_factory):
    """What the one that filled the cache has of it; the same of one that may only read it, and what that is told."""
    folder = tmp_path_factory.mktemp("read_only")
    others = [write_folder(folder / "own", patients()), write_parquet(simulated, folder / "parquet", ["100hz"])]
    written = caches.read_all(folder / "cache", simulated, *others)
    with read_only(folder / "cache") as cache:
        files = sorted(cache.rglob("*"))
        read, refused = json.loads(
            python_without_privileges("-m", caches.__name__, cache, simulated, *others).splitlines()[-1]
        )
        assert sorted(cache.rglob("*")) == files
    return written, read, refused


def test_what_is_in_a_cache_is_read_where_nobody_may_write(found):
    written, read, _ = found
    assert read == written
    assert read["others"] == [10, 161]
    assert read["prepared"]["test"] > 0


def test_what_is_not_in_it_is_refused_by_the_name_of_the_setting(found):
    _, _, refused = found
    for message, what in zip(refused, ("this dataset", "its prepared records", "the features of"), strict=True):
        assert message.startswith("cache_dir: ")
        assert f"cannot be written to (Permission denied), and does not hold {what}" in message
