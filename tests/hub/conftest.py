"""A local Hub that the real client takes for the Hub, and a small model to push."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import close_session, constants

from modeling_enecg import EnECGModel
from tests.helpers.hub import save, tiny_expert
from tests.helpers.tiny_models import RHYTHM
from tests.local_hub import LocalHub

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[LocalHub]:
    """A Hub that this process and the functions it calls take for the real one, and one thread as elsewhere."""
    threads = torch.get_num_threads()
    with LocalHub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr("transformers.utils.hub._hf_api", None)  # made anew, with that endpoint
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path_factory.mktemp("home") / "token"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", hub.token)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
        patch.setattr("time.sleep", lambda seconds: None)
        torch.set_num_threads(1)
        close_session()
        yield hub
        close_session()
    torch.set_num_threads(threads)


@pytest.fixture
def repo() -> str:
    """A repository of the test's own."""
    return f"org/test-{next(NUMBERS)}"


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def plain(tmp_path) -> Path:
    """A small model without a report."""
    torch.manual_seed(0)
    return save(EnECGModel.from_experts({"cnn": tiny_expert()}, [RHYTHM]), tmp_path / "plain")


@pytest.fixture(scope="module")
def record(simulated) -> str:
    return str(simulated / "records500" / "00000" / "00007_hr")
