"""Pre-training through `enecg train`: a backbone from records whose labels nobody looks at, also after a kill."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel

from modeling_enecg.cli import main
from modeling_enecg.data.ptbxl.parquet import write_parquet
from modeling_enecg.hub.pushed_files import model_files
from modeling_enecg.runs.run import Run
from modeling_enecg.training import RecipeError, load_recipe, run_recipe
from modeling_enecg.training.feature_watch import FeatureWatch
from modeling_enecg.training.pretraining_run import prepare_pretraining
from tests.helpers.ecg_folder import noise, patients, write_record, write_settings, write_table
from tests.helpers.pretraining import CPC, OBJECTIVES, PREDICTIVE, pretraining_fields
from tests.helpers.processes import run_in_two
from tests.helpers.training import linked_copy, read_json, recipe_fields, train, train_and_kill, write_recipe

pytestmark = pytest.mark.xdist_group("pretraining")  # its runs are shared


@pytest.fixture(scope="module")
def pretrain(tmp_path_factory, simulated, training_cache, one_thread):
    """A function that pre-trains a tiny backbone in this process, and returns the run's folder."""

    def pretrain(stage=PREDICTIVE, fields=None, **settings) -> Path:
        folder = tmp_path_factory.mktemp("pretraining")
        own = pretraining_fields(stage, simulated, folder / "run", training_cache, **settings) | (fields or {})
        run_recipe(load_recipe(write_recipe(folder / "own.yaml", own)), "own")
        return Path(own["output_dir"])

    return pretrain


@pytest.fixture(scope="module")
def finished(pretrain) -> dict[str, Path]:
    """By objective the folder of a run that nothing disturbed, not to be changed."""
    return {stage: pretrain(stage) for stage in OBJECTIVES}


class Looks:
    """How often features were looked at: before the first epoch, after the second, and after the fourth.

    An interrupt comes once, in the place of the one after `most`.
    """

    def __init__(self) -> None:
        self.number = 0
        self.most: int | None = None


@pytest.fixture
def looks(monkeypatch) -> Looks:
    looks, look = Looks(), FeatureWatch.__call__

    def counted(watch):
        looks.number += 1
        if looks.number - 1 == looks.most:
            raise KeyboardInterrupt
        return look(watch)

    monkeypatch.setattr(FeatureWatch, "__call__", counted)
    return looks


def same_weights(first: Path, second: Path, **tolerances: float) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], **({"rtol": 0, "atol": 0} | tolerances), msg=name)


@pytest.mark.parametrize("stage", OBJECTIVES)
def test_every_objective_leaves_a_backbone_with_its_extractor_that_learnt(finished, stage):
    folder = finished[stage]
    model, extractor = AutoModel.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(np.random.default_rng(0).normal(size=(12, 5000)), sampling_rate=500, return_tensors="pt")
    assert model(**inputs).pooler_output.shape == (1, model.config.feature_size)
    assert model.config.model_type == OBJECTIVES[stage][0]["model_type"]
    losses = [each["loss"] for each in read_json(folder / stage / "history.json")["log"] if "loss" in each]
    assert losses[-1] < losses[0]
    assert not list(folder.rglob("checkpoint*"))
    assert model_files(folder)  # complete enough to be pushed


def test_a_report_on_it_says_what_it_is(finished, fail):
    folder = next(iter(finished.values()))
    assert "holds a pre-trained backbone, which has no tasks to report on; its card, README.md" in fail(
        "report", folder
    )


def test_all_training_records_count_with_labels_and_without(finished, simulated):
    folds = pd.read_csv(simulated / "ptbxl_database.csv")["strat_fold"]
    assert read_json(finished[PREDICTIVE] / "run_info.json")["dataset"]["num_records"] == {"train": sum(folds <= 8)}


def test_records_of_validation_and_test_are_never_trained_on(finished, pretrain, simulated, tmp_path):
    """Without these records, the backbone is the same to the last bit."""
    data_dir = linked_copy(simulated, tmp_path / "ptbxl")
    table = pd.read_csv(data_dir / "ptbxl_database.csv")
    (data_dir / "ptbxl_database.csv").unlink()
    table[table["strat_fold"] <= 8].to_csv(data_dir / "ptbxl_database.csv", index=False)
    for stage in OBJECTIVES:
        alone = pretrain(stage, fields={"data_dir": str(data_dir), "cache_dir": str(tmp_path / "cache")})
        same_weights(alone, finished[stage])


def test_a_stream_is_pre_trained_on_in_whole_batches(pretrain, simulated, tmp_path):
    data_dir = write_parquet(simulated, tmp_path / "parquet", ["100hz"])
    fields = {"data_dir": str(data_dir), "streaming": True, "shuffle_buffer": 50}
    folder = pretrain(fields=fields)
    log = read_json(folder / PREDICTIVE / "history.json")["log"]
    losses = [each["loss"] for each in log if "loss" in each]
    assert losses[-1] < losses[0]
    assert max(each["step"] for each in log) == 4 * (161 // 16)
    metrics = read_json(folder / "metrics.json")["pretraining"]
    assert metrics["end"]["probe_score"] > 0.5
    assert read_json(folder / "run_info.json")["dataset"]["num_records"] == {"train": 161}


@pytest.fixture
def hospital(tmp_path) -> Path:
    """Recordings of another hospital, at another rate, of folds 1 to 10."""
    rows = patients(24)
    for index, row in enumerate(rows):
        write_record(tmp_path / "hospital" / str(row["file"]), noise(num_samples=5000, seed=index), 500)
    write_table(tmp_path / "hospital/labels.csv", rows)
    return write_settings(tmp_path / "hospital")


def test_datasets_are_mixed_by_weight_and_only_their_training_records_count(pretrain, hospital, tmp_path, looks):
    fields = {"more_data": {str(hospital): 0.5}}
    folder = pretrain(fields=fields, time_crop=0.5)
    info = read_json(folder / "run_info.json")
    assert info["dataset"]["num_records"] == {"train": 161 + 20}
    assert info["dataset"]["name"].endswith(" and hospital")
    log = read_json(folder / PREDICTIVE / "history.json")["log"]
    assert max(each["step"] for each in log) == 4 * ((161 + 10) // 16)
    for name in ("records/09", "records/10", "records/19", "records/20"):  # folds 9 and 10
        for suffix in (".hea", ".dat"):
            (hospital / name).with_suffix(suffix).unlink()
    table = pd.read_csv(hospital / "labels.csv")
    table[table["fold"] <= 8].to_csv(hospital / "labels.csv", index=False)
    looks.number, looks.most, place = 0, 2, {"output_dir": str(tmp_path / "run")}
    with pytest.raises(KeyboardInterrupt):
        pretrain(fields=fields | place, time_crop=0.5)
    same_weights(pretrain(fields=fields | place, time_crop=0.5), folder)


def test_labels_change_nothing(finished, pretrain):
    """Neither which ones are probed, nor whether any are."""
    other = pretrain(fields={"tasks": ["age", "rhythm"]}, watch_epochs=1)
    same_weights(other, finished[PREDICTIVE])
    silent = pretrain(fields={"tasks": []})
    same_weights(silent, finished[PREDICTIVE])
    assert set(read_json(silent / "metrics.json")["pretraining"]["end"]) == {"effective_rank"}


@pytest.mark.parametrize("stage", OBJECTIVES)
def test_an_interrupted_pre_training_goes_on_to_the_same_weights(finished, pretrain, stage, tmp_path, looks):
    looks.most = 2
    fields = {"output_dir": str(tmp_path / "run")}
    with pytest.raises(KeyboardInterrupt):
        pretrain(stage, fields=fields)
    assert (tmp_path / "run" / stage / "checkpoints" / "checkpoint-30").exists()
    pretrain(stage, fields=fields)
    assert looks.number == 4, "what had been watched was watched again"
    same_weights(tmp_path / "run", finished[stage])
    assert story(tmp_path / "run", stage) == story(finished[stage], stage)


def story(folder: Path, stage: str) -> list[dict[str, float | None]]:
    log = read_json(folder / stage / "history.json")["log"]
    return [{key: each.get(key) for key in ("epoch", "loss", "probe_score", "effective_rank")} for each in log]


def test_a_killed_pre_training_goes_on_to_the_same_weights(finished, simulated, training_cache, tmp_path):
    folder = tmp_path / "run"
    config = write_recipe(tmp_path / "own.yaml", pretraining_fields(PREDICTIVE, simulated, folder, training_cache))
    train_and_kill(folder, PREDICTIVE, 10, config)
    status, output = train(config)
    assert status == 0, output
    for text in ("linear probe on validation: ", "effective rank: ", f"{folder}: the backbone, its card README.md"):
        assert text in output
    same_weights(folder, finished[PREDICTIVE])
    assert story(folder, PREDICTIVE) == story(finished[PREDICTIVE], PREDICTIVE)


def test_two_processes_learn_the_same_as_one(finished, simulated, training_cache, tmp_path):
    for stage in OBJECTIVES:
        fields = pretraining_fields(stage, simulated, tmp_path / stage, training_cache)
        run_in_two(main, ["train", str(write_recipe(tmp_path / f"{stage}.yaml", fields))])
        assert read_json(tmp_path / stage / "run_info.json")["num_processes"] == 2
        same_weights(tmp_path / stage, finished[stage], atol=2e-4)


def test_the_card_says_what_was_learnt_from_what_at_which_cost(finished):
    folder = finished[PREDICTIVE]
    card, info = (folder / "README.md").read_text(), read_json(folder / "run_info.json")
    metrics = read_json(folder / "metrics.json")["pretraining"]
    start, end = (
        [f"{each[key]:.{digits}f}" for key, digits in (("effective_rank", 1), ("probe_score", 3))]
        for each in (metrics["start"], metrics["end"])
    )
    for text in (
        "contrastive predictive coding",
        "simulated",
        f"{info['dataset']['num_records']['train']} records of its training fold",
        f"| 0 |  | {' | '.join(start)} |",
        f"| 4 | {metrics['loss']:.4g} | {' | '.join(end)} |",
        f"| {info['stages'][PREDICTIVE]['seconds']:.1f} s |",
        "whoever owns them chooses a licence",
        "num_negatives: 16",
        "](figures/pretraining.png)",
        "not a medical device",
    ):
        assert text in card, text
    assert (folder / "figures" / "pretraining.png").exists()


def test_a_collapse_is_named_in_log_and_card(pretrain, caplog):
    with caplog.at_level("WARNING", logger="modeling_enecg"):
        folder = pretrain(collapse_rank=1000.0, num_train_epochs=1)
    assert "The features have collapsed: in epoch 1" in caplog.text
    assert "**The features collapsed**" in (folder / "README.md").read_text()
    assert read_json(folder / "metrics.json")["pretraining"]["collapsed_epochs"] == [1]


def test_a_supervised_recipe_starts_from_the_backbone(finished, simulated, training_cache, tmp_path):
    backbone = finished[PREDICTIVE]
    fields = recipe_fields(simulated, tmp_path / "run", training_cache, num_resamples=5)
    fields |= {"experts": {"cpc": {"path": str(backbone)}}}
    fields |= {"stages": {"linear_probing": {"num_train_epochs": 1, "global_batch_size": 16}}}
    run_recipe(load_recipe(write_recipe(tmp_path / "probe.yaml", fields)))
    own, expert = load_file(backbone / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(value, expert[f"experts.cpc.{name}"]) for name, value in own.items())


def test_pre_training_goes_on_from_weights_of_a_path_and_keeps_their_licence(finished, pretrain, tmp_path):
    before = tmp_path / "published"
    own = AutoModel.from_pretrained(finished[PREDICTIVE])
    own.config.weights_source, own.config.weights_licence = "https://example.org/weights", "cc-by-nc-4.0"
    own.save_pretrained(before)
    folder = pretrain(fields={"experts": {"own": {"path": str(before)}}}, learning_rate=0.0, num_train_epochs=1)
    for (name, first), second in zip(
        own.named_parameters(), AutoModel.from_pretrained(folder).parameters(), strict=True
    ):
        assert torch.equal(first, second), name
    assert read_json(folder / "run_info.json")["experts"]["own"] == "published"
    assert ModelCard.load(folder / "README.md").data.license == "cc-by-nc-4.0"


def test_stochastic_depth_is_of_the_pre_training_alone(finished, simulated, training_cache, tmp_path):
    stage = "joint_embedding_prediction"
    fields = pretraining_fields(stage, simulated, tmp_path / "run", training_cache, predictor_layers=2)
    objective = prepare_pretraining(load_recipe(write_recipe(tmp_path / "own.yaml", fields)), Run(tmp_path)).objective
    for blocks in (objective.backbone.blocks, objective.predictor):
        assert [block.drop_path_rate for block in blocks] == [0, 0.1]
    assert [block.drop_path_rate for block in objective.target.blocks] == [0, 0]
    assert read_json(finished[stage] / "config.json")["drop_path_rate"] == 0


def test_activation_checkpointing_changes_no_weight(finished, pretrain):
    folder = pretrain("masked_reconstruction", activation_checkpointing=True)
    same_weights(folder, finished["masked_reconstruction"], atol=1e-6)


def test_bf16_and_augmentation_are_settings_as_of_other_stages(pretrain):
    folder = pretrain(bf16=True, num_train_epochs=1, amplitude_scale=0.2, gaussian_noise=0.02)
    assert read_json(folder / "run_info.json")["stages"][PREDICTIVE]["precision"] == "bf16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": {PREDICTIVE: {}, "linear_probing": {}}}, "a pre-training is a recipe of its own, of one stage"),
        ({"experts": {"a": {"config": CPC}, "b": {"config": CPC}}}, "a pre-training is of one; got a, b"),
        ({"train_fraction": 0.5}, "train_fraction: leave it out"),
        ({"more_data": {"other": -1.0}}, r"more_data\.other: expected a positive number, got -1\.0"),
        ({"more_data": {"other": 1.0}, "streaming": True}, "more_data: is not mixed into a stream"),
        ({"stages": {PREDICTIVE: {"layer_decay": 0.5}}}, f"stages.{PREDICTIVE}: layer_decay: leave it out"),
        ({"stages": {PREDICTIVE: {"steps_ahead": 100}}}, f"stages.{PREDICTIVE}: steps_ahead: 100 leads out"),
        (
            {"experts": {"vit": {"config": {"model_type": "enecg-dlinear"}}}},
            f"stages.{PREDICTIVE}: is for enecg-ecgcpc; the backbone is enecg-dlinear",
        ),
    ],
)
def test_what_a_pre_training_cannot_have_is_refused(changes, message, simulated, training_cache, tmp_path):
    fields = pretraining_fields(PREDICTIVE, simulated, tmp_path / "run", training_cache) | changes
    with pytest.raises(RecipeError, match=message):  # noqa: PT012
        recipe = load_recipe(write_recipe(tmp_path / "own.yaml", fields))
        run_recipe(recipe)
    assert not (tmp_path / "run" / "recipe.yaml").exists()
