"""Docstrings in transformers' form, as mkdocstrings wants them: types without Markdown."""

import re
from typing import Any

import griffe

ARGUMENT = re.compile(r"^( +[\w*, ]+ )\((.+?)\):", re.MULTILINE)  # `name` (type, *optional*):
REFERENCE = re.compile(r"\[`(\w+)`\](?![\[(])")  # [`ECGRecord`], which transformers' own builder links


class PlainTypes(griffe.Extension):
    """Take the Markdown out of the types of arguments, and the brackets from names of classes."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object once it is read."""
        if obj.docstring is not None:
            text = REFERENCE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = ARGUMENT.sub(lambda found: f"{found[1]}({re.sub('[`*]', '', found[2])}):", text)
