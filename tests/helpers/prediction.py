"""A small calibrated model, recordings that are fit to be scored or not, and findings as a flat list of numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modeling_enecg import ECGFeatureExtractor, EnECGModel, Task
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.io import read_ecg
from tests.helpers.ecg_folder import write_record
from tests.helpers.training import tiny_ecgfounder

FINDINGS = list(TASK_LABELS["superdiagnostic"])
SCORES = {"12 leads": {"macro_auroc": 0.91}, "lead I": {"macro_auroc": 0.72}}
RECORDINGS = ["a", "damaged", "noise", "below/b", "below/flat_chest"]  # as `write_recordings` names them
CALIBRATION = {"method": "platt", "slopes": [0.5, 1.0, 1.5, 2.0, 1.0], "intercepts": [0.5, -0.5, 0.25, 0.0, -1.0]}


def save_calibrated_model(folder: Path) -> Path:
    """Two experts and a task of each type, with everything that a run decides on validation records."""
    tasks = [
        Task(
            "superdiagnostic",
            "multi_label_classification",
            FINDINGS,
            calibration=CALIBRATION,
            thresholds=[0.3, 0.4, 0.5, 0.6, 0.2],
            measured=SCORES,
        ),
        Task(
            "sex",
            "single_label_classification",
            ["male", "female"],
            calibration={"method": "temperature", "temperature": 0.25},
        ),
        Task(
            "age",
            "regression",
            unit="years",
            target_mean=[60.0],
            target_std=[15.0],
            conformal={"coverage": 0.9, "half_widths": [7.5]},
        ),
    ]
    experts = {"first": tiny_ecgfounder(0), "second": tiny_ecgfounder(1)}
    model = EnECGModel.from_experts(experts, tasks, head_hidden_sizes=[])
    model.save_pretrained(folder)
    ECGFeatureExtractor(**experts["first"].config.feature_extractor_settings()).save_pretrained(folder)
    return folder


def write_recordings(folder: Path, release: Path) -> Path:
    """Five recordings in two folders: two sound ones, two that are unusable, and one that cannot be read."""
    sound = read_ecg(release / "records500/00000/00001_hr").signal_mv
    flat = sound.copy()
    flat[6:] = 0
    write_record(folder / "a", sound, 500)
    write_record(folder / "below" / "b", read_ecg(release / "records100/00000/00002_lr").signal_mv, 100)
    write_record(folder / "below" / "flat_chest", flat, 500)
    write_record(folder / "noise", np.random.default_rng(0).normal(scale=0.3, size=(12, 5000)).round(3), 500)
    (folder / "damaged.hea").write_text("damaged 1 500 5000\ndamaged.dat 16 1000/mV 16 0 0 0 0 I\n")
    return folder


def by_file(table: Path, folder: Path) -> pd.DataFrame:
    """A table of such a folder's recordings, by their names in it."""
    frame = pd.read_parquet(table)
    frame["file"] = [Path(file).relative_to(folder).as_posix() for file in frame["file"]]
    return frame.set_index("file")


def write_leads(path: Path, source: Path, leads: Sequence[str]) -> Path:
    """Write some leads of a recording as another one."""
    record = read_ecg(source)
    rows = [record.lead_names.index(lead) for lead in leads]
    write_record(path, record.signal_mv[rows], record.sampling_rate, leads)
    return path


def by_label(found: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> dict[str, Any]:
    """One field of all findings that have it, by `<task>.<label>`."""
    return {f"{task}.{each['label']}": each[key] for task, results in found.items() for each in results if key in each}
