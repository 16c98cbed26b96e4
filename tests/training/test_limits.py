"""Settings that cannot be meant are refused by name, in one line, before anything runs."""

import typing
from dataclasses import fields

import pytest

from modeling_enecg.settings import fits
from modeling_enecg.training import RecipeError, load_recipe
from modeling_enecg.training.limits import UNUSABLE, Range
from modeling_enecg.training.stages import STAGES
from tests.helpers.training import recipe_fields, write_recipe

VALUES = {"true": True, "1": 1, "epoch": "epoch", "[loss]": ["loss"]}  # one of each type, as written and as read


@pytest.fixture
def refused(tmp_path):
    """A function that returns with what a small recipe and an override are refused."""

    def refused(key, value):
        content = recipe_fields(tmp_path / "ptbxl", tmp_path / "run", tmp_path / "cache")
        with pytest.raises(RecipeError) as caught:
            load_recipe(write_recipe(tmp_path / "recipe.yaml", content), [f"--{key}", str(value)])
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(key)
        return message

    return refused


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("learning_rate", ".inf", "expected a number of at least 0, got inf"),
        ("learning_rate", ".nan", "got nan"),
        ("learning_rate", "-1.0e-3", "got -0.001"),
        ("weight_decay", ".nan", "expected a number of at least 0, got nan"),
        ("dropout", "1.0", "expected a number of at least 0 and below 1, got 1.0"),
        ("drop_path_rate", "-0.1", "got -0.1"),
        ("lead_dropout", "1", "got 1"),
        ("layer_decay", "0", "expected a number above 0 and at most 1, got 0"),
        ("num_train_epochs", "0", "expected a number above 0, got 0"),
        ("num_train_epochs", "-1", "got -1"),
        ("global_batch_size", "0", "expected a number of at least 1, got 0"),
        ("early_stopping_patience", "0", "got 0"),
        ("warmup_steps", "-5", "got -5"),
        ("max_grad_norm", ".inf", "got inf"),
        ("adam_beta2", "1.0", "got 1.0"),
        ("lr_scheduler_kwargs.min_lr", ".nan", "expected a finite number, got nan"),
    ],
)
def test_a_stages_illegal_number_is_refused(refused, setting, value, expected):
    assert expected in refused(f"stages.post_training.{setting}", value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("confidence", "95"), ("confidence", "0"), ("num_resamples", "0"), ("seed", "-1"), ("num_proc", "-1")),
        *(("num_processes", "0"), ("train_fraction", "0"), ("folds", "2"), ("repeats", "0"), ("subset_seed", "-1")),
    ],
)
def test_a_recipes_illegal_number_is_refused(refused, field, value):
    assert "expected a number" in refused(field, value)


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_field_of_transformers_that_cannot_be_meant_is_refused_with_the_reason(refused, name):
    known = {field.name for field in fields(STAGES["fine_tuning"].arguments)}
    assert name in known, "transformers has no such field any more"
    hint = typing.get_type_hints(STAGES["fine_tuning"].arguments)[name]
    value = next(text for text, read in VALUES.items() if fits(read, hint))
    assert "leave it out" in refused(f"stages.post_training.{name}", value)


def test_repeats_without_folds_are_refused(refused):
    assert "nothing to repeat" in refused("repeats", "3")


@pytest.mark.parametrize(
    ("legal", "inside", "outside", "words"),
    [
        (Range(), [0, -1e9], [float("nan"), float("inf")], "a finite number"),
        (Range(0, 1, is_high_open=True), [0, 0.99], [1, -0.1], "a number of at least 0 and below 1"),
        (Range(0, is_low_open=True), [1e-9], [0], "a number above 0"),
    ],
)
def test_a_range_knows_its_ends_and_says_them(legal, inside, outside, words):
    assert all(value in legal for value in inside)
    assert not any(value in legal for value in outside)
    assert str(legal) == words
