"""Write a Triton model repository that a server can start from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from cmbnet.backends.registry import chosen_unasked, takes_every_head
from cmbnet.bundle import Artefact, Bundle
from cmbnet.bundle.manifest import Manifest
from cmbnet.deploy.bundles import CannotWrite, changed_manifest, copy_bundle
from cmbnet.deploy.triton.config import (
    NetworkKind,
    ServerSettings,
    network_config,
    require_protobuf,
    scan_config,
)
from cmbnet.deploy.triton.spec import NETWORK_MODEL, SCAN_MODEL
from cmbnet.errors import UsageError

NetworkChoice = Literal["auto", "litert", "onnx", "tensorrt"]

VERSION = "1"
_MODEL_FILE: dict[NetworkKind, str] = {"onnx": "model.onnx", "tensorrt": "model.plan"}

_LAUNCHER = '''"""A model of cmbnet, which must be installed in the server's Python."""

from cmbnet.deploy.triton.{module} import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


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
        bundle: Bundle with the artefact to serve.
        folder: New or empty folder. The repository appears in it whole or not at all.
        network: Runtime of the network. "auto" takes a TensorRT plan if the bundle has one for data
            centres, and otherwise LiteRT, which every Triton with a Python backend runs.
        precision: "int8", "float32" or "float16". "auto" takes the first that passed its gate. The
            artefact must have the bundle's largest shape, or large heads would be refused.
        settings: Settings of the server.

    Returns:
        The runtime of the network.

    Raises:
        UsageError: If the folder is not empty or the bundle has nothing for the choice.
        CannotWrite: If the file system refuses.
    """
    require_place(folder)
    kind, artefacts = _choose(bundle, network, precision)
    settings = settings or ServerSettings(gpu=kind != "litert")
    shapes = [(a.shape[1], a.shape[2]) for a in artefacts]
    # Both models get the same part of the bundle, so that both answer with one hash.
    versions = bundle.manifest.versions | {"copied_from_sha256": bundle.sha256}
    served = changed_manifest(bundle, {"artefacts": artefacts, "versions": versions})
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
            staged = Path(staging) / "repository"
            config, path = network_config(kind, shapes, settings), staged / NETWORK_MODEL
            if kind == "litert":
                _write_python_model(path, config, "network_model", served, bundle)
            else:
                plan = _write_config(path, config) / _MODEL_FILE[kind]
                plan.write_bytes(bundle.read(artefacts[0]))
            config = scan_config(shapes, settings)
            _write_python_model(staged / SCAN_MODEL, config, "scan_model", served, bundle)
            if folder.exists():
                folder.rmdir()
            staged.rename(folder)
    except OSError as error:
        raise CannotWrite(
            f"the Triton repository cannot be written to {folder}: {error}"
        ) from error
    return kind


def require_place(folder: Path) -> None:
    """Refuse an unusable folder for a repository before hours of exporting.

    Raises:
        UsageError: If it is not empty, or no folder.
        MissingExtra: If tritonclient is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"an empty folder is required for the Triton repository, got {folder}")
    require_protobuf()


def _write_python_model(folder: Path, config: str, module: str, copy: Manifest, of: Bundle) -> None:
    """Write a model of Triton's Python backend, with the part of a bundle that it reads."""
    version = _write_config(folder, config)
    (version / "model.py").write_text(_LAUNCHER.format(module=module), encoding="utf-8")
    copy_bundle(of, version / "bundle", copy)


def _write_config(folder: Path, config: str) -> Path:
    """Write a model's configuration, and make the folder of its version."""
    version = folder / VERSION
    version.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    return version


def _choose(
    bundle: Bundle, network: NetworkChoice, precision: str
) -> tuple[NetworkKind, tuple[Artefact, ...]]:
    """Choose the artefacts to serve, smallest shape first."""
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
    """Return whether Triton loads an artefact. It cannot load TensorRT-RTX engines."""
    return artefact.kind != "tensorrt" or "tensorrt" in artefact.tools


def _described(artefact: Artefact) -> str:
    failed = " (failed the gate)" if artefact.parity.get("passed") is False else ""
    return f"{artefact.kind}:{artefact.precision} {artefact.shape[1]}x{artefact.shape[2]}{failed}"
