"""A float LiteRT file as a graph whose tensors can be read and replaced."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution. Its numbers are tensors of the graph."""

    source: int  # Input tensor
    kernel: int  # Weights (outputs, rows, columns, inputs)
    bias: int  # Bias (outputs,)
    output: int  # Output tensor
    stride: int  # Stride in pixels


class LiteRtGraph:
    """A ``.tflite`` file of one subgraph, read through TensorFlow's schema."""

    def __init__(self, content: bytes) -> None:
        from tensorflow.lite.python import schema_py_generated
        from tensorflow.lite.tools import flatbuffer_utils

        self._schema: Any = schema_py_generated
        self._tools: Any = flatbuffer_utils
        self._model: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
        self._graph: Any = self._model.subgraphs[0]
        self._own_constants()

    def content(self) -> bytes:
        """Return the content of the file as it is now."""
        return bytes(self._tools.convert_object_to_bytearray(self._model))

    def convolutions(self) -> Iterator[Convolution]:
        """Yield the convolutions with float input and float weights, in order."""
        for operator in self._graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex].builtinCode
            if code != self._schema.BuiltinOperator.CONV_2D:
                continue
            source, kernel, bias = (int(n) for n in operator.inputs)
            if self._is_float(source) and self._is_float(kernel):
                stride = int(operator.builtinOptions.strideH)
                yield Convolution(source, kernel, bias, int(operator.outputs[0]), stride)

    def outputs_of_rows(self, rows: int) -> Iterator[int]:
        """Yield the outputs of operators with a number of rows."""
        for operator in self._graph.operators:
            for tensor in operator.outputs:
                shape = self._graph.tensors[tensor].shape
                if len(shape) == 4 and shape[1] == rows:
                    yield int(tensor)

    @property
    def rows(self) -> int:
        """Return the number of rows of the graph's input."""
        return int(self._graph.tensors[self._graph.inputs[0]].shape[1])

    def name(self, tensor: int) -> str:
        """Return the name of a tensor, as the converter knows it."""
        name: str = self._graph.tensors[tensor].name.decode()
        return name

    def values(self, tensor: int) -> NDArray[np.float32]:
        """Return the values of a constant."""
        entry = self._graph.tensors[tensor]
        data = bytes(self._model.buffers[entry.buffer].data)
        return np.frombuffer(data, np.float32).reshape(entry.shape)

    def set_values(self, tensor: int, values: NDArray[np.float32]) -> None:
        """Replace a constant by another one of its shape."""
        self._store(tensor, values.astype(np.float32))

    def set_int8(self, tensor: int, values: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        """Replace a float constant by one in 8 bits with a scale for each of its outputs."""
        self._store(tensor, values)
        entry = self._graph.tensors[tensor]
        entry.type = self._schema.TensorType.INT8
        entry.quantization = self._schema.QuantizationParametersT()
        entry.quantization.scale = scales
        entry.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        entry.quantization.quantizedDimension = 0

    def _own_constants(self) -> None:
        """Give every convolution its own weights, because the converter keeps equal ones once."""
        used: set[int] = set()
        for operator in self._graph.operators:
            for place, tensor in enumerate(operator.inputs[1:], start=1):
                if tensor in used:
                    self._graph.tensors.append(copy.copy(self._graph.tensors[tensor]))
                    operator.inputs[place] = len(self._graph.tensors) - 1
                elif self._is_constant(tensor):
                    used.add(int(tensor))

    def _is_constant(self, tensor: int) -> bool:
        data = self._model.buffers[self._graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def _store(self, tensor: int, values: NDArray[np.generic]) -> None:
        entry = self._graph.tensors[tensor]
        before = entry.buffer
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        entry.buffer = len(self._model.buffers) - 1
        # Equal constants share a buffer; one that nobody reads any more would be dead weight.
        if all(other.buffer != before for other in self._graph.tensors):
            self._model.buffers[before].data = None

    def _is_float(self, tensor: int) -> bool:
        return bool(self._graph.tensors[tensor].type == self._schema.TensorType.FLOAT32)
