"""YAML as this project reads it: safely, with every key once, with numbers as people write them."""

import re
from typing import Any

import yaml

_DEEPEST = 50
_MOST_VALUES = 1_000_000
_UNCLEAR = re.compile(r"[^_:]*[_:].*|[-+]?0\d\d+")  # YAML 1.1: 1_0 is ten, 1:30 is ninety, 010 is eight
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that stands twice, and reads `5e-4` as YAML 1.2 says: as a number."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth > _DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {_DEEPEST} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag in _NUMBERS and _UNCLEAR.fullmatch(node.value):
            raise yaml.YAMLError(f"{node.value!r} is no plain number; write digits, or quotes around a text")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"the key {key.value!r} stands twice, the second time in line {line}")
                seen.add((key.tag, key.value))
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(text: str) -> Any:
    """Read what a text in YAML holds.

    Raises:
        yaml.YAMLError: if it is no YAML, has a key twice in one mapping, asks for more than plain data, or holds more
            than any settings do once its aliases are followed.
    """
    content = yaml.load(text, _Loader)
    if _num_values(content, {}) > _MOST_VALUES:
        raise yaml.YAMLError(f"its aliases stand for more than {_MOST_VALUES} values")
    return content


def _num_values(value: Any, known: dict[int, int]) -> int:
    """Return how many values one is, each counted as often as it is named; in itself it counts no more."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = 1
        parts = value if isinstance(value, list) else value.values()
        known[id(value)] = 1 + sum(_num_values(part, known) for part in parts)
    return known[id(value)]


__all__ = ["load_yaml"]
