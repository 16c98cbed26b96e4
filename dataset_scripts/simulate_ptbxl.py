"""Simulated records in the layout of PTB-XL: `python dataset_scripts/simulate_ptbxl.py --help`."""

from modeling_enecg.data.simulator.ptbxl_layout import main, simulate_ptbxl

__all__ = ["main", "simulate_ptbxl"]

if __name__ == "__main__":
    main()
