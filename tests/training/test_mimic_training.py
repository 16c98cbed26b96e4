"""Training on a fabricated copy of MIMIC-IV-ECG: the five tasks of the shipped recipe at once."""

import pandas as pd
import yaml

from modeling_enecg.training import Recipe, run_recipe
from tests.helpers.mimic_release import (
    lab,
    measure,
    records,
    set_field,
    write_csv,
    write_labs,
    write_mimic_iv,
    write_release,
)
from tests.helpers.processes import ROOT
from tests.helpers.training import read_json, recipe_fields

PATIENTS = range(10_000_000, 10_000_060)
RHYTHMS = ("Sinus rhythm", "Atrial fibrillation", "Sinus tachycardia")
TASKS = yaml.safe_load((ROOT / "configs/enecg_mimic.yaml").read_text())["tasks"]


def test_the_tasks_of_the_shipped_recipe_train_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # a run sets it; this restores it
    release, tables = write_release(tmp_path / "ecg", PATIENTS), write_mimic_iv(tmp_path / "iv", PATIENTS)
    rows = [
        measure(record) | {"rr_interval": 600 + 5 * index, "report_0": RHYTHMS[index // 2 % 3]}
        for index, record in enumerate(records(PATIENTS))
    ]
    write_csv(release / "machine_measurements.csv", rows)
    for index in range(len(PATIENTS)):
        set_field(tables / "hosp" / "patients.csv", "anchor_age", 40 + index % 30, row=index)
    flags = ("", "abnormal", "")
    labs = [lab(patient, "2180-07-10 08:50:00", 4.2, flags[index % 3]) for index, patient in enumerate(PATIENTS)]
    write_labs(tables, labs)
    options = {"mimic_iv_dir": str(tables)}
    fields = recipe_fields(release, tmp_path / "run", tmp_path / "cache", tasks=TASKS, dataset_options=options)
    metrics = run_recipe(Recipe(**fields))

    assert list(metrics["test"]) == TASKS
    predictions = pd.read_parquet(tmp_path / "run/predictions.parquet")
    patients = predictions.groupby("split")["patient_id"].agg(set)
    assert not patients["validation"] & patients["test"]
    truth = {record["study_id"]: row for record, row in zip(records(PATIENTS), rows, strict=True)}
    for row in predictions.itertuples():
        assert predictions.loc[row.Index, "rr_interval.rr_interval.target"] == truth[row.ecg_id]["rr_interval"]
    known = predictions["potassium_abnormality.target"].notna()  # each patient's first ECG only
    assert set(predictions["ecg_id"][known] % 2) == {0}
    assert read_json(tmp_path / "run/run_info.json")["dataset"]["name"] == "MIMIC-IV-ECG"
