"""The Hub of each test."""

from collections.abc import Iterator

import pytest

from tests.local_hub import LocalHub


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        yield hub
