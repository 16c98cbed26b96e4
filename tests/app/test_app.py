"""The demo page: its functions, and the page itself in a real, headless Chromium. `make test-app` runs them."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

pytest.importorskip("gradio", reason="gradio is not installed here; `make test-app` runs these tests")

import app
from modeling_enecg import ECGFeatureExtractor, ECGFounderConfig, ECGFounderModel, EnECGModel, Task
from modeling_enecg.data.ptbxl.labels import TASK_LABELS, describe
from modeling_enecg.data.simulator.ptbxl_layout import simulate_ptbxl
from modeling_enecg.findings import Findings
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction import Predictor
from modeling_enecg.probabilities import findings
from modeling_enecg.recording import ECGRecord
from modeling_enecg.signal_quality import SignalQuality

ROOT = Path(__file__).parents[2]
RHYTHM = {"name": "rhythm", "problem_type": "multi_label_classification", "labels": list(TASK_LABELS["rhythm"])}
AGE = {"name": "age", "problem_type": "regression", "unit": "years", "target_mean": [60.0], "target_std": [15.0]}
DESKTOP, PHONE = (1280, 900), (390, 844)

# Put in the server's Python, it writes down each host that is not this machine and is asked for.
WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = arguments[1][0] if event == "socket.connect" and isinstance(arguments[1], tuple) else arguments[0]
        if isinstance(host, str) and host not in ("127.0.0.1", "0.0.0.0", "localhost", "::1"):
            with open(os.environ["ASKED_HOSTS"], "a") as file:
                print(event, host, file=file)

sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """Two tiny experts whose gates weigh them differently; not to be changed."""
    torch.manual_seed(0)
    config = ECGFounderConfig(
        sampling_rate=100, sequence_length=1000, stem_size=8, hidden_sizes=[8, 16], depths=[1, 1], group_width=8
    )
    experts = {name: ECGFounderModel(config) for name in ("first", "second")}
    model = EnECGModel.from_experts(experts, [RHYTHM, AGE], head_hidden_sizes=[])
    for gate in model.gates.parameters():
        torch.nn.init.normal_(gate, std=0.3)
    folder = tmp_path_factory.mktemp("app") / "model"
    model.save_pretrained(folder)
    ECGFeatureExtractor(**config.feature_extractor_settings()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(model_dir) -> Predictor:
    return Predictor(model_dir)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    """A simulated WFDB record, without an ending; not to be changed."""
    folder = simulate_ptbxl(tmp_path_factory.mktemp("simulated") / "ptbxl", num_records=1)
    return folder / "records500" / "00000" / "00001_hr"


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> Path:
    """Where uploads lie before and while they are read."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def upload(uploads, record):
    """A function that lays files into a folder each, as Gradio does; default: the record's, changed by name."""

    def upload(**changes: bytes | None) -> list[str]:
        files = {file.name: file.read_bytes() for file in (record.with_suffix(".hea"), record.with_suffix(".dat"))}
        files |= {name.replace("__", "."): content for name, content in changes.items()}
        paths = []
        for name, content in files.items():
            if content is not None:
                path = uploads / f"hash of {name}" / name
                path.parent.mkdir()
                path.write_bytes(content)
                paths.append(str(path))
        return paths

    return upload


HEADER, SIGNAL = "00001_hr__hea", "00001_hr__dat"


def test_an_upload_is_read_and_removed(upload, uploads, record):
    name, read = app.read_upload(upload())
    assert name == "00001_hr"
    assert read.lead_names == read_ecg(record).lead_names
    assert (read.signal_mv == read_ecg(record).signal_mv).all()
    assert list(uploads.iterdir()) == []


def change_header(record, old, new):
    return {HEADER: record.with_suffix(".hea").read_bytes().replace(old, new)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({HEADER: b"\0 no header"}, "00001_hr.hea: number of signals &#x27;no&#x27; is no whole number"),
        ({HEADER: None}, "00001_hr.dat: is of no known format: no signature of one, and no WFDB header beside it."),
        ({SIGNAL: None}, "00001_hr.hea: the header names the signal file 00001_hr.dat, which is not there."),
        ({SIGNAL: b"short"}, "00001_hr.hea: declares 12 channels of 5000 samples, but holds at most 2 samples"),
        ({"other__hea": b""}, "expected the files of one recording"),
        ({HEADER: None, SIGNAL: None, "<b>__txt": b"rubbish"}, "_b_.txt: holds no table of numbers."),
        ({f"{number}__dat": b"" for number in range(3)}, "Got 5 files of 0.1 MB; a recording has at most 4 files"),
        ({SIGNAL: bytes(21 * 2**20)}, "Got 2 files of 21.0 MB; a recording has at most 4 files of 20 MB together"),
    ],
    ids=["rubbish", "no_header", "no_signal", "truncated", "two_records", "text", "many", "large"],
)
def test_a_bad_upload_gives_one_line_and_is_removed(predictor, upload, uploads, changes, message):
    html = app.respond(predictor, app.read_upload, upload(**changes))
    assert message in html
    assert html.startswith('<p class="ecg-error" role="alert">')
    assert len(html.splitlines()) == 1
    assert str(uploads) not in html
    assert "Traceback" not in html
    assert list(uploads.iterdir()) == []


@pytest.mark.parametrize("name", [b"../secret.dat", b"/etc/hostname"])
def test_a_header_cannot_name_a_file_elsewhere(predictor, upload, uploads, record, name):
    (uploads / "secret.dat").write_bytes(record.with_suffix(".dat").read_bytes())
    paths = upload(**change_header(record, b"00001_hr.dat", name))
    html = app.respond(predictor, app.read_upload, paths)
    assert "only files in the header&#x27;s own folder are read" in html


def test_files_of_other_formats_are_read(upload):
    file = io.BytesIO()
    signal = np.random.default_rng(0).normal(size=(2, 5000))
    np.savez(file, signal=signal, sampling_rate=500, unit="mV", lead_names=["I", "II"])
    name, read = app.read_upload(upload(**{HEADER: None, SIGNAL: None, "mine__npz": file.getvalue()}))
    assert (name, read.sampling_rate) == ("mine", 500)
    np.testing.assert_allclose(read.signal_mv[:2], signal)


def test_a_recording_of_more_than_an_hour_is_refused(predictor, uploads):
    header, samples = uploads / "long.hea", uploads / "long.dat"
    header.write_text("long 1 10 40000\nlong.dat 16 1000/mV 16 0 0 0 0 I\n")
    samples.write_bytes(bytes(2 * 40_000))
    html = app.respond(predictor, app.read_upload, [str(header), str(samples)])
    assert "Got 40000 samples at 10 Hz; a recording has at most an hour." in html


def test_what_nobody_foresaw_is_one_line_too(predictor, caplog):
    def read(source):
        raise ZeroDivisionError("a detail for the log")

    html = app.respond(predictor, read, None)
    assert "This recording cannot be read." in html
    assert "a detail" not in html
    assert "a detail for the log" in caplog.text


@pytest.mark.parametrize("name", app.SIMULATED)
def test_every_simulated_recording_gives_a_result(predictor, name):
    html = app.respond(predictor, app.simulate, name)
    assert f"<h2>Simulated: {name}</h2>" in html
    assert "12 leads, 10.0 s at 500 Hz" in html
    assert "data:image/svg+xml;base64," in html


def findings_of(task: Task, logits: torch.Tensor) -> Findings:
    found, quality = {task.name: findings(task, logits)}, SignalQuality("ok")
    return Findings(found, quality, STANDARD_LEADS, [], {}, {task.name: {"only": 1.0}})


def test_labels_are_sorted_escaped_and_folded():
    labels = [f"<{number}>" for number in range(10)]
    task = Task("a", "multi_label_classification", labels)
    html = app.task_html(task, findings_of(task, torch.linspace(-2, 2, 10)))
    assert html.index("&lt;9&gt;") < html.index("&lt;2&gt;") < html.index("<details>") < html.index("&lt;1&gt;")
    assert "2 less probable" in html


def test_a_label_that_is_present_is_never_folded_away():
    """Also where its threshold is so low that many others are more probable."""
    task = Task("a", "multi_label_classification", [f"<{number}>" for number in range(10)], thresholds=[0.1] + [1] * 9)
    html = app.task_html(task, findings_of(task, torch.linspace(-2, 2, 10)))
    assert html.index("&lt;0&gt;") < html.index("&lt;9&gt;") < html.index("<details>")
    assert '<td class="ecg-cell">0.119 of 0.100</td><td class="ecg-cell">present</td>' in html


def test_a_single_expert_has_no_weights_to_show():
    task = Task("age", "regression", unit="years", conformal={"coverage": 0.9, "half_widths": [7.5]})
    html = app.task_html(task, findings_of(task, torch.tensor([61.26])))
    assert "Weight" not in html
    assert "61.3</span> years <small>53.8 to 68.8</small>" in html


def test_what_is_no_ecg_is_shown_with_the_reason_and_not_scored(predictor):
    flat = ECGRecord(np.zeros((12, 5000)), 500, list(STANDARD_LEADS))
    html = app.respond(predictor, lambda source: ("flat", flat), None)
    assert "Signal quality: <b>unusable</b> (12 of 12 leads tell nothing; I, II, III" in html
    assert "Not scored: the signal is unusable." in html
    assert "<section" not in html


def test_the_leads_that_were_used_are_shown_and_what_they_are_worth(predictor):
    name, record = app.simulate("atrial fibrillation")
    one = ECGRecord(record.signal_mv[:1], record.sampling_rate, ["I"])
    html = app.respond(predictor, lambda source: (name, one), None)
    assert "<p>Leads used: I</p><p>Missing: II, III, aVR" in html
    assert html.count("<p>never measured on these leads</p>") == 2
    assert "Signal quality: <b>ok</b>" in app.respond(predictor, app.simulate, "atrial fibrillation")


def test_how_unlike_the_known_records_a_recording_is_is_shown():
    task = Task("age", "regression", unit="years")
    found = findings_of(task, torch.tensor([61.26]))
    record = app.simulate("atrial fibrillation")[1]
    assert "ovelty" not in app.result_html("a", record, found, {"age": task})
    found.novelty = {"distance": 3.216, "rank": 0.995}
    html = app.result_html("a", record, found, {"age": task})
    assert "<p>Novelty: distance 3.22, further than 99.5% of the validation records</p>" in html


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
    for name in ("SPACE_ID", "ENECG_MODEL"):
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
    ("arguments", "message"), [([], "ENECG_MODEL"), (["--model", "/absent"], "no folder /absent")]
)
def test_a_missing_model_is_told_in_a_line(launched, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert message in f"{caught.value.code} {capsys.readouterr().err}"
    assert launched == {}


def wait_until(holds, seconds=30, report=str):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {report()}"
        time.sleep(0.05)


class Server:
    """`app.py` as a process of its own, with all its temporary files in one folder."""

    def __init__(self, folder: Path, model: Path):
        self.temporary, self.asked_hosts, self.log = folder / "tmp", folder / "asked", folder / "log"
        (folder / "watch").mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(WATCH)
        self.temporary.mkdir()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        settings = {"TMPDIR": self.temporary, "ASKED_HOSTS": self.asked_hosts, "PYTHONPATH": folder / "watch"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "app.py", "--model", model, "--port", str(self.port)],
                env=os.environ | {name: str(value) for name, value in settings.items()},
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, seconds=120)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stored(self) -> list[str]:
        """All files that hold anything."""
        return [str(path) for path in self.temporary.rglob("*") if path.is_file() and path.stat().st_size]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory, model_dir):
    server = Server(tmp_path_factory.mktemp("server"), model_dir)
    yield server
    server.stop()


class Page:
    """The page in a browser."""

    def __init__(self, driver, port: int):
        self.driver, self.address = driver, f"http://127.0.0.1:{port}"
        self.resize(DESKTOP)
        driver.get(self.address)
        self.wait_for("input[type=file]")

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.all(selector))

    def wait_for(self, selector: str, text: str = "") -> None:
        wait_until(lambda: self.all(selector) and text in self.text(selector), report=lambda: self.text("body"))

    def upload(self, *files: Path) -> None:
        self.all("input[type=file]")[0].send_keys("\n".join(map(str, files)))

    def choose(self, name: str) -> None:
        self.all("input[role=combobox]")[0].click()
        self.wait_for("[role=option]", name)
        next(option for option in self.all("[role=option]") if name in option.text).click()

    def table(self, selector: str) -> dict[str, str]:
        """Each row's text by its first word."""
        rows = [" ".join(row.text.split()) for row in self.all(f"{selector} tr")]
        return {row.split()[0]: row for row in rows}

    def resize(self, size: tuple[int, int]) -> None:
        settings = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        return self.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")

    def screenshot(self, name: str) -> None:
        """Keep a picture to be looked at, where `APP_SCREENSHOTS` names a folder."""
        if folder := os.environ.get("APP_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def asked_hosts(self) -> set[str]:
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        asked += [m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"]
        return {urlsplit(url).netloc for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Chromium that resolves no name, so that it reaches this machine alone."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed; `make test-app` does it")
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("Chromium or its driver is not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, server) -> Page:
    return Page(driver, server.port)


def test_an_upload_shows_what_the_model_finds(page, server, predictor, record):
    page.screenshot("empty")
    assert "Research prototype, not a medical device." in page.text("body")
    page.upload(record.with_suffix(".hea"), record.with_suffix(".dat"))
    page.wait_for("h2", "00001_hr")
    assert server.stored() == []

    results = predictor(read_ecg(record))
    ranked = sorted(results["rhythm"], key=lambda finding: (not finding["present"], -finding["score"]))
    for summary in page.all("#task-rhythm summary"):
        summary.click()
    shown = page.table("#task-rhythm")
    assert list(shown)[: len(ranked)] == [finding["label"] for finding in ranked]
    for finding in ranked:
        decision = "present" if finding["present"] else "\N{EN DASH}"
        assert shown[finding["label"]].endswith(f"{finding['score']:.3f} of {finding['threshold']:.3f} {decision}")
    assert describe(ranked[0]["label"]) in page.text("#task-rhythm")
    assert "Signal quality: ok" in page.text("body")
    assert f"Leads used: {', '.join(STANDARD_LEADS)}" in page.text("body")
    assert f"{results['age'][0]['value']:.1f} years" in page.text("#task-age")
    weights = results.gate_weights["age"]
    assert abs(weights["first"] - weights["second"]) > 0.01
    assert page.table("#task-age") == {name: f"{name} {weight:.3f}" for name, weight in weights.items()}
    assert page.driver.execute_script("return document.querySelector('.ecg-paper img').naturalWidth") > 500
    page.screenshot("upload")

    page.resize(PHONE)
    assert page.overflow() <= 0
    page.screenshot("phone")


def test_another_choice_takes_the_place_of_the_last(page, predictor, record):
    page.choose("atrial fibrillation")
    page.wait_for("h2", "Simulated: atrial fibrillation")
    results = predictor(app.simulate("atrial fibrillation")[1])
    assert f"{results['age'][0]['value']:.1f} years" in page.text("#task-age")
    page.screenshot("simulated")
    page.upload(record.with_suffix(".hea"), record.with_suffix(".dat"))
    page.wait_for("h2", "00001_hr")
    assert page.all("input[role=combobox]")[0].get_attribute("value") == ""
    page.choose("sinus bradycardia")
    page.wait_for("h2", "Simulated: sinus bradycardia")


def test_rubbish_gives_a_readable_line(page, server, tmp_path):
    (tmp_path / "rubbish.hea").write_bytes(b"\0\xff no header at all")
    page.upload(tmp_path / "rubbish.hea")
    page.wait_for("[role=alert]", "rubbish.hea: number of signals 'no' is no whole number")
    page.screenshot("rubbish")
    assert "Traceback" not in page.text("body")
    assert str(server.temporary) not in page.text("body")
    assert not page.all("h2")
    assert server.stored() == []


@pytest.mark.parametrize(
    ("count", "message"), [(1, "exceed the maximum allowed size of 20.0 Mb"), (2, "Too large: a recording has")]
)
def test_too_large_an_upload_is_refused(page, server, tmp_path, count, message):
    files = [tmp_path / f"{number}.dat" for number in range(count)]
    for file in files:
        with file.open("wb") as content:
            content.truncate(app.MAX_BYTES // count + 1)
    page.upload(*files)
    page.wait_for("body", message)
    page.screenshot(f"too_large_{count}")
    assert server.stored() == []


def test_nothing_is_asked_of_other_machines(page, server, record):
    page.upload(record.with_suffix(".hea"), record.with_suffix(".dat"))
    page.wait_for("h2", "00001_hr")
    assert page.asked_hosts() == {f"127.0.0.1:{server.port}"}
    assert not server.asked_hosts.exists(), server.asked_hosts.read_text()


def test_the_browser_is_told_to_ask_no_other_machine(page):
    script = "const done = arguments[0]; fetch('https://192.0.2.1/').then(() => done('sent'), e => done('' + e))"
    blocked = "let b = 0; document.addEventListener('securitypolicyviolation', () => ++b); window.blocked = () => b;"
    page.driver.execute_script(blocked)
    assert page.driver.execute_async_script(script) != "sent"
    assert page.driver.execute_script("return window.blocked()") == 1


def test_a_stopped_server_leaves_nothing(tmp_path, model_dir):
    server = Server(tmp_path, model_dir)
    body = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.dat"\r\n\r\n' + bytes(10**5)
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=X\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + b"Content-Length: 1000000\r\n\r\n" + body)
        wait_until(server.stored)
    server.stop()
    assert server.stored() == []
