"""A region of shared memory for arrays between a client and a server of one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64


class SharedRegion:
    """A region of shared memory that grows on demand. Only one thread uses it.

    Args:
        name: Name of the region, unique on the machine.
        client: Client of tritonclient that registers the region with the server.
        time_limit: Arguments that limit the time of the client's calls.
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
        """Write the arrays into the region, and tell every tensor its place there.

        Args:
            inputs: `InferInput` objects.
            arrays: Content of the inputs. Text is short and travels in the request.
            outputs: `InferRequestedOutput` objects.
            output_bytes: Sizes of the outputs. An output of unknown size (0) comes with the answer.
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
        """Return copies of the outputs."""
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
        """Free the memory, and tell the server if it is still there."""
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
    """Return type and shape of an output, which is a dict over HTTP and a protobuf over gRPC."""
    if isinstance(output, dict):
        return output["datatype"], list(output["shape"])
    return output.datatype, list(output.shape)
