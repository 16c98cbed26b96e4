"""A folder of ECGs as a `datasets` builder, and as Parquet files: `python dataset_scripts/wfdb_folder.py --help`."""

from modeling_enecg.data.folder.parquet import main
from modeling_enecg.data.folder.wfdb_folder import WFDBFolder
from modeling_enecg.data.rows import signal_array

__all__ = ["WFDBFolder", "main", "signal_array"]

if __name__ == "__main__":
    main()
