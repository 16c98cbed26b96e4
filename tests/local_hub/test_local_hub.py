"""The local Hub does as the Hub does, and the real client does with its faults what is claimed here."""

import hashlib
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import torch
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    close_session,
    constants,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from modeling_enecg import EnECGModel
from tests.local_hub import Blob, LocalHub

pytestmark = [  # of the client itself, and of Parquet in a model repository
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:It seems that you are about to commit a data file"),
]

REPO = "tester/model"
CONTENT = {"config.json": b'{"a": 1}', "sub/notes.txt": b"deep" * 200, "model.safetensors": bytes(range(256)) * 800}
WEIGHTS, NOTES = "model.safetensors", "sub/notes.txt"


@pytest.fixture
def api(hub, monkeypatch) -> Iterator[HfApi]:
    """The real client in this process, which waits for nothing between its attempts."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    close_session()
    yield HfApi(endpoint=hub.url, token=hub.token)
    close_session()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of regular files and one for LFS."""
    for path, content in CONTENT.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "folder"


@pytest.fixture
def pushed(api, folder) -> str:
    """The commit of `folder` in a repository."""
    api.create_repo(REPO)
    return api.upload_folder(repo_id=REPO, folder_path=folder).oid


@pytest.fixture
def download(api, tmp_path) -> Callable[..., Path]:
    def download(filename: str = WEIGHTS, **options: str) -> Path:
        return Path(api.hf_hub_download(REPO, filename, cache_dir=tmp_path / "cache", **options))

    return download


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(hub: LocalHub, method: str, path: str, body: bytes | Iterator[bytes] = b"", **headers: str) -> Answer:
    """Make a request without the client, with the token unless told otherwise."""
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    connection.request(method, path, body, {"Authorization": f"Bearer {hub.token}"} | headers)
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


def own_files(hub: LocalHub, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
    files = hub.files(REPO, revision, kind)
    del files[".gitattributes"]
    return files


def count(hub: LocalHub, text: str) -> int:
    return sum(text in f"{each.method} {each.path}" for each in hub.requests)


# As the Hub does


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_an_uploaded_folder_comes_back_bit_by_bit(hub, api, folder, tmp_path, kind):
    api.create_repo(REPO, repo_type=kind, **({"space_sdk": "static"} if kind == "space" else {}))
    commit = api.upload_folder(repo_id=REPO, folder_path=folder, repo_type=kind, commit_message="First")
    assert own_files(hub, kind=kind) == CONTENT
    assert [each.title for each in hub.commits(REPO, kind=kind)] == ["First", "initial commit"]
    assert hub.commits(REPO, kind=kind)[0].oid == commit.oid
    snapshot = Path(api.snapshot_download(REPO, repo_type=kind, cache_dir=tmp_path / "cache"))
    assert {path: (snapshot / path).read_bytes() for path in CONTENT} == CONTENT


def test_who_asks_is_known_by_the_token(hub, api):
    assert (api.whoami()["name"], api.whoami()["orgs"][0]["name"]) == ("tester", "org")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url, token="hf_wrong").whoami()


def test_a_repository_is_made_once_and_under_own_names_only(hub, api):
    assert api.create_repo("model").repo_id == REPO
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("stranger/model")
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO)


def test_weights_go_by_lfs_and_text_does_not(hub, api, pushed):
    assert count(hub, "PUT /lfs/models/tester/model/") == 1
    lfs = {
        file.path: file.lfs and file.lfs.size for file in api.list_repo_tree(REPO, recursive=True) if "." in file.path
    }
    assert lfs == {".gitattributes": None, "config.json": None, NOTES: None, WEIGHTS: len(CONTENT[WEIGHTS])}


def test_a_blob_has_the_hash_that_git_gives_it():
    assert Blob(b"hello\n").oid == Blob(b"hello\n").etag == "ce013625030ba8dba906f756967f9e9ca394464a"
    weights = Blob(b"hello\n", lfs=True)
    assert weights.etag == hashlib.sha256(b"hello\n").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{weights.etag}\nsize 6\n"
    assert weights.oid == Blob(pointer.encode()).oid


@pytest.mark.parametrize("name", ["a.safetensors", "a.parquet", "a.BIN", "a.png", "large.txt"])
def test_binary_and_large_files_go_by_lfs(hub, api, name):
    api.create_repo(REPO)
    content = b"0" * (10 * 2**20 if name == "large.txt" else 10)
    api.upload_file(repo_id=REPO, path_in_repo=name, path_or_fileobj=content)
    assert count(hub, "PUT /lfs") == 1
    assert own_files(hub) == {name: content}


def test_files_that_did_not_change_are_not_sent_again(hub, api, folder, pushed):
    assert api.upload_folder(repo_id=REPO, folder_path=folder).oid == pushed
    (folder / "config.json").write_text("{}")
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert (count(hub, "PUT /lfs"), count(hub, "/commit/main")) == (1, 2)
    assert own_files(hub) == CONTENT | {"config.json": b"{}"}


def test_a_commit_a_branch_and_a_tag_are_revisions(hub, api, pushed, download):
    api.create_tag(REPO, tag="v1")
    api.create_branch(REPO, branch="feature/new")
    new = api.upload_file(repo_id=REPO, path_in_repo="config.json", path_or_fileobj=b"2", revision="feature/new")
    contents = {each: download("config.json", revision=each).read_bytes() for each in ("main", "v1", pushed)}
    assert set(contents.values()) == {CONTENT["config.json"]}
    assert download("config.json", revision="feature/new").read_bytes() == b"2"
    assert download("config.json", revision=new.oid).read_bytes() == b"2"
    refs = api.list_repo_refs(REPO)
    assert {each.name: each.target_commit for each in refs.branches} == {"main": pushed, "feature/new": new.oid}
    assert [commit.oid for commit in hub.commits(REPO, "feature/new")][:2] == [new.oid, pushed]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch(REPO, branch="feature/new")


def test_one_commit_adds_copies_and_deletes(hub, api, pushed):
    operations = [
        CommitOperationDelete("sub/"),
        CommitOperationDelete("config.json"),
        CommitOperationCopy(WEIGHTS, "copy.safetensors"),
        CommitOperationAdd("new.txt", b"new"),
    ]
    api.create_commit(REPO, operations, commit_message="Change", commit_description="Why")
    assert own_files(hub) == dict.fromkeys((WEIGHTS, "copy.safetensors"), CONTENT[WEIGHTS]) | {"new.txt": b"new"}
    assert own_files(hub, pushed) == CONTENT
    assert [each.title for each in api.list_repo_commits(REPO)][::2] == ["Change", "initial commit"]


def test_a_commit_is_made_whole_or_not_at_all(hub, api, pushed):
    operations = [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("absent.txt")]
    with pytest.raises(EntryNotFoundError):
        api.create_commit(REPO, operations, commit_message="Change")
    lines = [
        {"key": "header", "value": {"summary": "Change"}},
        {"key": "file", "value": {"path": "new.txt", "content": "AAAA", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "new.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}},
    ]
    body = "\n".join(json.dumps(line) for line in lines)
    assert ask(hub, "POST", f"/api/models/{REPO}/commit/main", body.encode()).status == 400
    assert ask(hub, "POST", f"/api/models/{REPO}/commit/main", body[:-5].encode()).status == 400
    assert own_files(hub) == CONTENT


def test_a_commit_on_an_outdated_parent_is_a_conflict(hub, api, pushed):
    change = {"repo_id": REPO, "path_in_repo": "config.json", "parent_commit": pushed}
    api.upload_file(path_or_fileobj=b"mine", **change)
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_file(path_or_fileobj=b"yours", **change)
    assert own_files(hub)["config.json"] == b"mine"


def test_only_branches_can_be_committed_to_and_pull_requests_are_refused(hub, api, pushed):
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"", revision=pushed)
    with pytest.raises(BadRequestError, match="no pull requests"):
        api.upload_file(repo_id=REPO, path_in_repo="a", path_or_fileobj=b"", create_pr=True)


def test_an_lfs_object_must_be_announced_and_have_its_digest(hub, api):
    api.create_repo(REPO)
    oid, path = "0" * 64, f"/lfs/models/{REPO}/{'0' * 64}"
    assert ask(hub, "PUT", path, b"abc").status == 403
    batch = json.dumps({"objects": [{"oid": oid, "size": 3}]}).encode()
    assert ask(hub, "POST", f"/{REPO}.git/info/lfs/objects/batch", batch).status == 200
    assert ask(hub, "PUT", path, b"abc").status == 400
    verify = json.dumps({"oid": oid, "size": 3}).encode()
    assert ask(hub, "POST", f"/{REPO}.git/info/lfs/objects/verify", verify).status == 404


def test_a_private_repository_is_missing_for_those_without_the_token(hub, api, tmp_path):
    api.create_repo(REPO, private=True)
    api.upload_file(repo_id=REPO, path_in_repo="a.txt", path_or_fileobj=b"a")
    assert api.repo_info(REPO).private
    stranger = HfApi(endpoint=hub.url, token=False)
    assert not stranger.repo_exists(REPO)
    with pytest.raises(RepositoryNotFoundError, match="401"):
        stranger.hf_hub_download(REPO, "a.txt", cache_dir=tmp_path)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        HfApi(endpoint=hub.url, token="hf_wrong").model_info(REPO)


def test_all_may_read_a_public_repository_and_the_user_alone_may_write(hub, api, pushed):
    stranger = HfApi(endpoint=hub.url, token=False)
    assert stranger.model_info(REPO).sha == pushed
    with pytest.raises(HfHubHTTPError, match="401"):
        stranger.upload_file(repo_id=REPO, path_in_repo="a.txt", path_or_fileobj=b"a")


def test_what_is_missing_is_named(api, pushed, download):
    assert api.file_exists(REPO, WEIGHTS)
    assert not api.file_exists(REPO, "absent.txt")
    with pytest.raises(RepositoryNotFoundError, match="404"):
        api.model_info("tester/absent")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="absent")
    with pytest.raises(EntryNotFoundError):
        download("absent.txt")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "absent"))
    assert [each.path for each in api.get_paths_info(REPO, ["sub", NOTES, "absent.txt"])] == ["sub", NOTES]
    assert [each.path for each in api.list_repo_tree(REPO, "sub")] == [NOTES]


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=1000-", slice(1000, None)), ("bytes=-7", slice(-7, None))],
)
def test_a_range_gives_its_bytes(hub, pushed, wanted, part):
    answer = ask(hub, "GET", f"/{REPO}/resolve/main/{WEIGHTS}", Range=wanted)
    start, stop, size = *part.indices(len(CONTENT[WEIGHTS]))[:2], len(CONTENT[WEIGHTS])
    assert (answer.status, answer.body) == (206, CONTENT[WEIGHTS][part])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"


def test_a_range_beyond_the_end_is_refused(hub, pushed):
    answer = ask(hub, "GET", f"/{REPO}/resolve/main/config.json", Range="bytes=8-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */8")


def test_head_gives_the_headers_of_get(hub, pushed):
    head, get = (ask(hub, method, f"/{REPO}/resolve/main/{WEIGHTS}") for method in ("HEAD", "GET"))
    assert (head.body, get.body) == (b"", CONTENT[WEIGHTS])
    for name in ("Content-Length", "ETag", "X-Repo-Commit"):
        assert head.headers[name] == get.headers[name]


def test_a_body_may_come_in_chunks(hub):
    body = json.dumps({"name": "model", "organization": None}).encode()
    assert ask(hub, "POST", "/api/repos/create", iter([body[:5], body[5:]])).status == 200
    assert hub.commits(REPO)


def test_a_connection_is_kept_until_the_hub_stops():
    with LocalHub() as hub:
        connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
        for _ in range(2):
            connection.request("GET", f"/api/models/{REPO}")
            assert connection.getresponse().read()
        socket = connection.sock
    assert socket.recv(1) == b""
    connection.close()


def test_the_log_has_every_request_and_no_token(hub, api, pushed):
    assert (hub.requests[0].method, hub.requests[0].path, hub.requests[0].status) == ("POST", "/api/repos/create", 200)
    assert hub.token not in repr(hub.requests)


def test_each_environment_has_a_home_of_its_own_that_goes_with_the_hub():
    with LocalHub() as hub:
        homes = [Path(hub.environment()["HF_HOME"]) for _ in range(2)]
        assert homes[0] != homes[1]
        assert all(home.is_dir() for home in homes)
    assert not any(home.exists() for home in homes)


# What the client does when something breaks


@pytest.mark.parametrize("kind", ["cut_upload", "no_answer", 500, 503])
def test_an_lfs_upload_that_fails_once_is_tried_again(hub, api, folder, kind):
    fault = hub.fault(kind, "PUT /lfs/")
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert (fault.times, count(hub, "PUT /lfs/")) == (0, 2)
    assert own_files(hub) == CONTENT


@pytest.mark.parametrize("kind", ["cut_upload", 503])
def test_an_lfs_upload_that_keeps_failing_raises_and_commits_nothing(hub, api, folder, kind):
    hub.fault(kind, "PUT /lfs/", times=6)
    api.create_repo(REPO)
    with pytest.raises(RuntimeError, match=f"Error while uploading '{WEIGHTS}' to the Hub"):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert own_files(hub) == {}


@pytest.mark.parametrize(("kind", "error"), [("cut_upload", httpx2.ReadError), (500, HfHubHTTPError)])
def test_a_commit_that_fails_raises_at_once_and_goes_through_the_next_time(hub, api, folder, kind, error):
    hub.fault(kind, "/commit/")
    api.create_repo(REPO)
    with pytest.raises(error):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert (own_files(hub), count(hub, "/commit/")) == ({}, 1)
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert (own_files(hub), count(hub, "PUT /lfs/")) == (CONTENT, 1)


def test_a_commit_without_an_answer_raises_though_it_was_made(hub, api, folder):
    hub.fault("no_answer", "/commit/")
    api.create_repo(REPO)
    with pytest.raises(httpx2.ReadError):
        api.upload_folder(repo_id=REPO, folder_path=folder)
    assert own_files(hub) == CONTENT
    assert api.upload_folder(repo_id=REPO, folder_path=folder).oid == hub.commits(REPO)[0].oid
    assert len(hub.commits(REPO)) == 2


@pytest.mark.parametrize("name", [NOTES, WEIGHTS])
@pytest.mark.parametrize(("chunk_size", "again"), [(constants.DOWNLOAD_CHUNK_SIZE, 200), (100, 206)])
def test_a_truncated_download_goes_on_after_its_last_whole_chunk(
    hub, pushed, download, monkeypatch, name, chunk_size, again
):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", chunk_size)  # 10 MiB: smaller files start again
    fault = hub.fault("truncate", f"GET .*{name}", times=2)
    assert download(name).read_bytes() == CONTENT[name]
    assert fault.times == 0
    assert [each.status for each in hub.requests if f"resolve/main/{name}" in each.path] == [200, 200, again, again]


def test_a_download_that_is_truncated_every_time_raises_and_leaves_nothing(hub, pushed, download, tmp_path):
    hub.fault("truncate", f"GET .*{WEIGHTS}", times=1000)
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"):
        download()
    assert not any(path.is_file() for path in tmp_path.glob("cache/models--*/blobs/*"))


@pytest.mark.parametrize(
    ("kind", "error"), [("reset", httpx2.ReadError), ("no_answer", httpx2.ReadError), (503, HfHubHTTPError)]
)
@pytest.mark.parametrize("name", [NOTES, WEIGHTS])
def test_a_download_that_is_reset_or_refused_raises_at_once_and_goes_through_the_next_time(
    hub, pushed, download, tmp_path, name, kind, error
):
    hub.fault(kind, f"GET .*{name}")
    with pytest.raises(error):
        download(name)
    assert not any(path.is_file() for path in tmp_path.glob("cache/models--*/blobs/*"))
    assert download(name).read_bytes() == CONTENT[name]


def test_metadata_that_is_refused_once_is_asked_for_again(hub, pushed, download):
    hub.fault(503, f"HEAD .*{WEIGHTS}", times=3)
    assert download().read_bytes() == CONTENT[WEIGHTS]


@pytest.mark.parametrize("name", [NOTES, WEIGHTS])
def test_a_corrupted_download_is_not_noticed_and_stays_until_it_is_forced(hub, api, pushed, download, tmp_path, name):
    hub.fault("corrupt", f"GET .*{name}")
    corrupted = download(name).read_bytes()
    assert sum(a != b for a, b in zip(corrupted, CONTENT[name], strict=True)) == 1
    assert download(name).read_bytes() == corrupted
    verification = api.verify_repo_checksums(REPO, cache_dir=tmp_path / "cache")
    assert [mismatch["path"] for mismatch in verification.mismatches] == [name]
    assert download(name, force_download=True).read_bytes() == CONTENT[name]


def test_corrupted_weights_load_as_another_model_without_a_word(hub, api, single, tmp_path):
    single.save_pretrained(tmp_path / "model")
    api.create_repo(REPO)
    api.upload_folder(repo_id=REPO, folder_path=tmp_path / "model")
    hub.fault("corrupt", f"GET .*{WEIGHTS}")
    snapshot = api.snapshot_download(REPO, cache_dir=tmp_path / "cache")
    loaded = EnECGModel.from_pretrained(snapshot).state_dict()
    assert [torch.equal(loaded[name], each) for name, each in single.state_dict().items()].count(False) == 1


def test_a_cached_snapshot_serves_while_the_hub_is_down(hub, api, pushed, tmp_path):
    snapshot = api.snapshot_download(REPO, cache_dir=tmp_path)
    fault = hub.fault(503, "/revision/main", times=2)
    assert api.snapshot_download(REPO, cache_dir=tmp_path) == snapshot
    with pytest.raises(LocalEntryNotFoundError, match="503"):
        api.snapshot_download(REPO, cache_dir=tmp_path / "empty")
    assert fault.times == 0
