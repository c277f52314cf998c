"""When to try again: soon at first, then ever later, by a clock that nobody can set back."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Backoff:
    """Waits that double from `first_s` to `longest_s`, one per key.

    Args:
        first_s: After the first failure.
        longest_s: At most.
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
        """Whether it may be tried; so may what never failed."""
        return self._clock() >= self._waits.get(key, (0.0, float("-inf")))[1]

    def failed(self, key: Hashable) -> float:
        """It failed; returns the seconds until it may be tried again."""
        before = self._waits.get(key, (self._first_s / 2, 0.0))[0]
        wait_s = min(2 * before, self._longest_s)
        self._waits[key] = (wait_s, self._clock() + wait_s)
        return wait_s

    def hold(self, key: Hashable, seconds: float) -> None:
        """Nothing failed; it is just not to be tried before then."""
        before = self._waits.get(key, (self._first_s / 2, 0.0))[0]
        self._waits[key] = (before, self._clock() + seconds)

    def succeeded(self, key: Hashable) -> None:
        """It went well: the next failure is the first."""
        self._waits.pop(key, None)
