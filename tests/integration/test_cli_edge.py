"""``cmbnet edge status|retry|purge|simulate|check``: what they say and do, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    SegmentationStorage,
    StorageCommitmentPushModel,
    Verification,
)

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli.edge import command
from cmbnet.edge.audit import AUDIT_FILE
from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.records import State
from cmbnet.errors import CmbnetError, UsageError
from tests.helpers.edge_peers import FakePacs, forget_sockets, sockets_left_open, wait_for
from tests.helpers.edge_processor import FakeProcessor, uid_of
from tests.helpers.edge_site import Site, Tell, site_in
from tests.helpers.orthanc import free_port

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open


@pytest.fixture
def site(tmp_path: Path, record_property: Tell) -> Iterator[Site]:
    with site_in(tmp_path, record_property) as opened:
        yield opened


def settings_of(config: EdgeConfig, folder: Path) -> Path:
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def call(*words: object) -> str:
    """What a command said, and that it says what it is not for.

    Raises:
        CmbnetError: As `cmbnet.cli.run` turns it into a line and an exit code.
        SystemExit: It ended with an exit code of its own.
    """
    done = CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert RESEARCH_USE_ONLY in done.output
    return done.output


def worked(site: Site) -> Path:
    """A node that has run a good study and one that it gave up, and is still running."""
    port = free_port()
    site.open(
        processor=FakeProcessor(misbehave="raise"), listen={"port": port}, worker={"tries": 1}
    )
    for name in ("good", "poison"):
        site.send(site.study(name))
        wait_for(site.node, uid_of(name), State.COMMITTED)
    return settings_of(site.node.config, site.folder)


def test_status_counts_states_and_lists_studies_newest_first(site: Site) -> None:
    settings = worked(site)
    lines = call("status", settings).splitlines()
    assert "COMMITTED            2" in lines
    assert "RUNNING              0" in lines
    listed = [line for line in lines if "2.25." in line]
    assert [uid_of("poison") in listed[0], uid_of("good") in listed[1]] == [True, True]
    assert "failed" in listed[0]
    assert "processing failed 1 times" in listed[0]
    assert "done" in listed[1]
    assert "1 lesions" in listed[1]
    assert sum("pacs COMMITTED, 0 faults" in line for line in lines) == 2
    assert "2.25." not in call("status", settings, "--last", "0")


def test_retry_takes_what_failed_and_what_is_named(site: Site) -> None:
    settings = worked(site)
    with pytest.raises(UsageError, match="only studies that ended"):
        call("retry", settings, uid_of("unknown"))
    with pytest.raises(UsageError, match="or --all, is required"):
        call("retry", settings)
    study = wait_for(site.node, uid_of("poison"), State.COMMITTED)
    assert "1 of 1 studies will be run again" in call("retry", settings, "--all")
    while study.run < 2:
        study = wait_for(site.node, uid_of("poison"), State.COMMITTED)
    assert wait_for(site.node, uid_of("good"), State.COMMITTED).run == 1
    study = wait_for(site.node, uid_of("good"), State.COMMITTED)
    assert "1 of 1 studies will be run again" in call("retry", settings, uid_of("good"))
    while study.run < 2:
        study = wait_for(site.node, uid_of("good"), State.COMMITTED)
    assert "2 of 2 studies will be run again" in call("retry", settings, "--all", "--done")


def test_purge_waits_for_the_node_and_leaves_what_is_young(site: Site) -> None:
    settings = worked(site)
    with pytest.raises(UsageError, match="another node runs"):
        call("purge", settings)
    site.node.stop()
    assert "0 studies removed" in call("purge", settings)
    assert len(site.spooled("good")) == 6
    assert "2 studies removed" in call("purge", settings, "--now")
    assert not site.spooled("good")
    site.open()  # to be stopped by the fixture


def test_simulate_sends_waits_and_counts(site: Site) -> None:
    settings = worked(site)
    site.study("again")
    site.study("good")
    scans = site.folder / "scans"
    (scans / "notes.txt").write_text("no image")
    said = call("simulate", settings, scans, "--wait", "100")
    assert "18 objects in" in said, "good and poison once more, again for the first time"
    assert "18 x 0x0000" in said
    assert f"{uid_of('again')}, 1 lesions" in said
    assert set(site.pacs.stored.values()) == {1}


def test_simulate_says_when_nothing_came_back(site: Site) -> None:
    site.open(listen={"port": free_port()}, processor=FakeProcessor(seconds=30))
    settings = settings_of(site.node.config, site.folder)
    site.study("slow")
    with pytest.raises(CmbnetError, match="no result after"):
        call("simulate", settings, site.folder / "scans", "--wait", "0.5")


def test_simulate_tells_of_refused_objects(site: Site) -> None:
    site.open(listen={"port": free_port()})
    settings = settings_of(site.node.config, site.folder)
    site.study("a")
    site.node.spool.reserve_bytes = site.node.folders.free_bytes() * 3 // 2
    with pytest.raises(CmbnetError, match="6 objects were refused"):
        call("simulate", settings, site.folder / "scans")


def test_simulate_needs_images_and_a_node(site: Site) -> None:
    site.open(listen={"port": free_port()})
    settings = settings_of(site.node.config, site.folder)
    empty = site.folder / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="has none among 0 files"):
        call("simulate", settings, empty)
    site.study("a")
    site.node.stop()
    with pytest.raises(UsageError, match="is the node running"):
        call("simulate", settings, site.folder / "scans")
    site.open()  # to be stopped by the fixture


def check(settings: Path) -> tuple[int, list[str]]:
    """Exit code and lines of ``check``."""
    done = CliRunner().invoke(command, ["check", str(settings)])
    assert RESEARCH_USE_ONLY in done.output
    return done.exit_code, done.output.splitlines()


def test_check_names_what_is_wrong(site: Site) -> None:
    """The faults of three different people: a lost model, a full disk, a PACS that is down."""
    site.open()
    site.node.stop()
    site.pacs.stop()
    good = site.node.config
    bad = good.model_copy(
        update={
            "worker": good.worker.model_copy(update={"bundle": str(site.folder / "nowhere")}),
            "watch": good.watch.model_copy(update={"host": "0.0.0.0"}),
            "storage": good.storage.model_copy(update={"reserve_mb": 1 << 40}),
        }
    )
    (good.root / AUDIT_FILE).write_text('{"number": 7}\n')
    code, lines = check(settings_of(bad, site.folder))
    assert code == 4
    marks = {line[7:].split(":")[0]: line.split()[0] for line in lines if line[:2] in ("ok", "FA")}
    assert marks == {
        "root can be written": "ok",
        "free disk is above the reserve": "FAULT",
        "the audit trail holds together": "FAULT",
        "the model can be loaded": "FAULT",
        "pacs answers, and agrees to SEG, SR and commitment": "FAULT",
        "listen.host is one interface": "ok",
        "watch.host is one interface": "FAULT",
    }
    assert sum(line.startswith("?      not tried: ") for line in lines) == 2
    site.open()  # to be stopped by the fixture


def test_check_asks_whether_the_pacs_takes_what_it_will_be_sent(site: Site) -> None:
    """One that knows us by name, and accepts the SR alone."""
    site.open()
    ae = AE(FakePacs.ae_title)
    for uid in (Comprehensive3DSRStorage, Verification, StorageCommitmentPushModel):
        ae.add_supported_context(uid)
    server: Any = ae.start_server(("127.0.0.1", 0), block=False)
    (pacs,) = site.node.config.destinations
    other = pacs.model_copy(update={"port": server.server_address[1]})
    _, lines = check(
        settings_of(site.node.config.model_copy(update={"destinations": (other,)}), site.folder)
    )
    server.shutdown()
    (line,) = [line for line in lines if "pacs answers" in line]
    assert line.startswith("FAULT")
    assert SegmentationStorage in line
    assert Comprehensive3DSRStorage not in line


@pytest.mark.parametrize("name", ["status", "retry"])
def test_a_node_that_never_ran_has_no_journal(site: Site, name: str) -> None:
    site.open()
    fresh = site.node.config.model_copy(update={"root": site.folder / "elsewhere"})
    words = ["--all"] if name == "retry" else []
    with pytest.raises(UsageError, match="has no journal"):
        call(name, settings_of(fresh, site.folder), *words)


@pytest.mark.parametrize("name", ["run", "status", "retry", "purge", "simulate", "check"])
def test_settings_that_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "node.yaml"
    words = ["--all"] if name == "retry" else []
    with pytest.raises(UsageError):
        call(name, path, *words)
    path.write_text("root: x\nlisten: {allowed_caller: [A]}\n")
    with pytest.raises(UsageError, match="allowed_caller"):
        call(name, path, *words)
