"""Predicting folders of recordings into a table: a row per file, whatever the file is like."""

import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from modeling_enecg.cli import main
from modeling_enecg.io import read_ecg
from modeling_enecg.prediction import Predictor, files
from modeling_enecg.prediction.embedder import Embedder
from modeling_enecg.prediction.embeddings import embed_files
from modeling_enecg.prediction.files import ReadingOptions, predict_files
from tests.helpers.prediction import RECORDINGS, by_file, by_label, write_leads
from tests.helpers.processes import run_in_two

pytestmark = pytest.mark.xdist_group("predict_files")  # its table is shared

SOUND = ["a", "below/b"]


@pytest.fixture(scope="module")
def predictor(calibrated_model) -> Predictor:
    return Predictor(calibrated_model)


@pytest.fixture(scope="module")
def table(calibrated_model, new_recordings, tmp_path_factory) -> pd.DataFrame:
    """What the command makes of the new_recordings, by file."""
    output = tmp_path_factory.mktemp("table") / "all.parquet"
    main(["predict", str(calibrated_model), str(new_recordings), "--output", str(output)])
    assert [path.name for path in output.parent.iterdir()] == ["all.parquet"]
    return by_file(output, new_recordings)


def columns(frame: pd.DataFrame) -> list[str]:
    """Those of findings."""
    return [name for name in frame if name.count(".") == 2]


def test_a_folder_gives_a_row_per_recording_in_it_and_below(table):
    assert table.index.tolist() == RECORDINGS
    assert list(table)[:3] == ["quality", "error", "leads"]
    assert {"superdiagnostic.MI.present", "sex.male.probability", "age.age.lower"} <= set(table)


@pytest.mark.parametrize("name", SOUND)
def test_a_row_has_what_the_predictor_finds(table, predictor, new_recordings, name):
    found, row = predictor(read_ecg(new_recordings / name)), table.loc[name]
    for column, key in (("probability", "score"), ("predicted", "raw_score"), ("present", "present")):
        for output, value in by_label(found, key).items():
            assert row[f"{output}.{column}"] == pytest.approx(value, abs=1e-6)
    (age,) = found["age"]
    wanted = [age["value"], age["lower"], age["upper"]]
    assert row[["age.age.predicted", "age.age.lower", "age.age.upper"]].tolist() == pytest.approx(wanted, abs=1e-3)
    assert row["quality"] == "ok"
    assert pd.isna(row["error"])
    assert row["leads"].split() == found.used_leads


def test_a_value_from_fewer_leads_than_its_interval_was_calibrated_on_has_none(predictor, tmp_path, simulated):
    few = write_leads(tmp_path / "few", simulated / "records500/00000/00001_hr", ["I", "II"])
    row = pd.read_parquet(predict_files(predictor, [few], tmp_path / "few.parquet")).iloc[0]
    assert row["age.age.predicted"] == pytest.approx(predictor(read_ecg(few))["age"][0]["value"], abs=1e-3)
    assert row[["age.age.lower", "age.age.upper"]].isna().all()
    assert row["leads"] == "I II"


def test_a_file_that_cannot_be_read_has_a_row_with_the_reason(table):
    row = table.loc["damaged"]
    assert row["quality"] == "unusable"
    assert "damaged.dat, which is not there" in row["error"]
    assert row[["leads", *columns(table)]].isna().all()


@pytest.mark.parametrize(("name", "reason"), [("noise", "noise"), ("below/flat_chest", "V5, V6: flat")])
def test_what_is_no_ecg_is_unusable_and_not_scored(table, name, reason):
    row = table.loc[name]
    assert row["quality"] == "unusable"
    assert reason in row["error"]
    assert row[columns(table)].isna().all()


def test_forced_recordings_are_scored_with_their_verdict(table, predictor, new_recordings, tmp_path):
    forced = by_file(predict_files(predictor, [new_recordings], tmp_path / "all.parquet", force=True), new_recordings)
    for name in ("noise", "below/flat_chest"):
        assert forced.loc[name, columns(table)].notna().all()
        assert forced.loc[name, ["quality", "error"]].tolist() == table.loc[name, ["quality", "error"]].tolist()
    assert forced.loc["damaged", columns(table)].isna().all()
    pd.testing.assert_frame_equal(forced.loc[SOUND], table.loc[SOUND], atol=1e-6)


def test_an_interrupted_prediction_goes_on_without_what_is_done(table, predictor, new_recordings, tmp_path, reads):
    output = tmp_path / "all.parquet"
    reads.most = 3
    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, [new_recordings], output)
    assert reads.names == ["a", "damaged", "noise"]
    assert not output.exists()
    with pytest.raises(ValueError, match="parts of another prediction"):
        predict_files(predictor, [new_recordings], output, force=True)
    reads.names, reads.most = [], None
    predict_files(predictor, [new_recordings], output)
    assert reads.names == ["noise", "b", "flat_chest"], "the first part was done"
    pd.testing.assert_frame_equal(by_file(output, new_recordings), table, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["all.parquet"]


def test_parts_of_a_recording_that_was_replaced_are_refused(
    predictor, calibrated_model, new_recordings, tmp_path, reads
):
    own, embedder = Path(shutil.copytree(new_recordings, tmp_path / "own")), Embedder(calibrated_model)
    makers = {"predicted": partial(predict_files, predictor), "embedded": partial(embed_files, embedder)}
    for name, make in makers.items():
        reads.names, reads.most = [], 3
        with pytest.raises(KeyboardInterrupt):
            make([own], tmp_path / name)
    reads.most = None
    shutil.copy2(own / "noise.dat", own / "a.dat")
    for name, make in makers.items():
        with pytest.raises(ValueError, match="holds parts of another"):
            make([own], tmp_path / name)


def predict_in_parts_of_two(arguments: list[str]) -> None:
    files.FILES_PER_PART = 2
    main(["predict", *arguments])


def test_two_processes_give_the_table_of_one(table, calibrated_model, new_recordings, tmp_path):
    output = tmp_path / "all.parquet"
    arguments = [str(calibrated_model), str(new_recordings), "--output", str(output)]
    printed = "".join(run_in_two(predict_in_parts_of_two, arguments))
    assert f"{output}: 5 files: 2 ok, 0 doubtful, 3 unusable. The column error says why.\n" in printed
    pd.testing.assert_frame_equal(by_file(output, new_recordings), table, atol=1e-6)


def test_files_that_do_not_say_their_rate_are_told_it(predictor, tmp_path, simulated):
    signal = read_ecg(simulated / "records500/00000/00001_hr").signal_mv
    lines = [",".join(read_ecg(simulated / "records500/00000/00001_hr").lead_names)]
    (tmp_path / "ecg.csv").write_text("\n".join([*lines, *(",".join(map(str, row)) for row in signal.T)]))
    untold = pd.read_parquet(predict_files(predictor, [tmp_path / "ecg.csv"], tmp_path / "untold.parquet"))
    assert untold["quality"].tolist() == ["unusable"]
    assert "sampling_rate" in untold["error"].item()
    options = ReadingOptions(sampling_rate=500, unit="mV")
    told = pd.read_parquet(predict_files(predictor, [tmp_path / "ecg.csv"], tmp_path / "told.parquet", options))
    assert told["quality"].tolist() == ["ok"]


def test_a_folder_without_recordings_is_refused(predictor, tmp_path):
    (tmp_path / "notes.md").write_text("none here")
    with pytest.raises(ValueError, match="holds no recording of a known format"):
        predict_files(predictor, [tmp_path], tmp_path / "all.parquet")
