"""What the local Hub answers to each call of `huggingface_hub`, apart from how it travels."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.local_hub.storage import Blob, Commit, HubError, Repository

API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+)"
REVISION, PATH = r"(?P<revision>[^/]+)", r"(?P<path>.+)"
ROUTES: list[tuple[str, re.Pattern[str], str, Callable[..., "Response"]]] = []


@dataclass
class Request:
    """A request; `path` is still percent-encoded, since a revision may contain a slash."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str] | Message
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Response:
    """An answer; the server adds Content-Length."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def answer(content: Any, status: int = 200, **headers: str) -> Response:
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json"} | headers)


def refusal(error: HubError) -> Response:
    headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
    return answer({"error": error.message}, error.status, **headers, **error.headers)


def route(method: str, pattern: str, access: str = "") -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Register an endpoint; with `access` "read", "write" or "signed" it is given the repository in the path."""

    def register(endpoint: Callable[..., Response]) -> Callable[..., Response]:
        ROUTES.append((method, re.compile(pattern), access, endpoint))
        return endpoint

    return register


class Endpoints:
    """The Hub's API over repositories in memory, for one user with one token."""

    def __init__(self, token: str, user: str, orgs: tuple[str, ...]) -> None:
        self.url, self.token, self.user, self.orgs = "", token, user, orgs
        self.repositories: dict[tuple[str, str], Repository] = {}

    def handle(self, request: Request) -> Response:
        try:
            return self.find_endpoint(request)
        except HubError as error:
            return refusal(error)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return refusal(HubError(400, f"Malformed request: {error!r}"))

    def find_endpoint(self, request: Request) -> Response:
        known_user = self.is_known(request)
        for method, pattern, access, endpoint in ROUTES:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                parts: dict[str, Any] = {name: unquote(part) for name, part in match.groupdict().items() if part}
                if access:
                    kind = parts.pop("kind", "models")[:-1]
                    parts["repository"] = self.repository(kind, parts.pop("repo"), known_user or access == "signed")
                if not known_user and access not in ("read", "signed"):
                    raise HubError(401, "Invalid username or password.")
                return endpoint(self, request, **parts)
        raise HubError(404, f"The local Hub has no {request.method} {request.path}")

    def is_known(self, request: Request) -> bool:
        """Tell the user from nobody; a wrong token is refused."""
        authorization = request.headers.get("Authorization")
        if authorization not in (None, f"Bearer {self.token}"):
            raise HubError(401, "Invalid credentials in Authorization header")
        return authorization is not None

    def repository(self, kind: str, repo_id: str, known_user: bool) -> Repository:
        """Return a repository; without the token a private one looks as if it did not exist."""
        repository = self.repositories.get((kind, repo_id))
        if repository is None or (repository.private and not known_user):
            raise HubError(404 if known_user else 401, "Repository not found", "RepoNotFound")
        return repository

    def web_url(self, repository: Repository) -> str:
        prefix = "" if repository.kind == "model" else f"{repository.kind}s/"
        return f"{self.url}/{prefix}{repository.id}"

    # The user and the repositories

    @route("GET", "/api/whoami-v2")
    def whoami(self, request: Request) -> Response:
        access_token = {"displayName": "local", "role": "write"}
        orgs = [{"type": "org", "name": name} for name in self.orgs]
        auth = {"type": "access_token", "accessToken": access_token}
        return answer({"type": "user", "name": self.user, "orgs": orgs, "auth": auth})

    @route("POST", "/api/repos/create")
    def create_repo(self, request: Request) -> Response:
        wanted = request.json()
        owner, kind = wanted.get("organization") or self.user, wanted.get("type") or "model"
        if owner not in (self.user, *self.orgs):
            raise HubError(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        repository = Repository(f"{owner}/{wanted['name']}", kind, wanted.get("visibility") == "private")
        made = self.repositories.setdefault((kind, repository.id), repository) is repository
        content = {"url": self.web_url(repository), "name": repository.id}
        if not made:
            return answer(content | {"error": f"You already created this {kind} repo"}, 409)
        return answer(content)

    @route("DELETE", "/api/repos/delete")
    def delete_repo(self, request: Request) -> Response:
        wanted = request.json()
        kind, repo_id = wanted.get("type") or "model", f"{wanted.get('organization') or self.user}/{wanted['name']}"
        self.repository(kind, repo_id, known_user=True)
        del self.repositories[kind, repo_id]
        return answer({})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, request: Request) -> Response:
        """Accept any metadata: the standard library reads no YAML."""
        request.json()["content"]
        return answer({"errors": [], "warnings": []})

    # Reading

    @route("GET", API, "read")
    @route("GET", f"{API}/revision/{REVISION}", "read")
    def repo_info(self, request: Request, repository: Repository, revision: str = "main") -> Response:
        commit, oldest = repository.resolve(revision), list(repository.branches["main"].history())[-1]
        blobs = request.query.get("blobs", [""])[0].lower() == "true"
        info = {"id": repository.id, "author": repository.id.split("/")[0], "sha": commit.oid}
        flags = {
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
        siblings = [sibling(path, blob, blobs) for path, blob in sorted(commit.files.items())]
        return answer(info | flags | {"createdAt": oldest.date, "lastModified": commit.date, "siblings": siblings})

    @route("GET", f"{API}/refs", "read")
    def refs(self, request: Request, repository: Repository) -> Response:
        heads = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
        refs = {
            key: [
                {"name": name, "ref": f"refs/{word}/{name}", "targetCommit": commit.oid}
                for name, commit in known.items()
            ]
            for key, (word, known) in heads.items()
        }
        return answer(refs | {"converts": [], "pullRequests": []})

    @route("GET", f"{API}/commits/{REVISION}", "read")
    def list_commits(self, request: Request, repository: Repository, revision: str) -> Response:
        authors = [{"user": self.user}]
        return answer(
            [
                {"id": each.oid, "title": each.title, "message": each.message, "date": each.date, "authors": authors}
                for each in repository.resolve(revision).history()
            ]
        )

    @route("GET", f"{API}/tree/{REVISION}(?:/{PATH})?", "read")
    def tree(self, request: Request, repository: Repository, revision: str, path: str = "") -> Response:
        commit, prefix = repository.resolve(revision), f"{path}/" if path else ""
        deep = request.query.get("recursive", [""])[0].lower() == "true"
        inside = [each for each in entries(commit) if each["path"].startswith(prefix)]
        if path and not inside:
            raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
        return answer([each for each in inside if deep or "/" not in each["path"][len(prefix) :]])

    @route("POST", f"{API}/paths-info/{REVISION}", "read")
    def paths_info(self, request: Request, repository: Repository, revision: str) -> Response:
        paths = {path.rstrip("/") for path in parse_qs(request.body.decode()).get("paths", [])}
        return answer([each for each in entries(repository.resolve(revision)) if each["path"] in paths])

    @route("GET", f"{WEB}/resolve/{REVISION}/{PATH}", "read")
    def resolve(self, request: Request, repository: Repository, revision: str, path: str) -> Response:
        commit = repository.resolve(revision)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.oid})
        blob = commit.files[path]
        headers["ETag"] = f'"{blob.etag}"'
        if blob.lfs:
            headers |= {"X-Linked-ETag": f'"{blob.etag}"', "X-Linked-Size": str(blob.size)}
        return ranged(blob.content, request.headers.get("Range", ""), headers)

    # Writing

    @route("POST", f"{API}/preupload/{REVISION}", "write")
    def preupload(self, request: Request, repository: Repository, revision: str) -> Response:
        known, files = repository.head(revision).files, []
        for each in request.json()["files"]:
            mode = repository.upload_mode(each["path"], each["size"])
            file = {"path": each["path"], "uploadMode": mode, "shouldIgnore": False}
            files.append(file | ({"oid": known[each["path"]].etag} if each["path"] in known else {}))
        return answer({"files": files})

    @route("POST", rf"{WEB}\.git/info/lfs/objects/batch", "write")
    def lfs_batch(self, request: Request, repository: Repository) -> Response:
        objects = request.json()["objects"]
        for each in objects:
            if each["oid"] not in repository.objects:
                repository.announced[each["oid"]] = each["size"]
                upload = f"{self.url}/lfs/{repository.kind}s/{repository.id}/{each['oid']}"
                verify = f"{self.web_url(repository)}.git/info/lfs/objects/verify"
                each["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        return answer({"transfer": "basic", "objects": objects})

    @route("PUT", r"/lfs/(?P<kind>\w+)/(?P<repo>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})", "signed")
    def lfs_upload(self, request: Request, repository: Repository, oid: str) -> Response:
        repository.receive(oid, request.body)
        return Response(200)

    @route("POST", rf"{WEB}\.git/info/lfs/objects/verify", "write")
    def lfs_verify(self, request: Request, repository: Repository) -> Response:
        wanted = request.json()
        if len(repository.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise HubError(404, f"LFS object {wanted['oid']} of {wanted['size']} bytes does not exist")
        return answer({})

    @route("POST", f"{API}/commit/{REVISION}", "write")
    def commit(self, request: Request, repository: Repository, revision: str) -> Response:
        if "create_pr" in request.query:
            raise HubError(400, "The local Hub has no pull requests")
        header, *operations = (json.loads(line) for line in request.body.splitlines() if line.strip())
        if header["key"] != "header":
            raise HubError(400, "A commit starts with its header")
        commit = repository.commit(revision, header["value"], operations)
        return answer({"commitOid": commit.oid, "commitUrl": f"{self.web_url(repository)}/commit/{commit.oid}"})

    @route("POST", f"{API}/branch/{REVISION}", "write")
    def create_branch(self, request: Request, repository: Repository, revision: str) -> Response:
        repository.add_reference(repository.branches, revision, request.json().get("startingPoint", "main"))
        return answer({})

    @route("POST", f"{API}/tag/{REVISION}", "write")
    def create_tag(self, request: Request, repository: Repository, revision: str) -> Response:
        repository.add_reference(repository.tags, request.json()["tag"], revision)
        return answer({})


def lfs_info(blob: Blob, key: str) -> dict[str, Any]:
    return {"lfs": {key: blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}} if blob.lfs else {}


def sibling(path: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    details = {"size": blob.size, "blobId": blob.oid} | lfs_info(blob, "sha256")
    return {"rfilename": path} | (details if blobs else {})


def entries(commit: Commit) -> list[dict[str, Any]]:
    """Describe all files and folders of a commit."""
    folders = {"/".join(path.split("/")[:depth]) for path in commit.files for depth in range(1, path.count("/") + 1)}
    found: list[dict[str, Any]] = [
        {"type": "directory", "oid": commit.oid, "size": 0, "path": each} for each in folders
    ]
    for path, blob in commit.files.items():
        found.append({"type": "file", "oid": blob.oid, "size": blob.size, "path": path} | lfs_info(blob, "oid"))
    return sorted(found, key=lambda entry: str(entry["path"]))


def ranged(content: bytes, wanted: str, headers: dict[str, str]) -> Response:
    """Answer with the bytes that a Range header asks for, or with all of them."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not match or not any(match.groups()):
        return Response(200, content, headers)
    first, last, size = match[1], match[2], len(content)
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        raise HubError(416, "Range not satisfiable", **{"Content-Range": f"bytes */{size}"})
    return Response(206, content[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"})
