"""Files that come with the package beside its code: recipes and templates of cards."""

from pathlib import Path

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


__all__ = ["PACKAGE", "shipped_folder", "template"]
