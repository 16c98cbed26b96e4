"""Pushes and downloads that break off, go on, or come out damaged."""

from pathlib import Path

import pytest
from huggingface_hub import close_session, constants, hf_hub_download

from modeling_enecg import EnECGModel
from modeling_enecg.cli import main
from modeling_enecg.hub.push import push_folder
from modeling_enecg.hub.upload import PushError
from tests.helpers.hub import CODE, COMMIT, CONFIGS, IGNORED_WARNINGS, logits_of, num_commits, own_files

pytestmark = [
    pytest.mark.xdist_group("hub_faults"),  # its Hub is shared
    pytest.mark.usefixtures("hub"),
    *IGNORED_WARNINGS,
]


@pytest.mark.parametrize(
    ("kind", "pattern", "times"),
    [
        ("cut_upload", COMMIT, 2),
        (500, COMMIT, 3),
        ("no_answer", COMMIT, 1),
        ("no_answer", COMMIT, 100),
        (503, "POST .*/preupload/", 1),
        ("no_answer", "POST /api/repos/create", 1),
        ("cut_upload", "PUT /lfs/", 1),
    ],
)
def test_a_push_goes_through_in_spite_of_a_passing_fault_and_is_made_once(hub, plain, repo, kind, pattern, times):
    fault = hub.fault(kind, pattern, times)
    address = push_folder(plain, repo)
    assert fault.times < times
    fault.times = 0
    assert num_commits(hub, repo) == 1
    assert address.endswith(hub.commits(repo)[0].oid)
    assert set(own_files(hub, repo)) == CODE | CONFIGS | {"model.safetensors", "README.md"}


@pytest.mark.parametrize(
    ("kind", "pattern"), [("cut_upload", COMMIT), (500, COMMIT), ("cut_upload", "PUT /lfs/"), (503, "/preupload/")]
)
def test_a_push_that_keeps_failing_leaves_the_repository_as_it_was_and_goes_on_later(
    hub, plain, repo, kind, pattern, capsys, caplog
):
    push_folder(plain, repo)
    before = own_files(hub, repo)
    model = EnECGModel.from_pretrained(plain)
    model.heads["rhythm"]["cnn"].layers[-1].bias.data += 1
    model.save_pretrained(plain)
    fault = hub.fault(kind, pattern, times=1000)
    with pytest.raises(SystemExit) as caught:
        main(["push", str(plain), "--to", repo])
    message = str(caught.value)
    assert message.startswith(f"enecg push: {repo}: ")
    assert len(message.splitlines()) == 1
    assert "holds what it held before, or the whole push" in message
    assert "Run the same command again" in message
    assert hub.token not in message + caplog.text + "".join(capsys.readouterr())
    assert own_files(hub, repo) == before
    fault.times = 0
    main(["push", str(plain), "--to", repo])
    assert num_commits(hub, repo) == 2
    assert own_files(hub, repo)["model.safetensors"] == (plain / "model.safetensors").read_bytes()
    assert capsys.readouterr().out == f"{hub.url}/{repo}/commit/{hub.commits(repo)[0].oid}\n"


def test_a_token_is_never_shown(plain, repo, hub, caplog, capsys):
    for token in ("hf_wrong", "hf_secret\n"):
        with pytest.raises(PushError) as caught:
            push_folder(plain, repo, token=token)
        assert "hf_" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    assert "hf_" not in caplog.text + "".join(capsys.readouterr())


def test_a_place_where_one_may_not_write_is_refused_at_once(hub, plain):
    asked = len(hub.requests)
    with pytest.raises(PushError, match=r"stranger/model: the Hub answered 403: .*hf auth login"):
        push_folder(plain, "stranger/model")
    assert [each.path for each in hub.requests[asked:]].count("/api/repos/create") == 1


def test_a_push_while_offline_says_so(plain, repo, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    with pytest.raises(PushError, match="offline"):
        push_folder(plain, repo)
    monkeypatch.undo()
    close_session()


def test_a_download_that_was_cut_is_taken_up_again(hub, plain, repo, fresh_cache):
    push_folder(plain, repo)
    fault = hub.fault("truncate", f"GET /{repo}/.*model.safetensors", times=2)
    assert logits_of(repo) == logits_of(plain)
    assert fault.times == 0


@pytest.mark.parametrize("kind", ["truncate", "reset", 503])
def test_a_download_that_keeps_breaking_ends_in_one_line(hub, plain, repo, record, fresh_cache, capsys, kind):
    push_folder(plain, repo)
    fault = hub.fault(kind, f"GET /{repo}/.*model.safetensors", times=1000)
    with pytest.raises(SystemExit) as caught:
        main(["predict", repo, record])
    assert str(caught.value).startswith("enecg predict: ")
    assert len(str(caught.value).splitlines()) == 1
    assert hub.token not in str(caught.value)
    fault.times = 0
    assert logits_of(repo) == logits_of(plain)


@pytest.mark.parametrize("name", ["model.safetensors", "gates.py"])
def test_a_download_that_was_damaged_is_refused_until_it_is_deleted(hub, plain, repo, record, fresh_cache, name):
    push_folder(plain, repo)
    hub.fault("corrupt", f"GET /{repo}/.*{name}")
    hf_hub_download(repo, name)
    with pytest.raises(OSError, match=f"{name} of {repo} was damaged in download") as caught:
        EnECGModel.from_pretrained(repo)
    with pytest.raises(SystemExit, match="was damaged in download"):
        main(["predict", repo, record])
    Path(str(caught.value).split("Delete ")[1].split(" or load with force_download=True")[0]).unlink()
    assert logits_of(repo) == logits_of(plain)
