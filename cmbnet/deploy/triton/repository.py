"""Write a Triton model repository that starts as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cmbnet.backends.registry import chosen_unasked, takes_every_head
from cmbnet.bundle import Artefact, Bundle
from cmbnet.deploy.bundles import subset
from cmbnet.deploy.triton.config import (
    NetworkKind,
    ServerSettings,
    network_config,
    require_protobuf,
    scan_config,
)
from cmbnet.deploy.triton.spec import NETWORK_MODEL, SCAN_MODEL
from cmbnet.errors import CmbnetError, UsageError

NetworkChoice = Literal["auto", "litert", "onnx", "tensorrt"]

VERSION = "1"
_MODEL_FILE: dict[NetworkKind, str] = {"onnx": "model.onnx", "tensorrt": "model.plan"}

_LAUNCHER = '''"""{purpose}; the code is in cmbnet, to be installed in the server's Python."""

from {module} import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


class CannotWrite(CmbnetError):
    """The file system refuses."""


def write_repository(
    bundle: Bundle,
    folder: Path,
    *,
    network: NetworkChoice = "auto",
    precision: str = "auto",
    settings: ServerSettings | None = None,
) -> NetworkKind:
    """Write ``cmbnet`` and ``cmbnet_unet`` into a folder.

    Args:
        bundle: Holds the artefact that is served.
        folder: Must not exist or be empty. It appears whole or not at all.
        network: What runs the network; "auto" takes a TensorRT plan if the bundle has one for
            data centres, else LiteRT, which every Triton with a Python backend runs.
        precision: "int8", "float32", "float16"; "auto" takes the first that passed its gate. Either
            must have the bundle's largest shape, for larger heads would be refused.
        settings: Instances and threads.

    Returns:
        What runs the network.

    Raises:
        UsageError: If the folder is not empty or the bundle has nothing for the choice.
        CannotWrite: If the file system refuses.
    """
    require_place(folder)
    kind, artefacts = _choose(bundle, network, precision)
    settings = settings or ServerSettings(gpu=kind != "litert")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
            staged = Path(staging) / "repository"
            _write_network(bundle, staged / NETWORK_MODEL, kind, artefacts, settings)
            _write_scan(bundle, staged / SCAN_MODEL, artefacts, settings)
            if folder.exists():
                folder.rmdir()
            staged.rename(folder)
    except OSError as error:
        raise CannotWrite(
            f"the Triton repository cannot be written to {folder}: {error}"
        ) from error
    return kind


def require_place(folder: Path) -> None:
    """Refuse a folder that no repository can be written to, before hours of exporting.

    Raises:
        UsageError: If it is not empty, or no folder.
        MissingExtra: If the package that configurations are made with is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"an empty folder is required for the Triton repository, got {folder}")
    require_protobuf()


def _write_network(
    bundle: Bundle,
    folder: Path,
    kind: NetworkKind,
    artefacts: Sequence[Artefact],
    settings: ServerSettings,
) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    shapes = [(a.shape[1], a.shape[2]) for a in artefacts]
    (folder / "config.pbtxt").write_text(network_config(kind, shapes, settings), encoding="utf-8")
    if kind == "litert":
        module = "cmbnet.deploy.triton.network_model"
        launcher = _LAUNCHER.format(purpose="The network of cmbnet", module=module)
        (version / "model.py").write_text(launcher, encoding="utf-8")
        subset(bundle, artefacts, version / "bundle")
    else:
        (version / _MODEL_FILE[kind]).write_bytes(bundle.read(artefacts[0]))


def _write_scan(
    bundle: Bundle, folder: Path, artefacts: Sequence[Artefact], settings: ServerSettings
) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    shapes = [(a.shape[1], a.shape[2]) for a in artefacts]
    (folder / "config.pbtxt").write_text(scan_config(shapes, settings), encoding="utf-8")
    launcher = _LAUNCHER.format(
        purpose="From a scan to lesions", module="cmbnet.deploy.triton.scan_model"
    )
    (version / "model.py").write_text(launcher, encoding="utf-8")
    # The same content as the network's, so that both answer with one bundle's hash.
    subset(bundle, artefacts, version / "bundle")


def _choose(
    bundle: Bundle, network: NetworkChoice, precision: str
) -> tuple[NetworkKind, tuple[Artefact, ...]]:
    """The artefacts that are served, smallest shape first."""
    kinds: tuple[NetworkKind, ...] = (
        ("tensorrt", "litert", "onnx") if network == "auto" else (network,)
    )
    for kind in kinds:
        for one in ("int8", "float16", "float32") if precision == "auto" else (precision,):
            found = tuple(a for a in bundle.artefacts(kind) if a.precision == one and _loads(a))
            if precision == "auto":
                found = chosen_unasked(bundle, found)
            if takes_every_head(bundle, found):
                # A plan and an ONNX file hold one shape: the largest, which takes every brain.
                served = sorted(found, key=lambda a: a.shape[1] * a.shape[2])
                return kind, tuple(served if kind == "litert" else served[-1:])
    held = sorted({_described(a) for a in bundle.manifest.artefacts})
    raise UsageError(
        f"bundle {bundle.manifest.name} has nothing for a Triton network of kind {network} "
        f"in {precision} that passed the parity gate and takes every head; it has "
        f"{', '.join(held) or 'nothing'}"
    )


def _loads(artefact: Artefact) -> bool:
    """Whether Triton loads it; its TensorRT backend cannot load TensorRT-RTX engines."""
    return artefact.kind != "tensorrt" or "tensorrt" in artefact.tools


def _described(artefact: Artefact) -> str:
    failed = " (failed the gate)" if artefact.parity.get("passed") is False else ""
    return f"{artefact.kind}:{artefact.precision} {artefact.shape[1]}x{artefact.shape[2]}{failed}"
