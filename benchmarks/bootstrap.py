"""Bootstrap of macro AUROC and AUPRC: EnECG against a loop over scikit-learn, on the same resamples in one run.

    python benchmarks/bootstrap.py

The data are synthetic: as many records and labels as fold 10 of PTB-XL's task "all", with prevalences from 1 record
to half of them. The loop runs few resamples, and its time is compared per resample; both run in this one process.
"""

import argparse
import os
import platform
import time

import numpy as np
import sklearn
from sklearn.metrics import average_precision_score, roc_auc_score

from modeling_enecg.evaluation import bootstrap_scores


def synthetic_predictions(num_records: int, num_labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets, with geometrically spread prevalences, and scores of a good but imperfect model."""
    rng = np.random.default_rng(seed)
    num_positives = np.geomspace(1, num_records / 2, num_labels).astype(int)
    targets = rng.permuted(np.arange(num_records)[:, None] < num_positives, axis=0)
    logits = rng.normal(size=targets.shape) + 2 * targets
    return targets.astype(np.uint8), (1 / (1 + np.exp(-logits))).astype(np.float32)


def sklearn_macro_scores(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return macro AUROC and AUPRC over the labels with both classes."""
    defined = np.flatnonzero(targets.min(axis=0) < targets.max(axis=0))
    targets, scores = targets[:, defined], scores[:, defined]
    return np.array([metric(targets, scores, average="macro") for metric in (roc_auc_score, average_precision_score)])


def main(num_records: int, num_labels: int, num_resamples: int, num_peer_resamples: int) -> None:
    targets, scores = synthetic_predictions(num_records, num_labels)
    indices = np.random.default_rng(1).integers(num_records, size=(num_resamples, num_records))

    start = time.perf_counter()
    ours = bootstrap_scores(targets, scores, indices)
    our_seconds = time.perf_counter() - start

    start = time.perf_counter()
    peer = np.array([sklearn_macro_scores(targets[rows], scores[rows]) for rows in indices[:num_peer_resamples]])
    peer_seconds = time.perf_counter() - start

    samples = np.stack([ours[name]["samples"][:num_peer_resamples] for name in ("macro_auroc", "macro_auprc")], axis=1)
    our_rate, peer_rate = our_seconds / num_resamples, peer_seconds / num_peer_resamples
    print(f"{platform.machine()}, {os.cpu_count()} CPUs; Python {platform.python_version()}, ", end="")
    print(f"NumPy {np.__version__}, scikit-learn {sklearn.__version__}")
    print(
        f"{num_records} records x {num_labels} labels, macro AUROC and AUPRC; one process, no parallel work asked for"
    )
    print(f"EnECG         {num_resamples:5d} resamples in {our_seconds:7.2f} s: {1e3 * our_rate:9.3f} ms a resample")
    print(f"scikit-learn  {len(peer):5d} resamples in {peer_seconds:7.2f} s: {1e3 * peer_rate:9.3f} ms a resample")
    print(f"Ratio per resample: {peer_rate / our_rate:.0f}x. Largest difference: {np.abs(samples - peer).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-records", type=int, default=2203)
    parser.add_argument("--num-labels", type=int, default=71)
    parser.add_argument("--num-resamples", type=int, default=1000)
    parser.add_argument("--num-peer-resamples", type=int, default=5)
    main(**vars(parser.parse_args()))
