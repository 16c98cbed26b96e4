"""Train a model as a recipe says: `accelerate launch train.py RECIPE --data_dir DIR --output_dir DIR`."""

import sys

from modeling_enecg.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
