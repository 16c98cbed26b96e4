"""Saving the code of a backbone of one's own with a model, so that it loads where that code is not."""

import re
from pathlib import Path

from transformers.dynamic_module_utils import custom_object_save

_FROM_THE_PACKAGE = re.compile(r"^(\s*)from modeling_enecg\.(\w+) import\b", re.MULTILINE)
_OTHER = re.compile(
    r"^\s*(?:import modeling_enecg\b|from modeling_enecg(?:\.\w+\.\w[\w.]*)? import\b).*$", re.MULTILINE
)


def save_code_of(model_class: type, folder: Path) -> None:
    """Save the file that defines a backbone, its imports of this package turned to the files beside it.

    Args:
        model_class (`type`): The backbone's model class.
        folder (`Path`): The model's folder, where the package's own flat files have been saved.

    Raises:
        ValueError: if the file imports the package in a way that cannot travel.
    """
    for path in custom_object_save(model_class, folder) or []:
        text = Path(path).read_text(encoding="utf-8")
        if found := _OTHER.search(text):
            raise ValueError(
                f"{Path(path).name} cannot travel with a model, because of its line {found[0].strip()!r}: import from "
                "the package's flat files by name, as in: from modeling_enecg.modeling_backbone import ..."
            )
        Path(path).write_text(_FROM_THE_PACKAGE.sub(r"\1from .\2 import", text), encoding="utf-8")


__all__ = ["save_code_of"]
