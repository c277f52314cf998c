"""Networks made of Python stand in for those of a runtime."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cmbnet.backends.base import BackendInfo, SlicesBackend
from cmbnet.errors import BundleError, UsageError

TIMEOUT_S = 20.0
INFO = BackendInfo(name="fake", precision="float32", runtime="-", threads=2, reason="a test")


class Network:
    """Answers with twice the middle channel, and breaks above 1; for one thread at a time."""

    batch = 1

    def __init__(self, before: Callable[[np.ndarray], None]) -> None:
        self._before = before
        self._busy = threading.Lock()

    def __call__(self, stacks: np.ndarray) -> np.ndarray:
        assert self._busy.acquire(blocking=False), "one network in two threads"
        try:
            self._before(stacks)
            middle = stacks[..., 1:2]
            return np.where(middle > 1, np.float32(np.inf), 2 * middle)
        finally:
            self._busy.release()


def backend(before: Callable[[np.ndarray], None] = lambda _: None) -> SlicesBackend:
    artefact: Any = SimpleNamespace(shape=(1, 4, 6, 3))
    return SlicesBackend([artefact], INFO, lambda _: Network(before), workers=2)


def stacks(n: int, value: float = 0.25) -> np.ndarray:
    return np.full((n, 4, 6, 3), value, np.float32)


def test_a_call_need_not_wait_for_the_last_slice_of_another() -> None:
    let_go = threading.Event()

    def wait_for_ones(batch: np.ndarray) -> None:
        if batch.max() == 1.0:
            let_go.wait(TIMEOUT_S)

    running = backend(wait_for_ones)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(running.predict, stacks(1, 1.0))
        np.testing.assert_array_equal(running.predict(stacks(3)), np.full((3, 4, 6), 0.5))
        assert not slow.done()
        let_go.set()
        assert slow.result(TIMEOUT_S).shape == (1, 4, 6)


def test_many_calls_at_once_get_their_own_answers() -> None:
    running = backend(lambda _: time.sleep(0.001))
    values = [n / 64 for n in range(24)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda value: running.predict(stacks(5, value)), values))
    assert [np.unique(answer).tolist() for answer in answers] == [[2 * value] for value in values]


def test_closing_waits_for_the_calls_that_run() -> None:
    begun, let_go = threading.Event(), threading.Event()

    def wait(_: np.ndarray) -> None:
        begun.set()
        let_go.wait(TIMEOUT_S)

    running = backend(wait)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(running.predict, stacks(2))
        assert begun.wait(TIMEOUT_S)
        closing = pool.submit(running.close)
        let_go.set()
        closing.result(TIMEOUT_S)
        np.testing.assert_array_equal(call.result(TIMEOUT_S), np.full((2, 4, 6), 0.5))
    with pytest.raises(UsageError, match="fake was closed"):
        running.predict(stacks(1))


def test_a_fault_in_one_slice_fails_its_call_only() -> None:
    running = backend()
    bad = stacks(6)
    bad[4, 0, 0, 0] = np.nan
    with pytest.raises(UsageError, match="fake requires finite stacks"):
        running.predict(bad)
    np.testing.assert_array_equal(running.predict(stacks(2)), np.full((2, 4, 6), 0.5))
    with pytest.raises(BundleError, match="the network answered with NaN or infinite values"):
        running.predict(stacks(1, 1.5))


def test_one_scan_keeps_few_shapes_open_and_many_scans_keep_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cmbnet.backends.base.KEPT_PIXELS", 100)
    opened: list[tuple[int, int]] = []
    alive: list[weakref.ref[Network]] = []

    def load(artefact: Any) -> Network:
        network = Network(lambda _: None)
        opened.append(artefact.shape[1:3])
        alive.append(weakref.ref(network))
        return network

    shapes = [(10, 8), (8, 8), (4, 8)]
    artefacts: Any = [SimpleNamespace(shape=(1, *shape, 3)) for shape in shapes]
    running = SlicesBackend(artefacts, INFO, load, workers=1)

    def look_at_a_scan() -> list[tuple[int, int]]:
        opened.clear()
        for shape in shapes:
            answer = running.predict(np.full((2, *shape, 3), 0.25, np.float32))
            np.testing.assert_array_equal(answer, np.full((2, *shape), 0.5))
        return opened

    assert look_at_a_scan() == shapes
    gc.collect()
    assert [one() is None for one in alive] == [True, False, False]  # 80 + 64 pixels are too many
    assert look_at_a_scan() == [(10, 8)]
    assert look_at_a_scan() == []
