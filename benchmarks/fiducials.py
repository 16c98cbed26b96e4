"""Onsets, peaks and ends of P, QRS and T in the median beat, against the truth of the simulator.

    python benchmarks/fiducials.py

Needs neurokit2. The truth is where the Gaussian kernels of the simulator have 4 % of their height, and where a wave's
dipole is largest; times are absolute, so that an R peak measured elsewhere is no error by itself.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from modeling_enecg.data.beats import find_beats
from modeling_enecg.data.simulator.ecg import SAMPLING_RATE, simulate_with_truth
from modeling_enecg.data.simulator.fiducials import true_fiducials
from modeling_enecg.evaluation.fiducials import FIDUCIALS, delineate
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord

KINDS = {
    "normal beats": ["NORM"],
    "tachycardia": ["STACH"],
    "hypertrophy": ["LVH"],
    "inferior infarction": ["IMI"],
    "long PR": ["1AVB"],
    "long QT": ["LNGQT"],
    "right bundle branch block": ["CRBBB"],
    "left bundle branch block": ["CLBBB"],
    "ectopic beats": ["PVC"],
    "atrial fibrillation": ["AFIB"],
}


def errors(findings: Sequence[str], seed: int) -> list[float]:
    """Return the error of each mark in ms, NaN where it was not found; infinite where there is no such wave."""
    truth = simulate_with_truth(findings, np.random.default_rng(seed))
    record = ECGRecord(truth.signal_mv, SAMPLING_RATE, list(STANDARD_LEADS))
    peaks = find_beats(record)
    found, wanted = delineate(record, peaks).seconds, true_fiducials(truth.waves)
    offset = float(np.median([peak - truth.beats[np.abs(truth.beats - peak).argmin()] for peak in peaks]))
    return [
        1000 * (found[name] + offset - wanted.get(name, np.inf)) if name in found else np.nan for name in FIDUCIALS
    ]


def main(num_records: int, kinds: Sequence[str]) -> None:
    print("mean absolute error in ms (mean error), and in how many records the mark was found")
    for kind in kinds:
        rows = np.array([errors(KINDS[kind], seed) for seed in range(num_records)])
        for name, column in zip(FIDUCIALS, rows.T, strict=True):
            known = column[~np.isnan(column)]
            text = f"{np.abs(known).mean():5.1f} ({known.mean():+.1f})" if len(known) else "-"
            print(f"{kind:26}{name:10} {text:16} {len(known)} of {num_records}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_records", type=int, default=200, help="records of each kind; by default 200")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="by default all")
    options = parser.parse_args()
    main(options.num_records, options.kinds)
