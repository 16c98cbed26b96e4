"""A public data set as a `datasets` builder, and as Parquet files: `python dataset_scripts/public.py --help`."""

from collections.abc import Sequence

from modeling_enecg.data.folder.parquet import main as run
from modeling_enecg.data.public.public_ecgs import PublicECGs
from modeling_enecg.data.rows import signal_array

__all__ = ["PublicECGs", "main", "signal_array"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    run(arguments, PublicECGs, "a public data set", "the folder of its release, see docs/datasets.md")


if __name__ == "__main__":
    main()
