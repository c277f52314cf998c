"""The table of backends, the check of what is installed, and the choice for a bundle."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from cmbnet.backends.base import Backend
from cmbnet.backends.speed import Contest, contest
from cmbnet.bundle import Artefact, Bundle
from cmbnet.errors import CmbnetError, MissingExtra, UsageError
from cmbnet.threads import processors


@dataclass(frozen=True, slots=True)
class Runtime:
    """An entry of the table of backends.

    Args:
        name: Name of the backend, as the user gives it.
        module: Module that holds `opener`.
        opener: Function of (bundle, artefacts, threads) that opens the backend.
        package: Import name of the package that it needs.
        imports: Module of that package that runs a network.
        distribution: Name of the package on PyPI.
        extra: The extra of cmbnet that installs it.
        kinds: Kinds of artefact that it reads, the preferred first.
        contends: Whether "auto" may prefer it for its speed. Otherwise "auto" takes it only where
            no backend before it in the table runs.
    """

    name: str
    module: str
    opener: str
    package: str
    imports: str
    distribution: str
    extra: str
    kinds: tuple[str, ...]
    contends: bool = True


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
            contends=False,
        ),
    )
}
"""All backends, in the order in which the automatic choice tries them."""

OVERRULE = "CMBNET_BACKEND"
"""Variable of the environment that says what "auto" means."""

PRECISIONS = ("int8", "float32", "float16")
"""Precisions in the order of preference. int8 must have passed the parity gate or be allowed."""


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """The answer to whether a backend can run here.

    Args:
        name: Name of the backend.
        installed: Whether its package is installed.
        detail: The package and its version, or what to install or to repair.
        broken: Whether the package is installed and cannot be imported. False if this was not
            tried.
    """

    name: str
    installed: bool
    detail: str
    broken: bool = False


class BrokenRuntime(CmbnetError):
    """The package of a backend is installed and cannot be imported."""


def available_backends(*, importing: bool = False) -> tuple[BackendStatus, ...]:
    """List every backend, and say whether its package is installed.

    Args:
        importing: Whether to import each package, too. That takes seconds, and finds broken ones.
    """
    statuses = []
    for runtime in RUNTIMES.values():
        status = _status(runtime)
        if importing and status.installed:
            try:
                import_runtime(runtime)
            except BrokenRuntime as error:
                status = BackendStatus(runtime.name, True, str(error), broken=True)
        statuses.append(status)
    return tuple(statuses)


def import_runtime(runtime: Runtime) -> None:
    """Import the package of a backend.

    Raises:
        BrokenRuntime: If the import fails. It quotes the package's message.
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
            address of a Triton server ("triton+grpc://host:8001"). In place of "auto", the
            environment may name another in CMBNET_BACKEND.
        threads: Number of threads to use. The default is the number of processors that this process
            may use.

    Returns:
        The backend. `info.reason` says why it was chosen.

    Raises:
        UsageError: If there is no such backend, or the bundle has no file that it reads.
        MissingExtra: If the backend's package is not installed.
        BrokenRuntime: If the package is installed and cannot be imported.
    """
    count = processors() if threads is None else threads
    if count < 1:
        raise UsageError(f"at least one thread is required, got {threads}")
    asked = f"asked for: {name}"
    if name == "auto" and os.environ.get(OVERRULE):
        name = os.environ[OVERRULE]
        asked = f"asked for by {OVERRULE}: {name}"
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
    return _open(bundle, runtime, artefacts, threads=count, reason=asked)


def contest_here(bundle: Bundle, threads: int) -> Contest | None:
    """Return what is known of the backends that `auto` chooses from; None if there is no choice.

    Keras does not contend: it is the slowest by far, and takes seconds to import.
    """
    contenders = {}
    for name, runtime in RUNTIMES.items():
        artefacts = _choose(bundle, runtime, "")
        if artefacts and runtime.contends and (status := _status(runtime)).installed:
            contenders[name] = f"{status.detail} {artefacts[0].precision}"
    if len(contenders) < 2:
        return None
    return contest(contenders, model=bundle.sha256, threads=threads)


def _open_first(bundle: Bundle, precision: str, threads: int) -> Backend:
    """Open the first backend that is installed and finds an artefact; the quickest, if known."""
    passed: list[str] = []
    runtimes, why = list(RUNTIMES.values()), "the first choice that runs here"
    if not precision and (found := contest_here(bundle, threads)) is not None:
        best, why = found.choice
        if best != found.names[0]:
            runtimes.sort(key=lambda runtime: runtime.name != best)
    for runtime in runtimes:
        artefacts = _choose(bundle, runtime, precision)
        if not artefacts:
            held_back = _held_back(bundle, runtime, precision)
            passed.append(f"{runtime.name} finds no artefact{held_back}")
        elif not _status(runtime).installed:
            passed.append(f"{runtime.name} is not installed")
        else:
            reason = "; ".join([f"automatic: {why}", *passed])
            try:
                return _open(bundle, runtime, artefacts, threads=threads, reason=reason)
            except BrokenRuntime as error:
                passed.append(f"{runtime.name} is broken ({error})")
    raise UsageError(
        f"no backend runs bundle {bundle.manifest.name} here: {'; '.join(passed)}; "
        f"it has {_contents(bundle)}"
    )


def _choose(bundle: Bundle, runtime: Runtime, precision: str) -> tuple[Artefact, ...]:
    """Return the artefacts of the first kind and precision that the bundle has.

    If the caller names no precision, only those count that `chosen_unasked` returns.
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
    """Return the artefacts of one kind and precision that may run without being named.

    An artefact that failed the parity gate may not, nor may int8 that was never judged, unless the
    export allowed it. If no such artefact takes the largest heads, none is returned, because those
    heads would find no network.
    """
    fit = tuple(artefact for artefact in artefacts if _is_let_through(artefact))
    return fit if takes_every_head(bundle, fit) else ()


def takes_every_head(bundle: Bundle, artefacts: Sequence[Artefact]) -> bool:
    """Return whether artefacts have the largest shape that the bundle has in any form."""
    largest = max((_pixels(artefact) for artefact in bundle.manifest.artefacts), default=0)
    return any(_pixels(artefact) == largest for artefact in artefacts)


def _is_let_through(artefact: Artefact) -> bool:
    """Return whether an artefact passed the gate, was allowed, or is an unjudged float."""
    passed = artefact.parity.get("passed", "not judged")
    if artefact.parity.get("failure_allowed") is True or passed is True:
        return True
    return passed is not False and artefact.precision != "int8"


def _held_back(bundle: Bundle, runtime: Runtime, precision: str) -> str:
    """Say which artefacts a backend could read and `chosen_unasked` leaves out, if any."""
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
    import_runtime(runtime)
    opener = getattr(importlib.import_module(runtime.module), runtime.opener)
    backend: Backend = opener(bundle, artefacts, threads=threads, reason=reason)
    return backend


def _contents(bundle: Bundle) -> str:
    kinds = sorted({f"{a.kind}:{a.precision}" for a in bundle.manifest.artefacts})
    return ", ".join(kinds) or "no artefacts at all"
