"""Publishing on a local Hub with the real client, and loading from there elsewhere."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import pipeline

from modeling_enecg import EnECGModel
from modeling_enecg.adapters import load_adapter
from modeling_enecg.cli import main
from modeling_enecg.hub.push import push_folder
from modeling_enecg.io import read_ecg
from modeling_enecg.prediction import Predictor
from modeling_enecg.training import load_recipe, run_recipe
from tests.helpers.hub import (
    ADAPTER,
    CODE,
    CONFIGS,
    IGNORED_WARNINGS,
    SIGNAL,
    logits_of,
    num_commits,
    own_files,
    run_elsewhere,
    save,
    tiny_expert,
)
from tests.helpers.processes import ROOT
from tests.helpers.tiny_models import RHYTHM
from tests.helpers.training import ECGFOUNDER, STMEM, read_json, recipe_fields, write_recipe

pytestmark = [
    pytest.mark.xdist_group("hub"),  # its runs are shared
    pytest.mark.usefixtures("hub"),
    *IGNORED_WARNINGS,
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, simulated, training_cache) -> Path:
    """A run that leaves a model with a report, and an adapter with its base inside."""
    folder = tmp_path_factory.mktemp("hub_run")
    changes = {
        "experts": {"cnn": {"config": ECGFOUNDER}, "vit": {"config": STMEM}},
        "ensemble": {"head_hidden_sizes": [8]},
        "stages": {"lora_heads": {"num_train_epochs": 1, "global_batch_size": 32}},
        "tasks": ["superdiagnostic", "age"],
        "num_resamples": 5,
    }
    fields = recipe_fields(simulated, folder / "run", training_cache) | changes
    run_recipe(load_recipe(write_recipe(folder / "recipe.yaml", fields)), "trained")
    return folder / "run"


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, simulated, training_cache, run) -> Path:
    """A run that adapts that model, in its folder, to another task."""
    folder = tmp_path_factory.mktemp("hub_adapted")
    changes = {
        "experts": {},
        "model": str(run),
        "stages": {"lora_heads": {"num_train_epochs": 1, "global_batch_size": 32}},
        "tasks": ["rhythm"],
        "num_resamples": 5,
    }
    fields = recipe_fields(simulated, folder / "run", training_cache) | changes
    run_recipe(load_recipe(write_recipe(folder / "recipe.yaml", fields)), "adapted")
    return folder / "run"


def change_json(path: Path, **fields) -> None:
    path.write_text(json.dumps(read_json(path) | fields))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is sent


def test_a_runs_model_is_sent_in_one_commit_with_exactly_what_belongs_to_it(hub, run, repo):
    before = contents(run)
    address = push_folder(run, repo)
    files = own_files(hub, repo)
    figures = {f"figures/{path.name}" for path in (run / "figures").iterdir()}
    report = {"README.md", "metrics.json", "experts.json", "run_info.json"}
    assert set(files) == CODE | CONFIGS | {"model.safetensors"} | figures | report
    assert address == f"{hub.url}/{repo}/commit/{hub.commits(repo)[0].oid}"
    assert num_commits(hub, repo) == 1
    assert {path: files[path] for path in files if path != "README.md"} == {
        path: (run / path).read_bytes() for path in files if path != "README.md"
    }
    assert contents(run) == before
    assert sum(f"PUT /lfs/models/{repo}/" in f"{each.method} {each.path}" for each in hub.requests) == 1 + len(figures)


def test_the_pushed_card_names_the_repository_it_is_in(hub, run, repo):
    push_folder(run, repo)
    card = hub.files(repo)["README.md"].decode()
    assert f'pipeline("ecg-classification", model="{repo}", trust_remote_code=True)' in card
    assert "hub-id" not in card
    assert ModelCard(card).data.to_dict() == ModelCard.load(run / "README.md").data.to_dict()


def test_nothing_that_is_sent_names_a_place_on_this_machine(hub, run, adapted, tmp_path_factory, repo):
    push_folder(run, repo)
    push_folder(adapted, f"{repo}-adapted")
    push_folder(adapted / "adapter", f"{repo}-adapter", base=repo)
    for name in (repo, f"{repo}-adapted", f"{repo}-adapter"):
        for path, content in own_files(hub, name).items():
            for place in (tmp_path_factory.getbasetemp(), ROOT, Path.home() / ".cache"):
                assert str(place).encode() not in content, (path, place)


def test_an_adapter_is_sent_with_the_base_that_lies_inside(hub, run, repo):
    push_folder(run / "adapter", repo)
    adapter = ADAPTER
    base = {f"base/{path}" for path in CODE | CONFIGS | {"model.safetensors"}}
    assert set(own_files(hub, repo)) == adapter | base


def test_a_backbone_gets_a_card_with_the_licence_of_its_weights(hub, tmp_path, repo):
    source = "https://huggingface.co/PKUDigitalHealth/ECGFounder"
    folder = save(tiny_expert(weights_licence="mit", weights_source=source), tmp_path / "cnn")
    (folder / "conversion_report.json").write_text("{}")
    push_folder(folder, repo)
    data = ModelCard(hub.files(repo)["README.md"].decode()).data
    assert (data.license, data.base_model) == ("mit", ["PKUDigitalHealth/ECGFounder"])
    assert "conversion_report.json" in hub.files(repo)
    assert not (folder / "README.md").exists()


def test_a_second_push_changes_what_changed_and_removes_what_is_gone(hub, plain, repo):
    push_folder(plain, repo)
    address = push_folder(plain, repo)
    assert num_commits(hub, repo) == 1
    assert address.endswith(hub.commits(repo)[0].oid)
    model = EnECGModel.from_pretrained(plain)
    (plain / "model.safetensors").unlink()
    model.save_pretrained(plain, max_shard_size="8KB")
    shards = {path.name for path in plain.glob("model-*.safetensors")}
    assert len(shards) > 1
    push_folder(plain, repo)
    weights = {path for path in hub.files(repo) if "safetensors" in path}
    assert weights == shards | {"model.safetensors.index.json"}
    loaded = EnECGModel.from_pretrained(repo).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_a_push_goes_to_a_branch_and_leaves_main_alone(hub, plain, repo):
    push_folder(plain, repo)
    change_json(plain / "config.json", head_dropout=0.25)
    push_folder(plain, repo, revision="next")
    assert b"0.25" not in hub.files(repo)["config.json"]
    assert b"0.25" in hub.files(repo, "next")["config.json"]
    assert EnECGModel.from_pretrained(repo, revision="next").config.head_dropout == 0.25


def test_a_private_repository_is_not_there_without_the_token(hub, plain, repo, record, monkeypatch, capsys):
    push_folder(plain, repo, private=True)
    assert Predictor(repo).model.tasks.keys() == {"rhythm"}
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SystemExit, match="If this is a private repository, make sure to pass a token"):
        main(["predict", repo, record])
    with pytest.raises(SystemExit, match=r"the Hub answered 401.*hf auth login"):
        main(["push", str(plain), "--to", repo])


def test_a_public_repository_does_not_take_what_should_be_private(hub, plain, repo):
    push_folder(plain, repo)
    with pytest.raises(ValueError, match="exists and is public"):
        push_folder(plain, repo, private=True)
    assert num_commits(hub, repo) == 1


# What is refused before anything is sent


@pytest.fixture
def refused(hub, repo):
    """A function that checks that a push is refused with some words, and that the Hub was asked nothing."""

    def refused(folder, message, **options):
        asked = len(hub.requests)
        with pytest.raises(ValueError, match=message) as caught:
            push_folder(folder, repo, **options)
        assert len(hub.requests) == asked
        return str(caught.value)

    return refused


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "model.safetensors", "gates.py", "modeling_enecg.py"]
)
def test_a_folder_that_lacks_something_is_refused(refused, plain, name):
    (plain / name).unlink()
    refused(plain, f"lacks {name}: ")


@pytest.mark.parametrize("name", ["README.md", "metrics.json", "figures/training_curves.png"])
def test_a_run_that_did_not_end_is_refused(refused, run, tmp_path, name):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / name).unlink()
    refused(folder, f"lacks {name}: ")


@pytest.mark.parametrize("name", ["README.md", "adapter_model.safetensors", "base/model.safetensors"])
def test_an_adapter_that_lacks_something_is_refused(refused, run, tmp_path, name):
    folder = Path(shutil.copytree(run / "adapter", tmp_path / "adapter"))
    (folder / name).unlink()
    refused(folder, f"lacks {Path(name).name}: ")


def test_shards_that_the_index_names_must_be_there(refused, plain):
    model = EnECGModel.from_pretrained(plain)
    (plain / "model.safetensors").unlink()
    model.save_pretrained(plain, max_shard_size="8KB")
    shard = sorted(plain.glob("model-*.safetensors"))[-1]
    shard.unlink()
    refused(plain, f"lacks {shard.name}: ")


def test_what_is_no_model_of_this_package_or_has_no_code_is_refused(refused, plain, tmp_path):
    refused(tmp_path / "absent", "There is no folder")
    config = read_json(plain / "config.json")
    del config["auto_map"]
    (plain / "config.json").write_text(json.dumps(config))
    refused(plain, "without its code")
    change_json(plain / "config.json", model_type="bert")
    refused(plain, "of type 'bert'")
    (plain / "config.json").write_text("{")
    refused(plain, "config.json is damaged")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# No metadata\n", "does not begin with metadata"),
        ("---\nlicense: [mit\n---\n", "cannot be read"),
        ("---\nmodel-index: 3\n---\n", "cannot be read"),
        ("---\nlicense: other\n---\n", "needs a license_name"),
        ("---\nbase_model: a/b/c\n---\n", "a/b/c"),
        (
            "---\nbase_model: a/b\n---\nTrained in /data/me/run by me.\n",
            "README.md: line 4 names a place .* /data/me/run",
        ),
        ("---\nlicense: mit\n---\n![x](figures/absent.png)\n", "lacks figures/absent.png"),
    ],
)
def test_a_card_that_is_not_legal_is_refused(refused, plain, card, message):
    (plain / "README.md").write_text(card)
    refused(plain, message)


def test_a_file_that_names_a_place_on_this_machine_is_refused_by_its_field(refused, plain):
    (plain / "run_info.json").write_text(json.dumps({"recipe": {"experts": {"cnn": {"path": "/data/me/cnn"}}}}))
    refused(plain, r"run_info.json: recipe.experts.cnn.path names a place on this machine, /data/me/cnn")


LICENCES = {"mit": True, "apache-2.0": True, "bsd-3-clause": True, "cc-by-4.0": True, "cc0-1.0": True, None: True}
LICENCES |= {"cc-by-nc-4.0": False, "unknown": False, "gpl-3.0": False}


@pytest.mark.parametrize(("licence", "is_free"), LICENCES.items())
def test_weights_go_out_only_under_licences_that_let_everybody_pass_them_on(
    hub, refused, repo, tmp_path, licence, is_free
):
    source = "https://github.com/their/model" if licence else None
    experts = {"cnn": tiny_expert(weights_licence=licence, weights_source=source), "own": tiny_expert(1)}
    folder = save(EnECGModel.from_experts(experts, [RHYTHM], head_hidden_sizes=[]), tmp_path / "model")
    if is_free:
        push_folder(folder, repo)
        return
    message = refused(folder, "--accept_licence cnn")
    for text in (f"cnn ({licence}, from {source})", "save_experts: reference"):
        assert text in message
    assert "accept_licence own" not in message
    refused(folder, "no weights of an expert vit would be sent", accept_licences=["cnn", "vit"])
    push_folder(folder, repo, accept_licences=["cnn"])
    data = ModelCard(hub.files(repo)["README.md"].decode()).data
    assert (data.license if data.license != "other" else data.license_name) == licence


def test_a_card_cannot_hide_a_licence_that_is_not_free(refused, tmp_path):
    folder = save(tiny_expert(weights_licence="cc-by-nc-4.0", weights_source="https://x.org"), tmp_path / "cnn")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    refused(folder, "its license must be cc-by-nc-4.0", accept_licences=["ecgfounder"])


# Loading elsewhere

LOAD = """
import json, sys
sys.modules["modeling_enecg"] = None  # importing the package is an error from here on
import numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline

signal = np.random.default_rng(0).normal(size=(12, 5000)) ** 3 / 4
results = {}
for name in ("org/trained", "org/referring"):
    model = AutoModel.from_pretrained(name, trust_remote_code=True)
    extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=True)
    with torch.inference_mode():
        logits = model(**extractor(signal, sampling_rate=500, return_tensors="pt")).logits
    results[name] = {task: values.tolist() for task, values in logits.items()}
find = pipeline("ecg-classification", model="org/trained", trust_remote_code=True)
results["pipeline"] = find(signal, sampling_rate=500)
print(json.dumps(results))
"""


def test_pushed_models_give_the_same_bit_for_bit_without_the_package(hub, run, tmp_path):
    push_folder(run, "org/trained")
    experts = {"cnn": save(tiny_expert(0), tmp_path / "cnn"), "second": save(tiny_expert(1), tmp_path / "second")}
    for name, folder in experts.items():
        push_folder(folder, f"org/{name}")
    torch.manual_seed(0)
    model = EnECGModel.from_experts({name: f"org/{name}" for name in experts}, [RHYTHM])
    referring = save(model, tmp_path / "referring", experts="reference")
    push_folder(referring, "org/referring")

    references = json.loads(hub.files("org/referring")["config.json"])["expert_references"]
    assert {name: (each["path"], each["revision"]) for name, each in references.items()} == {
        name: (f"org/{name}", hub.commits(f"org/{name}")[0].oid) for name in experts
    }
    push_folder(save(tiny_expert(7), tmp_path / "changed"), "org/cnn")  # the reference stays with what it names
    assert num_commits(hub, "org/cnn") == 2
    results = run_elsewhere(LOAD, hub.environment())
    assert results["org/trained"] == logits_of(run)
    assert results["org/referring"] == logits_of(referring)
    assert results["pipeline"] == pipeline("ecg-classification", model=str(run))(SIGNAL, sampling_rate=500)


def test_a_model_that_refers_to_a_folder_of_this_machine_is_refused(refused, tmp_path):
    expert = save(tiny_expert(), tmp_path / "cnn")
    model = EnECGModel.from_experts({"cnn": expert}, [RHYTHM])
    message = refused(save(model, tmp_path / "model", experts="reference"), "refers to its expert 'cnn' in a folder")
    assert f"enecg push {expert} --to ORG/NAME" in message
    assert "save_experts: value" in message


PREDICT = """
import contextlib, io, json, sys
from modeling_enecg.cli import main

results = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["predict", *arguments, "--json"])
    results.append(json.loads(printed.getvalue())[0]["tasks"])
print(json.dumps(results))
"""


def test_a_pushed_adapter_predicts_on_its_base_from_the_hub_and_then_offline_elsewhere(
    hub, run, adapted, record, fresh_cache, capsys
):
    before = contents(adapted)
    push_folder(run, "org/base")
    push_folder(run / "adapter", "org/inside")
    push_folder(adapted / "adapter", "org/adapter", base="org/base")
    assert contents(adapted) == before
    files = own_files(hub, "org/adapter")
    assert set(files) == ADAPTER
    commit = hub.commits("org/base")[0].oid
    base, settings = json.loads(files["enecg.json"])["base"], json.loads(files["adapter_config.json"])
    assert (base["path"], base["revision"]) == ("org/base", commit)
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("org/base", commit)
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == "org/base"
    assert f"Its base is `org/base`, revision `{commit}`." in card.text
    assert 'load_adapter("org/adapter")' in card.text

    calls = [["org/base"], ["org/adapter"], ["org/base", "--adapter", "org/adapter"], ["org/inside"]]
    calls = [[model, record, *options] for model, *options in calls]
    online = []
    for arguments in calls:
        main(["predict", *arguments, "--json"])
        online += [each["tasks"] for each in json.loads(capsys.readouterr().out)]
    asked = len(hub.requests)
    environment = hub.environment() | {"HF_HUB_CACHE": str(fresh_cache), "HF_HUB_OFFLINE": "1"}
    assert run_elsewhere(PREDICT, environment, json.dumps(calls), path=str(ROOT)) == online
    assert len(hub.requests) == asked
    local = [Predictor(folder)(read_ecg(record)) for folder in (run, adapted / "adapter", run / "adapter")]
    assert online == [local[0], local[1], local[1], local[2]]


def test_an_adapter_whose_base_is_a_folder_needs_its_place_on_the_hub(hub, refused, run, adapted, plain, tmp_path):
    message = refused(adapted / "adapter", "The adapter's base is a folder of this machine")
    assert f"enecg push {run} --to ORG/NAME" in message
    assert "--base ORG/NAME" in message
    refused(adapted / "adapter", "org/name, and no folder here", base=str(run))
    refused(run, "is no adapter", base="org/base")
    push_folder(plain, "org/stranger")
    with pytest.raises(ValueError, match=r"--base org/stranger: .* lacks the tasks superdiagnostic"):
        push_folder(adapted / "adapter", "org/refused", base="org/stranger")
    model = EnECGModel.from_pretrained(run)
    model.heads["superdiagnostic"]["cnn"].layers[-1].bias.data += 1
    other = Path(shutil.copytree(run, tmp_path / "other"))
    model.save_pretrained(other)
    push_folder(other, "org/other")
    with pytest.raises(ValueError, match=r"--base org/other: .* this base has other weights"):
        push_folder(adapted / "adapter", "org/refused", base="org/other")
    with pytest.raises(OSError, match="org/absent is not a local folder"):
        push_folder(adapted / "adapter", "org/refused", base="org/absent")
    assert not any("org/refused" in each.path for each in hub.requests)


def test_a_damaged_adapter_is_refused(hub, run, repo, fresh_cache):
    push_folder(run / "adapter", repo)
    hub.fault("corrupt", f"GET /{repo}/.*adapter_model.safetensors")
    with pytest.raises(OSError, match=f"adapter_model.safetensors of {repo} was damaged in download"):
        load_adapter(repo)
    load_adapter(repo, force_download=True)
