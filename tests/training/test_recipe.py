from dataclasses import fields

import pytest
import yaml

from modeling_enecg import ECGCPCModel, ECGFeatureExtractor, EnECGModel
from modeling_enecg.data.ptbxl.ptbxl import RR_FEATURES
from modeling_enecg.settings import describe_fields
from modeling_enecg.training import RecipeError, load_recipe
from modeling_enecg.training.arguments import FineTuningArguments, LinearProbingArguments, PostTrainingArguments
from modeling_enecg.training.recipe import Recipe
from modeling_enecg.training.stages import EVERY_STAGE
from modeling_enecg.training.trainers import parameter_groups
from tests.helpers.processes import ROOT
from tests.helpers.tiny_models import RHYTHM
from tests.helpers.training import ECGFOUNDER, STMEM, recipe_fields, tiny_model, tiny_start, write_recipe

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture
def load(tmp_path):
    """A function that writes a small recipe with some fields changed, and loads it with overrides."""

    def load(*overrides, **changes):
        fields = recipe_fields(tmp_path / "ptbxl", tmp_path / "run", tmp_path / "cache") | changes
        return load_recipe(write_recipe(tmp_path / "recipe.yaml", fields), overrides)

    return load


def test_a_recipe_holds_what_its_file_says_and_defaults_elsewhere(load):
    recipe = load(seed=7)
    assert recipe.seed == 7
    assert recipe.experts == {"ecgfounder": {"config": ECGFOUNDER}}
    assert list(recipe.stages) == ["linear_probing", "post_training"]
    assert (recipe.on_error, recipe.class_weights, recipe.feature_store) == ("raise", "none", True)
    assert (recipe.confidence, recipe.ensemble, recipe.num_processes) == (0.95, {}, None)


@pytest.mark.parametrize("overrides", [("--seed", "7"), ("--seed=7",)])
def test_an_override_wins_over_the_file(load, overrides):
    assert load(*overrides, seed=3).seed == 7


def test_an_override_with_dots_reaches_inside_and_leaves_the_rest(load):
    recipe = load("--stages.post_training.learning_rate", "1e-4", "--experts.ecgfounder.config.stem_size", "16")
    assert recipe.stages["post_training"] == {"num_train_epochs": 3, "global_batch_size": 16, "learning_rate": 1e-4}
    assert recipe.experts["ecgfounder"]["config"] == ECGFOUNDER | {"stem_size": 16}


def test_an_override_may_add_what_the_file_lacks(load):
    recipe = load("--stages.fine_tuning.lr_scheduler_kwargs.min_lr", "1e-6", "--tasks", "[form, rhythm]")
    assert recipe.stages["fine_tuning"] == {"lr_scheduler_kwargs": {"min_lr": 1e-6}}
    assert recipe.tasks == ["form", "rhythm"]


def test_a_later_override_wins(load):
    assert load("--seed", "1", "--seed", "2").seed == 2


@pytest.mark.parametrize(
    ("overrides", "streaming"),
    [
        (["--streaming"], True),
        (["--seed", "7", "--streaming"], True),
        (["--streaming", "--seed", "7"], True),
        (["--streaming", "--seed=7"], True),
        (["--streaming", "true", "--seed", "7"], True),
        (["--streaming", "false", "--seed", "7"], False),
        (["--streaming=false"], False),
    ],
)
def test_a_field_that_is_true_or_false_may_stand_alone_for_true(load, overrides, streaming):
    recipe = load(*overrides, streaming=not streaming)
    assert recipe.streaming is streaming
    assert recipe.seed == (7 if len(overrides) > 1 else 42)


@pytest.mark.parametrize("text", ["5e-4", "5.0e-4", "0.0005", "5E-04", ".5e-3", "+5e-4"])
def test_every_spelling_of_a_number_is_a_number(load, tmp_path, text):
    assert load("--stages.post_training.learning_rate", text).stages["post_training"]["learning_rate"] == 5e-4
    file = tmp_path / "file.yaml"
    file.write_text(
        "{data_dir: a, output_dir: b, tasks: [form], experts: {a: {path: c}}, "
        f"stages: {{post_training: {{learning_rate: {text}}}}}}}"
    )
    assert load_recipe(file).stages["post_training"]["learning_rate"] == 5e-4


def test_a_text_that_looks_like_no_number_stays_a_text(load):
    assert load("--cache_dir", "e4").cache_dir == "e4"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--sampling_rat=100", r"Unknown key sampling_rat\. Did you mean sampling_rate\?"),
        ("--quux=1", r"Unknown key quux\.$"),
        (
            "--stages.post_training.learnin_rate=1",
            r"Unknown key stages\.post_training\.learnin_rate\. Did you mean learning_rate\?",
        ),
        ("--stages.post_trainin.learning_rate=1", r"stages: 'post_trainin' .* Did you mean post_training\?"),
        ("--experts.ecgfounder.confi=1", r"experts\.ecgfounder: give either path or config"),
        ("--experts.ecgfounder.path=here", r"experts\.ecgfounder: give either path or config"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(load, override, message):
    with pytest.raises(RecipeError, match=message):
        load(override)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("--seed=1.5", "seed"),
        ("--seed=true", "seed"),
        ("--confidence=high", "confidence"),
        ("--tasks=superdiagnostic", "tasks"),
        ("--feature_store=1", "feature_store"),
        ("--experts=[ecgfounder]", "experts"),
        ("--experts.ecgfounder=here", "experts.ecgfounder"),
        ("--stages=post_training", "stages"),
        ("--stages.post_training=5", "stages.post_training"),
        ("--stages.post_training.learning_rate=fast", "stages.post_training.learning_rate"),
        ("--stages.post_training.global_batch_size=16.5", "stages.post_training.global_batch_size"),
        ("--stages.post_training.bf16=1", "stages.post_training.bf16"),
    ],
)
def test_a_value_of_another_type_is_refused(load, override, key):
    with pytest.raises(RecipeError, match=rf"^{key}: "):
        load(override)


def test_a_whole_number_may_stand_for_a_real_one(load):
    assert load("--stages.post_training.learning_rate=1").stages["post_training"]["learning_rate"] == 1


@pytest.mark.parametrize("key", ["data_dir", "output_dir", "stages"])
def test_what_is_missing_is_named_with_the_way_to_give_it(tmp_path, key):
    fields = recipe_fields(tmp_path, tmp_path, tmp_path)
    del fields[key]
    with pytest.raises(RecipeError, match=rf"lacks {key}; add it, or pass --{key} VALUE"):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", fields))


def test_a_stage_set_to_null_is_left_out(load):
    assert list(load("--stages.linear_probing", "null").stages) == ["post_training"]


@pytest.mark.parametrize("changes", [{"stages": {"linear_probing": None}}, {"experts": {}}])
def test_a_recipe_without_stage_or_expert_is_refused(load, changes):
    with pytest.raises(RecipeError, match=rf"^{next(iter(changes))}: at least one is needed"):
        load(**changes)


@pytest.mark.parametrize("key", ["output_dir", "seed", "per_device_train_batch_size", "use_cpu", "label_names"])
def test_what_the_run_sets_itself_is_refused(load, key):
    with pytest.raises(RecipeError, match=rf"stages\.post_training\.{key} is set by the run itself"):
        load(f"--stages.post_training.{key}", "1")


@pytest.mark.parametrize(
    ("override", "choices"),
    [
        ("--sampling_rate=250", "100, 500"),
        ("--on_error=ignore", "raise, skip"),
        ("--class_weights=inverse", "none, balanced"),
        ("--stages.pre_training={}", "linear_probing, attentive_probing, lora_heads, fine_tuning, post_training"),
    ],
)
def test_an_illegal_choice_is_refused_with_the_legal_ones(load, override, choices):
    with pytest.raises(RecipeError, match=f"is not one of .*{choices}"):
        load(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed", "7"], "Expected --key value"),
        (["--seed"], "--seed lacks a value"),
        (["--tasks", "--streaming"], "tasks: '--streaming' is not of the type"),
        (["--streaming", "maybe"], "streaming: 'maybe' is not of the type bool"),
        (["--shuffle_buffer", "0"], "shuffle_buffer: expected a number of at least 1, got 0"),
        (["--", "7"], "Expected --key value"),
        (["--tasks", "[form"], "--tasks: cannot read the value"),
        (["--seed.inner", "7"], "seed holds 42 and has nothing inside"),
    ],
)
def test_an_unreadable_override_is_refused(load, overrides, message):
    with pytest.raises(RecipeError, match=message):
        load(*overrides, seed=42)


@pytest.mark.parametrize(
    "content", ["- a list", "", "a: [", "a: !!python/object/apply:os.getcwd []", b"\xff\xfe\x00a"]
)
def test_a_file_that_holds_no_recipe_is_refused(tmp_path, content):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(file)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"absent\.yaml"):
        load_recipe(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ({"config": ECGFOUNDER | {"stem_siz": 8}}, "experts.*stem_siz.*stem_size"),
        ({"config": ECGFOUNDER | {"stem_size": "wide"}}, "experts.*stem_size"),
        ({"config": ECGFOUNDER | {"depths": [1]}}, "experts.*depths"),
        ({"config": ECGFOUNDER | {"model_type": "enecg-ecgfinder"}}, "experts.*enecg-ecgfinder.*enecg-ecgfounder"),
        ({"config": {"stem_size": 8}}, "experts.*enecg-ecgfounder"),
        ({"config": 5}, r"experts\.ecgfounder"),
        ({"path": "/nowhere/model"}, "experts.*/nowhere/model"),
    ],
    ids=["unknown", "type", "misfit", "model_type", "no_model_type", "no_mapping", "no_path"],
)
def test_a_mistake_in_an_expert_is_refused_by_name(load, expert, message):
    """Whether the recipe is loaded or the model is built from it: a `RecipeError` is one line for the user."""
    with pytest.raises(RecipeError, match=f"(?s){message}"):  # noqa: PT012
        recipe = load(experts={"ecgfounder": expert})
        tiny_model(recipe)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_and_its_stages_take_its_settings(config, tmp_path):
    model = ["--model", "trained"] if config.stem == "enecg_adapt" else []
    recipe = load_recipe(config, ["--data_dir", "ptbxl", "--output_dir", "out", *model])
    for stage, settings in recipe.stages.items():
        arguments = EVERY_STAGE[stage].arguments(**settings, output_dir=str(tmp_path), use_cpu=True)
        assert arguments.num_train_epochs == settings["num_train_epochs"]
    has_ptbxl_tasks = recipe.tasks and set(recipe.tasks) <= RR_FEATURES.keys()
    if has_ptbxl_tasks and recipe.experts and all("config" in source for source in recipe.experts.values()):
        start = tiny_start(recipe)
        model, extractor = start.model, start.extractor
        shared = isinstance(extractor, ECGFeatureExtractor)
        each = dict.fromkeys(recipe.experts, extractor) if shared else extractor.extractors()
        for name, expert in model.backbones.items():
            assert each[name].sequence_length == expert.config.sequence_length


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_recipe_without_data_dir_says_how_to_give_it(config):
    with pytest.raises(RecipeError, match="pass --data_dir VALUE"):
        load_recipe(config)


def test_shipped_recipes_are_there():
    assert len(CONFIGS) >= 4


def test_experts_of_the_same_input_share_one_extractor(load):
    recipe = load(experts={"a": {"config": ECGFOUNDER}, "b": {"config": ECGFOUNDER | {"stem_size": 16}}})
    extractor = tiny_start(recipe).extractor
    assert extractor.sequence_length == 1000
    mixed = load(experts={"a": {"config": ECGFOUNDER}, "b": {"config": STMEM}})
    extractors = tiny_start(mixed).extractor.extractors()
    assert list(extractors) == ["a", "b"]
    assert extractors["a"].steps != extractors["b"].steps


def test_an_expert_of_random_weights_may_have_its_own_steps(load):
    steps = [{"name": "standardize", "scope": "lead"}, {"name": "crop_or_pad"}]
    recipe = load(experts={"a": {"config": ECGFOUNDER, "steps": steps}})
    assert tiny_start(recipe).extractor.steps == steps
    with pytest.raises(RecipeError, match=r"experts: Unknown step \{'name': 'standardise'\}"):
        tiny_start(load(experts={"a": {"config": ECGFOUNDER, "steps": [{"name": "standardise"}]}}))


REPORTED_RECIPES = ("ptbxl_post_training_ecgfounder", "ptbxl_post_training_stmem")


def reported_settings(source):
    """Settings by stage: those of a recipe, or by default those that a stage has with none given."""
    if source == "defaults":
        return {"linear_probing": {}, "post_training": {}}
    return yaml.safe_load((ROOT / "configs" / f"{source}.yaml").read_text())["stages"]


@pytest.mark.parametrize("source", ["defaults", *REPORTED_RECIPES])
def test_linear_probing_has_the_settings_that_were_reported(source, tmp_path):
    settings = reported_settings(source)["linear_probing"]
    arguments = LinearProbingArguments(**settings, output_dir=str(tmp_path), use_cpu=True)
    assert (arguments.num_train_epochs, arguments.learning_rate, arguments.weight_decay) == (30, 5e-3, 0.1)
    assert (arguments.drop_path_rate, arguments.global_batch_size) == (0, 256)


@pytest.mark.parametrize("source", ["defaults", *REPORTED_RECIPES])
def test_post_training_has_the_epochs_of_the_paper_and_rates_that_were_reported(source, tmp_path):
    settings = reported_settings(source)["post_training"]
    arguments = PostTrainingArguments(**settings, output_dir=str(tmp_path), use_cpu=True)
    assert (arguments.num_train_epochs, arguments.learning_rate, arguments.weight_decay) == (50, 5e-4, 0.05)
    assert (arguments.lr_scheduler_type, arguments.lr_scheduler_kwargs) == ("cosine_with_min_lr", {"min_lr": 1e-5})
    assert (arguments.drop_path_rate, arguments.dropout, arguments.global_batch_size) == (0.5, 0.05, 256)


def test_ecgcpc_is_post_trained_at_the_benchmarks_rates(tiny_configs, tmp_path):
    settings = reported_settings("ptbxl_post_training_ecgcpc")
    LinearProbingArguments(**settings["linear_probing"], output_dir=str(tmp_path), use_cpu=True)
    arguments = PostTrainingArguments(**settings["post_training"], output_dir=str(tmp_path), use_cpu=True)
    assert (arguments.num_train_epochs, arguments.global_batch_size) == (100, 64)
    assert (arguments.lr_scheduler_type, arguments.weight_decay) == ("constant", 1e-3)
    model = EnECGModel.from_experts({"ecgcpc": ECGCPCModel(tiny_configs["enecg-ecgcpc"])}, [RHYTHM])
    groups = parameter_groups(model, arguments.learning_rate, arguments.weight_decay, arguments.layer_decay)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    wanted = {"experts.ecgcpc.stem.": 1e-5, "experts.ecgcpc.": 1e-4, "": 1e-3}
    for name, parameter in model.named_parameters():
        rate = next(rate for prefix, rate in wanted.items() if name.startswith(prefix))
        assert rates[id(parameter)] == pytest.approx(rate), name


def test_fine_tuning_is_post_training_without_its_regularisation(tmp_path):
    fine, post = (
        kind(output_dir=str(tmp_path), use_cpu=True) for kind in (FineTuningArguments, PostTrainingArguments)
    )
    assert (fine.drop_path_rate, fine.dropout) == (0, 0)
    for name in ("learning_rate", "weight_decay", "num_train_epochs", "lr_scheduler_type", "lr_scheduler_kwargs"):
        assert getattr(fine, name) == getattr(post, name)


def test_the_help_describes_every_field():
    text = describe_fields(fields(Recipe))
    for key in recipe_fields("a", "b", "c"):
        assert f"--{key} " in text
