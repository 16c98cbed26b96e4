"""What the local Hub keeps: repositories with blobs, commits that never change, branches and tags."""

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from types import MappingProxyType
from typing import Any

LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".png", ".arrow", ".npz", ".pt", ".pth", ".onnx", ".zip")
LFS_SIZE = 10 * 2**20  # bytes from which any file goes to LFS
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()
COMMIT_NUMBERS = count()


class HubError(Exception):
    """An answer of status 4xx or 5xx, with the code that the client turns into its own exceptions."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


@dataclass(frozen=True)
class Blob:
    """The content of a file."""

    content: bytes
    lfs: bool = False

    @property
    def size(self) -> int:
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What Git keeps in place of an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def oid(self) -> str:
        """Git's hash of the content, or of the pointer to it."""
        stored = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A tree of files under a hash, never changed."""

    title: str
    message: str
    parent: "Commit | None"
    files: Mapping[str, Blob]
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))
    number: int = field(default_factory=COMMIT_NUMBERS.__next__)

    @cached_property
    def oid(self) -> str:
        tree = sorted((path, blob.oid) for path, blob in self.files.items())
        fields = (self.number, self.title, self.message, self.parent and self.parent.oid, tree)
        return hashlib.sha1(repr(fields).encode()).hexdigest()

    def history(self) -> Iterator["Commit"]:
        """Yield this commit and those before it, newest first."""
        commit: Commit | None = self
        while commit:
            yield commit
            commit = commit.parent


class Repository:
    """A model, dataset or space."""

    def __init__(self, repo_id: str, kind: str, private: bool) -> None:
        self.id, self.kind, self.private = repo_id, kind, private
        first = Commit("initial commit", "", None, MappingProxyType({".gitattributes": Blob(GIT_ATTRIBUTES)}))
        self.branches, self.tags, self.commits = {"main": first}, dict[str, Commit](), {first.oid: first}
        self.announced: dict[str, int] = {}  # sizes of LFS objects by SHA-256
        self.objects: dict[str, bytes] = {}
        self.lock = threading.RLock()

    def resolve(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag or a 40-digit hash."""
        for known in (self.branches, self.tags, self.commits):
            if revision in known:
                return known[revision]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def head(self, branch: str) -> Commit:
        """Return the newest commit of a branch, which alone can be committed to."""
        if branch not in self.branches:
            raise HubError(404, f"Invalid branch: {branch}", "RevisionNotFound")
        return self.branches[branch]

    def upload_mode(self, path: str, size: int) -> str:
        return "lfs" if path.lower().endswith(LFS_SUFFIXES) or size >= LFS_SIZE else "regular"

    def receive(self, oid: str, content: bytes) -> None:
        """Store an LFS object that was announced with this SHA-256 and size."""
        if oid not in self.announced:
            raise HubError(403, f"LFS object {oid} was not announced")
        if len(content) != self.announced[oid] or hashlib.sha256(content).hexdigest() != oid:
            raise HubError(400, f"BadDigest: the content sent is not that of LFS object {oid}")
        self.objects[oid] = content

    def commit(self, branch: str, header: Mapping[str, Any], operations: list[dict[str, Any]]) -> Commit:
        """Apply all operations to the newest commit of a branch, or raise and leave everything as it was."""
        with self.lock:
            parent = self.head(branch)
            if header.get("parentCommit", parent.oid) != parent.oid:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(parent.files)
            for operation in operations:
                self.apply(files, operation["key"], operation["value"])
            commit = Commit(header["summary"], header.get("description", ""), parent, MappingProxyType(files))
            self.commits[commit.oid] = self.branches[branch] = commit
            return commit

    def apply(self, files: dict[str, Blob], key: str, value: Mapping[str, Any]) -> None:
        """Change `files` by one operation of a commit."""
        path = value["path"]
        if key == "file":
            files[path] = Blob(base64.b64decode(value["content"], validate=True))
        elif key == "lfsFile":
            if value["oid"] not in self.objects:
                raise HubError(400, f"Your push was rejected: {path} points to an LFS object that does not exist")
            files[path] = Blob(self.objects[value["oid"]], lfs=True)
        elif key in ("deletedFile", "deletedFolder"):
            folder = path.rstrip("/") + "/"
            gone = [each for each in files if each == path or (key == "deletedFolder" and each.startswith(folder))]
            if not gone:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for each in gone:
                del files[each]
        else:
            raise HubError(400, f"Unknown operation {key}")

    def add_reference(self, references: dict[str, Commit], name: str, revision: str) -> None:
        """Create a branch (in `self.branches`) or a tag (in `self.tags`)."""
        with self.lock:
            if name in references:
                raise HubError(409, f"Reference {name} already exists")
            references[name] = self.resolve(revision)
