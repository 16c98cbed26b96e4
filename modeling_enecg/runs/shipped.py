"""Files that come with the package beside its code: recipes, templates of cards, and models."""

import os
from importlib.metadata import metadata
from pathlib import Path

from ..settings import suggest
from .portable import check_place, is_hub_id

PACKAGE = Path(__file__).parents[1]
MODELS = PACKAGE / "models"


def shipped_folder(name: str) -> Path:
    """Return the folder `configs` or `model_cards`: inside an installed package, beside it in a checkout.

    Args:
        name (`str`): The folder's name.

    Raises:
        FileNotFoundError: if the package was installed without it.
    """
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"This installation of enecg lacks its folder {name}; install it anew.")


def source_address() -> str | None:
    """Return the address of the project's source, from `urls` in pyproject.toml; None while none stands there."""
    for entry in metadata("enecg").get_all("Project-URL") or []:
        name, _, address = entry.partition(", ")
        if name.lower() == "source":
            return address
    return None


def template(name: str) -> str:
    """Return the text of a template in `model_cards`."""
    return (shipped_folder("model_cards") / name).read_text(encoding="utf-8")


def shipped_recipes() -> dict[str, Path]:
    """Return the files of the shipped recipes by name."""
    return {path.stem: path for path in sorted(shipped_folder("configs").glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Return a recipe's file.

    Args:
        name (`str`): A file, or the name of a shipped recipe.

    Raises:
        FileNotFoundError: if there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    recipes = shipped_recipes()
    if name not in recipes:
        raise FileNotFoundError(
            f"There is no file {name}, and no shipped recipe of that name.{suggest(name, list(recipes))} "
            "`enecg recipes` lists them."
        )
    return recipes[name]


def shipped_models() -> dict[str, Path]:
    """Return the folders of the shipped models by name."""
    return {path.parent.name: path.parent for path in sorted(MODELS.glob("*/config.json"))}


def builtin(name: str) -> str:
    """Return the folder of a shipped model, with its feature extractor; as a text, which pipelines ask for.

    Args:
        name (`str`): The model's name, such as `"small"`.

    Raises:
        FileNotFoundError: if no such model is shipped.
    """
    models = shipped_models()
    if name not in models:
        known = f"shipped are: {', '.join(models)}" if models else "this installation has none"
        raise FileNotFoundError(f"There is no shipped model {name!r}; {known}.")
    return str(models[name])


def find_model(place: str | Path) -> str:
    """Return where a model lies: the folder of a shipped one by its name; a folder or Hub id as it was given.

    Raises:
        FileNotFoundError: if there is no such folder, and it can be no Hub id.
        ValueError: if a shipped model and a folder here have the same name.
    """
    place, models = str(place), shipped_models()
    if place in models:
        if os.path.isdir(place):
            raise ValueError(f"{place} is a shipped model, and a folder here; write ./{place} for the folder.")
        return str(models[place])
    if os.path.basename(place) == place and not os.path.isdir(place) and not is_hub_id(place):
        raise FileNotFoundError(
            f"There is no folder {place}, and no shipped model of that name.{suggest(place, list(models))}"
        )
    check_place(place)
    return place


__all__ = [
    "MODELS",
    "PACKAGE",
    "builtin",
    "find_model",
    "find_recipe",
    "shipped_folder",
    "shipped_models",
    "shipped_recipes",
    "template",
]
