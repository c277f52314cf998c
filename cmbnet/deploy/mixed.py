"""LiteRT files in 8 bits that stay near the float network.

Rounding everything to 8 bits moved the logits of undecided pixels by 0.16 (root mean square), of
which the weights alone made 0.09, and the layers at full resolution about half of the rest. So

- below full resolution everything is int8, weights and activations, with fixed ranges;
- at full resolution large convolutions have int8 weights and round their input at run time, to the
  range that it has (LiteRT's dynamic range); sums and small convolutions stay in float;
- weights are rounded by what they do to the answers (`cmbnet.deploy.rounding`), and what is left
  over in the mean is taken off the bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from cmbnet.deploy.litert_graph import Convolution, LiteRtGraph
from cmbnet.deploy.rounding import Rounded, round_weights

LARGE_KERNEL = 2000
"""Weights from which int8 at full resolution pays: 3x3 of 16 channels has 2,304; the 1x1 of 16 and
the first layer were slower so than in float."""

POSSIBLE = 0.02
"""Probability from which on a pixel counts as possible lesion."""

NEAR_PIXELS = 8
"""Around possible lesions: most of what a layer is looked at for."""

POSITIONS_NEAR, POSITIONS_ANYWHERE = 400, 150
"""Of a stack, that a layer's inputs are taken at."""


@dataclass(slots=True)
class _Inputs:
    """Sums over the inputs of a convolution, flattened as its weights are."""

    power: NDArray[np.float64]
    total: NDArray[np.float64]
    count: int = 0

    def add(self, rows: NDArray[np.float64]) -> None:
        self.power += rows.T @ rows
        self.total += rows.sum(axis=0)
        self.count += len(rows)


def to_mixed_int8(calibrated: bytes, stacks: NDArray[np.float32]) -> bytes:
    """Quantise a network.

    Args:
        calibrated: A float LiteRT file that holds the ranges of its activations.
        stacks: float32 (n, y, x, slices) that weights are fitted to.

    Returns:
        A LiteRT file that takes and gives float32.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    graph = LiteRtGraph(calibrated)
    full = set(graph.outputs_of_rows(graph.rows))
    seen = _observe(calibrated, graph, stacks)
    rounded: dict[str, Rounded] = {}
    for layer in graph.convolutions():
        if layer.output in full and graph.values(layer.kernel).size < LARGE_KERNEL:
            continue
        rounded[graph.name(layer.output)] = _fit(graph, layer, seen[layer.output])
    content: bytes = mlir_quantize(
        graph.content(),
        fully_quantize=False,
        denylisted_nodes=sorted(graph.name(tensor) for tensor in full),
    )
    return _with_int8_weights(content, rounded)


def _fit(graph: LiteRtGraph, layer: Convolution, inputs: _Inputs) -> Rounded:
    """Round a layer's weights in the graph, and take the mean of what that adds off its bias."""
    kernel = graph.values(layer.kernel)
    exact = kernel.reshape(len(kernel), -1)
    rounded = round_weights(exact, inputs.power / inputs.count)
    added = (rounded.weights - exact) @ (inputs.total / inputs.count)
    graph.set_values(layer.kernel, rounded.weights.reshape(kernel.shape))
    graph.set_values(layer.bias, graph.values(layer.bias) - added.astype(np.float32))
    return rounded


def _with_int8_weights(content: bytes, rounded: dict[str, Rounded]) -> bytes:
    """Store weights of the convolutions that are still float in 8 bits, where they were rounded."""
    graph = LiteRtGraph(content)
    for layer in graph.convolutions():
        found = rounded.get(graph.name(layer.output))
        if found is not None:
            shape = graph.values(layer.kernel).shape
            graph.set_int8(layer.kernel, found.values.reshape(shape), found.scales)
    return graph.content()


def _observe(content: bytes, graph: LiteRtGraph, stacks: NDArray[np.float32]) -> dict[int, _Inputs]:
    """Run the float network and sum up every convolution's inputs, by the tensor it answers in."""
    layers = [(layer, graph.values(layer.kernel)) for layer in graph.convolutions()]
    seen = {
        layer.output: _Inputs(np.zeros((kernel[0].size,) * 2), np.zeros(kernel[0].size))
        for layer, kernel in layers
    }
    random = np.random.default_rng(0)
    for tensors, probability in _activations(content, stacks):
        near = maximum_filter(probability > POSSIBLE, 2 * NEAR_PIXELS + 1)
        for layer, kernel in layers:
            step = len(near) // tensors(layer.output).shape[1]
            at = _positions(near[::step, ::step], random)
            rows = patches(tensors(layer.source)[0], kernel.shape[1:3], layer.stride, at)
            seen[layer.output].add(rows.astype(np.float64))
    return seen


def _activations(content: bytes, stacks: NDArray[np.float32]) -> Iterator[tuple[Any, Any]]:
    """For each stack: from a tensor's number to its value, and the probability (y, x)."""
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
        yield interpreter.get_tensor, interpreter.get_tensor(end["index"])[0, ..., 0]


def _positions(near: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.intp]:
    """Positions (n, 2), most of them near possible lesions."""
    anywhere = random.integers(0, near.shape, (POSITIONS_ANYWHERE, 2))
    close = np.argwhere(near)
    chosen = random.choice(len(close), min(len(close), POSITIONS_NEAR), replace=False)
    return np.concatenate([close[chosen], anywhere])


def patches(
    image: NDArray[np.float32], kernel: tuple[int, ...], stride: int, at: NDArray[np.intp]
) -> NDArray[np.float32]:
    """What a convolution with padding "same" reads for some of its answers.

    Args:
        image: (y, x, channels).
        kernel: Rows and columns.
        stride: Pixels.
        at: (n, 2), answers' rows and columns.

    Returns:
        (n, rows * columns * channels), zero outside the image.

    Examples:
        >>> patches(np.arange(9.0).reshape(3, 3, 1), (1, 3), 1, np.array([[1, 0]]))
        array([[0., 3., 4.]])
    """
    padded = np.pad(image, ((kernel[0],) * 2, (kernel[1],) * 2, (0, 0)))
    reads = []
    for axis in range(2):
        answers = -(-image.shape[axis] // stride)
        before = max((answers - 1) * stride + kernel[axis] - image.shape[axis], 0) // 2
        first = at[:, axis] * stride - before + kernel[axis]
        reads.append(first[:, np.newaxis] + np.arange(kernel[axis]))
    rows, columns = reads
    read: NDArray[np.float32] = padded[rows[:, :, np.newaxis], columns[:, np.newaxis]]
    return read.reshape(len(at), -1)
