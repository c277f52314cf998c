"""A simulated scanner that sends files to a node, for tests, rehearsals and demonstrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE

from cmbnet.edge.config import TlsSettings
from cmbnet.edge.receive import IMAGE_CLASSES, transfer_syntaxes
from cmbnet.errors import UsageError

_ANSWER_S = 600.0
_BROKEN = 0xC000


@dataclass(frozen=True, slots=True)
class Peer:
    """The node that receives the files."""

    host: str  # Address of the node
    port: int  # Port of the node
    called: str  # AE title of the node
    calling: str  # AE title of the sender
    tls: TlsSettings | None = None  # TLS settings, if the node uses TLS


def send_files(files: Sequence[Path], peer: Peer) -> Counter[int]:
    """Send files on one association.

    Returns:
        Number of files by DIMSE status. 0xC000 means that the association broke.

    Raises:
        UsageError: If the node cannot be reached, or rejects the sender.
    """
    ae = AE(peer.calling)
    # Counted from when an object is handed over, not from when its last byte has left.
    ae.dimse_timeout = _ANSWER_S
    for image_class in IMAGE_CLASSES:
        for syntax in transfer_syntaxes():
            ae.add_requested_context(image_class, syntax)
    tls = None if peer.tls is None else (peer.tls.client_context(), peer.host)
    association = ae.associate(peer.host, peer.port, ae_title=peer.called, tls_args=tls)
    if not association.is_established:
        raise UsageError(
            f"no association as {peer.calling} with {peer.called} at {peer.host}:{peer.port}: is "
            "the node running, and are we among its allowed_callers?"
        )
    answers: Counter[int] = Counter()
    broken = False
    for file in files:
        usable = association.is_established and not broken
        status = association.send_c_store(file) if usable else Dataset()
        # `is_established` may hear of it later: the next file would wait for its answer in vain.
        broken = "Status" not in status
        answers[_BROKEN if broken else int(status.Status)] += 1
    if association.is_established:
        association.release()
    return answers
