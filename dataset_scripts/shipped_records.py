"""The records that the shipped model is made of: `python dataset_scripts/shipped_records.py --help`."""

import argparse

from modeling_enecg.data.shipped_records import write_shipped_records

__all__ = ["write_shipped_records"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=write_shipped_records.__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("release", help="PTB-XL's folder, or a part of it.")
    parser.add_argument("filtered", help="A folder of own data with further records of PTB-XL.")
    parser.add_argument("output", help="The folder to make.")
    given = parser.parse_args()
    print(write_shipped_records(given.release, given.filtered, given.output))
