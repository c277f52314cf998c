"""The audit trail: a file, which only grows, of what the node did with each study.

Every line holds the hash of the line before it. If somebody changes, removes or inserts a line, the
chain breaks (`verify_audit`). Somebody who can write the whole file can make a new chain. To detect
that, keep the head that the node logs when it stops, or copy the file elsewhere.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cmbnet.edge.events import EventName
from cmbnet.edge.pseudonyms import Pseudonyms, SafeDetail
from cmbnet.errors import CmbnetError

AUDIT_FILE: Final = "audit.jsonl"
_GENESIS: Final = "0" * 64
_TAIL_BYTES: Final = 1 << 16

_LEFT_OUT: Final = {"object_received", "object_duplicate", "disk_low"}
"""Events that come for each slice or each minute. The changes of state tell the same of the
study."""

_BY_STRANGERS: Final = {
    "connection_refused", "association_refused", "object_refused", "object_conflict",
}  # fmt: skip
_MOST_A_MINUTE: Final = 60
"""Limit of the events that anyone on the network can cause. Otherwise they could fill the disk."""


class AuditBroken(CmbnetError):
    """The audit trail was changed or damaged."""


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of an intact trail."""

    records: int  # Number of lines
    digest: str  # Hash of the last line


class AuditTrail:
    """A writer of the audit trail. A line is on the disk before `append` returns.

    Threads may share a trail.
    The file is made if it is missing.

    Raises:
        AuditBroken: If the last line of the file does not belong to a trail.
        OSError: If the file cannot be written.
    """

    def __init__(
        self, path: Path, names: Pseudonyms, wall: Callable[[], float] = time.time
    ) -> None:
        self._names = names
        self._wall = wall
        self._lock = threading.Lock()
        self._minute = 0
        self._this_minute = 0
        self._left_out = 0
        torn = _cut_torn_line(path)
        self._head = _last_head(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if torn:
            self.append("audit_resumed", torn_bytes=torn)

    @property
    def head(self) -> AuditHead:
        """The end of the trail."""
        return self._head

    def __call__(self, name: EventName, study: str, details: Mapping[str, object]) -> None:
        """See `cmbnet.edge.events.EventHook`."""
        if name in _LEFT_OUT or (name in _BY_STRANGERS and self._too_many()):
            return
        safe = self._names.safe_details(details)
        if name in _BY_STRANGERS and self._left_out:
            safe["left_out_before"], self._left_out = self._left_out, 0
        self.append(name, **({"study": self._names(study)} if study else {}), **safe)

    def _too_many(self) -> bool:
        """Count one more of the events that strangers can cause."""
        with self._lock:
            minute = int(time.monotonic() // 60)
            if minute != self._minute:
                self._minute, self._this_minute = minute, 0
            self._this_minute += 1
            too_many = self._this_minute > _MOST_A_MINUTE
            self._left_out += too_many
            return too_many

    def append(self, event: str, **details: SafeDetail) -> None:
        """Add a line.

        Details are written unchanged.

        Raises:
            OSError: If the disk is full or failing. The trail is then unchanged.
        """
        with self._lock:
            at = datetime.datetime.fromtimestamp(self._wall(), datetime.UTC)
            record: dict[str, Any] = {
                "number": self._head.records + 1,
                "time": at.isoformat(timespec="milliseconds"),
                "event": event,
                "facts": details,
                "previous": self._head.digest,
            }
            digest = _digest(record)
            line = json.dumps(record | {"hash": digest}) + "\n"
            self._write(line.encode())
            self._head = AuditHead(self._head.records + 1, digest)

    def _write(self, line: bytes) -> None:
        """Write a whole line or nothing. Half a line on a full disk would break the chain."""
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, "the disk is full")
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def verify_audit(path: Path) -> AuditHead:
    """Follow the chain from its first line to its last. A missing file is an empty trail.

    Raises:
        AuditBroken: If a line does not follow from the line before it.
    """
    head = AuditHead(0, _GENESIS)
    if not path.exists():
        return head
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            record = _parse(line)
            # A power cut may tear the last line; the node cuts it off when it starts again.
            if record is None and not line.endswith(b"\n"):
                break
            if record is None or not _follows(record, head):
                raise AuditBroken(
                    f"{path.name} was changed at or before line {number}: the chain of hashes "
                    "breaks there; keep a copy and ask who had access"
                )
            head = AuditHead(number, str(record["hash"]))
    return head


def _follows(record: dict[str, Any], head: AuditHead) -> bool:
    body = {key: value for key, value in record.items() if key != "hash"}
    return (
        record.get("number") == head.records + 1
        and record.get("previous") == head.digest
        and record.get("hash") == _digest(body)
    )


def _digest(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _last_head(path: Path) -> AuditHead:
    """Return the end of the file without checking it, because following a long chain takes time."""
    lines = _tail(path).splitlines()
    if not lines:
        return AuditHead(0, _GENESIS)
    record = _parse(lines[-1])
    if record is None or not isinstance(record.get("number"), int) or "hash" not in record:
        raise AuditBroken(f"the last line of {path} is none of an audit trail: move the file away")
    return AuditHead(int(record["number"]), str(record["hash"]))


def _tail(path: Path) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return stream.read()


def _cut_torn_line(path: Path) -> int:
    """Remove the part of a line that a power cut left, and return its size in bytes."""
    tail = _tail(path)
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        os.truncate(path, path.stat().st_size - torn)
    return torn
