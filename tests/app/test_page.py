"""The demo page itself in a real, headless Chromium. `make test-app` runs these tests."""

import shutil
import socket

import pytest

pytest.importorskip("gradio", reason="gradio is not installed here; `make test-app` runs these tests")

from modeling_enecg.data.ptbxl.labels import describe
from modeling_enecg.demo import simulate
from modeling_enecg.demo.uploads import MAX_BYTES
from modeling_enecg.io import read_ecg
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.prediction.embedder import Embedder
from modeling_enecg.prediction.embeddings import embed_files
from tests.helpers.demo_page import PHONE, Page, Server, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory, model_dir, record):
    folder = tmp_path_factory.mktemp("server")
    table = embed_files(Embedder(model_dir), [record.parent], folder / "features.parquet")
    server = Server(folder, model_dir, "--among", table)
    yield server
    server.stop()


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
    results = predictor(simulate("atrial fibrillation").record)
    assert f"{results['age'][0]['value']:.1f} years" in page.text("#task-age")
    page.screenshot("simulated")
    page.upload(record.with_suffix(".hea"), record.with_suffix(".dat"))
    page.wait_for("h2", "00001_hr")
    assert page.all("input[role=combobox]")[0].get_attribute("value") == ""
    page.choose("sinus bradycardia")
    page.wait_for("h2", "Simulated: sinus bradycardia")


def test_a_finding_is_explained_on_request_until_another_recording_is_chosen(page):
    page.choose("atrial fibrillation")
    page.wait_for("h2", "Simulated: atrial fibrillation")
    assert not page.all(".ecg-why")
    page.choose("age", "Why? The finding to explain")
    page.press("Explain")
    page.wait_for("h2", "Why age?", seconds=300)
    assert set(STANDARD_LEADS) | {"P", "QRS", "ST-T", "rest"} <= set(page.table("#why-occlusion"))
    assert "Rank correlation with random weights" in page.text("#why-integrated_gradients")
    page.whole("explained")
    page.resize(PHONE)
    assert page.overflow() <= 0
    page.whole("explained_phone")
    page.choose("sinus bradycardia")
    page.wait_for("h2", "Simulated: sinus bradycardia")
    assert not page.all(".ecg-why")


def test_similar_records_are_shown(page, record):
    page.upload(record.with_suffix(".hea"), record.with_suffix(".dat"))
    page.wait_for("#neighbours", "Most similar of 2 records")
    assert page.table("#neighbours")["00001_hr"].startswith("00001_hr 1.000")


def test_several_recordings_make_a_table_of_which_one_can_be_shown(page, server, record, tmp_path):
    (tmp_path / "broken.hea").write_bytes(b"\0 no header at all")
    files = sorted(record.parent.glob("*.*"))
    page.upload(*files, tmp_path / "broken.hea")
    page.wait_for("h2", "3 recordings")
    assert "unusable broken.hea: the WFDB header is damaged" in page.table(".ecg-batch")["broken"]
    (link,) = page.all(".ecg-download")
    assert link.get_attribute("href").startswith("data:text/csv")
    assert server.stored() == []
    page.choose("00002_hr", "Show one of them")
    page.wait_for("h2", "00002_hr")
    page.whole("several")
    page.resize(PHONE)
    assert page.overflow() <= 0
    page.whole("several_phone")


def test_rubbish_gives_a_readable_line(page, server, tmp_path):
    (tmp_path / "rubbish.hea").write_bytes(b"\0\xff no header at all")
    page.upload(tmp_path / "rubbish.hea")
    page.wait_for("[role=alert]", "rubbish.hea: the WFDB header is damaged: number of signals is 'no'")
    page.screenshot("rubbish")
    assert "Traceback" not in page.text("body")
    assert str(server.temporary) not in page.text("body")
    assert not page.all("h2")
    assert server.stored() == []


@pytest.mark.parametrize(
    ("count", "message"), [(1, "exceed the maximum allowed size of 20.0 Mb"), (2, "Too large: at once there may be")]
)
def test_too_large_an_upload_is_refused(page, server, tmp_path, count, message):
    files = [tmp_path / f"{number}.dat" for number in range(count)]
    for file in files:
        with file.open("wb") as content:
            content.truncate(MAX_BYTES // count + 1)
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
