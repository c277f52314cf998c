"""Make int8 ONNX files (QDQ) that stay near the float network.

Weights are rounded by their effect on the answers (`cmbnet.deploy.rounding`), which costs nothing
at run time, and the last layer stays in float. If that is not enough, all layers at full resolution
stay in float too. They are a third of the work and add half of the noise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.deploy.fitting import Activations, ConvolutionInput, fit_kernel, observe
from cmbnet.deploy.onnx import (
    INPUT_NAME,
    OUTPUT_NAME,
    checked,
    quiet_converters,
    require_onnx,
)


def to_int8(
    content: bytes,
    stacks: NDArray[np.float32],
    *,
    symmetric: bool,
    full_resolution: bool = True,
) -> bytes:
    """Quantise weights (per channel) and activations as QuantizeLinear/DequantizeLinear pairs.

    Args:
        content: A file from `cmbnet.deploy.onnx.to_onnx`.
        stacks: Typical stacks, some with lesions, float32 (n, y, x, 3).
        symmetric: Whether activations are signed around zero, as TensorRT requires. Otherwise they
            are unsigned with a zero point, which CPUs multiply faster and which loses less.
        full_resolution: Whether layers at full resolution are int8 too. Files without are slower
            and nearer to the network.
    """
    require_onnx()
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet_converters():
        plain, prepared, quantised = (Path(folder) / f"{n}.onnx" for n in ("plain", "prep", "int8"))
        plain.write_bytes(content)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        in_float = _head(model) | (set() if full_resolution else _at_full_resolution(model))
        _fit_weights(model, in_float, stacks)
        onnx.save(model, prepared)
        quantize_static(
            prepared,
            quantised,
            _Calibration(iter(stacks)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(in_float),
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                # TensorRT wants biases in float.
                "QuantizeBias": not symmetric,
            },
        )
        return checked(onnx.load(quantised))


def with_logit_shift(content: bytes, shift: float) -> bytes:
    """Add a shift to the bias of the last convolution, which is float in every file.

    Args:
        content: A network in ONNX.
        shift: Number to add to every logit.
    """
    import onnx

    model = onnx.load_from_string(content)
    bias = _initializers(model)[_last_convolution(model).input[2]]
    _replace(bias, onnx.numpy_helper.to_array(bias) + np.float32(shift))
    return checked(model)


def _fit_weights(model: Any, in_float: set[str], stacks: NDArray[np.float32]) -> None:
    """Round the weights that will be int8, fitted to the inputs of their layers.

    The quantiser then chooses the same scales.
    """
    import onnx

    _own_constants(model)
    constants = _initializers(model)
    nodes = [n for n in model.graph.node if n.op_type == "Conv" and n.name not in in_float]
    kernels = {
        node.name: onnx.numpy_helper.to_array(constants[node.input[1]]).transpose(0, 2, 3, 1)
        for node in nodes
    }
    layers = {
        node.name: ConvolutionInput(node.input[0], kernels[node.name].shape[1:], _stride(node))
        for node in nodes
    }
    seen = observe(layers, _activations(model, layers, stacks))
    for node in nodes:
        kernel = kernels[node.name]
        rounded, added = fit_kernel(kernel, seen[node.name])
        weights = rounded.weights.reshape(kernel.shape).transpose(0, 3, 1, 2)
        _replace(constants[node.input[1]], np.ascontiguousarray(weights))
        for name in node.input[2:]:  # a bias of nothing but zeros is left out
            _replace(constants[name], onnx.numpy_helper.to_array(constants[name]) - added)


def _own_constants(model: Any) -> None:
    """Give every convolution its own weights, because simplifying keeps equal ones once."""
    constants, used = _initializers(model), set()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if node.op_type == "Conv" and name in used:
                model.graph.initializer.append(constants[name])
                model.graph.initializer[-1].name = node.input[place] = f"{node.name}_{place}"
            elif name in constants:
                used.add(name)


def _activations(
    model: Any, layers: dict[str, ConvolutionInput], stacks: NDArray[np.float32]
) -> Iterator[Activations]:
    """Yield for each stack a function from tensor name to value, and the probability (y, x)."""
    import onnx
    import onnxruntime as ort

    names = sorted({str(layer.source) for layer in layers.values()})
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    for name in names:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        observed.graph.output.append(value)
    session = ort.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    for stack in stacks:
        feed = {INPUT_NAME: stack[np.newaxis]}
        probability, *found = session.run([OUTPUT_NAME, *names], feed)
        images = {
            name: value[0].transpose(1, 2, 0) for name, value in zip(names, found, strict=True)
        }
        yield images.__getitem__, probability[0, ..., 0]


def _head(model: Any) -> set[str]:
    """Return the names of the last convolution and of the nodes after it.

    The logits decide which voxels count. 256 steps over their range are too few, and the last
    convolution is a thousandth of the work.
    """
    nodes = list(model.graph.node)
    return {node.name for node in nodes[nodes.index(_last_convolution(model)) :]}


def _last_convolution(model: Any) -> Any:
    return next(node for node in reversed(model.graph.node) if node.op_type == "Conv")


def _at_full_resolution(model: Any) -> set[str]:
    """Return the names of the nodes whose outputs have the rows and columns of the input."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    (stack,) = inferred.input
    size = _shape(stack)[1:3]
    full = {
        value.name
        for value in (*inferred.value_info, *inferred.output)
        if size in (_shape(value)[1:3], _shape(value)[2:4])  # channels come last, or first
    }
    return {node.name for node in model.graph.node if full.intersection(node.output)}


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _stride(node: Any) -> int:
    (strides,) = (a.ints for a in node.attribute if a.name == "strides")
    return int(strides[0])


def _initializers(model: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _replace(constant: Any, values: NDArray[np.float32]) -> None:
    import onnx

    constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))


@dataclass(frozen=True, slots=True)
class _Calibration:
    """Calibration data in the form that onnxruntime requires."""

    stacks: Iterator[NDArray[np.float32]]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next input, or None at the end."""
        stack = next(self.stacks, None)
        return None if stack is None else {INPUT_NAME: stack[np.newaxis]}
