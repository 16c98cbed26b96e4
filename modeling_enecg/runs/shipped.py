"""Files that come with the package beside its code: recipes and templates of cards."""

from pathlib import Path

from ..settings import suggest

PACKAGE = Path(__file__).parents[1]


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


__all__ = ["PACKAGE", "find_recipe", "shipped_folder", "shipped_recipes", "template"]
