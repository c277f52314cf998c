"""Which backends there are, which of them are installed, and which one a bundle runs on."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from cmbnet.backends.base import Backend
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import CmbnetError, MissingExtra, UsageError
from cmbnet.threads import processors


@dataclass(frozen=True, slots=True)
class Runtime:
    """An entry of the table of backends.

    Args:
        name: As the user gave it.
        module: Holds `opener`.
        opener: Function of (bundle, artefacts, threads) that opens it.
        package: Import name of what it needs.
        imports: The module of it that a network is run by.
        distribution: Its name on PyPI.
        extra: The extra of cmbnet that installs it.
        kinds: Kinds of artefact it reads, the preferred first.
    """

    name: str
    module: str
    opener: str
    package: str
    imports: str
    distribution: str
    extra: str
    kinds: tuple[str, ...]


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            "litert",
            "cmbnet.backends.litert",
            "open_litert",
            "ai_edge_litert",
            "ai_edge_litert.interpreter",
            "ai-edge-litert",
            "core",
            ("litert",),
        ),
        Runtime(
            "openvino",
            "cmbnet.backends.openvino",
            "open_openvino",
            "openvino",
            "openvino",
            "openvino",
            "openvino",
            ("openvino", "onnx"),
        ),
        Runtime(
            "onnx",
            "cmbnet.backends.onnx",
            "open_onnx",
            "onnxruntime",
            "onnxruntime",
            "onnxruntime",
            "onnx",
            ("onnx",),
        ),
        # Of the two TensorRTs this one builds and runs on workstations; the engine says which
        # one it needs. Last but for Keras: having it installed does not mean having a GPU.
        Runtime(
            "tensorrt",
            "cmbnet.backends.tensorrt",
            "open_tensorrt",
            "cuda",
            "cuda.bindings.runtime",
            "cuda-python",
            "rtx",
            ("tensorrt",),
        ),
        Runtime(
            "keras",
            "cmbnet.backends.keras",
            "open_keras",
            "keras",
            "keras",
            "keras",
            "train",
            ("keras",),
        ),
    )
}
"""In the order in which the automatic choice tries them."""

PRECISIONS = ("int8", "float32", "float16")
"""In the order of preference; int8 only where it passed the parity gate or was let through."""


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """Whether a backend can run here.

    Args:
        name: Of the backend.
        installed: Whether its package is there.
        detail: The package and its version, or what to install or to mend.
        broken: Whether the package is there and does not import; False where it was not tried.
    """

    name: str
    installed: bool
    detail: str
    broken: bool = False


class BrokenRuntime(CmbnetError):
    """A backend's package is installed and does not import."""


def available_backends(*, importing: bool = False) -> tuple[BackendStatus, ...]:
    """Every backend and whether its package is installed.

    Args:
        importing: Also import each package, which takes seconds, and tell which are broken.
    """
    statuses = []
    for runtime in RUNTIMES.values():
        status = _status(runtime)
        if importing and status.installed:
            try:
                _import(runtime)
            except BrokenRuntime as error:
                status = BackendStatus(runtime.name, True, str(error), broken=True)
        statuses.append(status)
    return tuple(statuses)


def _import(runtime: Runtime) -> None:
    """Import what a backend runs on.

    Raises:
        BrokenRuntime: With the package's own words.
    """
    try:
        importlib.import_module(runtime.imports)
    except Exception as error:  # a broken package raises whatever it likes
        words = " ".join(str(error).split())
        raise BrokenRuntime(
            f"{runtime.distribution} is installed but does not import "
            f"({type(error).__name__}: {words}): pip install --force-reinstall "
            f"'cmbnet[{runtime.extra}]'"
        ) from error


def _status(runtime: Runtime) -> BackendStatus:
    try:
        if find_spec(runtime.package) is not None:
            detail = f"{runtime.distribution} {version(runtime.distribution)}"
            return BackendStatus(runtime.name, True, detail)
    except (PackageNotFoundError, ValueError):
        return BackendStatus(runtime.name, True, f"{runtime.package} of unknown version")
    return BackendStatus(
        runtime.name,
        False,
        f"{runtime.package} is not installed: pip install 'cmbnet[{runtime.extra}]'",
    )


def open_backend(bundle: Bundle, name: str = "auto", *, threads: int | None = None) -> Backend:
    """Open a backend for a bundle.

    Args:
        bundle: The model.
        name: "auto", a backend ("litert"), a backend and a precision ("litert:float32"), or the
            address of a Triton server ("triton+grpc://host:8001").
        threads: Threads to use; by default the processors this process may run on.

    Returns:
        The backend; `info.reason` says why it was chosen.

    Raises:
        UsageError: If there is no such backend, or the bundle has nothing it reads.
        MissingExtra: If the backend's package is not installed.
        BrokenRuntime: If it is installed and does not import.
    """
    count = processors() if threads is None else threads
    if count < 1:
        raise UsageError(f"at least one thread is required, got {threads}")
    if name.startswith("triton+"):
        from cmbnet.backends.triton import open_triton

        return open_triton(bundle, name)
    wanted, _, precision = name.partition(":")
    if precision and precision not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if wanted == "auto":
        return _open_first(bundle, precision, count)
    if wanted not in RUNTIMES:
        raise UsageError(f"backend must be auto or one of {', '.join(RUNTIMES)}, got {wanted!r}")
    runtime = RUNTIMES[wanted]
    artefacts = _choose(bundle, runtime, precision)
    if not artefacts:
        raise UsageError(
            f"bundle {bundle.manifest.name} has nothing for {name}"
            f"{_held_back(bundle, runtime, precision)}; it has {_contents(bundle)}"
        )
    if not _status(runtime).installed:
        raise MissingExtra(runtime.package, runtime.extra, f"for backend {wanted}")
    return _open(bundle, runtime, artefacts, threads=count, reason=f"asked for: {name}")


def _open_first(bundle: Bundle, precision: str, threads: int) -> Backend:
    """The first backend of the table that is installed and finds an artefact."""
    passed: list[str] = []
    for runtime in RUNTIMES.values():
        artefacts = _choose(bundle, runtime, precision)
        if not artefacts:
            held_back = _held_back(bundle, runtime, precision)
            passed.append(f"{runtime.name} finds no artefact{held_back}")
        elif not _status(runtime).installed:
            passed.append(f"{runtime.name} is not installed")
        else:
            reason = "; ".join(["automatic: the first choice that runs here", *passed])
            try:
                return _open(bundle, runtime, artefacts, threads=threads, reason=reason)
            except BrokenRuntime as error:
                passed.append(f"{runtime.name} is broken ({error})")
    raise UsageError(
        f"no backend runs bundle {bundle.manifest.name} here: {'; '.join(passed)}; "
        f"it has {_contents(bundle)}"
    )


def _choose(bundle: Bundle, runtime: Runtime, precision: str) -> tuple[Artefact, ...]:
    """Artefacts of the first kind and precision that the bundle has.

    Where the precision is not asked for, only what `chosen_unasked` lets through.
    """
    for kind in runtime.kinds:
        for one in (precision,) if precision else PRECISIONS:
            artefacts = tuple(a for a in bundle.artefacts(kind) if a.precision == one)
            if not precision:
                artefacts = chosen_unasked(bundle, artefacts)
            if artefacts:
                return artefacts
    return ()


def chosen_unasked(bundle: Bundle, artefacts: Sequence[Artefact]) -> tuple[Artefact, ...]:
    """Those of one kind and precision that may run though nobody asked for this precision.

    Not what failed the parity gate, nor int8 that was never judged, unless that was allowed at
    export; and none at all where these have nothing for the largest heads, which would find no
    network.
    """
    fit = tuple(artefact for artefact in artefacts if _is_let_through(artefact))
    return fit if takes_every_head(bundle, fit) else ()


def takes_every_head(bundle: Bundle, artefacts: Sequence[Artefact]) -> bool:
    """Whether artefacts have the largest shape that the bundle has in any form."""
    largest = max((_pixels(artefact) for artefact in bundle.manifest.artefacts), default=0)
    return any(_pixels(artefact) == largest for artefact in artefacts)


def _is_let_through(artefact: Artefact) -> bool:
    """Whether it passed the parity gate or may do without: floats that were never judged may."""
    passed = artefact.parity.get("passed", "not judged")
    if artefact.parity.get("failure_allowed") is True or passed is True:
        return True
    return passed is not False and artefact.precision != "int8"


def _held_back(bundle: Bundle, runtime: Runtime, precision: str) -> str:
    """What a backend reads and `chosen_unasked` holds back, in words; else nothing."""
    held = sorted({a.precision for kind in runtime.kinds for a in bundle.artefacts(kind)})
    if precision or not held:
        return ""
    names = " or ".join(f"{runtime.name}:{one}" for one in held)
    return (
        f" to choose unasked ({names} did not pass the parity gate, or has no file for the largest "
        "heads; ask for it by name to use it)"
    )


def _pixels(artefact: Artefact) -> int:
    return artefact.shape[1] * artefact.shape[2]


def _open(
    bundle: Bundle,
    runtime: Runtime,
    artefacts: Sequence[Artefact],
    *,
    threads: int,
    reason: str,
) -> Backend:
    _import(runtime)
    opener = getattr(importlib.import_module(runtime.module), runtime.opener)
    backend: Backend = opener(bundle, artefacts, threads=threads, reason=reason)
    return backend


def _contents(bundle: Bundle) -> str:
    kinds = sorted({f"{a.kind}:{a.precision}" for a in bundle.manifest.artefacts})
    return ", ".join(kinds) or "no artefacts at all"
