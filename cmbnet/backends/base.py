"""The contract of a backend, and the checks that all backends share."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cmbnet.bundle import Artefact
from cmbnet.errors import BundleError, UsageError

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """The description of a backend that every result records.

    Args:
        name: Name of the runtime: "litert", "onnx", "openvino", "keras".
        precision: "float32", "float16" or "int8".
        runtime: The runtime's package and version.
        threads: Number of threads that it may use.
        reason: Why this backend was chosen.
    """

    name: str
    precision: str
    runtime: str
    threads: int
    reason: str


class Backend(Protocol):
    """The network, run by one runtime.

    Several threads may call it at once; they may wait for one another. The same stacks give the
    same probabilities, bit for bit. Other stacks in the batch do not change them.
    """

    info: BackendInfo
    shapes: tuple[Shape, ...]
    """Accepted rows and columns, the smallest first."""

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the probabilities of the middle slices.

        Args:
            stacks: The stacks, float32 (n, y, x, 3), with n >= 0, (y, x) one of `shapes`, and
                finite values from 0 to 1.

        Returns:
            Probabilities, float32 (n, y, x), 0 to 1.

        Raises:
            UsageError: If the stacks have another shape or dtype, or are not finite, or if the
                backend is closed.
        """
        ...

    def close(self) -> None:
        """Free what the runtime holds. Closing again does nothing."""
        ...


KEPT_PIXELS: Final = 160_000
"""Pixels of all shapes that stay open together while the first scan is looked at. The networks of a
shape need some .8 kB a pixel for each worker."""


class Network(Protocol):
    """A loaded network of static shape. Only one thread uses it at a time."""

    batch: int

    def __call__(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute float32 (batch, y, x, 1) from float32 (batch, y, x, 3)."""
        ...


class SlicesBackend:
    """A `Backend` made of networks of static shape. A network is loaded when it is first needed.

    A process for one scan needs each shape once, and keeps few of them open (`KEPT_PIXELS`). A
    shape that is wanted again stays open.

    Slices run in batches of the file's size, so no slice depends on its neighbours. Calls from
    several threads share the workers, so no worker waits for the last slice of a call.

    Args:
        artefacts: Artefacts of one kind and precision, one per shape.
        info: The description to record.
        load: Function that loads the network of an artefact for one worker.
        workers: Number of networks that run in parallel, each on its own slices.
    """

    def __init__(
        self,
        artefacts: Sequence[Artefact],
        info: BackendInfo,
        load: Callable[[Artefact], Network],
        *,
        workers: int = 1,
    ) -> None:
        by_shape = {(a.shape[1], a.shape[2]): a for a in artefacts}
        self.info = info
        self.shapes = tuple(sorted(by_shape, key=_pixels))
        self._artefacts = by_shape
        self._load = load
        self._networks: dict[Shape, _Idle] = {}
        self._closed_early: set[Shape] = set()
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=info.name)
        self._lock = threading.Lock()
        self._closed = False

    def predict(self, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute probabilities (n, y, x) of stacks (n, y, x, 3); see `Backend.predict`."""
        with self._lock:
            if self._closed:
                raise UsageError(f"{self.info.name} was closed; open the backend again")
            require_shape(stacks, self.shapes, self.info.name)
            output = np.empty(stacks.shape[:3], np.float32)
            idle = self._networks_of((stacks.shape[1], stacks.shape[2]))
            batches = [slice(n, n + idle.batch) for n in range(0, len(stacks), idle.batch)]
            done = self._pool.map(partial(self._look, idle, stacks, output), batches)
        for _ in done:  # waits, and raises what a worker raised
            pass
        return output

    def close(self) -> None:
        """Free the networks when the running calls are done."""
        with self._lock:
            self._closed = True
            self._pool.shutdown()
            self._networks.clear()

    def _networks_of(self, shape: Shape) -> _Idle:
        found = self._networks.pop(shape, None)
        if found is None:
            while self._too_many_with(shape):
                oldest = next(iter(self._networks))
                del self._networks[oldest]
                self._closed_early.add(oldest)
            artefacts = [self._artefacts[shape]] * self._workers
            found = _Idle(list(self._pool.map(self._load, artefacts)))
        self._networks[shape] = found  # at the end: what was used last
        return found

    def _too_many_with(self, shape: Shape) -> bool:
        wanted_again = shape in self._closed_early
        crowded = _pixels(*self._networks, shape) > KEPT_PIXELS
        return bool(self._networks) and crowded and not wanted_again

    def _look(
        self, idle: _Idle, stacks: NDArray[np.float32], output: NDArray[np.float32], where: slice
    ) -> None:
        """Run one batch. The last batch is filled up with zeros.

        The worker also looks for values that are not finite, because here they are in its cache.
        """
        batch = stacks[where]
        _require_finite(batch, self.info.name)
        if (missing := idle.batch - len(batch)) > 0:
            batch = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.float32)])
        with idle.network() as network:
            answer = network(batch)
        if answer.shape != (*batch.shape[:3], 1):
            raise BundleError(
                f"the network must answer with shape {(*batch.shape[:3], 1)}, got {answer.shape}"
            )
        if not _is_finite(answer):
            raise BundleError("the network answered with NaN or infinite values; it is broken")
        output[where] = answer[: len(batch) - missing, :, :, 0]


def _pixels(*shapes: Shape) -> int:
    return sum(rows * columns for rows, columns in shapes)


class _Idle:
    """The idle networks of one shape. There is one network per worker.

    Args:
        networks: All networks of the shape.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self.batch = networks[0].batch
        self._queue = queue.SimpleQueue[Network]()
        for network in networks:
            self._queue.put(network)

    @contextmanager
    def network(self) -> Iterator[Network]:
        """Lend one network."""
        network = self._queue.get()
        try:
            yield network
        finally:
            self._queue.put(network)


def require_stacks(stacks: NDArray[Any], shapes: tuple[Shape, ...], name: str) -> None:
    """Refuse stacks that a backend does not accept.

    Raises:
        UsageError: If the stacks are wrong. It says what was required and what was got.
    """
    require_shape(stacks, shapes, name)
    _require_finite(stacks, name)


def require_shape(stacks: NDArray[Any], shapes: tuple[Shape, ...], name: str) -> None:
    """Refuse stacks of another shape or type.

    Raises:
        UsageError: If shape or type is wrong. It says what was required and what was got.
    """
    if stacks.dtype != np.float32 or stacks.ndim != 4 or stacks.shape[3] != 3:
        raise UsageError(
            f"{name} requires float32 stacks of shape (n, y, x, 3), "
            f"got {stacks.dtype} of shape {stacks.shape}"
        )
    if stacks.shape[1:3] not in shapes:
        raise UsageError(
            f"{name} takes slices of {' or '.join(f'{y}x{x}' for y, x in shapes)}, "
            f"got {stacks.shape[1]}x{stacks.shape[2]}"
        )


def _require_finite(stacks: NDArray[np.float32], name: str) -> None:
    if not _is_finite(stacks):
        raise UsageError(f"{name} requires finite stacks, got NaN or infinite values")


def _is_finite(values: NDArray[np.float32]) -> bool:
    """Return whether all values are finite. Their sum tells, and needs no array of flags."""
    return bool(np.isfinite(values.sum(dtype=np.float64)))
