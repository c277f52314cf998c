"""Logs as JSON, one object per line, for the systemd journal or another collector.

Logs name no patient: studies have pseudonyms, and only known words pass.
"""

from __future__ import annotations

import datetime
import json
import logging
import threading
import warnings
from collections.abc import Mapping
from typing import IO

from cmbnet.edge.events import EventName
from cmbnet.edge.pseudonyms import Pseudonyms

_LOGGER = logging.getLogger("cmbnet.edge.log")

_WARNINGS = {
    "connection_refused", "association_refused", "object_refused", "worker_restarted",
    "delivery_failed", "disk_low", "object_corrected", "object_conflict",
    "destination_gone",
}  # fmt: skip
_QUIET = {"object_received", "object_duplicate"}
"""Events of every slice. They are logged only at level DEBUG."""


class JsonFormatter(logging.Formatter):
    """A formatter that writes a record as a line of JSON.

    UIDs in messages become pseudonyms.
    """

    def __init__(self, names: Pseudonyms) -> None:
        super().__init__()
        self._names = names

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, and event or message. An exception gives only its kind."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        event = getattr(record, "event", None)
        if event is None:
            line["message"] = self._names.scrub(record.getMessage())
        else:
            line |= {"event": event, **getattr(record, "details", {})}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)


class LogHook:
    """A listener that writes every event to the log."""

    def __init__(self, names: Pseudonyms) -> None:
        self._names = names

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        level = logging.INFO
        if name in _WARNINGS:
            level = logging.WARNING
        elif name in _QUIET:
            level = logging.DEBUG
        safe = self._names.safe_details(details)
        if study:
            safe = {"study": self._names(study), **safe}
        _LOGGER.log(level, name, extra={"event": name, "details": safe})


def quiet_libraries() -> None:
    """Reduce messages of libraries and failing threads to the kind of event.

    Their warnings, log lines and tracebacks quote headers with names and UIDs.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints what nobody takes

    def warned(
        message: Warning | str, category: type[Warning], *_: object, **_more: object
    ) -> None:
        _LOGGER.warning("a library warned: %s", category.__name__)

    def ended(args: threading.ExceptHookArgs) -> None:
        _LOGGER.error("a thread ended: %s", args.exc_type.__name__)

    warnings.showwarning = warned
    threading.excepthook = ended


def log_to(stream: IO[str], names: Pseudonyms, *, level: int = logging.INFO) -> logging.Handler:
    """Send the logs of cmbnet to a stream, without those of libraries, which quote headers.

    Returns:
        The handler, for `logging.Logger.removeHandler` on the logger ``cmbnet``.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(names))
    logger = logging.getLogger("cmbnet")
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(handler)
    return handler
