"""MIMIC-IV-ECG as a `datasets` builder, and as Parquet files: `python dataset_scripts/mimic_iv_ecg.py --help`."""

from modeling_enecg.data.mimic_iv_ecg.mimic_iv_ecg import MIMICIVECG
from modeling_enecg.data.mimic_iv_ecg.parquet import main

__all__ = ["MIMICIVECG", "main"]

if __name__ == "__main__":
    main()
