"""The watch over a node: logs, audit trail, metrics, health, status page."""

from __future__ import annotations

import ipaddress
import json
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import urlsplit

from cmbnet.edge.activity import Activity
from cmbnet.edge.audit import AUDIT_FILE, AuditTrail
from cmbnet.edge.config import EdgeConfig
from cmbnet.edge.events import EventName, Events
from cmbnet.edge.folders import Folders
from cmbnet.edge.journal_reader import JournalReader
from cmbnet.edge.logs import LogHook, log_to
from cmbnet.edge.metrics import CONTENT_TYPE, Metrics
from cmbnet.edge.pseudonyms import open_pseudonyms
from cmbnet.edge.status_page import StatusPage
from cmbnet.errors import UsageError

_REQUEST_S = 10.0
_MOST_REQUESTS = 32
_OTHER_NAME = b"this node goes by another name: see watch.names in its settings\n"
_LOGGER = logging.getLogger("cmbnet.edge.watch")


class Watch:
    """A listener to the events of a node, and a server of HTTP requests about it.

    `full` tells whether all places for associations are taken.

    Raises:
        AuditBroken: If the audit trail is broken.
        CmbnetError: If the key of the pseudonyms is invalid.
        OSError: If the root cannot be written.
    """

    def __init__(
        self,
        config: EdgeConfig,
        journal: JournalReader,
        *,
        log: IO[str] | None = None,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._full = full
        self._config = config
        self._journal = journal
        self._folders = Folders(config.root)
        self._reserve_bytes = config.storage.reserve_mb << 20
        names = open_pseudonyms(config.root)
        self._handler = log_to(log or sys.stderr, names)
        self._audit = AuditTrail(config.root / AUDIT_FILE, names)
        self._metrics = Metrics(journal, self._folders, self._reserve_bytes)
        self._activity = Activity()
        self._page = StatusPage(config, journal, self._folders, names)
        # Each apart: a full disk keeps the audit trail from being written, not the log.
        self._hooks = Events(LogHook(names), self._metrics, self._activity, self._audit)
        self._started = time.monotonic()
        self._listening = False
        self._server: ThreadingHTTPServer | None = None

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        self._hooks(name, study, **details)
        if name in ("node_started", "node_stopped"):
            self._listening = name == "node_started"
            head = self._audit.head
            _LOGGER.info("audit trail: %d records, head %s", head.records, head.digest)

    @property
    def port(self) -> int:
        """Port of the page, or 0 without a page."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Answer requests, if the settings name a port.

        Raises:
            UsageError: If the port is taken.
        """
        settings = self._config.watch
        if settings.port is None:
            return
        try:
            self._server = _Server((settings.host, settings.port), _Handler)
        except OSError as error:
            raise UsageError(
                f"cannot show the status page on {settings.host}:{settings.port} ({error.strerror})"
            ) from error
        self._server.watch = self
        threading.Thread(target=self._server.serve_forever, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Stop the server, and close log and audit trail."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self._audit.close()
        logging.getLogger("cmbnet").removeHandler(self._handler)

    def faults(self) -> list[str]:
        """Return the reasons why the node cannot take images now."""
        found = [] if self._listening else ["the node does not listen"]
        try:
            self._journal.counts()
        except sqlite3.Error as error:
            found.append(f"the journal cannot be read ({type(error).__name__})")
        if self._folders.free_bytes() < self._reserve_bytes:
            found.append("the disk is full up to the reserve")
        if self._full():
            found.append("all places for associations are taken")
        return found

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes] | None:
        """Return status, type and body of a page, or None if there is no such page."""
        if path == "/":
            up_s = time.monotonic() - self._started
            page = self._page.html(self._activity, self.faults(), up_s)
            return HTTPStatus.OK, "text/html; charset=utf-8", page.encode()
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, self._metrics.text()
        if path == "/healthz":
            return HTTPStatus.OK, "application/json", b'{"status": "alive"}\n'
        if path == "/readyz":
            faults = self.faults()
            status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
            body = {"status": "not ready" if faults else "ready", "faults": faults}
            return status, "application/json", json.dumps(body).encode() + b"\n"
        return None

    def known_as(self, host: str) -> bool:
        """Return whether a Host header names this page. Others may lead a browser here."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        settings = self._config.watch
        if name in {"localhost", settings.host.lower(), *map(str.lower, settings.names)}:
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class _Server(ThreadingHTTPServer):
    """A server with one thread per request and a limited number of threads."""

    daemon_threads = True
    watch: Watch

    def __init__(self, *args: Any) -> None:
        self._free_threads = threading.BoundedSemaphore(_MOST_REQUESTS)
        super().__init__(*args)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a thread is free."""
        return self._free_threads.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle the request, and free the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free_threads.release()


class _Handler(BaseHTTPRequestHandler):
    """A read-only handler for GET and HEAD of four pages."""

    server: _Server
    server_version = "cmbnet"
    sys_version = ""
    timeout = _REQUEST_S

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with its head."""
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """Log nothing, because the page asks every ten seconds."""

    def _answer(self, *, with_body: bool) -> None:
        try:
            if self.server.watch.known_as(self.headers.get("Host", "")):
                found = self.server.watch.answer(self.path.partition("?")[0])
            else:
                found = HTTPStatus.MISDIRECTED_REQUEST, "text/plain", _OTHER_NAME
        # Of the journal, the disk: the watcher must be told that there is no answer.
        except Exception as error:
            _LOGGER.error("no answer to a request: %s", type(error).__name__)
            found = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"no answer\n"
        status, kind, body = found or (HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            (
                "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        ):
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)
