"""Train a model as a recipe says: `accelerate launch train.py CONFIG.yaml --data_dir DIR --output_dir DIR`."""

import argparse
import sys
from pathlib import Path

from modeling_enecg.training import load_recipe, run_recipe
from modeling_enecg.training.recipe import describe_fields


def main() -> None:
    """Read the recipe and its overrides from the command line, and follow it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Overrides, with dots inside, as in --stages.post_training.learning_rate 1e-4:\n" + describe_fields(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="recipe file (YAML)")
    arguments, overrides = parser.parse_known_args()
    try:
        run_recipe(load_recipe(arguments.config, overrides), Path(arguments.config).stem)
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
