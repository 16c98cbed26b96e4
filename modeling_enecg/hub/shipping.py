"""Putting a finished run's model among those that come with the package: `python -m modeling_enecg.hub.shipping`.

Such a model is loaded by the installed package and needs no code of its own. Its card has no pictures, and ends with
`model_cards/<name>.md` where there is such a file.
"""

import argparse
import json
import shutil
from pathlib import Path

from transformers.utils import CONFIG_NAME, FEATURE_EXTRACTOR_NAME, SAFE_WEIGHTS_NAME

from ..runs.files import new_folder
from ..runs.run import CARD, Run
from ..runs.shipped import MODELS, shipped_folder
from .card import shipped_card

MOST_MB = 3.0  # of weights
_CODE = ("auto_map", "custom_pipelines")


def ship(run: str | Path, name: str, models: Path = MODELS) -> Path:
    """Copy what a model needs from a finished run's folder.

    Args:
        run (`str` or `Path`): The run's folder.
        name (`str`): What the shipped model is called.
        models (`Path`, *optional*): The folder of the shipped models.

    Returns:
        `Path`: The model's new folder.

    Raises:
        ValueError: if the weights are too large to come with a package, or the run did not end.
        FileExistsError: if there is such a model; delete its folder to replace it.
        FileNotFoundError: if the run lacks the model's files.
    """
    run = Path(run)
    size = (run / SAFE_WEIGHTS_NAME).stat().st_size / 1e6
    if size > MOST_MB:
        raise ValueError(f"{run}: the weights take {size:.1f} MB; a shipped model has {MOST_MB:g} MB at most.")
    with new_folder(models / name) as aside:
        shutil.copy(run / SAFE_WEIGHTS_NAME, aside)
        for file in (CONFIG_NAME, FEATURE_EXTRACTOR_NAME):
            content = json.loads((run / file).read_text(encoding="utf-8"))
            kept = {key: value for key, value in content.items() if key not in _CODE}
            (aside / file).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        (aside / CARD).write_text(shipped_card(Run(run), name, _more(name)), encoding="utf-8")
    return models / name


def _more(name: str) -> str:
    """Return what is told of a shipped model beyond what its run measured, if there is such a file."""
    file = shipped_folder("model_cards") / f"{name}.md"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put a finished run's model among those that the package ships.")
    parser.add_argument("run", help="The run's folder.")
    parser.add_argument("name", help="What the model is called.")
    given = parser.parse_args()
    print(ship(given.run, given.name))
