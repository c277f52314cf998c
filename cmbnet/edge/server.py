"""The listening socket: one silent or hostile peer never keeps the others waiting."""

from __future__ import annotations

import socket
from socketserver import TCPServer
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

_HANDSHAKE_S = 10.0
_CONNECTIONS_PER_ASSOCIATION = 8


class EdgeServer(ThreadedAssociationServer):
    """pynetdicom's server, with the TLS handshake in the thread of the connection.

    There it may fail or take its time. pynetdicom 3.0 does it where connections are accepted, so
    that one silent client on the TLS port would stop the node.
    """

    daemon_threads = True
    request_queue_size = 256

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, without a handshake."""
        listening: socket.socket = self.socket  # type: ignore[assignment]
        return listening.accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to look at a connection at all: each costs a thread until it is rejected."""
        limit = self.ae.maximum_associations * _CONNECTIONS_PER_ASSOCIATION
        return len(self.active_associations) < limit

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands where TLS is asked for, then begin an association."""
        if self.ssl_context is not None:
            request.settimeout(_HANDSHAKE_S)
            request = self.ssl_context.wrap_socket(request, server_side=True)
            request.settimeout(None)
        super().finish_request(request, client_address)

    def shutdown(self) -> None:
        """Stop accepting; pynetdicom's own expects to have started the server itself."""
        TCPServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake failed or a peer left: its connection is closed, nobody else is told."""
