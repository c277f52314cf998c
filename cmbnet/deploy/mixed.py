"""Make int8 LiteRT files that stay near the float network.

Rounding everything to 8 bits moved the logits of undecided pixels by 0.16 (root mean square). The
weights alone made 0.09 of it, and the layers at full resolution about half of the rest. Therefore

- everything below full resolution is int8, weights and activations, with fixed ranges;
- large convolutions at full resolution have int8 weights, and round their input at run time to its
  range (LiteRT's dynamic range), while sums and small convolutions stay in float;
- weights are rounded by their effect on the answers (`cmbnet.deploy.rounding`), and the bias
  compensates for the mean change.

Own code stays because ai-edge-quantizer 0.10 requires one exact ai-edge-litert and has not passed
the whole gate (docs/lab-notebook/2026-11-29-int8-library.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.deploy.fitting import Activations, ConvolutionInput, Inputs, fit_kernel, observe
from cmbnet.deploy.litert_graph import Convolution, LiteRtGraph
from cmbnet.deploy.rounding import Rounded

LARGE_KERNEL = 2000
"""Smallest number of weights for which int8 pays at full resolution. 3x3 of 16 channels has 2,304.
The 1x1 of 16 channels and the first layer were faster in float."""


def to_mixed_int8(calibrated: bytes, stacks: NDArray[np.float32]) -> bytes:
    """Quantise a network.

    `calibrated` is a float file that holds the ranges of its activations. Weights are fitted to the
    stacks, float32 (n, y, x, slices).

    Returns:
        A LiteRT file with float32 input and output.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    graph = LiteRtGraph(calibrated)
    full = set(graph.outputs_of_rows(graph.rows))
    fitted = {
        graph.name(layer.output): layer
        for layer in graph.convolutions()
        if layer.output not in full or graph.values(layer.kernel).size >= LARGE_KERNEL
    }
    layers = {
        name: ConvolutionInput(layer.source, graph.values(layer.kernel).shape[1:], layer.stride)
        for name, layer in fitted.items()
    }
    seen = observe(layers, _activations(calibrated, stacks))
    rounded = {name: _fit(graph, layer, seen[name]) for name, layer in fitted.items()}
    content: bytes = mlir_quantize(
        graph.content(),
        fully_quantize=False,
        denylisted_nodes=sorted(graph.name(tensor) for tensor in full),
    )
    return _with_int8_weights(content, rounded)


def _fit(graph: LiteRtGraph, layer: Convolution, inputs: Inputs) -> Rounded:
    """Round a layer's weights in the graph, and subtract the mean change from its bias."""
    kernel = graph.values(layer.kernel)
    rounded, added = fit_kernel(kernel, inputs)
    graph.set_values(layer.kernel, rounded.weights.reshape(kernel.shape))
    graph.set_values(layer.bias, graph.values(layer.bias) - added)
    return rounded


def _with_int8_weights(content: bytes, rounded: dict[str, Rounded]) -> bytes:
    """Store the rounded weights of the convolutions that are still float in 8 bits."""
    graph = LiteRtGraph(content)
    for layer in graph.convolutions():
        found = rounded.get(graph.name(layer.output))
        if found is not None:
            shape = graph.values(layer.kernel).shape
            graph.set_int8(layer.kernel, found.values.reshape(shape), found.scales)
    return graph.content()


def _activations(content: bytes, stacks: NDArray[np.float32]) -> Iterator[Activations]:
    """Yield for each stack a function from tensor number to value, and the probability (y, x)."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter: Any = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        # XNNPACK keeps what is between its layers to itself.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    for stack in stacks:
        interpreter.set_tensor(entry["index"], stack[np.newaxis])
        interpreter.invoke()
        probability = interpreter.get_tensor(end["index"])[0, ..., 0]
        yield lambda tensor: interpreter.get_tensor(tensor)[0], probability
