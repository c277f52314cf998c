"""What happens in the node, told to whoever watches: logs, audit trail, metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

EventName = Literal[
    "node_started",
    "node_stopped",
    "connection_refused",  # details: address, reason; nobody said yet who calls
    "association_refused",  # details: reason, caller
    "object_received",  # details: caller, bytes, seconds
    "object_duplicate",  # details: caller, bytes, seconds; the first copy is kept
    "object_corrected",  # details: caller, bytes, seconds; it replaces one of another identity
    "object_conflict",  # details: caller, reason; another image under a known UID
    "object_refused",  # details: caller, status, reason
    "state_changed",  # details: state, reason
    "study_run",  # details: outcome, reason, images, run_s and what the processor reports
    "worker_restarted",  # details: reason
    "results_sent",  # details: destination, objects, seconds
    "delivery_failed",  # details: destination, reason, tries, next_try_s
    "destination_gone",  # details: results; that were on their way there, and go to the others now
    "commitment",  # details: destination, committed, failed
    "purged",  # details: bytes
    "disk_low",  # details: free_bytes, reserve_bytes
]

EventHook: TypeAlias = Callable[[EventName, str, Mapping[str, object]], None]
"""``on_event(name, study, details)``: `study` is the Study Instance UID, empty where none is
known. A hook must never write a UID out as it is: see the keyed hash of the logs."""

_LOGGER = logging.getLogger(__name__)


class Events:
    """Tells every hook; a hook that fails never stops the node.

    Args:
        hooks: Called in order, in the thread where something happened: they must be quick.
    """

    def __init__(self, *hooks: EventHook) -> None:
        self._hooks = list(hooks)

    def add(self, hook: EventHook) -> None:
        """Tell this hook, too."""
        self._hooks.append(hook)

    def __call__(self, name: EventName, study: str = "", **details: object) -> None:
        """Tell all hooks of an event."""
        for hook in self._hooks:
            try:
                hook(name, study, details)
            # Whatever a watcher does wrong, images must go on being received.
            except Exception as error:
                _LOGGER.error("a watcher failed at %s: %s", name, type(error).__name__)
