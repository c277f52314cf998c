"""Make the artefacts of an export plan from the Keras network, without writing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import Shape
from cmbnet.backends.keras import KerasNetwork
from cmbnet.backends.probe import fingerprint, probe_stack
from cmbnet.bundle import Artefact, Bundle, NewArtefact
from cmbnet.deploy.bundles import as_new
from cmbnet.deploy.correction import logit_shift
from cmbnet.deploy.judge import CALIBRATIONS
from cmbnet.deploy.samples import CalibrationSlices, Samples, phantom_slices
from cmbnet.deploy.source import at_shape, load_source

if TYPE_CHECKING:
    from cmbnet.deploy.tensorrt import EngineRequest

Format = Literal["savedmodel", "litert", "onnx", "tensorrt"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """The artefacts to make."""

    formats: tuple[Format, ...]  # Formats, in the order in which they are made
    # Precisions of each format. A SavedModel is always float32.
    precisions: tuple[Precision, ...] = ("float32",)
    # Rows and columns. None takes those of the bundle's LiteRT files, or the network's.
    shapes: tuple[Shape, ...] | None = None
    # Shapes of the float32 LiteRT files. None takes `shapes`.
    float32_shapes: tuple[Shape, ...] | None = None
    flavor: str = "auto"  # Kind of TensorRT: "rtx", "datacenter" or "auto"
    # Phantoms to judge on. Without `calibration` they also calibrate.
    samples: Samples = field(default_factory=Samples)
    calibration: CalibrationSlices | None = None  # Slices on which int8 ranges are measured
    calibrations: int = CALIBRATIONS  # Number of attempts until an int8 file counts as failed
    # GPUs that TensorRT-RTX compiles for. None takes its usual ones.
    capabilities: tuple[str, ...] | None = None
    # Whether a data-centre engine runs on every GPU from Ampere on
    hardware_compatible: bool = False
    # File with kernel timings of a data-centre build. It is read and rewritten.
    timing_cache: Path | None = None


class Converter:
    """A maker of artefacts for one bundle."""

    def __init__(self, bundle: Bundle, plan: ExportPlan, report: Callable[[str], None]) -> None:
        self._bundle = bundle
        self._plan = plan
        self._report = report
        if "tensorrt" in plan.formats:  # refused in a second, not after minutes of converting
            from cmbnet.deploy.tensorrt import check_request, choose_flavor

            check_request(self._request(choose_flavor(plan.flavor), "float32"))
        self._source = load_source(bundle)
        self._draw = 0
        self._calibration = plan.calibration or phantom_slices(bundle, plan.samples, report)
        self._plain: dict[Shape, bytes] = {}
        self.shapes = plan.shapes or _usual_shapes(bundle, self._source)

    def artefacts(self) -> Iterator[NewArtefact]:
        """Make one artefact after the other."""
        make: dict[Format, Callable[[], Iterator[NewArtefact]]] = {
            "savedmodel": self._savedmodel,
            "litert": self._litert,
            "onnx": self._onnx,
            "tensorrt": self._tensorrt,
        }
        for kind in self._plan.formats:
            for artefact in make[kind]():
                size = len(artefact.content) + sum(map(len, artefact.companions.values()))
                self._report(f"{artefact.file}: {size / 1024:.0f} KiB")
                yield artefact

    def make_again(self, artefact: Artefact, attempts: int) -> NewArtefact | None:
        """Make an artefact again with other calibration scans. None if it is not calibrated.

        An ONNX file then keeps floats at full resolution, which is slower and nearer to Keras.
        """
        if artefact.precision != "int8" or artefact.kind not in ("litert", "onnx"):
            return None
        self._draw = attempts
        shape = artefact.shape[1], artefact.shape[2]
        if artefact.kind == "litert":
            content = self._litert_file(shape, "int8")
        else:
            content = self._onnx_int8(shape, symmetric=False, full_resolution=False)
        self._report(f"{artefact.file}: made again, calibrated on other slices")
        return as_new(self._bundle, artefact, {}, content=content)

    def _stacks(self, shape: Shape) -> NDArray[np.float32]:
        return self._calibration(shape, self._draw)

    def _savedmodel(self) -> Iterator[NewArtefact]:
        from cmbnet.deploy.savedmodel import FOLDER, GRAPH, to_savedmodel

        shape = self.shapes[-1]
        files = to_savedmodel(at_shape(self._source, shape))
        graph = files.pop(GRAPH)
        yield NewArtefact(
            file=f"{FOLDER}/{GRAPH}",
            content=graph,
            kind="savedmodel",
            precision="float32",
            shape=(None, *shape, 3),
            companions={f"{FOLDER}/{name}": content for name, content in files.items() if content},
            tools=tool_versions("keras", "tensorflow"),
        )

    def _litert(self) -> Iterator[NewArtefact]:
        for precision in self._plan.precisions:
            few = self._plan.float32_shapes if precision == "float32" else None
            for shape in few or self.shapes:
                content = self._litert_file(shape, precision)
                yield NewArtefact(
                    file=f"{precision}-1x{shape[0]}x{shape[1]}.tflite",
                    content=content,
                    kind="litert",
                    precision=precision,
                    shape=(1, *shape, 3),
                    tools=tool_versions("keras", "tensorflow", "ai-edge-litert"),
                )

    def _litert_file(self, shape: Shape, precision: Precision) -> bytes:
        from cmbnet.deploy.litert import to_litert

        stacks = self._stacks(shape) if precision == "int8" else None
        return to_litert(at_shape(self._source, shape), precision=precision, representative=stacks)

    def _onnx(self) -> Iterator[NewArtefact]:
        from cmbnet.deploy import onnx

        for shape in self.shapes:
            for precision, content in self._onnx_files(shape, for_gpu=False):
                yield NewArtefact(
                    file=f"{precision}-{shape[0]}x{shape[1]}.onnx",
                    content=content,
                    kind="onnx",
                    precision=precision,
                    shape=(None, *shape, 3),
                    tools=tool_versions(*onnx.PACKAGES, "keras", "tensorflow"),
                )

    def _onnx_files(self, shape: Shape, *, for_gpu: bool) -> Iterator[tuple[Precision, bytes]]:
        from cmbnet.deploy.onnx import store_in_float16, to_float16

        half = to_float16 if for_gpu else store_in_float16
        for precision in self._plan.precisions:
            if precision == "float32":
                yield precision, self._plain_onnx(shape)
            elif precision == "float16":
                yield precision, half(self._plain_onnx(shape))
            else:
                yield precision, self._onnx_int8(shape, symmetric=for_gpu)

    def _plain_onnx(self, shape: Shape) -> bytes:
        from cmbnet.deploy.onnx import to_onnx

        if shape not in self._plain:
            self._plain[shape] = to_onnx(at_shape(self._source, shape))
        return self._plain[shape]

    def _onnx_int8(self, shape: Shape, *, symmetric: bool, full_resolution: bool = True) -> bytes:
        from cmbnet.deploy.onnx import run_onnx
        from cmbnet.deploy.onnx_int8 import to_int8, with_logit_shift

        exact, stacks = self._plain_onnx(shape), self._stacks(shape)
        content = to_int8(exact, stacks, symmetric=symmetric, full_resolution=full_resolution)
        shift = logit_shift(run_onnx(exact, stacks), run_onnx(content, stacks))
        return content if shift is None else with_logit_shift(content, -shift)

    def _tensorrt(self) -> Iterator[NewArtefact]:
        from cmbnet.deploy.tensorrt import build_engine, choose_flavor

        flavor = choose_flavor(self._plan.flavor)
        shape = self.shapes[-1]  # the largest takes every brain; a GPU does not mind the border
        exact = KerasNetwork(at_shape(self._source, shape))
        probe = {"probe": fingerprint(exact(probe_stack(shape))[0, :, :, 0])}
        for precision, content in self._onnx_files(shape, for_gpu=True):
            engine = build_engine(content, self._request(flavor, precision))
            name = f"tensorrt-{flavor}-{precision}-{shape[0]}x{shape[1]}"
            yield NewArtefact(
                file=f"{name}.engine",
                content=engine.content,
                kind="tensorrt",
                precision=precision,
                shape=(None, *shape, 3),
                companions={f"{name}.json": engine.report_bytes()},
                tools=engine.tools | probe,
            )

    def _request(self, flavor: Literal["rtx", "datacenter"], precision: str) -> EngineRequest:
        from cmbnet.deploy.tensorrt import CAPABILITIES, EngineRequest

        return EngineRequest(
            flavor,
            precision,
            capabilities=self._plan.capabilities or CAPABILITIES,
            hardware_compatible=self._plan.hardware_compatible,
            timing_cache=self._plan.timing_cache,
        )


def _usual_shapes(bundle: Bundle, model: Any) -> tuple[Shape, ...]:
    """Return the shapes of the LiteRT files, smallest first, or the saved network's shape."""
    found = {(a.shape[1], a.shape[2]) for a in bundle.artefacts("litert")}
    found = found or {(model.input_shape[1], model.input_shape[2])}
    return tuple(sorted(found, key=lambda shape: shape[0] * shape[1]))


def tool_versions(*packages: str) -> dict[str, str]:
    """Return the versions of packages. TensorFlow may be installed as its CPU wheel."""
    found = {name: version(name) for name in packages if name != "tensorflow"}
    if "tensorflow" in packages:
        import tensorflow as tf

        found["tensorflow"] = str(tf.__version__)
    return found
