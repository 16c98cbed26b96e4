"""Settings: YAML that is read strictly, and what is typed on a command line."""

from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import yaml

from modeling_enecg.settings import (
    SettingsError,
    check_fields,
    describe_fields,
    load_yaml,
    parse_overrides,
    read_settings,
)


@dataclass
class Example:
    folder: str = field(default="here", metadata={"help": "Where."})
    cache: str | None = None
    rate: float = field(default=1.5, metadata={"help": "How fast."})
    names: list[str] = field(default_factory=list, metadata={"help": "Who."})
    fast: bool = field(default=False, metadata={"help": "Whether."})


TYPES = {"folder": str, "cache": str | None, "rate": float, "names": list[str], "fast": bool}


def parse(*arguments):
    return dict(parse_overrides(arguments, lambda key: TYPES.get(key, Any)))


@pytest.mark.parametrize(
    "text", ["runs/a #1", "5", "yes", "1e3", "a: b", "[x]", "'quoted'", "", " spaced ", "C:\\runs"]
)
def test_a_text_stays_what_was_typed(text):
    assert parse("--folder", text, f"--cache={text}") == {"folder": text, "cache": text}


def test_null_is_none_only_where_a_text_may_be_left_out():
    assert parse("--folder", "null", "--cache", "null") == {"folder": "null", "cache": None}


def test_what_has_no_known_type_is_yaml_but_no_text_is_cut_short():
    values = parse("--a", "runs/a #1", "--b", "5e-4", "--c", "[x, y]", "--d", "'5'", "--e", "null", "--f", "{k: v}")
    assert values == {"a": "runs/a #1", "b": 5e-4, "c": ["x", "y"], "d": "5", "e": None, "f": {"k": "v"}}


def test_a_switch_may_stand_alone_and_nothing_else():
    assert parse("--fast", "--rate", "2") == {"fast": True, "rate": 2}
    with pytest.raises(SettingsError, match="--rate lacks a value"):
        parse("--rate")


@pytest.mark.parametrize(
    "text",
    ["a: 1\nb: 2\na: 3", "{a: 1, 'a': 1}", "x: {y: 1, y: 2}", "- {y: 1, z: 1, y: 1}"],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(text):
    with pytest.raises(yaml.YAMLError, match=r"the key '[ay]' stands twice, the second time in line [13]"):
        load_yaml(text)


@pytest.mark.parametrize("text", ["1_0", "1_000.5", "1:30", "010"])
def test_a_number_that_yaml_takes_for_another_is_refused(text):
    with pytest.raises(yaml.YAMLError, match=f"'{text}' is no plain number"):
        load_yaml(f"learning_rate: {text}")
    assert load_yaml(f"name: '{text}'") == {"name": text}


def test_the_same_key_in_two_mappings_is_no_key_twice():
    assert load_yaml("a: {x: 1}\nb: {x: 2}\nc: [x, x]") == {"a": {"x": 1}, "b": {"x": 2}, "c": ["x", "x"]}


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "a: [", "a: b: c"])
def test_what_is_no_plain_data_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


def test_a_key_twice_in_a_file_names_the_file(tmp_path):
    (tmp_path / "file.yaml").write_text("tasks: [a]\nseed: 1\ntasks: [b]\n")
    with pytest.raises(SettingsError, match=r"file\.yaml: the key 'tasks' stands twice.* line 3"):
        read_settings(tmp_path / "file.yaml")


def test_items_of_a_list_have_their_type_too():
    check_fields({"names": ["a", "b"]}, Example, "")
    with pytest.raises(SettingsError, match=r"names: \[False\] is not of the type list\[str\]"):
        check_fields({"names": load_yaml("[no]")}, Example, "")


def test_help_has_a_line_for_each_field_that_says_something_of_itself():
    assert describe_fields(fields(Example)).splitlines() == [
        "--folder  Where. Default: here.",
        "--rate    How fast. Default: 1.5.",
        "--names   Who.",
        "--fast    Whether. Default: false.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 20_000, "nested more than 50 deep"),
        ("{a: " * 3_000 + "1" + "}" * 3_000, "nested more than 50 deep"),
        ("".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9 if n else 'x')}]\n" for n in range(10)), "aliases"),
    ],
    ids=["lists", "mappings", "aliases"],
)
def test_settings_that_grow_beyond_all_bounds_are_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)


def test_a_value_may_be_named_and_used_again():
    assert load_yaml("one: &one {two: 2}\nthree: *one") == {"one": {"two": 2}, "three": {"two": 2}}
