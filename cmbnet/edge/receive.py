"""The receiving side: C-ECHO, C-STORE into the spool, and the answers to storage commitment.

Objects go to disk in pieces as they arrive, so memory does not grow with their size.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import _config, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.events import EventName, Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.identify import ObjectReader
from cmbnet.edge.server import LARGEST_PDU, EdgeEntity, EdgeServer, bound_reading
from cmbnet.edge.spool import Kept, ObjectConflict, ObjectRefused, Spool, identify
from cmbnet.errors import UsageError

IMAGE_CLASSES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
"""Accepted classes. Results that a PACS routes back must not start another run."""

_COMPRESSED = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
_NEGOTIATION_S = 30.0
_LARGEST_MESSAGE = 1 << 20
"""Limit of commands and reports of commitment, which are held in memory."""
_NOT_AUTHORISED = 0x0124
_NO_SPACE = 0xA700
_SUCCESS = 0x0000
_ANSWERS: dict[Kept, EventName] = {
    Kept.NEW: "object_received",
    Kept.CORRECTED: "object_corrected",
    Kept.DUPLICATE: "object_duplicate",
}


def transfer_syntaxes() -> list[str]:
    """Return the readable transfer syntaxes: uncompressed, and those with installed decoders.

    Deflated objects are left out, because a small object could unpack to any size.
    """
    installed = [uid for uid in _COMPRESSED if get_decoder(uid).is_available]
    return [ExplicitVRLittleEndian, ImplicitVRLittleEndian, *installed]


@dataclass(eq=False)
class Receiver:
    """The receiver of a node. A process has only one, because pynetdicom's settings are global."""

    config: EdgeConfig  # Settings of the node
    folders: Folders  # Folders for incoming objects
    spool: Spool  # Spool that keeps them
    _: KW_ONLY
    reader: ObjectReader  # Reader of their identity
    # Function of study and calling AE, called for every new image before it is acknowledged
    stored: Callable[[str, str], None]
    # Function of calling AE and the report of a storage commitment
    committed: Callable[[str, Dataset], None]
    events: Events  # Listeners of received and refused objects
    _received: dict[Any, int] = field(init=False, default_factory=dict)
    _ae: EdgeEntity = field(init=False)
    _server: EdgeServer | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._ae = _application_entity(self.config)

    @property
    def port(self) -> int:
        """Port on which it listens. 0 before it listens."""
        return 0 if self._server is None else int(self._server.server_address[1])

    @property
    def full(self) -> bool:
        """Whether all places are taken."""
        if self._server is None:
            return False
        taken, connected = len(self._ae.active_associations), self._server.connections().total()
        return taken >= self.config.listen.max_associations or connected >= self._server.most

    def start(self) -> None:
        """Begin to listen.

        Raises:
            UsageError: If the port is taken, or the certificates cannot be used.
        """
        listen = self.config.listen
        tls = None if listen.tls is None else listen.tls.server_context()
        _config.STORE_RECV_CHUNKED_DATASET = True
        # pynetdicom makes the files of objects under way by NamedTemporaryFile.
        tempfile.tempdir = str(self.folders.incoming)
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it quotes what it receives
        try:
            server: Any = self._ae.make_server(
                (listen.host, listen.port),
                ssl_context=tls,
                evt_handlers=self._handlers(),
                server_class=EdgeServer,
            )
        except OSError as error:
            raise UsageError(
                f"cannot listen on {listen.host}:{listen.port} ({error.strerror})"
            ) from error
        server.most_per_address = listen.max_per_address
        server.refused = self._refused
        self._server = server
        threading.Thread(
            target=server.serve_forever, args=(0.2,), name="listen", daemon=True
        ).start()

    def stop(self) -> None:
        """Stop listening and abort associations, whose objects are not acknowledged."""
        if self._server is not None:
            self._server.shutdown()
            for association in self._server.active_associations:
                association.abort()
            self._server = None
            tempfile.tempdir = None
            _config.STORE_RECV_CHUNKED_DATASET = False

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._report),
            (evt.EVT_DATA_RECV, self._count),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def _store(self, event: Any) -> int:
        """Answer a C-STORE. 0x0000 means that the object survives a power cut."""
        started = time.monotonic()
        caller = str(event.assoc.requestor.ae_title).strip()
        size = self._received.pop(event.assoc, 0)
        study = ""
        try:
            if caller not in self.config.listen.allowed_callers:
                raise ObjectRefused(_NOT_AUTHORISED, "the caller may not store here")
            request = event.request
            identity = identify(
                event.dataset_path,
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                self.reader.values,
            )
            study = identity.study
            kept = self.spool.keep(event.dataset_path, identity)
            if kept is not Kept.DUPLICATE:
                self.stored(study, caller)
            seconds = time.monotonic() - started
            self.events(_ANSWERS[kept], study, caller=caller, bytes=size, seconds=seconds)
        except ObjectConflict as conflict:
            self.events("object_conflict", study, caller=caller, reason=str(conflict))
            return conflict.status
        except ObjectRefused as refused:
            self.events(
                "object_refused", study, caller=caller, status=refused.status, reason=str(refused)
            )
            return refused.status
        # The journal cannot be written, or we are wrong: the sender must keep its copy.
        except Exception as error:
            reason = f"unexpected {type(error).__name__}"
            self.events("object_refused", study, caller=caller, status=_NO_SPACE, reason=reason)
            return _NO_SPACE
        return _SUCCESS

    def _report(self, event: Any) -> tuple[int, Dataset | None]:
        """Take the answer to a request for storage commitment."""
        self.committed(str(event.assoc.requestor.ae_title).strip(), event.event_information)
        return _SUCCESS, None

    def _opened(self, event: Any) -> None:
        """End the association after a failed write or an endless message.

        In pynetdicom 3.0 a failed write ends the thread that would end the association. The sender
        would wait in vain, and the place would never be free again.
        """
        association = event.assoc
        address = str(association.requestor.address)
        bound_reading(
            association, self.config.listen.timeout_s, lambda reason: self._refused(address, reason)
        )
        receive = association.dimse.receive_primitive
        failed = False

        def guarded(primitive: Any) -> None:
            nonlocal failed
            if failed:
                return
            try:
                receive(primitive)
            except OSError as error:
                failed = True
                self._abort(association, f"the node cannot write: {error.strerror}")
            if not failed and _in_memory(association.dimse.message) > _LARGEST_MESSAGE:
                failed = True
                self._abort(association, f"a message exceeds {_LARGEST_MESSAGE >> 20} MiB")

        association.dimse.receive_primitive = guarded

    def _count(self, event: Any) -> None:
        """Stop an object during its transfer if it is too large, or if the disk is too full."""
        size = self._received.get(event.assoc, 0) + len(event.data)
        self._received[event.assoc] = size
        largest_mb = self.config.listen.max_object_mb
        if size > largest_mb << 20:
            self._abort(event.assoc, f"an object is larger than {largest_mb} MiB")
        elif self.spool.exhausted:
            self._abort(event.assoc, "the disk is nearly full")

    def _abort(self, association: Any, reason: str) -> None:
        caller = str(association.requestor.ae_title).strip()
        self._received[association] = 0
        self.events("object_refused", "", caller=caller, status=_NO_SPACE, reason=reason)
        # In a thread of its own: it waits for the very thread that tells us of the data.
        threading.Thread(target=association.abort, daemon=True).start()

    def _refused(self, address: str, reason: str) -> None:
        self.events("connection_refused", address=address, reason=reason)

    def _rejected(self, event: Any) -> None:
        caller = str(event.assoc.requestor.ae_title).strip()
        self.events("association_refused", caller=caller, reason="caller, called AE or number")

    def _closed(self, event: Any) -> None:
        """Forget an association, and remove the file of an interrupted object."""
        self._received.pop(event.assoc, None)
        message = event.assoc.dimse.message
        partial: Path | None = getattr(message, "_data_set_path", None)
        if partial is not None:
            # On a full disk it fails: what was written last is still waiting to be.
            with contextlib.suppress(OSError):
                message._data_set_file.close()
            partial.unlink(missing_ok=True)


def _in_memory(message: Any) -> int:
    """Count the bytes of a DIMSE message that do not go to disk."""
    if message is None:
        return 0
    return int(message.encoded_command_set.tell() + message.data_set.tell())


def _application_entity(config: EdgeConfig) -> EdgeEntity:
    ae = EdgeEntity(config.ae_title)
    listen = config.listen
    ae.maximum_associations = listen.max_associations
    ae.maximum_pdu_size = LARGEST_PDU
    ae.require_called_aet = True
    ae.require_calling_aet = sorted(
        {*listen.allowed_callers, *(one.ae_title for one in config.destinations)}
    )
    ae.dimse_timeout = ae.network_timeout = listen.timeout_s
    ae.acse_timeout = min(listen.timeout_s, _NEGOTIATION_S)
    ae.add_supported_context(Verification)
    for image_class in IMAGE_CLASSES:
        ae.add_supported_context(image_class, transfer_syntaxes())
    # The PACS that reports is the provider of the service though it opens the association; some
    # say so by role selection, some do not.
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    return ae
