"""Waits between tries. They grow, and use a clock that nobody can set back."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Backoff:
    """Waits that double from `first_s` to `longest_s`, one per key.

    Args:
        first_s: Wait after the first failure.
        longest_s: Longest wait.
        clock: Seconds that never go back.
    """

    def __init__(
        self, first_s: float, longest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._waits: dict[Hashable, tuple[float, float]] = {}

    def due(self, key: Hashable) -> bool:
        """Return whether a key may be tried. A key that never failed may."""
        return self._clock() >= self._waits.get(key, (0.0, float("-inf")))[1]

    def failed(self, key: Hashable) -> float:
        """Note a failure, and return the seconds until the next try."""
        before = self._waits.get(key, (self._first_s / 2, 0.0))[0]
        wait_s = min(2 * before, self._longest_s)
        self._waits[key] = (wait_s, self._clock() + wait_s)
        return wait_s

    def hold(self, key: Hashable, seconds: float) -> None:
        """Postpone the next try without a failure."""
        before = self._waits.get(key, (self._first_s / 2, 0.0))[0]
        self._waits[key] = (before, self._clock() + seconds)

    def succeeded(self, key: Hashable) -> None:
        """Note a success. The next failure then counts as the first."""
        self._waits.pop(key, None)
