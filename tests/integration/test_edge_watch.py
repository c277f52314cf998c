"""A node at work, watched: nothing of the patient in logs, audit trail, metrics and page."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from PIL import Image

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.edge.audit import AUDIT_FILE, verify_audit
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.node import Node
from cmbnet.edge.records import State
from cmbnet.edge.simulate import Peer, send_files
from cmbnet.edge.watch import Watch
from cmbnet.errors import UsageError
from tests.helpers.edge_peers import SCANNER, FakePacs, node_config, study_files, wait_for
from tests.helpers.edge_processor import FakeProcessor, save, uid_of
from tests.helpers.orthanc import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECRETS = ("ZIMMERMANN", "Friederike", "KIS-998877", "19470213", "ACC-4711")
STUDIES = ("good", "poison-die")


@dataclass
class Watched:
    node: Node
    watch: Watch
    log: io.StringIO
    uids: list[str]

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.watch.port}{path}", timeout=30) as got:
            return str(got.read().decode())


def name_patient(path: Path, study: str) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PatientName = "ZIMMERMANN^Friederike"
    dataset.PatientID = "poison KIS-998877" if "poison" in study else "KIS-998877"
    dataset.PatientBirthDate = "19470213"
    dataset.AccessionNumber = "ACC-4711"
    save(dataset, path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A study that is done, one that the worker dies of, and a stranger who calls."""
    folder = tmp_path_factory.mktemp("site")
    log = io.StringIO()
    pacs = FakePacs(lambda: watched.node.receiver.port)
    pacs.start()
    config = node_config(
        folder / "node", pacs_port=pacs.port, watch={"port": 0}, worker={"tries": 2}
    )
    node = Node(config, processor=FakeProcessor(misbehave="die"))
    watch = Watch(config, node.journal, log=log)
    node.events.add(watch)
    watched = Watched(node, watch, log, [])
    watch.start()
    node.start()
    peer = Peer("127.0.0.1", node.receiver.port, "CMBNET", SCANNER)
    for study in STUDIES:
        files = study_files(folder / study, study)
        for path in files:
            name_patient(path, study)
            watched.uids.append(str(pydicom.dcmread(path).SOPInstanceUID))
        watched.uids += [uid_of(study), uid_of(f"{study}/series")]
        send_files(files, peer)
    with pytest.raises(UsageError):
        send_files(files, Peer("127.0.0.1", node.receiver.port, "CMBNET", "STRANGER"))
    for study in STUDIES:
        wait_for(node, uid_of(study), State.COMMITTED, State.FAILED, seconds=200)
    yield watched
    node.stop()
    watch.stop()
    pacs.stop()


def assert_names_nobody(said: str, site: Watched) -> None:
    for secret in (*SECRETS, *site.uids):
        assert secret.lower() not in said.lower(), secret


def test_no_patient_in_logs_audit_metrics_and_page(site: Watched) -> None:
    audit = (site.node.config.root / AUDIT_FILE).read_text()
    for said in (site.log.getvalue(), audit, *map(site.page, ("/", "/metrics", "/readyz"))):
        assert len(said) > 30
        assert_names_nobody(said, site)


def test_the_log_tells_the_story(site: Watched) -> None:
    lines = [json.loads(line) for line in site.log.getvalue().splitlines()]
    events = [line.get("event") for line in lines]
    for event in ("node_started", "state_changed", "study_run", "results_sent", "commitment",
                  "worker_restarted", "association_refused"):  # fmt: skip
        assert event in events
    good = [line for line in lines if line.get("study") == lines_of(site, "good")]
    assert [line["state"] for line in good if line["event"] == "state_changed"] == [
        "RECEIVED", "READY", "RUNNING", "RESULT_WRITTEN", "SENT", "COMMITTED",
    ]  # fmt: skip


def lines_of(site: Watched, study: str) -> str:
    from cmbnet.edge.pseudonyms import open_pseudonyms

    return open_pseudonyms(site.node.config.root)(uid_of(study))


def test_the_metrics_take_their_times_from_the_events(site: Watched) -> None:
    values = dict(
        line.rsplit(" ", 1) for line in site.page("/metrics").splitlines() if line[0] != "#"
    )
    for name in ("cmbnet_study_run_seconds_sum", "cmbnet_store_seconds_sum",
                 "cmbnet_received_bytes_total"):  # fmt: skip
        assert float(values[name]) > 0, name
    assert float(values['cmbnet_results_sent_total{destination="pacs"}']) >= 1


def test_the_audit_trail_holds_together(site: Watched) -> None:
    assert verify_audit(site.node.config.root / AUDIT_FILE).records > 10


def test_the_page_shows_both_studies(site: Watched) -> None:
    page = site.page("/")
    assert lines_of(site, "good") in page
    assert "processing failed 2 times: the worker died" in page
    assert "Ready to receive" in page


def test_a_name_that_strangers_chose_is_not_answered(site: Watched) -> None:
    """A browser that was led here by a name of theirs would read the page to them."""
    port = site.watch.port
    for host, status in (
        ("evil.example", 421), (f"evil.example:{port}", 421), ("", 421), ("127.0.0.1.evil", 421),
        (f"127.0.0.1:{port}", 200), ("localhost", 200), (f"[::1]:{port}", 200),
    ):  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        assert answer.status == status, host
        assert (b"cmbnet node" in answer.read()) == (status == 200)
        connection.close()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_node_prints_nothing_that_names_anyone(tmp_path: Path) -> None:
    """As it is run, with a umask of 022: also what libraries warn of is no more than its kind."""
    pacs = FakePacs(lambda: port)
    pacs.start()
    port = free_port()
    config = node_config(
        tmp_path / "node", port=port, pacs_port=pacs.port, worker={"memory_mb": 4096}
    )
    settings = tmp_path / "node.yaml"
    settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    files = study_files(tmp_path / "scans", "a")
    for path in files:
        name_patient(path, "a")
        raw = path.read_bytes()
        uid = str(pydicom.dcmread(path).SeriesInstanceUID).encode()
        path.write_bytes(raw.replace(uid, uid[:-2] + b".x").replace(b"19470213", b"1947021x"))
    words = [sys.executable, "-m", "cmbnet", "edge", "run", str(settings)]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        node = subprocess.Popen(words, stdout=stream, stderr=stream, umask=0o022)
    try:
        end = time.monotonic() + 240
        while "node_started" not in log.read_text():
            assert time.monotonic() < end
            assert node.poll() is None, log.read_text()
            time.sleep(0.2)
        peer = Peer("127.0.0.1", port, "CMBNET", SCANNER)
        assert dict(send_files(files, peer)) == {0: 6}
        wrong = pydicom.dcmread(files[0])
        wrong.SOPInstanceUID = f"{uid_of('a/0')[:30]}..3"
        wrong.file_meta.MediaStorageSOPInstanceUID = wrong.SOPInstanceUID
        wrong.save_as(files[0])
        assert dict(send_files(files[:1], peer)) == {0xA900: 1}
        reader = JournalReader(config.root / "journal.sqlite")
        wait_for(reader, uid_of("a"), State.COMMITTED, State.FAILED, seconds=240)
        reader.close()
        modes = {one.stat().st_mode & 0o077 for one in config.root.rglob("*")}
        assert modes == {0}
    finally:
        node.terminate()
        assert node.wait(60) == 0
        pacs.stop()
    said = log.read_text()
    lines = [line for line in said.splitlines() if not line.startswith("{")]
    assert lines == [
        f"CMBNET listens on 127.0.0.1:{port}", "no status page", RESEARCH_USE_ONLY
    ]  # fmt: skip
    for secret in (*SECRETS, uid_of("a")[:30], uid_of("a/series")[:30], uid_of("a/0")[:30]):
        assert secret not in said


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_is_drawn_in_a_browser(site: Watched, tmp_path: Path) -> None:
    picture = tmp_path / "status.png"
    subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            "--hide-scrollbars", "--window-size=1200,1000", f"--screenshot={picture}",
            f"http://127.0.0.1:{site.watch.port}/",
        ],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    shown = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert shown.shape == (1000, 1200, 3)
    for name, colour, least in (
        ("the notice", (255, 243, 223), 0.01),
        ("ready", (227, 244, 234), 0.01),
        ("the cells of the queue", (242, 245, 247), 0.03),
    ):
        assert (np.abs(shown - colour).sum(axis=2) < 6).mean() > least, name
