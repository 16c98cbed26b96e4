"""Recipes that build on each other, and what they say of the ensemble."""

import pytest
import yaml

from modeling_enecg.training import RecipeError, load_recipe
from tests.helpers.training import BOTH, ECGFOUNDER, STMEM, recipe_fields, tiny_model, tiny_start

# Recipes that extend others


@pytest.fixture
def load(tmp_path):
    """A function that writes recipes by name, the fields of a small one under the first, and loads the last."""

    def load(*overrides, **recipes):
        first = next(iter(recipes))
        base = recipe_fields(tmp_path / "ptbxl", tmp_path / "run", tmp_path / "cache")
        for name, fields in recipes.items():
            content = base | fields if name == first else fields
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return load_recipe(tmp_path / f"{name}.yaml", overrides)

    return load


def test_an_extending_recipe_says_only_what_differs(load):
    plain = load(base={})
    recipe = load(base={}, child={"extends": "base.yaml", "seed": 7})
    assert recipe == load("--seed", "7", base={})
    assert recipe != plain
    assert load(base={}, child={"extends": "base.yaml"}) == plain


def test_mappings_mix_at_every_depth_and_lists_replace(load):
    child = {
        "extends": "base.yaml",
        "tasks": ["form"],
        "experts": {"ecgfounder": {"config": {"stem_size": 16, "depths": [1, 2]}}, "vit": {"config": STMEM}},
        "stages": {"post_training": {"learning_rate": 1e-4, "lr_scheduler_kwargs": {"min_lr": 1e-6}}},
    }
    base = {"stages": {"post_training": {"num_train_epochs": 3, "lr_scheduler_kwargs": {"num_cycles": 1}}}}
    recipe = load(base=base, child=child)
    assert recipe.tasks == ["form"]
    assert recipe.experts["ecgfounder"] == {"config": ECGFOUNDER | {"stem_size": 16, "depths": [1, 2]}}
    assert recipe.experts["vit"] == {"config": STMEM}
    assert recipe.stages["post_training"] == {
        "num_train_epochs": 3,
        "lr_scheduler_kwargs": {"num_cycles": 1, "min_lr": 1e-6},
        "learning_rate": 1e-4,
    }


def test_null_leaves_an_expert_or_a_stage_of_the_extended_recipe_out(load):
    child = {"extends": "base.yaml", "experts": {"cnn": None}, "stages": {"linear_probing": None}}
    recipe = load(base={"experts": BOTH}, child=child)
    assert recipe.experts == {"vit": {"config": STMEM}}
    assert list(recipe.stages) == ["post_training"]
    with pytest.raises(RecipeError, match=r"^experts: at least one is needed"):
        load(base={"experts": BOTH}, child={"extends": "base.yaml", "experts": {"cnn": None, "vit": None}})


def test_a_chain_of_recipes_is_followed_and_the_last_word_counts(load):
    recipe = load(
        base={"seed": 1, "num_resamples": 10, "confidence": 0.9},
        middle={"extends": "base.yaml", "seed": 2, "num_resamples": 20, "experts": {"vit": None}},
        child={"extends": "middle.yaml", "seed": 3, "experts": {"vit": {"config": STMEM}}},
    )
    assert (recipe.seed, recipe.num_resamples, recipe.confidence) == (3, 20, 0.9)
    assert list(recipe.experts) == ["ecgfounder", "vit"]


def test_overrides_come_last(load):
    recipe = load(
        *("--seed", "9", "--ensemble.top_k", "1", "--experts.vit", "null"),
        base={"seed": 1, "experts": BOTH},
        child={"extends": "base.yaml", "seed": 2, "ensemble": {"gate": "leads", "top_k": 2}},
    )
    assert recipe.seed == 9
    assert recipe.ensemble == {"gate": "leads", "top_k": 1}
    assert list(recipe.experts) == ["cnn"]


@pytest.mark.parametrize(
    "recipes",
    [
        {"base": {"extends": "base.yaml"}},
        {"base": {"extends": "child.yaml"}, "child": {"extends": "base.yaml"}},
        {"base": {"extends": "child.yaml"}, "middle": {"extends": "base.yaml"}, "child": {"extends": "middle.yaml"}},
    ],
    ids=["itself", "two", "three"],
)
def test_recipes_that_extend_each_other_in_a_circle_are_refused(load, recipes):
    with pytest.raises(RecipeError, match=r"extends itself, by way of \w+\.yaml"):
        load(**recipes)


@pytest.mark.parametrize(
    "name",
    ["../base.yaml", "/etc/passwd", "./base.yaml", "inner/base.yaml", ".", "", 5, None, ["base.yaml"]],
    ids=repr,
)
def test_only_a_file_in_the_same_folder_can_be_extended(load, name):
    with pytest.raises(RecipeError, match=r"child\.yaml: extends is the name of a file in the same folder; got "):
        load(base={}, child={"extends": name})


def test_an_absent_or_unreadable_recipe_that_is_extended_is_named(load, tmp_path):
    with pytest.raises(RecipeError, match=r"Cannot read the recipe .*absent\.yaml"):
        load(base={}, child={"extends": "absent.yaml"})
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(RecipeError, match=r"list\.yaml must be a mapping"):
        load(base={}, child={"extends": "list.yaml"})


def test_a_mistake_in_an_extended_recipe_is_found(load):
    with pytest.raises(RecipeError, match=r"Unknown key sampling_rat\. Did you mean sampling_rate\?"):
        load(base={"sampling_rat": 100}, child={"extends": "base.yaml"})


def test_a_recipe_cannot_extend_another_by_an_override(load):
    with pytest.raises(RecipeError, match="Unknown key extends"):
        load("--extends", "base.yaml", base={})


# How experts become one


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("gat", "Did you mean gate?"),
        ("topk", "Did you mean top_k?"),
        ("gate_lead", "Did you mean gate_leads?"),
        ("load_balance_weight", "Did you mean load_balancing_weight?"),
    ],
)
def test_an_unknown_key_of_the_ensemble_is_refused_with_the_nearest_one(load, key, suggestion):
    with pytest.raises(RecipeError) as error:
        load(base={"ensemble": {key: 1}})
    assert str(error.value) == f"Unknown key ensemble.{key}. {suggestion}"


@pytest.mark.parametrize("key", ["experts", "tasks", "expert_order", "head_dropout", "expert_references", "quux"])
def test_what_has_another_place_is_not_of_the_ensemble(load, key):
    with pytest.raises(RecipeError, match=rf"^Unknown key ensemble\.{key}\."):
        load(base={"ensemble": {key: 1}})


@pytest.mark.parametrize(
    ("ensemble", "message"),
    [
        ({"gate": "lead"}, "gate must be one of features, leads, encoder, uniform; got 'lead'"),
        ({"gate": "leads", "top_k": 5}, "top_k must be from 1 to the number of experts, 2; got 5"),
        ({"top_k": 1}, "top_k needs a gate that decides before the experts run"),
        ({"gate": "leads", "gate_leads": ["X"]}, "there is no lead 'X'"),
        ({"gate": "leads", "gate_sequence_length": "long"}, "gate_sequence_length"),
    ],
)
def test_an_illegal_ensemble_ends_in_one_line(load, ensemble, message):
    recipe = load(base={"experts": BOTH, "ensemble": ensemble})
    with pytest.raises(RecipeError, match=f"(?s)^experts: .*{message}"):
        tiny_model(recipe)


def test_the_ensembles_fields_reach_the_model_and_its_extractor(load):
    ensemble = {"gate": "encoder", "gate_leads": ["V1", "II"], "gate_sequence_length": 500, "top_k": 1}
    recipe = load(base={"experts": BOTH, "ensemble": ensemble | {"head_hidden_sizes": [4]}})
    start = tiny_start(recipe)
    model = start.model
    for key, value in ensemble.items():
        assert getattr(model.config, key) == value
    assert [model.task_heads("superdiagnostic")[0].layers[1].out_features, model.config.top_k] == [4, 1]
    gate = start.extractor.gate_extractor()
    assert (gate.lead_names, gate.sequence_length) == (["V1", "II"], 500)


@pytest.mark.parametrize("fields", [{}, {"ensemble": {"gate": "leads"}, "experts": {}}], ids=["experts", "ensemble"])
def test_a_trained_model_together_with_experts_or_an_ensemble_is_refused(load, fields):
    with pytest.raises(RecipeError, match=r"^model: a trained model has its experts and gates"):
        load(base={"model": "runs/trained"} | fields)
    assert load(base={"model": "runs/trained", "experts": {}}).model == "runs/trained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weights": {"form": 1.0}}, "loss_weights: 'form' is not one of superdiagnostic"),
        (
            {"loss_weights": {"superdiagnostic": 0}},
            r"loss_weights\.superdiagnostic: expected a positive number, got 0",
        ),
        ({"loss_weights": {"superdiagnostic": "big"}}, r"loss_weights\.superdiagnostic: .* got 'big'"),
        ({"feature_dtype": "float8"}, "feature_dtype: 'float8' is not one of float32, float16"),
        ({"save_experts": "values"}, r"save_experts: 'values' is not one of value, reference\. Did you mean value\?"),
    ],
)
def test_an_illegal_weight_or_choice_is_refused(load, changes, message):
    with pytest.raises(RecipeError, match=f"^{message}"):
        load(base=changes)
