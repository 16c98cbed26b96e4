"""Median beat, R peaks and RR interval as a print of an ECG has them, against the truth of the simulator.

    python benchmarks/median_beat.py

The true RR interval is the median between the true R peaks in the record. The true beat is the mean of the conducted
beats of the signal without noise, about the true R peaks moved by the median distance of the measured ones, a
column of its own: the simulator's R peak is that of one wave, not of all leads together.
"""

import argparse

import numpy as np

from modeling_enecg.data.beats import find_beats
from modeling_enecg.data.rr_interval import median_rr_ms
from modeling_enecg.data.simulator.ecg import SAMPLING_RATE, Simulated, simulate_with_truth
from modeling_enecg.evaluation.median_beat import MedianBeat, median_beat
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord

KINDS = {
    "normal beats": ["NORM"],
    "hypertrophy": ["LVH"],
    "left bundle branch block": ["CLBBB"],
    "inferior infarction": ["IMI"],
    "ectopic beats": ["PVC"],
    "atrial fibrillation": ["AFIB"],
}


def true_beat(truth: Simulated, like: MedianBeat, offset_s: float) -> np.ndarray:
    """Return the mean conducted beat without noise, `(12, num_samples)`, about each lead's median."""
    after = like.signal_mv.shape[1] - like.r_peak
    peaks = np.rint((truth.beats[~truth.is_ectopic] + offset_s) * SAMPLING_RATE).astype(int)
    peaks = peaks[(peaks >= like.r_peak) & (peaks < truth.clean_mv.shape[1] - after)]
    beat = np.mean([truth.clean_mv[:, peak - like.r_peak : peak + after] for peak in peaks], axis=0)
    return beat - np.median(beat, axis=1, keepdims=True)


def compare(findings: list[str], seed: int) -> tuple[float, float, float, float] | None:
    """Return the errors of RR (ms) and R peak (ms), the root mean square of that of the beat (mV), and correlation."""
    truth = simulate_with_truth(findings, np.random.default_rng(seed))
    found = find_beats(ECGRecord(truth.signal_mv, SAMPLING_RATE, list(STANDARD_LEADS)))
    beat, rr = median_beat(truth.signal_mv, SAMPLING_RATE, found), median_rr_ms(found)
    if beat is None or rr is None:
        return None
    inside = truth.beats[(truth.beats >= 0) & (truth.beats < truth.signal_mv.shape[1] / SAMPLING_RATE)]
    offset = float(np.median([peak - inside[np.abs(inside - peak).argmin()] for peak in found]))
    expected = true_beat(truth, beat, offset)
    error = float(np.sqrt(np.mean(np.square(beat.signal_mv - expected))))
    correlation = float(np.corrcoef(beat.signal_mv.ravel(), expected.ravel())[0, 1])
    return rr - 1000 * float(np.median(np.diff(inside))), 1000 * offset, error, correlation


def main(num_records: int) -> None:
    print(
        "records, not measured; median and 95th percentile of the absolute error: RR ms, R peak ms, beat mV;", end=" "
    )
    print("median and least correlation")
    for name, findings in KINDS.items():
        results = [compare(findings, seed) for seed in range(num_records)]
        rows = np.abs([result for result in results if result is not None])
        errors = ", ".join(f"{np.median(column):.3f} ({np.quantile(column, 0.95):.3f})" for column in rows[:, :3].T)
        print(f"{name:26}{num_records:4d}, {num_records - len(rows)}; {errors};", end=" ")
        print(f"{np.median(rows[:, 3]):.4f} {rows[:, 3].min():.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_records", type=int, default=100, help="records of each kind; by default 100")
    main(parser.parse_args().num_records)
