"""One commit to the Hub, tried again where that is safe."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RevisionResolutionError, XetDownloadError
from huggingface_hub.utils import validate_repo_id

ATTEMPTS = 4
WAIT_S = 1.0  # after the first attempt; twice that after the second, and so on
# What breaks between here and the Hub, and is not an `OSError`.
NETWORK_ERRORS = (httpx2.HTTPError, RevisionResolutionError, XetDownloadError)


class PushError(OSError):
    """A push that did not go through; the message says what the repository holds, and what to do."""


@dataclass(frozen=True)
class Push:
    """What is to be in a repository on the Hub.

    Attributes:
        repo_id (`str`): `org/name`; made if need be.
        files (`Mapping[str, Path | bytes]`): From each path in the repository to a file here, or its content.
        owned (`Sequence[str]`): Patterns of paths: files there that match and are not in `files` are removed.
        repo_type (`str`, *optional*, defaults to `"model"`): `"model"` or `"dataset"`.
        private (`bool`, *optional*, defaults to False): Whether a new repository is private.
        revision (`str`, *optional*): The branch, made from `main` if need be; `main` by default.

    Raises:
        ValueError: if a repository cannot have this name.
    """

    repo_id: str
    files: Mapping[str, Path | bytes]
    owned: Sequence[str]
    repo_type: str = "model"
    private: bool = False
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.repo_id.count("/") != 1:
            raise ValueError(f"A repository on the Hub is org/name; got {self.repo_id!r}.")
        validate_repo_id(self.repo_id)

    def send(self, token: str | None = None) -> str:
        """Make one commit of all files, or none if nothing changed.

        A commit whose connection breaks, or that the Hub fails to make, is tried again: the client then leaves out
        what has arrived, so that none is made twice.

        Args:
            token (`str`, *optional*): The Hub's token; by default that of `hf auth login` or `HF_TOKEN`.

        Returns:
            `str`: The commit's address.

        Raises:
            PushError: if the Hub refuses, or cannot be reached in several attempts.
            ValueError: if the repository is public where it should be private, or the Hub finds the card's metadata
                illegal.
        """
        api = HfApi(token=token)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._send_once(api)
            except (*NETWORK_ERRORS, OSError, RuntimeError, json.JSONDecodeError) as error:
                if attempt == ATTEMPTS or not _may_pass(error):
                    secret = token or get_token()
                    reason = _reason(error).replace(secret, "***") if secret else _reason(error)
                    # Without its cause, which may show the token: httpx quotes a header that it cannot send.
                    raise PushError(f"{self.repo_id}: {reason} {_advice(error)}") from None
            time.sleep(WAIT_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    def _send_once(self, api: HfApi) -> str:
        place: dict[str, Any] = {"repo_id": self.repo_id, "repo_type": self.repo_type}
        api.create_repo(**place, private=self.private or None, exist_ok=True)
        if self.revision is not None:
            api.create_branch(**place, branch=self.revision, exist_ok=True)
        info: Any = api.repo_info(**place, revision=self.revision)
        if self.private and not info.private:
            raise ValueError(f"{self.repo_id} exists and is public; choose another name, or make it private first.")
        outdated = sorted({file.rfilename for file in info.siblings or []} - self.files.keys())
        deletions = [path for path in outdated if any(fnmatch(path, pattern) for pattern in self.owned)]
        commit = api.create_commit(
            **place,
            operations=[
                *(CommitOperationAdd(path, content) for path, content in self.files.items()),
                *(CommitOperationDelete(path) for path in deletions),
            ],
            commit_message="Upload with enecg",
            revision=self.revision,
        )
        return commit.commit_url


def _may_pass(error: Exception) -> bool:
    """Whether the same call may go through a moment later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError | json.JSONDecodeError)


def _reason(error: Exception) -> str:
    """Describe an error in one line, without what follows addresses: those of uploads are signed."""
    if isinstance(error, HfHubHTTPError):
        text = f"the Hub answered {error.response.status_code}: {error.server_message or 'no reason given'}"
    elif isinstance(error, httpx2.TransportError | json.JSONDecodeError):
        text = f"the connection to the Hub broke ({type(error).__name__})"
    else:
        text = str(error) or type(error).__name__
    return re.sub(r"(https?://[^\s?]+)\?\S*", r"\1", " ".join(text.split())).rstrip(".") + "."


def _advice(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
        may_not = error.response.status_code in (401, 403)
        return "Log in with `hf auth login`, by a token that may write there." if may_not else "Nothing changed there."
    return (
        "The repository holds what it held before, or the whole push: a commit is never made in part. "
        "Run the same command again; what has arrived is not sent twice."
    )
