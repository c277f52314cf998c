"""Try everything that a node needs, before a failure happens at night."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from cmbnet.edge.audit import AUDIT_FILE, verify_audit
from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.deliver import echo
from cmbnet.edge.folders import Folders
from cmbnet.edge.process import StudyProcessor
from cmbnet.errors import CmbnetError


def check_node(config: EdgeConfig) -> Iterator[tuple[str, str]]:
    """Try one thing after the other.

    Yields:
        The name of the thing, and what is wrong with it (empty if nothing is).
    """
    for name, host in (("listen", config.listen.host), ("watch", config.watch.host)):
        yield f"{name}.host is one interface", open_to_all(host)
    yield "root can be written", _fault(lambda: _write(config))
    yield "free disk is above the reserve", _fault(lambda: _space(config))
    yield "the audit trail holds together", _fault(lambda: verify_audit(config.root / AUDIT_FILE))
    tls = config.listen.tls
    if tls is not None:
        yield "certificates can be used", _fault(tls.server_context)
    yield "the model can be loaded", _fault(StudyProcessor(config.worker).open)
    for destination in config.destinations:
        what = "answers, and agrees to SEG, SR" + " and commitment" * destination.commitment
        yield f"{destination.name} {what}", _fault(partial(echo, config.ae_title, destination))


NOT_TRIED = (
    "whether a destination keeps an object: none could be taken back by DICOM (`cmbnet edge "
    "simulate` sends a phantom all the way)",
    "whether destinations reach this node with their answers to storage commitment",
)
"""Things that `check_node` cannot try."""


def _fault(action: Callable[[], object]) -> str:
    try:
        action()
    except (CmbnetError, OSError) as error:
        return str(error)
    return ""


def open_to_all(host: str) -> str:
    """Say what is wrong with an address that stands for all interfaces. Empty for others."""
    if host not in ("", "0.0.0.0", "::"):
        return ""
    return f"{host or 'an empty name'} opens the port to every network that the machine is in"


def _write(config: EdgeConfig) -> None:
    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=config.root) as file:
        file.write(b"0")


def _space(config: EdgeConfig) -> None:
    free, reserve = Folders(config.root).free_bytes(), config.storage.reserve_mb << 20
    if free < 2 * reserve:
        raise CmbnetError(
            f"{free >> 20} MiB are free, the reserve is {reserve >> 20} MiB: objects are refused "
            "below it, and committed studies are purged early below twice of it"
        )
