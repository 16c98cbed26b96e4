"""YAML as this project reads it: safely, with every key once, and with `5e-4` as a number."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that stands twice, and reads `5e-4` as YAML 1.2 says: as a number."""

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
        yaml.YAMLError: if it is no YAML, has a key twice in one mapping, or asks for more than plain data.
    """
    return yaml.load(text, _Loader)


__all__ = ["load_yaml"]
