"""A region of shared memory through which a client and a server of one machine pass arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64


class SharedRegion:
    """Grows on demand; used by one thread.

    Args:
        name: Of the region, unique on the machine.
        client: A client of tritonclient, which registers it with the server.
        time_limit: What the client's calls are given, so that they end.
    """

    def __init__(self, name: str, client: Any, time_limit: Mapping[str, float]) -> None:
        self._name = name
        self._client = client
        self._time_limit = time_limit
        self._handle: Any = None
        self._bytes = 0
        self._placed: dict[str, int] = {}

    def attach(
        self,
        inputs: Sequence[Any],
        arrays: Sequence[NDArray[Any]],
        outputs: Sequence[Any],
        output_bytes: Sequence[int],
    ) -> None:
        """Write the arrays and tell every tensor where its memory is.

        Args:
            inputs: `InferInput` objects.
            arrays: Their content. Text goes with the request; it is short.
            outputs: `InferRequestedOutput` objects.
            output_bytes: Their sizes, 0 where it is not known: those come with the answer.
        """
        from tritonclient.utils import shared_memory

        sizes = [0 if a.dtype == np.object_ else a.nbytes for a in arrays]
        places = np.cumsum([0, *(-(-n // ALIGNMENT) * ALIGNMENT for n in (*sizes, *output_bytes))])
        self._reserve(int(places[-1]))
        for tensor, array, size, place in zip(inputs, arrays, sizes, places, strict=False):
            if size:
                whole = np.ascontiguousarray(array)
                shared_memory.set_shared_memory_region(self._handle, [whole], int(place))
                tensor.set_shared_memory(self._name, size, int(place))
            else:
                tensor.set_data_from_numpy(array)
        self._placed = {}
        for tensor, size, place in zip(outputs, output_bytes, places[len(arrays) :], strict=False):
            if size:
                tensor.set_shared_memory(self._name, size, int(place))
                self._placed[tensor.name()] = int(place)

    def read(self, answer: Any, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Copies of the outputs."""
        from tritonclient.utils import shared_memory, triton_to_np_dtype

        arrays = {}
        for name in names:
            if name not in self._placed:
                arrays[name] = answer.as_numpy(name)
                continue
            kind, shape = _described(answer.get_output(name))
            view = shared_memory.get_contents_as_numpy(
                self._handle, triton_to_np_dtype(kind), shape, self._placed[name]
            )
            arrays[name] = np.array(view)
        return arrays

    def close(self) -> None:
        """Free the memory; a server that is gone has nothing to forget."""
        from tritonclient.utils import InferenceServerException, shared_memory

        if self._handle is None:
            return
        with suppress(InferenceServerException, OSError):
            self._client.unregister_system_shared_memory(self._name, **self._time_limit)
        handle, self._handle, self._bytes = self._handle, None, 0
        shared_memory.destroy_shared_memory_region(handle)

    def _reserve(self, size: int) -> None:
        from tritonclient.utils import shared_memory

        if size <= self._bytes:
            return
        self.close()
        key = f"/{self._name}"
        self._handle = shared_memory.create_shared_memory_region(self._name, key, size)
        self._bytes = size
        self._client.register_system_shared_memory(self._name, key, size, **self._time_limit)


def _described(output: Any) -> tuple[str, list[int]]:
    """Type and shape of an output: a dict over HTTP, a protobuf over gRPC."""
    if isinstance(output, dict):
        return output["datatype"], list(output["shape"])
    return output.datatype, list(output.shape)
