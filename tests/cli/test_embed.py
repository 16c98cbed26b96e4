"""`enecg embed`: a table of features, a map, and the records that are most like one."""

import shutil

import pandas as pd
import pytest
from PIL import Image

from tests.helpers.figures import has_ink_at_its_edge


def test_recordings_become_a_table_that_another_recording_is_compared_with(
    run, calibrated_model, new_recordings, tmp_path
):
    table = tmp_path / "features.parquet"
    line = run("embed", calibrated_model, new_recordings, "--output", table, "--neighbours", 1, "--tokens")
    assert line.startswith(f"{table}: 5 records: 2 ok, 0 doubtful, 3 unusable. Features: first 16, second 16.")
    found = pd.read_parquet(table).set_index("file")
    assert list(found.loc[str(new_recordings / "a"), "neighbours"]) == [str(new_recordings / "below/b")]
    lines = run("embed", calibrated_model, new_recordings / "a", "--among", table).splitlines()
    assert lines[0] == f"{new_recordings / 'a'}: most similar of 2 records, with the cosine"
    assert lines[1].split() == ["1.000", str(new_recordings / "a")]


def test_a_dataset_becomes_a_table_with_labels_and_a_map(run, calibrated_model, simulated, training_cache, tmp_path):
    table, picture = tmp_path / "features.parquet", tmp_path / "map.png"
    wanted = ["--split", "test", "--label", "superdiagnostic", "--sampling_rate", 100, "--cache_dir", training_cache]
    run("embed", calibrated_model, simulated, "--output", table, "--plot", picture, *wanted)
    assert {"ecg_id", "superdiagnostic", "first", "second"} <= set(pd.read_parquet(table))
    assert not has_ink_at_its_edge(picture)
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100
    shown = run(
        "embed", calibrated_model, simulated / "records100/00000/00001_lr", "--among", table, "--neighbours", 2
    )
    assert len(shown.splitlines()) == 3
    assert "(superdiagnostic " in shown


def test_a_file_is_a_recording_whatever_its_name_and_what_is_not_there_is_sought_here(
    run, calibrated_model, new_recordings, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new").mkdir()
    for suffix in (".hea", ".dat"):
        shutil.copy2(new_recordings / f"a{suffix}", tmp_path / "new")
    assert "1 records: 1 ok" in run("embed", calibrated_model, "new/a", "--output", "features.parquet")
    assert "1 unusable" in run("embed", calibrated_model, "new/b", "--output", "other.parquet")
    assert "there is no WFDB header new/b.hea" in pd.read_parquet("other.parquet")["error"][0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Give an --output"),
        (["--output", "t.parquet", "--label", "sex"], "--label is for a dataset"),
        (["--output", "t.parquet", "--cache_dir", "there"], "--cache_dir is for a dataset"),
        (["--among", "t.parquet", "--float16"], "--float16 is for an --output"),
        (["--output", "t.parquet", "--neighbours", "0"], "1 or more"),
        (["--output", "t.parquet", "--token_stride", "2"], "no tokens are kept"),
        (["--among", "none.parquet"], "There is no file none.parquet"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    fail, calibrated_model, new_recordings, tmp_path, monkeypatch, arguments, reason
):
    monkeypatch.chdir(tmp_path)
    assert reason in fail("embed", calibrated_model, new_recordings, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_too_few_records_for_a_map_are_told_beside_the_table(run, calibrated_model, new_recordings, tmp_path, capsys):
    table = tmp_path / "features.parquet"
    with pytest.raises(SystemExit, match="the table is written, and no map: A map needs at least 4 records"):
        run("embed", calibrated_model, new_recordings, "--output", table, "--plot", tmp_path / "map.png")
    assert len(pd.read_parquet(table)) == 5
    assert not (tmp_path / "map.png").exists()
