"""What a builder made."""

import datasets


def all_rows(builder: datasets.DatasetBuilder) -> list[dict]:
    return [row for split in builder.as_dataset().values() for row in split]
