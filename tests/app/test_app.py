"""The demo page's server. `make test-app` runs these tests."""

import os
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed here; `make test-app` runs these tests")

import app
from tests.helpers.demo_page import wait_until


def test_what_no_page_reads_is_removed_when_it_is_old(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("old/upload.dat", "broken off", "new"):
        (tmp_path / name).write_bytes(b"signal")
    for name in ("old", "broken off"):
        os.utime(tmp_path / name, (0, 0))
    threading.Thread(target=app.remove_unread, args=(tmp_path,), daemon=True).start()
    wait_until(lambda: [path.name for path in tmp_path.iterdir()] == ["new"])


@pytest.fixture
def launched(monkeypatch) -> dict:
    """What the page is launched with, in place of launching it."""
    settings: dict = {}
    monkeypatch.setattr(app.gr.Blocks, "launch", lambda page, **given: settings.update(given))
    monkeypatch.setattr(app.signal, "signal", lambda *handler: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    for name in ("SPACE_ID", "ENECG_MODEL", "ENECG_AMONG"):
        monkeypatch.delenv(name, raising=False)
    return settings


@pytest.mark.parametrize("is_space", [False, True])
def test_the_page_is_open_to_this_machine_only_but_on_a_space(launched, monkeypatch, model_dir, is_space):
    monkeypatch.setattr(sys, "argv", ["app.py"] if is_space else ["app.py", "--model", str(model_dir)])
    if is_space:
        monkeypatch.setenv("SPACE_ID", "someone/enecg")
        monkeypatch.setenv("ENECG_MODEL", str(model_dir))
    app.main()
    assert launched["server_name"] == ("0.0.0.0" if is_space else "127.0.0.1")
    assert launched["share"] is launched["run_history"] is False
    assert not Path(os.environ["GRADIO_TEMP_DIR"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tall"], "no shipped model of that name"),
        (["--model", "/absent"], "no folder /absent"),
        (["--among", "/absent.parquet"], "There is no file /absent.parquet"),
    ],
)
def test_a_missing_model_or_table_is_told_in_a_line(launched, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert message in f"{caught.value.code} {capsys.readouterr().err}"
    assert launched == {}
