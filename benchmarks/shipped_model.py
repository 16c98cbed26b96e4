"""The shipped model on records that it was not trained on, as they come and changed: tables for its page.

    PTBXL_DIR=... ENECG_FILTERED_DIR=... python benchmarks/shipped_model.py

PTBXL_DIR is a copy of PTB-XL or a part of it, ENECG_FILTERED_DIR the folder of own data that the model was trained on
as well; of both the test fold counts. Intervals: 95 % bootstrap over records, 1000 resamples.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from modeling_enecg.data.rows import row_signal
from modeling_enecg.data.sources import DatasetOptions, find_source
from modeling_enecg.data.targets import dataset_tasks, read_targets
from modeling_enecg.evaluation import bootstrap_scores
from modeling_enecg.leads import LEAD_SETS, STANDARD_LEADS
from modeling_enecg.prediction import Predictor
from modeling_enecg.recording import ECGRecord

TASK, FIBRILLATION = "superdiagnostic", "AFIB"
Change = Callable[[ECGRecord], ECGRecord]


def labelled_records(
    place: str, sampling_rate: int, name: str = TASK
) -> tuple[list[ECGRecord], np.ndarray, list[str]]:
    """Return a dataset's test records that have labels of the task, their targets, and the labels."""
    source = find_source(DatasetOptions(place, sampling_rate))
    rows = source.read(["test"])["test"]
    (task,) = dataset_tasks(source.features, [name])
    targets = read_targets(rows, task)
    kept = [index for index, names in enumerate(rows[name]) if names]
    return [as_record(rows[index], sampling_rate) for index in kept], targets[kept], task.labels


def as_record(row: Mapping[str, Any], sampling_rate: int) -> ECGRecord:
    signal, rate, lead_names = row_signal(row, sampling_rate)
    return ECGRecord(signal, rate, list(lead_names))


def scaled(factor: float) -> Change:
    return lambda record: ECGRecord(record.signal_mv * factor, record.sampling_rate, record.lead_names)


def at_rate(rate: int) -> Change:
    def change(record: ECGRecord) -> ECGRecord:
        signal = resample_poly(record.signal_mv, rate, int(record.sampling_rate), axis=1, padtype="line")
        return ECGRecord(signal, rate, record.lead_names)

    return change


def with_leads(names: Iterable[str]) -> Change:
    rows = [STANDARD_LEADS.index(name) for name in names]
    return lambda record: ECGRecord(
        record.signal_mv[rows], record.sampling_rate, [STANDARD_LEADS[row] for row in rows]
    )


def with_noise(rms_mv: float) -> Change:
    rng = np.random.default_rng(0)

    def change(record: ECGRecord) -> ECGRecord:
        noise = rng.normal(scale=rms_mv, size=record.signal_mv.shape)
        return ECGRecord(record.signal_mv + noise, record.sampling_rate, record.lead_names)

    return change


def scores(predictor: Predictor, records: Iterable[ECGRecord], task: str, labels: list[str]) -> np.ndarray:
    """Return raw scores, `(num_records, num_labels)`; what is unusable is scored all the same."""
    found = predictor.predict(records, force=True)
    by_label = ({each["label"]: each["raw_score"] for each in result[task]} for result in found)
    return np.array([[one[label] for label in labels] for one in by_label])


def macro_auroc(targets: np.ndarray, given: np.ndarray) -> str:
    result = bootstrap_scores(targets, given)["macro_auroc"]
    return f"{result['point']:.3f} ({result['lower']:.3f}-{result['upper']:.3f})"


def main(release: str, filtered: str) -> None:
    predictor = Predictor("small")
    raw, targets, labels = labelled_records(release, 500)
    print(f"| {TASK}, test fold | records | macro AUROC |\n|---|---|---|")
    changes: dict[str, Change] = {
        "raw, 500 Hz": scaled(1.0),
        "the same at 1000 Hz": at_rate(1000),
        "at 250 Hz": at_rate(250),
        "at 100 Hz": at_rate(100),
        "amplitudes x 0.25": scaled(0.25),
        "amplitudes x 4": scaled(4.0),
        "with white noise of 0.05 mV": with_noise(0.05),
        **{f"on {name}": with_leads(leads) for name, leads in LEAD_SETS.items()},
    }
    for name, change in changes.items():
        given = scores(predictor, map(change, raw), TASK, labels)
        print(f"| {name} | {len(raw)} | {macro_auroc(targets, given)} |", flush=True)
    further, their_targets, their_labels = labelled_records(filtered, 100)
    given = scores(predictor, further, TASK, their_labels)
    print(f"| band-passed, 100 Hz | {len(further)} | {macro_auroc(their_targets, given)} |")
    rhythms = labelled_records(filtered, 100, "rhythm")
    given = scores(predictor, rhythms[0], "rhythm", [FIBRILLATION])
    has_it = rhythms[1][:, [rhythms[2].index(FIBRILLATION)]]
    print(f"| AFIB, {int(has_it.sum())} have it; band-passed, 100 Hz | {len(has_it)} | {macro_auroc(has_it, given)} |")


if __name__ == "__main__":
    lacking = [name for name in ("PTBXL_DIR", "ENECG_FILTERED_DIR") if name not in os.environ]
    if lacking:
        print(f"benchmarks/shipped_model.py needs {' and '.join(lacking)} in the environment; left out.")
        sys.exit()
    main(os.environ["PTBXL_DIR"], os.environ["ENECG_FILTERED_DIR"])
