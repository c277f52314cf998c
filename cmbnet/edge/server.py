"""The listening socket. Strangers take no place, and no peer keeps the others waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from socketserver import TCPServer
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

LARGEST_PDU = 1 << 18
_LONGEST_PDU = 2 * LARGEST_PDU
"""Largest PDU. Some senders count headers wrongly, and a request may list more than it needs."""
_HANDSHAKE_S = 10.0
_MORE_CONNECTIONS = 64
_PIECE_BYTES = 1 << 16


class EdgeEntity(AE):
    """pynetdicom's entity, in which only callers with a known name take a place.

    pynetdicom 3.0 counts every open connection against `maximum_associations`.
    """

    @property
    def active_associations(self) -> list[Association]:
        """Associations that were requested and not rejected."""
        found = super().active_associations
        return [one for one in found if one.requestor.primitive is not None and not one.is_rejected]


class EdgeServer(ThreadedAssociationServer):
    """pynetdicom's server, with limits, and the TLS handshake in the thread of the connection.

    pynetdicom 3.0 shakes hands in the thread that accepts connections. There, one silent client on
    the TLS port would stop the node.
    """

    daemon_threads = True
    request_queue_size = 256
    most_per_address = _MORE_CONNECTIONS
    refused: Callable[[str, str], None]
    """Function of address and reason, called for every refused connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        self._starting: set[tuple[str, int]] = set()
        super().__init__(*args, **options)

    @property
    def most(self) -> int:
        """Largest number of connections, with two threads each. Strangers need connections, too."""
        return int(self.ae.maximum_associations) + _MORE_CONNECTIONS

    def connections(self) -> Counter[str]:
        """Number of connections of each address, from the moment they are accepted."""
        peers = [one.requestor.address_info for one in self.active_associations]
        with self._lock:
            found = {one.as_tuple[:2] for one in peers if one is not None} | self._starting
        return Counter(address for address, _ in found)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, without a handshake."""
        listening: socket.socket = self.socket  # type: ignore[assignment]
        return listening.accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether to handle a connection, because each costs threads until it is closed."""
        address, found = str(client_address[0]), self.connections()
        if found.total() >= self.most:
            self.refused(address, f"{found.total()} connections are open, at most {self.most} may")
            return False
        if found[address] >= self.most_per_address:
            reason = f"its address has {found[address]} connections (listen.max_per_address)"
            self.refused(address, reason)
            return False
        with self._lock:
            self._starting.add(client_address[:2])
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the connection in its own thread."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there is no thread left
            self._started(client_address)
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands if TLS is on, and then begin an association."""
        try:
            if self.ssl_context is not None:
                request.settimeout(_HANDSHAKE_S)
                request = self.ssl_context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        finally:
            self._started(client_address)

    def _started(self, client_address: Any) -> None:
        with self._lock:
            self._starting.discard(client_address[:2])

    def shutdown(self) -> None:
        """Stop accepting. pynetdicom's own method expects to have started the server."""
        TCPServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Handle a failed handshake or a lost peer silently. Its connection is closed."""


def bound_reading(association: Any, timeout_s: float, refused: Callable[[str], None]) -> None:
    """Limit the size of every PDU of an association, and the time until it is there.

    pynetdicom 3.0 reads as many bytes as a PDU claims to have, and waits for them without end.
    The connection was just opened, and the request for the association must be there within
    `acse_timeout`. `refused` gets the reason if the connection is given up.
    """
    transport = association.dul.socket
    connection: socket.socket = transport.socket
    connection.settimeout(timeout_s)
    asked_by = time.monotonic() + association.acse_timeout

    def receive(count: int) -> bytearray:
        if count > _LONGEST_PDU:
            refused(f"a PDU claims {count} bytes, at most {_LONGEST_PDU} are read")
            raise OSError("a PDU is too long")
        end = time.monotonic() + timeout_s
        if association.requestor.primitive is None:
            end = min(end, asked_by)
        try:
            return _received(connection, count, end)
        except TimeoutError:
            refused("a PDU was begun and not finished in time")
            raise
        finally:
            connection.settimeout(timeout_s)

    transport.recv = receive


def _received(connection: socket.socket, count: int, end: float) -> bytearray:
    """Receive this number of bytes, or fewer if the peer left."""
    data = bytearray()
    while len(data) < count:
        connection.settimeout(max(end - time.monotonic(), 0.001))
        piece = connection.recv(min(count - len(data), _PIECE_BYTES))
        if not piece:
            break
        data += piece
    return data
