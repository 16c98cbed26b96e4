"""The files that travel with a model."""

import re
from pathlib import Path

import modeling_enecg

PACKAGE = Path(modeling_enecg.__file__).parent
ROOTS = ("modeling_enecg", "feature_extraction_ecg", "feature_extraction_enecg")


def relative_imports(text):
    return re.findall(r"^\s*from\s+(\.+\S*)\s+import", text, flags=re.MULTILINE)


def travelling_files():
    """The files that a model's and a feature extractor's own imports reach."""
    reached, waiting = {}, list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = (PACKAGE / f"{name}.py").read_text()
            waiting += [each.lstrip(".") for each in relative_imports(reached[name])]
    return reached


FILES = travelling_files()
