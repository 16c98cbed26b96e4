"""What the tests of `WFDBFolder` read of a dataset, and the record that they damage."""

from collections.abc import Callable
from pathlib import Path

from modeling_enecg.data.folder.wfdb_folder import WFDBFolder
from tests.helpers.builders import all_rows

RECORD = "records/03"  # of row 4, patient p3, fold 3: where the faults are put
ROW = 4

Change = Callable[[Path], None]


def column(builder: WFDBFolder, name: str) -> list:
    """A column in the order of the table, whose records are numbered."""
    return [row[name] for row in sorted(all_rows(builder), key=lambda row: row["ecg_id"])]


def remove(suffix: str) -> Change:
    return lambda folder: (folder / f"{RECORD}{suffix}").unlink()
