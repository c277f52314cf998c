"""Logs, audit trail, metrics, health and page: they tell what happened, and of whom nothing."""

from __future__ import annotations

import io
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.edge.activity import Activity, Refusal
from cmbnet.edge.audit import AUDIT_FILE, AuditBroken, AuditTrail, verify_audit
from cmbnet.edge.journal import Journal
from cmbnet.edge.logs import log_to
from cmbnet.edge.pseudonyms import KEY_FILE, Pseudonyms, open_pseudonyms
from cmbnet.edge.records import Finished, ResultFile
from cmbnet.edge.watch import Watch
from cmbnet.errors import CmbnetError, UsageError
from tests.helpers.edge_peers import node_config
from tests.helpers.edge_processor import uid_of

NAMES = Pseudonyms(b"k" * 32)
STUDY = uid_of("a study")
SOP = uid_of("an image")


# --- pseudonyms


def test_a_study_keeps_its_name_under_one_key_and_changes_it_with_the_key() -> None:
    assert NAMES(STUDY) == NAMES(STUDY) != NAMES(SOP)
    assert Pseudonyms(b"l" * 32)(STUDY) != NAMES(STUDY)
    assert STUDY[5:15] not in NAMES(STUDY)
    assert NAMES("") == ""


@pytest.mark.parametrize("uid", [STUDY, "1.3.12.2.1107.5.2.43.66044.2018", "0.9.8.7"])
def test_every_uid_in_a_sentence_is_replaced_but_those_of_the_standard(uid: str) -> None:
    said = NAMES.scrub(f"between instance 3 ({uid}.dcm) and {uid}, 10.000 mm at 127.0.0.1")
    assert uid not in said
    assert said.count(NAMES(uid)) == 2
    assert said.endswith("10.000 mm at 127.0.0.1")
    assert NAMES.scrub("1.2.840.10008.5.1.4.1.1.4") == "1.2.840.10008.5.1.4.1.1.4"


def test_the_key_is_drawn_once_and_is_private(tmp_path: Path) -> None:
    first = open_pseudonyms(tmp_path / "node")
    assert open_pseudonyms(tmp_path / "node")(STUDY) == first(STUDY)
    assert open_pseudonyms(tmp_path / "other")(STUDY) != first(STUDY)
    key = tmp_path / "node" / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(b"short")
    with pytest.raises(CmbnetError, match=r"32 bytes are required in .*, got 5"):
        open_pseudonyms(tmp_path / "node")


def test_only_known_words_pass() -> None:
    details = {
        "caller": "SCAN\x1b[31m",
        "series": "SWI Zimmermann",
        "seconds": {"read": 1.0},
        "images": 24,
        "reason": f"{SOP} is damaged",
        "bytes": 1.23456789,
        "header": object(),
    }
    assert NAMES.safe_details(details) == {
        "caller": "SCAN?[31m",
        "images": 24,
        "reason": f"{NAMES(SOP)} is damaged",
        "bytes": 1.2346,
    }


# --- audit trail


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Five lines."""
    path = tmp_path / AUDIT_FILE
    audit = AuditTrail(path, NAMES)
    for number in range(4):
        audit("state_changed", STUDY, {"state": "READY", "number": number})
    audit.close()
    again = AuditTrail(path, NAMES)
    again.append("by hand")
    assert again.head.records == 5
    again.close()
    return path


def test_a_trail_holds_together_over_restarts(trail: Path) -> None:
    head = verify_audit(trail)
    lines = [json.loads(line) for line in trail.read_text().splitlines()]
    assert (head.records, head.digest) == (5, lines[-1]["hash"])
    assert [line["number"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["facts"] == {"study": NAMES(STUDY), "state": "READY", "number": 0}
    assert STUDY not in trail.read_text()
    assert verify_audit(trail.with_name("absent")).records == 0


@pytest.mark.parametrize("line", range(5))
def test_a_changed_line_breaks_it(trail: Path, line: int) -> None:
    lines = trail.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace('"event": "', '"event": "un')
    trail.write_text("".join(lines))
    with pytest.raises(AuditBroken, match=f"at or before line {line + 1}"):
        verify_audit(trail)


@pytest.mark.parametrize("line", range(4))
def test_a_removed_doubled_or_moved_line_breaks_it(trail: Path, line: int) -> None:
    lines = trail.read_text().splitlines(keepends=True)
    for spoilt in (
        [*lines[:line], *lines[line + 1 :]],
        [*lines[:line], lines[line], *lines[line:]],
        [*lines[:line], lines[line + 1], lines[line], *lines[line + 2 :]],
    ):
        trail.write_text("".join(spoilt))
        with pytest.raises(AuditBroken):
            verify_audit(trail)


def test_a_line_that_a_power_cut_tore_is_cut_off_and_noted(trail: Path) -> None:
    whole = trail.read_bytes()
    trail.write_bytes(whole[:-20])
    assert verify_audit(trail).records == 4
    audit = AuditTrail(trail, NAMES)
    audit.close()
    assert verify_audit(trail).records == 5
    last = json.loads(trail.read_text().splitlines()[-1])
    assert (last["event"], last["facts"]["torn_bytes"] > 50) == ("audit_resumed", True)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_no_half_line(
    trail: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, write = trail.read_bytes(), os.write
    audit = AuditTrail(trail, NAMES)

    def fail(*_: object) -> None:
        raise OSError(5, "failing")

    with monkeypatch.context() as disk:
        if call == "write":
            disk.setattr(os, "write", lambda file, line: write(file, line[:30]))
        else:
            disk.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"full|failing"):
            audit.append("lost")
        assert trail.read_bytes() == whole
    audit.append("kept")
    audit.close()
    assert verify_audit(trail).records == 6


def test_a_file_that_is_no_trail_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / AUDIT_FILE
    path.write_text("hello\n")
    with pytest.raises(AuditBroken, match="none of an audit trail"):
        AuditTrail(path, NAMES)
    assert path.read_text() == "hello\n"


def test_strangers_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 120.0
    monkeypatch.setattr("cmbnet.edge.audit.time.monotonic", lambda: now)
    audit = AuditTrail(tmp_path / AUDIT_FILE, NAMES)
    for _ in range(500):
        audit("association_refused", "", {"caller": "STRANGER"})
    audit("purged", STUDY, {"bytes": 1})
    now = 190.0
    audit("association_refused", "", {"caller": "STRANGER"})
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / AUDIT_FILE).read_text().splitlines()]
    assert len(lines) == 62
    assert lines[60]["event"] == "purged"
    assert lines[61]["facts"] == {"caller": "STRANGER", "left_out_before": 440}


# --- logs


def test_messages_and_faults_name_nobody() -> None:
    stream = io.StringIO()
    handler = log_to(stream, NAMES)
    logger = logging.getLogger("cmbnet.edge.anything")
    try:
        raise ValueError("Zimmermann^Friederike")
    except ValueError:
        logger.exception("could not read %s", STUDY)
    logging.getLogger("pydicom").error("Zimmermann^Friederike")
    logging.getLogger("cmbnet").removeHandler(handler)
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said["message"] == f"could not read {NAMES(STUDY)}"
    assert (said["level"], said["exception"]) == ("error", "ValueError")


# --- the whole


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_activity_forgets() -> None:
    clock = Clock()
    activity = Activity(clock)
    for _ in range(3):
        activity("object_received", STUDY, {"bytes": 500_000})
    activity("study_run", STUDY, {"outcome": "done", "run_s": 2.0})
    activity("study_run", STUDY, {"outcome": "fault", "run_s": 9.0})
    assert activity.object_bytes() == [500_000] * 3
    assert activity.run_seconds() == [2.0]
    clock.now = 61.0
    assert activity.object_bytes() == []
    assert activity.run_seconds() == [2.0]
    clock.now = 3601.0
    assert activity.run_seconds() == []


def test_activity_keeps_the_last_refusals_newest_first() -> None:
    activity = Activity(wall=lambda: 7.0)
    for number in range(20):
        activity("object_refused", STUDY, {"caller": "A", "reason": f"{number}", "status": 1})
    activity("association_refused", "", {"caller": "B", "reason": "caller"})
    first, *others = activity.refusals()
    assert (activity.count("object"), activity.count("connection", "association")) == (20, 1)
    assert first == Refusal(7.0, "association", "B", "caller")
    assert [one.reason for one in others] == [str(19 - number) for number in range(7)]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """A journal with a study that is done and one that is refused, and a watch on it."""
    config = node_config(tmp_path, pacs_port=11113, watch={"port": 0})
    journal = Journal(tmp_path / "journal.sqlite")
    watched = Watch(config, journal, log=io.StringIO())
    watched.start()
    watched("node_started", "", {"port": 11112})
    result = ResultFile("1.2.840.10008.5.1.4.1.1.88.34", uid_of("sr"), "x/1/sr.dcm")
    for name, finished in (
        ("done", Finished("done", "d", 24, (result,))),
        ("bad", Finished("refused", "d", 7, reason=f"<b>{SOP}.dcm</b> & no SWI")),
    ):
        journal.received(uid_of(name), "SCANNER")
        journal.mark_ready(uid_of(name))
        journal.take()
        journal.finish(uid_of(name), finished, ["pacs"])
    watched("object_received", STUDY, {"caller": "SCANNER", "bytes": 1000, "seconds": 0.01})
    watched("object_refused", STUDY, {"caller": "X", "status": 0xA700, "reason": "full"})
    watched("study_run", STUDY, {"outcome": "done", "run_s": 2.5, "reason": ""})
    watched("results_sent", STUDY, {"destination": "pacs", "objects": 2, "seconds": 0.1})
    yield watched
    watched.stop()
    journal.close()


def get(watch: Watch, path: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(f"http://127.0.0.1:{watch.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def test_metrics_count_what_happened(watch: Watch) -> None:
    families = text_string_to_metric_families(get(watch, "/metrics")[1])
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }
    assert found[("cmbnet_objects_total", "kept")] == 1
    assert found[("cmbnet_objects_total", "refused")] == 1
    assert found[("cmbnet_received_bytes_total",)] == 1000
    assert found[("cmbnet_study_runs_total", "done")] == 1
    assert found[("cmbnet_study_run_seconds_sum",)] == 2.5
    assert found[("cmbnet_results_sent_total", "pacs")] == 1
    assert found[("cmbnet_studies", "RESULT_WRITTEN")] == 1
    assert found[("cmbnet_studies", "FAILED")] == 1
    assert found[("cmbnet_studies", "READY")] == 0
    assert found[("cmbnet_disk_free_bytes",)] > 0


def test_ready_only_while_the_node_listens(watch: Watch) -> None:
    assert get(watch, "/readyz")[:2] == (200, '{"status": "ready", "faults": []}\n')
    watch("node_stopped", "", {})
    status, body, _ = get(watch, "/readyz")
    assert (status, json.loads(body)["faults"]) == (503, ["the node does not listen"])
    assert get(watch, "/healthz")[0] == 200
    assert "Not ready: the node does not listen" in get(watch, "/")[1]


def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    config = node_config(tmp_path, pacs_port=1, storage={"reserve_mb": 1 << 40})
    journal = Journal(tmp_path / "journal.sqlite")
    watched = Watch(config, journal, log=io.StringIO())
    watched("node_started", "", {})
    assert watched.faults() == ["the disk is full up to the reserve"]
    watched.stop()
    journal.close()


def test_the_page_tells_what_happened_and_runs_nothing(watch: Watch) -> None:
    status, page, headers = get(watch, "/?x=<script>")
    assert status == 200
    assert RESEARCH_USE_ONLY in page
    assert "Ready to receive" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert page.count("to be sent") == 2, "in the queue and in the list"
    assert '<td>object</td><td>X</td><td class="why">full</td>' in page, "what was refused, and why"
    names = open_pseudonyms(watch._config.root)
    for name in ("done", "bad"):
        assert names(uid_of(name)) in page
    for path in ("/", "/metrics", "/readyz"):
        assert not any(uid_of(name) in get(watch, path)[1] for name in ("done", "bad", "sr"))
    assert SOP not in page


def test_nothing_but_reading_is_answered(watch: Watch) -> None:
    assert get(watch, "/journal.sqlite")[0] == 404
    assert get(watch, "/../pseudonyms.key")[0] == 404
    assert get(watch, "/", method="POST")[0] == 501
    status, body, headers = get(watch, "/", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 1000
    assert "Python" not in headers["Server"]


def test_a_taken_port_is_said(watch: Watch, tmp_path: Path) -> None:
    config = node_config(tmp_path / "b", pacs_port=1, watch={"port": watch.port})
    journal = Journal(tmp_path / "b" / "journal.sqlite")
    other = Watch(config, journal, log=io.StringIO())
    with pytest.raises(UsageError, match="cannot show the status page on 127"):
        other.start()
    other.stop()
    journal.close()
