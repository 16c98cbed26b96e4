"""What a run lets its model know of the records, and what becomes of it where the model is adapted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_enecg import EnECGModel
from modeling_enecg.adapters import load_adapter
from modeling_enecg.data.prepared import Split
from modeling_enecg.data.ptbxl.parquet import write_parquet
from modeling_enecg.novelty import Novelty
from modeling_enecg.prediction import Predictor
from modeling_enecg.runs.run import Run
from modeling_enecg.training import Recipe, load_recipe, run_recipe
from modeling_enecg.training.run import prepare
from tests.helpers.training import (
    LINEAR_PROBING,
    LORA,
    POST_TRAINING,
    SMALL_HEADS,
    recipe_fields,
    tiny_splits,
    write_recipe,
)

pytestmark = [
    # peft 0.21 asks for what transformers 5.23 calls deprecated.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.xdist_group("novelty_training"),  # its runs are shared
]

ADAPTABLE = {"ensemble": SMALL_HEADS, "stages": {"lora_heads": LORA}, "num_resamples": 5}


@pytest.fixture(scope="module")
def make_run(tmp_path_factory, simulated, training_cache):
    """A function that follows a recipe with some fields changed; it returns the recipe."""

    def make_run(**changes) -> Recipe:
        folder = tmp_path_factory.mktemp("run")
        fields = recipe_fields(simulated, folder / "run", training_cache) | {"num_resamples": 5} | changes
        recipe = load_recipe(write_recipe(folder / "recipe.yaml", fields))
        run_recipe(recipe)
        return recipe

    return make_run


@pytest.fixture(scope="module")
def post_trained(make_run) -> Recipe:
    """A run whose experts train."""
    return make_run(stages={"post_training": POST_TRAINING})


def novelty_of(model: EnECGModel) -> dict[str, torch.Tensor]:
    return {name: each for name, each in model.state_dict().items() if name.startswith("novelty.")}


def assert_same(ours: EnECGModel, theirs: EnECGModel) -> None:
    wanted = novelty_of(theirs)
    assert wanted
    torch.testing.assert_close(novelty_of(ours), wanted, rtol=0, atol=0)


@torch.no_grad()
def features_of(model: EnECGModel, records: Split) -> dict[str, torch.Tensor]:
    return model.extract_features(**records.batch("input_0", range(len(records))))


def test_a_run_measures_novelty_on_its_validation_records_by_its_final_experts(post_trained):
    model = EnECGModel.from_pretrained(post_trained.output_dir)
    ranks = np.sort(model.novelty_of(features_of(model, tiny_splits(post_trained)["validation"]))[1])
    np.testing.assert_allclose(ranks, np.linspace(0, 1, len(ranks)), atol=0.05)


def test_a_run_that_was_killed_before_its_report_knows_the_same(post_trained):
    before = novelty_of(EnECGModel.from_pretrained(post_trained.output_dir))
    Path(post_trained.output_dir, "metrics.json").unlink()
    run_recipe(post_trained)
    after = EnECGModel.from_pretrained(post_trained.output_dir)
    torch.testing.assert_close(novelty_of(after), before, rtol=0, atol=0)


def test_novelty_is_of_the_records_that_train_where_not_all_do(make_run, tmp_path):
    half = make_run(stages={"linear_probing": LINEAR_PROBING}, train_fraction=0.5)
    model = EnECGModel.from_pretrained(half.output_dir)
    trained_on = prepare(half, Run(tmp_path)).data.splits["train"]
    assert 0 < len(trained_on) < 0.6 * len(tiny_splits(half)["train"])
    (known,) = features_of(model, trained_on).values()
    torch.testing.assert_close(model.novelty.norm.mean, known.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_a_foreign_signal_is_doubtful_and_a_record_of_the_release_is_not(post_trained, simulated):
    predictor = Predictor(post_trained.output_dir)
    known = predictor(str(simulated / "records100" / "00000" / "00001_lr"))
    assert known.novelty["rank"] <= 0.99
    foreign = predictor({"signal": np.random.default_rng(0).normal(size=(12, 1000)) ** 3 / 4, "sampling_rate": 100})
    assert foreign.novelty["rank"] > 0.99
    assert "unlike the records that the model knows" in str(foreign.quality)


def test_an_adapters_base_knows_what_the_run_knows(make_run):
    run = Path(make_run(**ADAPTABLE).output_dir)
    model = EnECGModel.from_pretrained(run)
    assert_same(EnECGModel.from_pretrained(run / "adapter" / "base"), model)
    assert_same(load_adapter(run / "adapter").merge_and_unload(), model)


def test_a_model_that_is_adapted_keeps_its_novelty_while_its_experts_stay_the_same(make_run, trained):
    base = EnECGModel.from_pretrained(trained)
    heads = Path(make_run(model=str(trained), experts={}, stages={"lora_heads": LORA}, train_fraction=0.5).output_dir)
    assert_same(EnECGModel.from_pretrained(heads), base)
    assert_same(load_adapter(heads / "adapter").merge_and_unload(), base)
    experts = {"lora_heads": LORA | {"lora_experts": True}}
    deep = Path(make_run(model=str(trained), experts={}, stages=experts, train_fraction=0.5).output_dir)
    assert not torch.equal(EnECGModel.from_pretrained(deep).novelty.norm.mean, base.novelty.norm.mean)
    assert load_adapter(deep / "adapter").merge_and_unload().novelty is None


def test_without_a_validation_fold_every_fifth_patient_stands_in(make_run):
    recipe = make_run(stages={"linear_probing": LORA}, folds=3)
    model = EnECGModel.from_pretrained(recipe.output_dir)
    records = [tiny_splits(recipe)[split] for split in ("train", "validation")]
    patients = np.concatenate([each.records["patient_id"][:] for each in records])
    features = torch.cat([features_of(model, each)["ecgfounder"] for each in records])
    known = features[np.unique(patients, return_inverse=True)[1] % 5 != 0]
    torch.testing.assert_close(model.novelty.norm.mean, known.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.novelty.norm.mean, features.mean(dim=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["linear_probing", "post_training"])
def test_a_streaming_run_knows_what_one_does_that_holds_all_records(make_run, simulated, tmp_path, stage):
    parquet = write_parquet(simulated, tmp_path / "ptbxl", ["100hz"])
    run = make_run(data_dir=str(parquet), streaming=True, stages={stage: LORA})
    model = EnECGModel.from_pretrained(run.output_dir)
    known, others = (features_of(model, tiny_splits(run)[split])["ecgfounder"] for split in ("train", "validation"))
    expected = Novelty.fit([known.numpy()], [others.numpy()])
    torch.testing.assert_close(model.novelty.norm.state_dict(), expected.norm.state_dict(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.novelty.quantiles, expected.quantiles, rtol=0.01, atol=0.01)


def test_a_gate_that_leaves_experts_out_leaves_novelty_out(make_run, expert_paths):
    sparse = {"gate": "encoder", "top_k": 1} | SMALL_HEADS
    run = make_run(experts=expert_paths, ensemble=sparse, stages={"linear_probing": LORA})
    assert EnECGModel.from_pretrained(run.output_dir).novelty is None
