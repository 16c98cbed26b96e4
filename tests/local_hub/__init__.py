"""A writable Hugging Face Hub on loopback for tests, spoken to by the real `huggingface_hub`."""

import secrets
import tempfile
from types import TracebackType
from typing import Self

from tests.local_hub.endpoints import Endpoints
from tests.local_hub.faults import Fault, FaultKind, Faults
from tests.local_hub.server import LoggedRequest, Server
from tests.local_hub.storage import Blob, Commit, HubError

__all__ = ["Blob", "Commit", "Fault", "HubError", "LocalHub", "LoggedRequest"]


class LocalHub:
    """Models, datasets and spaces of one user, kept in memory while the context lasts.

    ```python
    with LocalHub() as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)  # in this process, with constants.HF_HUB_DISABLE_XET = True
        subprocess.run(command, env=os.environ | hub.environment())  # in another
        hub.fault("truncate", "model.safetensors")
        assert hub.files("tester/model")["config.json"] == b"{}"
    ```

    As on the Hub, a new repository has a first commit with `.gitattributes`, a private one is missing for those
    without the token, a wrong token is refused everywhere, and repositories can be made under `user` and `orgs` only.
    Unlike the Hub, it takes any YAML in a model card, and serves LFS files itself rather than by a redirect.
    """

    def __init__(self, user: str = "tester", orgs: tuple[str, ...] = ("org",)) -> None:
        self.user, self.token = user, f"hf_{secrets.token_hex(17)}"
        self._endpoints, self._faults = Endpoints(self.token, user, orgs), Faults()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="local_hub_", ignore_cleanup_errors=True)
        self._server = Server(self._endpoints, self._faults)
        self.url = self._endpoints.url = self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()
        self._folder.cleanup()

    @property
    def requests(self) -> list[LoggedRequest]:
        """What was asked so far: method, decoded path, status; never the token."""
        return list(self._server.log)

    def fault(self, kind: FaultKind, pattern: str, times: int = 1) -> Fault:
        """Let a fault strike the next `times` requests whose "METHOD /path" has a match of the regex `pattern`.

        `kind` is "cut_upload", "no_answer", "truncate", "reset", "corrupt" or a status, see `Fault`, whose `times`
        counts down to 0.
        """
        return self._faults.add(Fault(kind, pattern, times))

    def environment(self) -> dict[str, str]:
        """Return what a process needs in its environment, each time with caches of its own."""
        home = tempfile.mkdtemp(dir=self._folder.name)
        caches = {"HF_HUB_CACHE": "hub", "HF_MODULES_CACHE": "modules", "HF_DATASETS_CACHE": "datasets"}
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HOME": home,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        } | {name: f"{home}/{folder}" for name, folder in caches.items()}

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Return the content of every file at a revision, with `.gitattributes`."""
        commit = self._endpoints.repository(kind, repo_id, known_user=True).resolve(revision)
        return {path: blob.content for path, blob in commit.files.items()}

    def commits(self, repo_id: str, revision: str = "main", kind: str = "model") -> list[Commit]:
        """Return the commits that led to a revision, newest first."""
        return list(self._endpoints.repository(kind, repo_id, known_user=True).resolve(revision).history())
