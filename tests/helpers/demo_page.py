"""A tiny model for the demo page, the page as a process of its own, and what is seen of it in a browser."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import torch

from modeling_enecg import ECGFeatureExtractor, ECGFounderConfig, ECGFounderModel, EnECGModel
from modeling_enecg.data.ptbxl.labels import TASK_LABELS

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


def save_demo_model(folder: Path, seed: int = 0) -> Path:
    """Two tiny experts whose gates weigh them differently."""
    torch.manual_seed(seed)
    config = ECGFounderConfig(
        sampling_rate=100, sequence_length=1000, stem_size=8, hidden_sizes=[8, 16], depths=[1, 1], group_width=8
    )
    experts = {name: ECGFounderModel(config) for name in ("first", "second")}
    model = EnECGModel.from_experts(experts, [RHYTHM, AGE], head_hidden_sizes=[])
    for gate in model.gates.parameters():
        torch.nn.init.normal_(gate, std=0.3)
    model.save_pretrained(folder)
    ECGFeatureExtractor(**config.feature_extractor_settings()).save_pretrained(folder)
    return folder


def wait_until(holds, seconds=30, report=str):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {report()}"
        time.sleep(0.05)


class Server:
    """`app.py` as a process of its own, with all its temporary files in one folder."""

    def __init__(self, folder: Path, model: Path, *arguments: str | Path):
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
                [sys.executable, ROOT / "app.py", "--model", model, "--port", str(self.port), *arguments],
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
        """What is to be read, asked at one moment: what is shown may be taking the place of something."""
        script = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText).join(' ')"
        return " ".join(self.driver.execute_script(script, selector).split())

    def wait_for(self, selector: str, text: str = "", seconds: float = 30) -> None:
        wait_until(
            lambda: self.all(selector) and text in self.text(selector), seconds, report=lambda: self.text("body")
        )

    def wait_for_no(self, selector: str) -> None:
        wait_until(lambda: not self.all(selector), report=lambda: self.text("body"))

    def upload(self, *files: Path) -> None:
        self.all("input[type=file]")[0].send_keys("\n".join(map(str, files)))

    def choose(self, name: str, label: str = "or choose a simulated one") -> None:
        self.all(f"input[aria-label='{label}']")[0].click()
        self.wait_for("[role=option]", name)
        next(option for option in self.all("[role=option]") if name in option.text).click()
        self.wait_for_no("[role=option]")  # the page knows of the choice once its list is closed

    def table(self, selector: str) -> dict[str, str]:
        """Each row's text by its first word."""
        rows = [" ".join(row.text.split()) for row in self.all(f"{selector} tr")]
        return {row.split()[0]: row for row in rows}

    def press(self, name: str) -> None:
        next(button for button in self.all("button") if name in button.text).click()

    def resize(self, size: tuple[int, int]) -> None:
        settings = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] == PHONE[0]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        return self.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")

    def screenshot(self, name: str) -> None:
        """Keep a picture to be looked at, where `APP_SCREENSHOTS` names a folder."""
        if folder := os.environ.get("APP_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def whole(self, name: str) -> None:
        """The same of the page from top to bottom."""
        if os.environ.get("APP_SCREENSHOTS"):
            height = self.driver.execute_script("return document.documentElement.scrollHeight")
            width = self.driver.execute_script("return window.innerWidth")
            self.resize((width, height))
            self.screenshot(name)
            self.resize(DESKTOP)

    def asked_hosts(self) -> set[str]:
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        asked += [m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"]
        return {urlsplit(url).netloc for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")}
