"""`enecg train`, `recipes` and `simulate`: from nothing to a trained model in three commands."""

import json
import shutil

import pytest

from modeling_enecg.cli.train import outcome
from modeling_enecg.runs.shipped import find_recipe, shipped_recipes
from tests.helpers.training import recipe_fields, train, write_recipe


@pytest.fixture
def recipe_file(simulated, training_cache, tmp_path):
    stages = {"fine_tuning": {"num_train_epochs": 1, "global_batch_size": 64, "disable_tqdm": True}}
    fields = recipe_fields(simulated, tmp_path / "run", training_cache, stages=stages)
    return write_recipe(tmp_path / "tiny.yaml", fields)


def test_training_ends_with_scores_the_folder_and_the_next_command(run, recipe_file, tmp_path):
    folder = tmp_path / "a #1"
    output = run("train", recipe_file, "--output_dir", folder).splitlines()
    point = json.loads((folder / "metrics.json").read_text())["test"]["superdiagnostic"]["macro_auroc"]["point"]
    assert output[-3].startswith(f"test, superdiagnostic: macro_auroc {point:.3f} (")
    assert output[-2].startswith(f"{folder}: the model")
    assert output[-1] == f"next: enecg report '{folder}'"
    assert run("train", recipe_file, "--output_dir", folder).splitlines() == output[-3:]  # it is complete


def test_a_score_without_an_interval_is_told_with_the_reason():
    few = {"point": 0.9333, "lower": None, "upper": None, "no_interval": "fewer than 5 patients"}
    unknown = {"point": None, "lower": None, "upper": None}
    metrics = {"test": {"sex": {"num_records": 6, "macro_auroc": few, "macro_f1": unknown}, "age": {"mae": unknown}}}
    assert outcome(metrics, "runs/a")[:2] == [
        "test, sex: macro_auroc 0.933 (no interval: fewer than 5 patients)",
        "test, age: no score could be told",
    ]


def test_train_py_is_the_same_command(recipe_file, tmp_path):
    status, output = train(recipe_file, "--output_dir", str(tmp_path / "other"), "--sampling_rat", "100")
    assert (status, output.strip()) == (1, "enecg train: Unknown key sampling_rat. Did you mean sampling_rate?")


def test_faults_of_own_data_end_in_one_line(fail, simulated, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    records = sorted((simulated / "records100" / "00000").glob("*.hea"))[:30]
    for header in records:
        shutil.copy(header, folder)
        shutil.copy(header.with_suffix(".dat"), folder)
    rows = [f"{header.stem},{'mf'[number % 2]}" for number, header in enumerate(records)]
    (folder / "labels.csv").write_text("\n".join(["path,sex", *rows]) + "\n")
    (folder / "dataset.yaml").write_text("table: labels.csv\nrecord: path\nlabels: {sex: single_label}\n")
    places = ("--data_dir", folder, "--output_dir", tmp_path / "run", "--cache_dir", tmp_path / "cache")
    assert "'age'" in fail("train", "own_data", *places, "--tasks", "[age]")
    (folder / records[2].name).with_suffix(".dat").write_bytes(bytes(100))
    assert f"{records[2].stem}, row 4" in fail("train", "own_data", *places, "--tasks", "[sex]")
    with (folder / "dataset.yaml").open("a") as file:
        file.write("record: other\n")
    assert "the key 'record' stands twice" in fail("train", "own_data", *places)


@pytest.mark.parametrize(
    ("path", "message"),
    [("runs/a/expert", "There is no folder runs/a/expert."), ("runs/expert", "There is no folder runs/expert, and")],
)
def test_an_expert_that_is_nowhere_is_said_to_be_no_folder(fail, recipe_file, monkeypatch, path, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = fail("train", recipe_file, "--experts.ecgfounder", "null", "--experts.other.path", path)
    assert line.startswith(f"enecg train: experts: {message}")


def test_a_recipe_is_a_file_or_a_shipped_name(fail, recipe_file):
    assert find_recipe(str(recipe_file)) == recipe_file
    assert find_recipe("ptbxl_smoke").name == "ptbxl_smoke.yaml"
    assert "Did you mean ptbxl_smoke?" in fail("train", "ptbxl_smok")


def test_help_of_train_lists_what_a_recipe_and_its_stages_may_say(capsys, run):
    for arguments in (["--help"], ["ptbxl_smoke", "--help"]):
        with pytest.raises(SystemExit):
            run("train", *arguments)
        output = capsys.readouterr().out
        for line in ("  --data_dir ", "  --stages.STAGE.drop_path_rate ", "  --stages.lora_heads.lora_rank "):
            assert line in output
        assert "learning_rate 0.005" in output


def test_every_shipped_recipe_is_listed_with_a_sentence(run):
    lines = run("recipes").splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    for line in lines:
        assert line.endswith("."), line
        assert len(line) < 150, line


def test_simulated_records_are_written_where_it_is_said(run, tmp_path):
    assert run("simulate", tmp_path / "sim", "--num_records", "2") == f"{tmp_path / 'sim'}\n"
    assert (tmp_path / "sim" / "ptbxl_database.csv").is_file()
    assert len(list((tmp_path / "sim").glob("records500/00000/*.dat"))) == 2
