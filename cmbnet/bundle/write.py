"""Write a bundle, or add artefacts to one. The manifest is written last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from pydantic import ValidationError

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.bundle.bundle import Bundle, load_bundle
from cmbnet.bundle.manifest import (
    MANIFEST_NAME,
    ArtefactKind,
    Manifest,
    OperatingPoint,
    Precision,
    TargetContext,
    Training,
)
from cmbnet.errors import BundleError
from cmbnet.io import write_bytes_atomically, write_text_atomically
from cmbnet.lesions import LesionRules
from cmbnet.preprocess.recipe import PreprocessRecipe
from cmbnet.slices import SliceContext


@dataclass(frozen=True, slots=True)
class NewArtefact:
    """An artefact to write."""

    file: str  # Name in the bundle, for example ``float32-1x384x384.tflite``
    content: bytes  # The file's bytes
    kind: ArtefactKind  # Kind of the file, which tells the runtime that reads it
    precision: Precision  # Precision of its arithmetic
    shape: tuple[int | None, int, int, int]  # Shape of the input: (batch or None, y, x, 3)
    # Further files by name, which the runtime reads from the same folder.
    companions: Mapping[str, bytes] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)  # Versions of the programs that made it
    # Result of the comparison with the Keras model.
    parity: Mapping[str, float | bool | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSpec:
    """All fields of a `cmbnet.bundle.manifest.Manifest` except the artefacts."""

    name: str
    licence: str
    recipe: PreprocessRecipe
    context: SliceContext
    rules: LesionRules
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    training: Training
    versions: Mapping[str, str]


def write_bundle(
    folder: str | Path, *, spec: BundleSpec, artefacts: Sequence[NewArtefact]
) -> Bundle:
    """Write a bundle into a folder and load it again.

    Args:
        folder: Folder to write to. It is made if it is missing. Files of the same names are
            replaced.
        spec: Content of the manifest.
        artefacts: The artefacts. A bundle needs at least one to run.

    Raises:
        BundleError: If the manifest would not be valid. Then nothing is written.
    """
    mm = spec.context.target_mm
    values = {field.name: getattr(spec, field.name) for field in fields(spec)} | {
        "notice": RESEARCH_USE_ONLY,
        "context": "adjacent" if mm is None else TargetContext(target_mm=mm),
        "artefacts": tuple(_entry(new) for new in artefacts),
        "versions": dict(spec.versions),
    }
    return _write(Path(folder), values, artefacts)


def add_artefacts(bundle: Bundle, artefacts: Sequence[NewArtefact]) -> Bundle:
    """Add artefacts to a bundle, replacing those of the same file name.

    Raises:
        BundleError: If the manifest would not be valid. Then nothing is written.
    """
    new = {a.file: _entry(a) for a in artefacts}
    kept = tuple(a for a in bundle.manifest.artefacts if a.file not in new)
    values = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields}
    return _write(bundle.path, values | {"artefacts": (*kept, *new.values())}, artefacts)


def _entry(new: NewArtefact) -> dict[str, object]:
    return {
        **_file(new.file, new.content),
        "kind": new.kind,
        "precision": new.precision,
        "shape": new.shape,
        "companions": [_file(name, content) for name, content in new.companions.items()],
        "tools": dict(new.tools),
        "parity": dict(new.parity),
    }


def _file(name: str, content: bytes) -> dict[str, object]:
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _write(folder: Path, values: dict[str, object], artefacts: Sequence[NewArtefact]) -> Bundle:
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise BundleError(f"the bundle for {folder} would not be valid: {error}") from error
    for new in artefacts:
        for name, content in {new.file: new.content, **new.companions}.items():
            write_bytes_atomically(folder / name, content)
    write_text_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
    return load_bundle(folder)
