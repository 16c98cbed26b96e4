"""PTB-XL as a `datasets` builder, and as Parquet files: `python dataset_scripts/ptbxl.py --help`."""

from modeling_enecg.data.ptbxl.parquet import main
from modeling_enecg.data.ptbxl.ptbxl import PTBXL, PTBXLConfig
from modeling_enecg.data.rows import signal_array

__all__ = ["PTBXL", "PTBXLConfig", "main", "signal_array"]

if __name__ == "__main__":
    main()
