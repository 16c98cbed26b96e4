"""Predicting whole datasets with `enecg predict --dataset`: every record once, on any processes, also after a kill."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeling_enecg.cli import main
from modeling_enecg.data.ptbxl.labels import TASK_LABELS
from modeling_enecg.data.ptbxl.parquet import write_parquet
from modeling_enecg.data.sources import DatasetOptions
from modeling_enecg.io import read_ecg
from modeling_enecg.prediction import Predictor
from modeling_enecg.prediction import dataset as batch_prediction
from modeling_enecg.prediction.dataset import options_for, predict_dataset
from modeling_enecg.runs.lock import LOCK
from tests.helpers.ecg_folder import noise, patients, write_folder, write_record
from tests.helpers.prediction import by_label
from tests.helpers.processes import Started, run_in_two
from tests.helpers.training import ECGFOUNDER, STMEM, tiny_recipe, tiny_start

pytestmark = pytest.mark.xdist_group("batch_prediction")  # its predictions are shared

TASKS = ["superdiagnostic", "sex", "age"]
EXPERTS = {"cnn": {"config": ECGFOUNDER}, "vit": {"config": STMEM | {"sequence_length": 900}}}
RECORDS_PER_PART = 16
LABELS = [*(f"superdiagnostic.{label}" for label in TASK_LABELS["superdiagnostic"]), "sex.male", "sex.female"]
OUTPUTS = [*(f"{label}.predicted" for label in LABELS), "age.age.predicted"]
COLUMNS = [*(f"{label}.{kind}" for label in LABELS for kind in ("predicted", "probability", "present")), OUTPUTS[-1]]


def save_model(data_dir: Path, folder: Path, seed: int = 0) -> Path:
    recipe = tiny_recipe(data_dir, folder, tasks=TASKS, experts=EXPERTS)
    start = tiny_start(recipe, seed)
    start.model.save_pretrained(folder)
    start.extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model_dir(simulated, tmp_path_factory) -> Path:
    """Two experts with different inputs and a task of each type, not to be changed."""
    return save_model(simulated, tmp_path_factory.mktemp("model"))


def options(data_dir: Path, cache_dir: Path, **changes: Any) -> DatasetOptions:
    return DatasetOptions(str(data_dir), sampling_rate=100, cache_dir=str(cache_dir), **changes)


def arguments(model: Path, data_dir: Path, cache_dir: Path, output: Path, rate: int | None = 100) -> list[str]:
    wanted = ["--dataset", data_dir, "--cache_dir", cache_dir, "--output", output]
    return ["predict", *map(str, [model, *wanted, *([] if rate is None else ["--sampling_rate", rate])])]


@pytest.fixture(scope="module")
def predicted(model_dir, simulated, training_cache, tmp_path_factory) -> pd.DataFrame:
    """What the command predicts of all simulated records in one go."""
    output = tmp_path_factory.mktemp("predicted") / "new" / "all.parquet"
    main(arguments(model_dir, simulated, training_cache, output))
    assert [path.name for path in output.parent.iterdir()] == ["all.parquet"]
    return pd.read_parquet(output)


def expected_outputs(predictor: Predictor, path: Path, **of_file: Any) -> dict[str, float]:
    found = predictor(read_ecg(path, **of_file), force=True)
    values = by_label(found, "raw_score") | by_label(found, "value")
    return {f"{name}.predicted": value for name, value in values.items()}


def assert_equal(ours: pd.DataFrame, theirs: pd.DataFrame, tolerance: float = 1e-5) -> None:
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=tolerance)


def test_every_record_has_one_row_with_its_ids_and_outputs(predicted, simulated):
    table = pd.read_csv(simulated / "ptbxl_database.csv").set_index("ecg_id")
    assert list(predicted) == ["ecg_id", "patient_id", "split", "quality", "novelty", *COLUMNS]
    assert sorted(predicted["ecg_id"]) == sorted(table.index)
    known = table.loc[predicted["ecg_id"]]
    assert predicted["patient_id"].tolist() == known["patient_id"].astype(int).tolist()
    splits = known["strat_fold"].map({9: "validation", 10: "test"}).fillna("train")
    assert predicted["split"].tolist() == splits.tolist()
    assert predicted[COLUMNS].notna().all(axis=None)
    assert set(predicted["quality"]) <= {"ok", "doubtful"}


def test_a_row_is_what_the_predictor_gives_for_the_record(predicted, model_dir, simulated):
    predictor = Predictor(model_dir)
    for row in predicted.iloc[::25].to_dict("records"):
        path = simulated / f"records100/00000/{row['ecg_id']:05d}_lr"
        assert {name: row[name] for name in OUTPUTS} == pytest.approx(expected_outputs(predictor, path), abs=1e-5)
    assert predicted[OUTPUTS].std().min() > 1e-4, "all records are predicted alike"


def trained_on(model_dir: Path, folder: Path, *rates: int | None) -> Path:
    """Copy a model, each of whose tasks says that it was trained on records of a rate."""
    folder = Path(shutil.copytree(model_dir, folder))
    config = json.loads((folder / "config.json").read_text())
    for task, rate in zip(config["tasks"], rates, strict=True):
        task["trained_sampling_rate"] = rate
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_dataset_is_read_at_the_rate_of_the_models_training(
    predicted, model_dir, simulated, training_cache, tmp_path
):
    trained = trained_on(model_dir, tmp_path / "model", 100, 100, None)
    main([*arguments(trained, simulated, training_cache, tmp_path / "a.parquet", rate=None), "--split", "test"])
    rows = predicted[predicted["split"] == "test"].reset_index(drop=True)
    assert_equal(pd.read_parquet(tmp_path / "a.parquet"), rows)
    main([*arguments(trained, simulated, training_cache, tmp_path / "b.parquet", rate=500), "--split", "test"])
    differences = (pd.read_parquet(tmp_path / "b.parquet")[OUTPUTS] - rows[OUTPUTS]).abs()
    assert differences.to_numpy().max() > 1e-4, "the rate makes no difference here, and proves nothing"


def test_a_model_that_does_not_say_its_rate_is_read_500_hz_with_a_warning(model_dir, simulated, tmp_path, caplog):
    predictor = Predictor(model_dir)
    assert options_for(predictor, DatasetOptions(str(simulated))).sampling_rate == 500
    assert "the model does not say on which rate it was trained; --sampling_rate chooses" in caplog.text
    caplog.clear()
    own = write_folder(tmp_path / "own", patients())  # whose records say their rate
    options_for(predictor, DatasetOptions(str(own)))
    options_for(predictor, DatasetOptions(str(simulated)), 100)
    assert caplog.text == ""


def test_tasks_of_different_rates_need_one_to_be_given(fail, model_dir, simulated, training_cache, tmp_path):
    trained = trained_on(model_dir, tmp_path / "model", 100, 500, None)
    line = fail(*arguments(trained, simulated, training_cache, tmp_path / "a.parquet", rate=None))
    assert "different rates: superdiagnostic 100 Hz, sex 500 Hz; give a sampling_rate" in line


def test_two_processes_give_the_rows_of_one(predicted, model_dir, simulated, training_cache, tmp_path):
    command = arguments(model_dir, simulated, training_cache, tmp_path / "all.parquet")
    printed = run_in_two(main, command)
    assert [str(tmp_path / "all.parquet") in each for each in printed] == [True, False]
    assert_equal(pd.read_parquet(tmp_path / "all.parquet"), predicted)


def predict_in_small_parts(arguments: list[str]) -> None:
    batch_prediction.RECORDS_PER_PART = RECORDS_PER_PART
    main(arguments)


@pytest.fixture(scope="module")
def killed(model_dir, simulated, training_cache, tmp_path_factory) -> Path:
    """A folder with the parts that a killed prediction left."""
    folder = tmp_path_factory.mktemp("killed")
    command = arguments(model_dir, simulated, training_cache, folder / "all.parquet")
    process = Started(predict_in_small_parts, command)
    while len(parts(folder)) < 3 and process.is_running:
        time.sleep(0.001)
    process.kill()
    status, output = process.end()
    assert status == -signal.SIGKILL, output
    assert not (folder / "all.parquet").exists()
    return folder


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("all.parquet.parts/[!.]*.parquet"))


@pytest.fixture
def left(killed, tmp_path) -> Path:
    """A copy of what the kill left, to go on with."""
    return Path(shutil.copytree(killed, tmp_path / "left"))


@pytest.fixture
def small_parts(monkeypatch) -> None:
    monkeypatch.setattr(batch_prediction, "RECORDS_PER_PART", RECORDS_PER_PART)


@pytest.mark.usefixtures("small_parts")
def test_a_killed_prediction_goes_on_to_the_same_file(predicted, left, model_dir, simulated, training_cache):
    main(arguments(model_dir, simulated, training_cache, left / "all.parquet"))
    assert_equal(pd.read_parquet(left / "all.parquet"), predicted)
    assert [path.name for path in left.iterdir()] == ["all.parquet"]


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_there_are_not_computed_again(predicted, left, model_dir, simulated, training_cache):
    """A mark in a part comes through to the end."""
    ids = []
    for path in parts(left):
        part = pq.read_table(path)
        ids += part["ecg_id"].to_pylist()
        marked = part.drop(["age.age.predicted"]).append_column("age.age.predicted", pa.array([-1.0] * len(part)))
        pq.write_table(marked, path)
    assert len(ids) in range(3 * RECORDS_PER_PART, len(predicted))
    main(arguments(model_dir, simulated, training_cache, left / "all.parquet"))
    found = pd.read_parquet(left / "all.parquet")
    assert found.loc[found["age.age.predicted"] == -1, "ecg_id"].tolist() == ids
    assert_equal(found.drop(columns="age.age.predicted"), predicted.drop(columns="age.age.predicted"))


def other_weights(model_dir: Path) -> None:
    save_model(Path("unused"), model_dir, seed=1)


def other_preprocessing(model_dir: Path) -> None:
    path = model_dir / "preprocessor_config.json"
    content = json.loads(path.read_text())
    content["experts"]["cnn"]["steps"] = content["experts"]["cnn"]["steps"][:1]
    path.write_text(json.dumps(content))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("change", [other_weights, other_preprocessing])
def test_parts_of_another_model_are_refused(left, model_dir, simulated, training_cache, tmp_path, change):
    other = Path(shutil.copytree(model_dir, tmp_path / "other"))
    change(other)
    before = parts_in(left)
    with pytest.raises(SystemExit, match=r"all\.parquet\.parts holds parts of another prediction; remove it, or"):
        main(arguments(other, simulated, training_cache, left / "all.parquet"))
    assert parts_in(left) == before


def parts_in(folder: Path) -> dict[Path, bytes]:
    """All files, but for the lock that a killed prediction leaves."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != LOCK}


@pytest.mark.usefixtures("small_parts")
def test_parts_of_other_records_or_otherwise_divided_are_refused(
    left, model_dir, simulated, training_cache, monkeypatch
):
    predictor, dataset = Predictor(model_dir), options(simulated, training_cache)
    with pytest.raises(ValueError, match="parts of another prediction"):
        predict_dataset(predictor, dataset, left / "all.parquet", ["test"])
    monkeypatch.setattr(batch_prediction, "RECORDS_PER_PART", 2 * RECORDS_PER_PART)
    with pytest.raises(ValueError, match="parts of another prediction"):
        predict_dataset(predictor, dataset, left / "all.parquet")


def test_one_split_can_be_predicted_over_an_older_file(predicted, model_dir, simulated, training_cache, tmp_path):
    (tmp_path / "test.parquet").write_text("older")
    main([*arguments(model_dir, simulated, training_cache, tmp_path / "test.parquet"), "--split", "test"])
    rows = predicted[predicted["split"] == "test"].reset_index(drop=True)
    assert_equal(pd.read_parquet(tmp_path / "test.parquet"), rows)


def test_parquet_files_are_predicted_as_the_release_they_hold(predicted, model_dir, simulated, tmp_path):
    folder = write_parquet(simulated, tmp_path / "ptbxl", ["100hz"])
    output = predict_dataset(Predictor(model_dir), options(folder, tmp_path), tmp_path / "all.parquet")
    assert_equal(pd.read_parquet(output), predicted)


@pytest.mark.usefixtures("small_parts")
def test_patients_may_be_unknown_in_whole_parts(model_dir, simulated, tmp_path):
    folder = write_parquet(simulated, tmp_path / "ptbxl", ["100hz"])
    (path,) = folder.glob("100hz/test-*")
    table = pq.read_table(path)
    patients = [None if row < RECORDS_PER_PART else row for row in range(len(table))]
    at = table.column_names.index("patient_id")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(patients, pa.int64())), path)
    output = predict_dataset(Predictor(model_dir), options(folder, tmp_path), tmp_path / "all.parquet", ["test"])
    assert pq.read_table(output)["patient_id"].to_pylist() == patients


def test_a_folder_of_records_of_any_length_rate_and_leads_is_predicted(model_dir, tmp_path):
    """Of a long record the mean over its windows, as of a single file."""
    folder = write_folder(tmp_path / "own", patients())
    write_record(folder / "records" / "01", noise(num_samples=2500))
    write_record(folder / "records" / "02", noise(num_samples=2500, seed=1), rate=250)
    write_record(folder / "records" / "03", noise(2, 1000, seed=2), leads=["II", "V5"])
    main(arguments(model_dir, folder, tmp_path / "cache", tmp_path / "all.parquet"))
    rows = pd.read_parquet(tmp_path / "all.parquet").set_index("patient_id")
    predictor = Predictor(model_dir)
    assert sorted(rows.index) == sorted(f"p{index + 1}" for index in range(12))
    for number in (1, 2, 3, 4):
        expected = expected_outputs(predictor, folder / "records" / f"{number:02d}")
        assert rows.loc[f"p{number}", OUTPUTS].to_dict() == pytest.approx(expected, abs=1e-5)


def test_bad_records_end_the_prediction_or_are_left_out_on_request(model_dir, release, tmp_path):
    (release / "records100/00000/00003_lr.dat").unlink()
    command = arguments(model_dir, release, tmp_path / "cache", tmp_path / "all.parquet")
    with pytest.raises(SystemExit, match=r"^enecg predict: PTB-XL, ecg_id 3: file: [^\n]*$"):
        main(command)
    assert not (tmp_path / "all.parquet").exists()
    main([*command, "--on_error", "skip"])
    ids = pd.read_parquet(tmp_path / "all.parquet")["ecg_id"]
    assert sorted(ids) == [ecg_id for ecg_id in range(1, 13) if ecg_id != 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--split", "tset"], r"ptbxl has no split tset; there are train, validation, test\."),
        (["--dataset", "nowhere/at/all"], r"data_dir: there is no folder nowhere/at/all\."),
        (["--sampling_rate", "250"], "250"),
        (["--plot", "ecg.png"], r"--dataset needs an --output, and has no --plot or --json\."),
        (["--output", "."], r"\. is a folder; give a file\."),
        (["record"], r"Give records, or a --dataset\."),
    ],
    ids=["split", "dataset", "rate", "plot", "output", "records"],
)
def test_a_mistake_ends_in_one_line(model_dir, simulated, training_cache, tmp_path, changes, message):
    command = arguments(model_dir, simulated, training_cache, tmp_path / "all.parquet")
    at = len(command) if changes[0].startswith("--") else 2
    with pytest.raises(SystemExit, match=rf"^enecg predict: [^\n]*{message}[^\n]*$"):
        main([*command[:at], *changes, *command[at:]])
    assert list(tmp_path.iterdir()) == []
