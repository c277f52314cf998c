"""TLS on the node's port: who has a certificate comes in, who has none hinders nobody."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmbnet.edge.config import TlsSettings
from cmbnet.edge.node import Node
from cmbnet.edge.simulate import Peer, send_files
from cmbnet.errors import UsageError
from tests.helpers.edge_peers import (
    SCANNER,
    forget_sockets,
    node_config,
    sockets_left_open,
    study_files,
)
from tests.helpers.edge_processor import FakeProcessor
from tests.helpers.edge_site import Tell, tell_counts

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = [
    sockets_left_open,
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="openssl is needed to make certificates"
    ),
]


def certificate(folder: Path, name: str) -> TlsSettings:
    """A certificate of its own authority for 127.0.0.1."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    what = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    whose = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    subprocess.run(
        ["openssl", "req", *what, *whose, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return TlsSettings(certificate=certificate, key=key)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsSettings]:
    folder = tmp_path_factory.mktemp("tls")
    return {name: certificate(folder, name) for name in ("node", "scanner", "stranger")}


@pytest.fixture
def node(
    tmp_path: Path, certificates: dict[str, TlsSettings], record_property: Tell
) -> Iterator[Node]:
    own, scanner = certificates["node"], certificates["scanner"]
    tls = {"certificate": own.certificate, "key": own.key, "ca": scanner.certificate}
    config = node_config(tmp_path / "node", pacs_port=1, listen={"tls": tls})
    opened = Node(config, processor=FakeProcessor())
    opened.start()
    yield opened
    tell_counts(record_property, {"images on disk": len(list(config.root.rglob("*.dcm")))})
    opened.stop()


def peer(node: Node, tls: TlsSettings | None) -> Peer:
    return Peer("127.0.0.1", node.receiver.port, "CMBNET", SCANNER, tls)


def trusting(certificates: dict[str, TlsSettings], name: str) -> TlsSettings:
    return certificates[name].model_copy(update={"ca": certificates["node"].certificate})


def test_with_a_certificate_images_are_kept(
    node: Node, certificates: dict[str, TlsSettings], tmp_path: Path
) -> None:
    files = study_files(tmp_path, "a", slices=2)
    assert dict(send_files(files, peer(node, trusting(certificates, "scanner")))) == {0: 2}


@pytest.mark.parametrize("name", ["stranger", ""])
def test_without_one_nobody_comes_in(
    node: Node, certificates: dict[str, TlsSettings], tmp_path: Path, name: str
) -> None:
    files = study_files(tmp_path, "a", slices=1)
    tls = trusting(certificates, name) if name else None
    with pytest.raises(UsageError, match="no association"):
        send_files(files, peer(node, tls))
    assert not list(node.spool.studies())


def test_with_an_authority_of_ours_no_other_is_trusted(
    certificates: dict[str, TlsSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who gets a certificate from any public authority must not pass for the PACS."""
    own = certificates["node"]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["stranger"].certificate))
    trusted = trusting(certificates, "scanner").client_context().get_ca_certs()
    assert [one["subject"] for one in trusted] == [((("commonName", "node"),),)]
    system = own.client_context().get_ca_certs()
    assert "stranger" in str(system)


def test_silent_clients_keep_nobody_waiting(
    node: Node, certificates: dict[str, TlsSettings], tmp_path: Path
) -> None:
    silent = [socket.create_connection(("127.0.0.1", node.receiver.port)) for _ in range(20)]
    start = time.monotonic()
    files = study_files(tmp_path, "a", slices=2)
    assert dict(send_files(files, peer(node, trusting(certificates, "scanner")))) == {0: 2}
    assert time.monotonic() - start < 9, "less than the handshake of one silent client may take"
    for one in silent:
        one.close()
