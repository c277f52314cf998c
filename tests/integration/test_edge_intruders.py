"""Connections that name nobody: they hold no place, no memory and no threads for long."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage  # type: ignore[attr-defined]

from cmbnet.edge.config import TlsSettings
from cmbnet.edge.watch import Watch
from tests.helpers.edge_peers import SCANNER, forget_sockets, sockets_left_open
from tests.helpers.edge_site import Site, Tell, site_in
from tests.integration.test_edge_tls import certificate

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open

PATIENCE_S = 120.0
"""A machine that does much else may take its time."""


@pytest.fixture
def site(tmp_path: Path, record_property: Tell) -> Iterator[Site]:
    with site_in(tmp_path, record_property) as opened:
        yield opened


def connect(site: Site, address: str = "127.0.0.2") -> socket.socket:
    """A connection from another address than the scanner's."""
    found = socket.create_connection(
        ("127.0.0.1", site.node.receiver.port), timeout=PATIENCE_S, source_address=(address, 0)
    )
    return found


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def held(site: Site) -> int:
    """Connections that the stranger has."""
    server: Any = site.node.receiver._server
    return int(server.connections()["127.0.0.2"])


def reasons(site: Site) -> str:
    return " ".join(str(one["reason"]) for one in site.told("connection_refused"))


def closed(connection: socket.socket) -> bool:
    """Whether the node ends a connection, whatever it says before."""
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_three_bytes_hold_no_place_and_not_for_long(site: Site) -> None:
    site.open(listen={"max_associations": 2, "timeout_s": 2, "max_per_address": 40})
    with ExitStack() as stack:
        strangers = [stack.enter_context(connect(site)) for _ in range(33)]
        for one in strangers:
            one.sendall(b"\x01\x00\x00")
        wait_until(lambda: held(site) == 33)
        assert not site.node.receiver.full
        assert site.send(site.study("a")) == {0: 6}
        assert all(closed(one) for one in strangers)
    wait_until(lambda: not held(site))
    assert reasons(site).count("begun and not finished") == 33


def test_a_request_in_drops_has_an_end(site: Site) -> None:
    site.open(listen={"timeout_s": 2})
    with connect(site) as stranger:
        started = time.monotonic()
        for byte in b"\x01\x00" + struct.pack(">L", 100_000) + bytes(100_000):
            assert time.monotonic() - started < PATIENCE_S
            try:
                stranger.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.2)
    assert "begun and not finished" in reasons(site)


def test_a_pdu_of_four_gigabytes_is_not_read(site: Site) -> None:
    site.open()
    with connect(site) as stranger:
        stranger.sendall(b"\x01\x00\xff\xff\xff\xf0" + bytes(1000))
        assert closed(stranger)
    assert "claims 4294967280 bytes" in reasons(site)


def test_a_command_without_end_is_not_held_in_memory(site: Site) -> None:
    site.open()
    ae = AE(SCANNER)
    ae.add_requested_context(MRImageStorage)
    association = ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET")
    context = association.accepted_contexts[0].context_id
    piece = bytes(200_000)
    # A command set, and not its last fragment (PS3.8 E.2).
    value = struct.pack(">LBB", len(piece) + 2, context, 0x01) + piece
    transport: Any = association.dul.socket
    connection: socket.socket = transport.socket
    for _ in range(1000):
        try:
            connection.sendall(b"\x04\x00" + struct.pack(">L", len(value)) + value)
        except OSError:
            break
    else:
        pytest.fail("200 MB were taken")
    wait_until(lambda: bool(site.told("object_refused")))
    assert "exceeds 1 MiB" in str(site.told("object_refused")[0]["reason"])
    assert site.send(site.study("a")) == {0: 6}


def test_one_address_does_not_take_all(site: Site) -> None:
    site.open(listen={"max_per_address": 5})
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(site))
        wait_until(lambda: held(site) == 5)
        assert closed(stack.enter_context(connect(site)))
        assert site.send(site.study("a")) == {0: 6}
    assert "its address has 5 connections" in reasons(site)
    assert site.told("connection_refused")[0]["address"] == "127.0.0.2"


def test_a_watcher_is_told_that_no_place_is_free(site: Site) -> None:
    site.open(listen={"max_associations": 2, "max_per_address": 2}, watch={"port": 0})
    watch = Watch(site.node.config, site.node.journal, full=lambda: site.node.receiver.full)
    site.node.events.add(watch)
    watch.start()
    watch("node_started", "", {})
    try:
        assert ask(watch, "/readyz")[0] == 200
        ae = AE(SCANNER)
        ae.add_requested_context(MRImageStorage)
        taken = [
            ae.associate("127.0.0.1", site.node.receiver.port, ae_title="CMBNET") for _ in range(2)
        ]
        status, said = ask(watch, "/readyz")
        assert status == 503
        assert "all places for associations are taken" in json.loads(said)["faults"]
        with socket.create_connection(("127.0.0.1", site.node.receiver.port), PATIENCE_S) as third:
            assert closed(third)
        wait_until(lambda: "cmbnet_connections_refused_total 1.0" in ask(watch, "/metrics")[1])
        for one in taken:
            one.release()
        wait_until(lambda: ask(watch, "/readyz")[0] == 200)
    finally:
        watch.stop()


def test_silent_readers_of_the_status_page_hold_few_threads(site: Site) -> None:
    site.open(watch={"port": 0})
    watch = Watch(site.node.config, site.node.journal)
    watch.start()
    before = threading.active_count()
    try:
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", watch.port), PATIENCE_S))
            last = stack.enter_context(socket.create_connection(("127.0.0.1", watch.port)))
            last.settimeout(PATIENCE_S)
            assert closed(last)
            assert threading.active_count() - before <= 32
        wait_until(lambda: threading.active_count() <= before)
        assert ask(watch, "/healthz")[0] == 200
    finally:
        watch.stop()


def ask(watch: Watch, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{watch.port}{path}", timeout=30) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_silent_clients_of_tls_hold_few_threads(site: Site, tmp_path: Path) -> None:
    tls: TlsSettings = certificate(tmp_path, "node")
    site.open(listen={"tls": {"certificate": tls.certificate, "key": tls.key}})
    before = threading.active_count()
    with ExitStack() as stack:
        for number in range(300):
            stack.enter_context(connect(site, f"127.0.0.{2 + number % 30}"))
        wait_until(lambda: len(site.told("connection_refused")) >= 300 - 96)
        assert threading.active_count() - before <= 96
        assert site.node.receiver.full
    assert re.search(r"96 connections are open", reasons(site))
