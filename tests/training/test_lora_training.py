"""LoRA heads through `train.py`: ensembles of several tasks, adapting a trained model, kills and several processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg import EnECGModel
from modeling_enecg.adapters import adapted_model, load_adapter
from modeling_enecg.cli import main
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.data.ptbxl.ptbxl import PTBXL
from tests.helpers.processes import ROOT, run_in_two
from tests.helpers.training import (
    ECGFOUNDER,
    LORA,
    SMALL_HEADS,
    STMEM,
    assert_interval,
    follow,
    near,
    read_json,
    recipe_fields,
    train,
    train_and_kill,
    write_recipe,
)

pytestmark = [
    # peft 0.21 asks for what transformers 5.23 calls deprecated.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.xdist_group("lora_training"),  # its runs are shared
]

DLINEAR = {"model_type": "enecg-dlinear", "sampling_rate": 50, "sequence_length": 500, "horizon": 4}
THREE = {
    "cnn": {"config": ECGFOUNDER},
    "vit": {"config": STMEM | {"sequence_length": 900}},
    "linear": {"config": DLINEAR},
}
TASKS = ["superdiagnostic", "sex", "age", "rr_interval"]
SPARSE = SMALL_HEADS | {"gate": "encoder", "top_k": 2}
PREDICT = """
import json, sys
import modeling_enecg, torch, wfdb
from modeling_enecg.adapters import load_adapter
from transformers import AutoFeatureExtractor, AutoModel
run, target, *records = sys.argv[1:]
models = {"merged": AutoModel.from_pretrained(run), "adapter": load_adapter(f"{run}/adapter")}
extractors = [AutoFeatureExtractor.from_pretrained(folder) for folder in (run, f"{run}/adapter/base")]
outputs = []
for (name, model), extractor in zip(models.items(), extractors):
    for path in records:
        record = wfdb.rdrecord(path)
        inputs = extractor(record.p_signal.T, record.fs, record.sig_name, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**inputs).logits
        values = models["merged"].probabilities(logits)
        outputs.append([name, path, {task: each[0].tolist() for task, each in values.items()}])
json.dump(outputs, open(target, "w"))
"""


def logged(folder, *keys):
    """What a run logged of some losses, in the order of time."""
    log = read_json(folder / "lora_heads" / "history.json")["log"]
    return [entry[key] for entry in log for key in keys if key in entry]


def record_path(data_dir, ecg_id):
    return str(data_dir / f"records100/00000/{ecg_id:05d}_lr")


def predicted(row, task):
    names = {"sex": ["male", "female"], "age": ["age"], "rr_interval": ["rr_interval"]}
    return [row[f"{task}.{name}.predicted"] for name in names.get(task, TASK_LABELS.get(task))]


@torch.inference_mode()
def outputs_on_record(model, extractor, data_dir, ecg_id):
    record = wfdb.rdrecord(record_path(data_dir, ecg_id))
    logits = model(**extractor(record.p_signal.T, record.fs, record.sig_name, return_tensors="pt")).logits
    plain = model if isinstance(model, EnECGModel) else adapted_model(model)
    return {task: values[0].tolist() for task, values in plain.probabilities(logits).items()}


def assert_repeats_predictions(model, extractor, run, data_dir, tasks):
    rows = pd.read_parquet(run / "predictions.parquet")
    for row in rows.iloc[[0, -1]].to_dict("records"):
        outputs = outputs_on_record(model, extractor, data_dir, row["ecg_id"])
        for task in tasks:
            assert outputs[task] == pytest.approx(predicted(row, task), rel=1e-4, abs=1e-5), task


# One recipe with three experts, four tasks and a sparse gate


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory, simulated, training_cache) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    stages = {"lora_heads": {"num_train_epochs": 2, "global_batch_size": 32, "dropout": 0.1}}
    changes = {"experts": THREE, "ensemble": SPARSE, "tasks": TASKS, "stages": stages, "num_resamples": 10}
    return write_recipe(folder / "lora.yaml", recipe_fields(simulated, folder / "run", training_cache) | changes)


@pytest.fixture(scope="module")
def finished(recipe_file) -> Path:
    """The folder of a run that nothing disturbed, not to be changed."""
    status, output = train(recipe_file)
    assert status == 0, output
    return recipe_file.with_name("run")


@pytest.fixture(scope="module")
def predictions(finished) -> pd.DataFrame:
    return pd.read_parquet(finished / "predictions.parquet")


@pytest.fixture(scope="module")
def records(finished, simulated, training_cache) -> dict[str, pd.DataFrame]:
    """By split the release's own table, with the measured RR intervals."""
    options = {"data_dir": str(simulated), "cache_dir": str(training_cache), "rr_interval": True}
    builder = PTBXL(config_name="100hz", **options)
    builder.download_and_prepare()
    columns = ["ecg_id", "rr_interval", "superdiagnostic"]
    measured = {name: split.select_columns(columns).to_pandas() for name, split in builder.as_dataset().items()}
    table = pd.read_csv(simulated / "ptbxl_database.csv")[["ecg_id", "age", "sex", "strat_fold"]]
    table.loc[table["age"] > 89, "age"] = np.nan
    return {name: table.merge(each, on="ecg_id") for name, each in measured.items()}


def test_a_run_leaves_the_model_and_an_adapter_with_its_base(finished):
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    model = {"config.json", "model.safetensors", "preprocessor_config.json"}
    adapter = {"adapter_config.json", "adapter_model.safetensors", "enecg.json", "preprocessor_config.json"}
    report = {"README.md", "metrics.json", "predictions.parquet", "experts.json", "run_info.json", "recipe.yaml"}
    assert files >= model | report | {f"adapter/{name}" for name in adapter | {f"base/{each}" for each in model}}
    weights = {"model.safetensors", "adapter/adapter_model.safetensors", "adapter/base/model.safetensors"}
    assert {name for name in files if name.endswith((".safetensors", ".bin", ".pt", ".pth"))} == weights


def test_every_task_has_the_metrics_of_its_kind_with_intervals(finished, predictions):
    classification, regression = {"macro_auroc", "macro_auprc"}, {"mae", "rmse", "r2"}
    kinds = {"superdiagnostic": classification, "age": regression, "rr_interval": regression}
    kinds["sex"] = classification | {"accuracy", "balanced_accuracy", "macro_f1"}
    for split, by_task in read_json(finished / "metrics.json").items():
        assert list(by_task) == TASKS
        rows = predictions[predictions["split"] == split]
        for task, scores in by_task.items():
            assert set(scores) - {"num_records", "resampled_by", "per_label", "undefined"} == kinds[task]
            for name in kinds[task]:
                assert_interval(scores[name])
            targets = [column for column in rows if column.startswith(f"{task}.") and column.endswith("target")]
            assert scores["num_records"] == len(rows.dropna(subset=targets))
        for task in ("age", "rr_interval"):
            assert by_task[task]["mae"]["lower"] < by_task[task]["mae"]["point"] < by_task[task]["mae"]["upper"]


def test_errors_are_in_years_and_milliseconds(finished, predictions, records):
    metrics, card = read_json(finished / "metrics.json"), (finished / "README.md").read_text()
    for task, unit in (("age", "years"), ("rr_interval", "ms")):
        for split in ("validation", "test"):
            rows = predictions[predictions["split"] == split]
            truth = records[split].set_index("ecg_id").loc[rows["ecg_id"], task].reset_index(drop=True)
            rows = rows.reset_index(drop=True)
            assert rows[f"{task}.{task}.target"].to_numpy() == pytest.approx(truth.to_numpy(), rel=1e-6, nan_ok=True)
            error = (rows[f"{task}.{task}.predicted"] - truth).abs().mean()
            point = metrics[split][task]["mae"]["point"]
            assert point == pytest.approx(error, rel=1e-5)
            assert f"| {split} | {task} | MAE ({unit}) | {point:.3f} |" in card
    assert 5 < metrics["test"]["age"]["mae"]["point"] < 40
    assert 20 < metrics["test"]["rr_interval"]["mae"]["point"] < 500


def test_every_record_is_weighed_by_two_of_three_experts(finished, predictions):
    inside = read_json(finished / "experts.json")
    assert list(inside) == TASKS
    rows = predictions[predictions["split"] == "test"]
    for task in TASKS:
        weights = rows[[f"{task}.{expert}.gate_weight" for expert in THREE]].to_numpy()
        assert ((weights > 0).sum(axis=1) == 2).all()
        assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
        means = inside[task]["gate_weights"]["all_records"]["weights"]
        assert list(means.values()) == pytest.approx(weights.mean(axis=0), abs=1e-6)
        assert "leave_one_out" not in inside[task]  # without either expert a record would be left with one


def test_a_fresh_process_repeats_the_predictions_from_model_and_adapter(finished, simulated, predictions, tmp_path):
    rows = predictions.iloc[[0, len(predictions) // 2, -1]]
    paths = [record_path(simulated, ecg_id) for ecg_id in rows["ecg_id"]]
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(finished), str(tmp_path / "outputs.json"), *paths],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    by_path = dict(zip(paths, rows.to_dict("records"), strict=True))
    outputs = read_json(tmp_path / "outputs.json")
    assert [name for name, *_ in outputs] == ["merged"] * 3 + ["adapter"] * 3
    for name, path, values in outputs:
        assert list(values) == TASKS
        for task in TASKS:
            assert values[task] == pytest.approx(predicted(by_path[path], task), rel=1e-4, abs=1e-5), (name, task)


def test_regressions_are_standardised_by_the_training_fold(finished, records):
    for folder in (finished, finished / "adapter" / "base"):
        tasks = {task["name"]: task for task in read_json(folder / "config.json")["tasks"]}
        for name in ("age", "rr_interval"):
            targets = records["train"][name].dropna()
            assert len(targets) > 150
            assert tasks[name]["target_mean"] == pytest.approx([targets.mean()], rel=1e-5)
            assert tasks[name]["target_std"] == pytest.approx([targets.std(ddof=0)], rel=1e-5)
    assert records["train"]["age"].isna().any(), "every age is known"


def test_the_card_names_what_trained_and_how_many_records_each_task_has(finished, records):
    info, card = read_json(finished / "run_info.json"), ModelCard.load(finished / "README.md").text
    tensors = load_file(finished / "adapter" / "adapter_model.safetensors")
    num_trained = sum(each.numel() for each in tensors.values())
    total = sum(each.numel() for each in load_file(finished / "model.safetensors").values())
    buffers = sum(2 * expert.config.feature_size for expert in AutoModel.from_pretrained(finished).backbones.values())
    assert info["stages"]["lora_heads"]["num_trainable"] == num_trained
    assert info["num_parameters"] == total - buffers
    row = next(line for line in card.splitlines() if line.startswith("| lora heads |"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == [
        f"{num_trained:,}",
        f"{100 * num_trained / info['num_parameters']:.2f} %",
    ]

    for task in TASKS:
        given = {
            split: rows[task].map(lambda value: np.size(value) > 0 and np.all(pd.notna(value)))
            for split, rows in records.items()
        }
        counts = {split: int(each.sum()) for split, each in given.items()}
        assert info["dataset"]["num_labelled"][task] == counts
        assert f"| {task} | " + "".join(f"{count} | " for count in counts.values()).rstrip() in card


def test_a_run_killed_in_the_middle_goes_on_to_the_same_adapter_and_metrics(finished, recipe_file, tmp_path):
    folder = tmp_path / "run"
    train_and_kill(folder, "lora_heads", 5, recipe_file, "--output_dir", str(folder))
    assert not (folder / "adapter" / "adapter_model.safetensors").exists()
    checkpoint = load_file(next(folder.glob("lora_heads/checkpoints/checkpoint-*/model.safetensors")))
    assert checkpoint
    assert not [name for name in checkpoint if name.startswith("experts.")]
    follow(recipe_file, "--output_dir", str(folder))
    adapter, base = "adapter/adapter_model.safetensors", "adapter/base/model.safetensors"
    for name in ("metrics.json", "model.safetensors", "config.json", adapter, base):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    frames = [pd.read_parquet(run / "predictions.parquet") for run in (folder, finished)]
    pd.testing.assert_frame_equal(*frames)
    assert logged(folder, "loss", "eval_loss") == logged(finished, "loss", "eval_loss")


def test_two_processes_train_as_one(finished, recipe_file, tmp_path):
    """Also where labels are missing, LoRA drops units and the sparse gate is kept balanced."""
    folder = tmp_path / "run"
    run_in_two(main, ["train", str(recipe_file), "--output_dir", str(folder), "--num_processes", "2"])
    assert read_json(folder / "run_info.json")["num_processes"] == 2
    for name in ("loss", "eval_loss"):
        assert logged(folder, name) == pytest.approx(logged(finished, name), rel=1e-5)
    ours, theirs = (read_json(each / "metrics.json") for each in (folder, finished))
    assert ours == near(theirs, rel=1e-4, abs=1e-5)
    ours, theirs = (load_file(each / "adapter" / "adapter_model.safetensors") for each in (folder, finished))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        torch.testing.assert_close(ours[name], values, rtol=1e-3, atol=1e-5, msg=name)


def test_the_feature_store_changes_no_loss(finished, recipe_file, tmp_path):
    folder = tmp_path / "run"
    follow(recipe_file, "--output_dir", str(folder), "--feature_store", "false")
    losses = logged(folder, "loss", "eval_loss")
    assert len(losses) == 2 * 2
    assert losses == pytest.approx(logged(finished, "loss", "eval_loss"), rel=1e-6)


# Adapting a trained model


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, simulated, training_cache, trained) -> Path:
    """The same model adapted to a second task."""
    folder = tmp_path_factory.mktemp("adapted")
    changes = {
        "experts": {},
        "model": str(trained),
        "tasks": ["rhythm", "superdiagnostic"],
        "stages": {"lora_heads": LORA},
        "num_resamples": 5,
    }
    fields = recipe_fields(simulated, folder / "run", training_cache) | changes
    return follow(write_recipe(folder / "recipe.yaml", fields))


def test_a_model_whose_experts_are_saved_by_reference_is_small_and_loads(trained, simulated, expert_paths):
    tensors = load_file(trained / "model.safetensors")
    assert tensors
    assert not [name for name in tensors if name.startswith("experts.")]
    references = read_json(trained / "config.json")["expert_references"]
    assert {name: each["path"] for name, each in references.items()} == {n: p["path"] for n, p in expert_paths.items()}
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (trained, Path(expert_paths["vit"]["path"]))]
    assert sizes[0] < sizes[1]
    model, extractor = AutoModel.from_pretrained(trained), AutoFeatureExtractor.from_pretrained(trained)
    assert_repeats_predictions(model, extractor, trained, simulated, ["superdiagnostic"])


def test_an_adapter_of_a_trained_model_refers_to_it(adapted, trained):
    assert {path.name for path in adapted.rglob("*.safetensors")} == {"model.safetensors", "adapter_model.safetensors"}
    assert not (adapted / "adapter" / "base").exists()
    base = read_json(adapted / "adapter" / "enecg.json")["base"]
    assert base["path"] == str(trained)
    assert base["like"] == {"rhythm": "superdiagnostic"}


def test_the_adapter_on_its_base_gives_the_runs_predictions(adapted, trained, simulated):
    extractor = AutoFeatureExtractor.from_pretrained(trained)
    tasks = ["rhythm", "superdiagnostic"]
    assert_repeats_predictions(load_adapter(adapted / "adapter"), extractor, adapted, simulated, tasks)
    base = AutoModel.from_pretrained(trained)
    assert_repeats_predictions(load_adapter(adapted / "adapter", base), extractor, adapted, simulated, tasks)
    merged = AutoModel.from_pretrained(adapted)
    assert set(merged.tasks) == set(tasks)
    own = AutoFeatureExtractor.from_pretrained(adapted)
    assert_repeats_predictions(merged, own, adapted, simulated, tasks)


def test_adapting_a_model_moves_its_task_and_leaves_its_folder_alone(adapted, trained, simulated):
    model, extractor = AutoModel.from_pretrained(trained), AutoFeatureExtractor.from_pretrained(trained)
    assert list(model.tasks) == ["superdiagnostic"]
    assert_repeats_predictions(model, extractor, trained, simulated, ["superdiagnostic"])
    rows = [pd.read_parquet(run / "predictions.parquet").iloc[0] for run in (trained, adapted)]
    assert predicted(rows[0], "superdiagnostic") != pytest.approx(predicted(rows[1], "superdiagnostic"), abs=1e-5)


def test_an_adapted_models_card_and_info_name_the_model_it_came_from(adapted, trained):
    info = read_json(adapted / "run_info.json")
    assert info["experts"] == {"cnn": f"of {trained.name}", "vit": f"of {trained.name}"}
    assert f"cnn: of {trained.name}" in (adapted / "README.md").read_text()


# LoRA in the experts, and stages after it


@pytest.fixture(scope="module")
def deep(tmp_path_factory, simulated, training_cache, expert_paths) -> Path:
    """Linear probing, then LoRA in the experts as well, then post-training."""
    folder = tmp_path_factory.mktemp("deep")
    changes = {
        "experts": expert_paths,
        "ensemble": SMALL_HEADS,
        "stages": {"linear_probing": LORA, "lora_heads": LORA | {"lora_experts": True}, "post_training": LORA},
        "num_resamples": 5,
    }
    fields = recipe_fields(simulated, folder / "run", training_cache) | changes
    return follow(write_recipe(folder / "recipe.yaml", fields))


def test_lora_in_the_experts_changes_their_attention_and_nothing_else_of_them(deep, expert_paths):
    probed = load_file(deep / "lora_heads" / "model.safetensors")
    changed = set()
    for name, source in expert_paths.items():
        before = load_file(Path(source["path"]) / "model.safetensors")
        changed |= {
            f"{name}.{key}" for key, value in before.items() if not torch.equal(probed[f"experts.{name}.{key}"], value)
        }
    assert changed == {
        f"vit.blocks.{block}.attention.{layer}.weight" for block in (0, 1) for layer in ("qkv", "output")
    }


def test_the_adapter_gives_what_its_stage_ended_with(deep, simulated):
    """Not what post-training has made of it since."""
    extractor = AutoFeatureExtractor.from_pretrained(deep)
    base = read_json(deep / "adapter" / "base" / "config.json")
    assert set(base["expert_references"]) == {"cnn", "vit"}, "experts that a folder holds need no copy"
    ours, stage, last = (
        outputs_on_record(model, extractor, simulated, 1)["superdiagnostic"]
        for model in (
            load_adapter(deep / "adapter"),
            AutoModel.from_pretrained(deep / "lora_heads"),
            AutoModel.from_pretrained(deep),
        )
    )
    assert ours == pytest.approx(stage, abs=1e-5)
    assert ours != pytest.approx(last, abs=1e-4)


def test_post_training_after_lora_trains_every_weight_of_a_plain_model(deep, simulated):
    info = read_json(deep / "run_info.json")
    assert list(info["stages"]) == ["linear_probing", "lora_heads", "post_training"]
    assert info["stages"]["post_training"]["num_trainable"] == info["num_parameters"]
    before, after = (load_file(folder / "model.safetensors") for folder in (deep / "lora_heads", deep))
    known = {name for name in after if name.startswith("novelty.")}
    assert before.keys() == after.keys() - known
    assert not [name for name in after if "lora" in name or "base_layer" in name or "modules_to_save" in name]
    unchanged = [name for name in before if torch.equal(before[name], after[name])]
    assert all(name.startswith("feature_norms.") for name in unchanged)
    model = AutoModel.from_pretrained(deep)
    assert_repeats_predictions(model, AutoFeatureExtractor.from_pretrained(deep), deep, simulated, ["superdiagnostic"])


@pytest.mark.parametrize("undone", [["post_training"], ["lora_heads", "post_training"]], ids="-".join)
def test_a_run_that_ended_between_stages_goes_on_to_the_same_weights(deep, tmp_path, undone):
    """The adapter starts alike, whatever was drawn before, and is merged where its stage is done."""
    folder = Path(shutil.copytree(deep, tmp_path / "run"))
    for name in ("metrics.json", "predictions.parquet", "model.safetensors", "config.json", "README.md"):
        (folder / name).unlink()
    for name in [*undone, *(["adapter"] if "lora_heads" in undone else [])]:
        shutil.rmtree(folder / name)
    weights = [path for name in ("linear_probing", "adapter") for path in folder.glob(f"{name}/*.safetensors")]
    kept = {path: path.stat().st_mtime_ns for path in weights}
    follow(deep.parent / "recipe.yaml", "--output_dir", str(folder))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a finished stage was done again"
    for name in ("metrics.json", "model.safetensors", "config.json", "adapter/adapter_model.safetensors"):
        assert (folder / name).read_bytes() == (deep / name).read_bytes(), name
