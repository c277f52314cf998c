"""The commands of deploy/edge/README.md, run in its order on a node of this machine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cmbnet.phantom.dicom import Vendor, write_dicom_series
from tests.helpers.edge_peers import SCANNER, FakePacs
from tests.helpers.orthanc import free_port, orthanc_program
from tests.helpers.tiny_scan import tiny_scan

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "edge"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PREFIX = "sudo -u cmbnet /opt/cmbnet/bin/cmbnet "
START_S = 240.0


def guide() -> list[str]:
    """Every line of its shell blocks."""
    blocks = BLOCK.findall((FOLDER / "README.md").read_text())
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_dicom_series(tiny_scan(), folder, vendor=Vendor.SIEMENS)
    return folder


class Hospital:
    """The machine that the guide sets up: node.yaml, its root, a PACS; the node when started."""

    def __init__(self, folder: Path, study: Path) -> None:
        self.pacs = FakePacs(lambda: self.port)
        self.pacs.start()
        self.port, self.watch_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"
        settings = yaml.safe_load((FOLDER / "node.yaml").read_text())
        settings["root"] = str(folder / "root")
        settings["listen"] |= {"port": self.port}
        settings["watch"]["port"] = self.watch_port
        settings["settle"]["settle_s"] = 1
        settings["storage"]["reserve_mb"] = 10
        settings["destinations"][0] |= {"port": self.pacs.port, "ae_title": self.pacs.ae_title}
        config = folder / "node.yaml"
        config.write_text(yaml.safe_dump(settings))
        assert settings["listen"]["allowed_callers"] == [SCANNER]
        self._places = {"/etc/cmbnet/node.yaml": str(config), "/path/to/study": str(study)}

    def run(self, line: str) -> str:
        """A line of the guide, by the cmbnet of this checkout."""
        words = [self._places.get(word, word) for word in shlex.split(line.removeprefix(PREFIX))]
        done = subprocess.run(
            [sys.executable, "-m", "cmbnet", *words],
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def start(self) -> None:
        config = self._places["/etc/cmbnet/node.yaml"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cmbnet", "edge", "run", config], stdout=log, stderr=log
            )
        end = time.monotonic() + START_S
        while not self.ready():
            assert time.monotonic() < end, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.2)

    def ready(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.watch_port}/readyz"
            with urllib.request.urlopen(url, timeout=20) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(60) == 0
            self._process = None


@pytest.fixture
def hospital(tmp_path: Path, study: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path, study)
    yield made
    made.stop()
    made.pacs.stop()


def test_the_guide_leads_to_a_first_study(hospital: Hospital) -> None:
    done = []
    for line in guide():
        if line.startswith("sudo systemctl enable --now cmbnet-edge"):
            hospital.start()
        elif line.startswith("curl --fail"):
            assert line.endswith("127.0.0.1:8112/readyz")
            assert hospital.ready()
        elif line.startswith(PREFIX):
            command = line.removeprefix(PREFIX).split()[1]
            if command == "purge":
                hospital.stop()
            said = hospital.run(line)
            done.append(command)
            if command == "check":
                assert "FAULT" not in said
            elif command in ("simulate", "status"):
                assert re.search(r"COMMITTED +(done|refused)", said), said
    assert done == ["check", "simulate", "status", "retry", "purge"]
    assert hospital.pacs.stored


def test_the_demo_prints_what_came_back(study: Path) -> None:
    orthanc_program()  # or skip
    shown = subprocess.run(
        [sys.executable, FOLDER / "demo.py", study],
        capture_output=True, text=True, timeout=580, check=False, cwd=ROOT,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"SR +1 x cmbnet microbleed report RESEARCH ONLY", shown.stdout)
