"""Events of the node, for logs, audit trail and metrics."""

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
"""A listener ``on_event(name, study, details)``. `study` is the Study Instance UID, or empty if it
is unknown. A listener must never write out a UID; the logs write a keyed hash."""

_LOGGER = logging.getLogger(__name__)


class Events:
    """The list of listeners. A listener that fails never stops the node.

    Listeners are called in order, in the thread of the event, so they must be quick.
    """

    def __init__(self, *hooks: EventHook) -> None:
        self._hooks = list(hooks)

    def add(self, hook: EventHook) -> None:
        """Add a listener."""
        self._hooks.append(hook)

    def __call__(self, name: EventName, study: str = "", **details: object) -> None:
        """Tell all listeners of an event."""
        for hook in self._hooks:
            try:
                hook(name, study, details)
            # Whatever a watcher does wrong, images must go on being received.
            except Exception as error:
                _LOGGER.error("a watcher failed at %s: %s", name, type(error).__name__)
