import subprocess
import sys
import textwrap

import pytest

from modeling_enecg.runs.files import added_files, new_file, new_folder, write_text


def test_a_new_folder_appears_whole_at_the_end(tmp_path):
    target = tmp_path / "run" / "model"
    with new_folder(target) as folder:
        (folder / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "a"
    assert list(target.parent.iterdir()) == [target]


def test_a_new_folder_leaves_nothing_after_an_error(tmp_path):
    with pytest.raises(KeyError), new_folder(tmp_path / "model") as folder:  # noqa: PT012
        (folder / "a.txt").write_text("a")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_may_fill_an_empty_one(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    with new_folder(target) as folder:
        (folder / "a.txt").write_text("a")
    assert (target / "a.txt").read_text() == "a"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_new_folder_refuses_what_is_there_before_any_work(tmp_path, kind):
    target = tmp_path / "model"
    if kind == "folder":
        target.mkdir()
        kept = target / "kept.txt"
    else:
        kept = target
    kept.write_text("kept")
    with pytest.raises(FileExistsError, match="not an empty folder"), new_folder(target):
        pytest.fail("must be refused before anything is written")
    assert kept.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_folder_is_readable_as_any_other(tmp_path):
    (tmp_path / "other").mkdir()
    with new_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_new_file_replaces_the_older_one_at_the_end(tmp_path):
    target = tmp_path / "run" / "report.json"
    write_text(target, "old")
    with new_file(target) as file:
        file.write_text("new")
        assert target.read_text() == "old"
        assert file.suffix == ".json"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("older", [None, "old"])
def test_a_new_file_leaves_the_older_one_after_an_error(tmp_path, older):
    target = tmp_path / "report.json"
    if older is not None:
        target.write_text(older)
    with pytest.raises(KeyError), new_file(target) as file:  # noqa: PT012
        file.write_text("half")
        raise KeyError
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if older is None else [older])


def test_text_is_written_as_utf_8(tmp_path):
    write_text(tmp_path / "a.txt", "µV\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc2\xb5V\n"


def test_added_files_join_what_is_there(tmp_path):
    write_text(tmp_path / "kept.txt", "kept")
    write_text(tmp_path / "replaced.txt", "old")
    with added_files(tmp_path) as folder:
        write_text(folder / "replaced.txt", "new")
        write_text(folder / "added.txt", "added")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "kept.txt": "kept",
        "replaced.txt": "new",
        "added.txt": "added",
    }


def test_added_files_change_nothing_after_an_error(tmp_path):
    write_text(tmp_path / "replaced.txt", "old")
    with pytest.raises(KeyError), added_files(tmp_path) as folder:  # noqa: PT012
        write_text(folder / "replaced.txt", "new")
        raise KeyError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"replaced.txt": "old"}


@pytest.mark.parametrize("writer", ["new_file(folder / 'a')", "new_folder(folder / 'a')", "added_files(folder)"])
def test_what_a_killed_writer_left_is_cleared_by_the_next_and_a_live_one_keeps_its_own(tmp_path, writer):
    code = f"""
        import os, pathlib
        from modeling_enecg.runs.files import *
        folder = pathlib.Path({str(tmp_path)!r})
        with {writer} as aside:
            (aside / "half" if aside.is_dir() else aside).write_text("half")
            os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".new.")
    with new_file(tmp_path / "one") as aside:
        aside.write_text("one")
        write_text(tmp_path / "two", "two")
        assert aside.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
