"""`Bundle`: a folder with a model and everything that is needed to run it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from cmbnet.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Artefact,
    BundleFile,
    Manifest,
    OperatingPoint,
)
from cmbnet.errors import BundleError, UsageError
from cmbnet.lesions import LesionRules

if TYPE_CHECKING:
    from cmbnet.preprocess import PreprocessRecipe
    from cmbnet.slices import SliceContext

MAX_MANIFEST_BYTES = 1 << 20
DEFAULT_FOLDER = Path(__file__).parent / "default"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model bundle on disk."""

    path: Path  # Its folder
    manifest: Manifest  # The checked content of ``bundle.json``
    # Hash of ``bundle.json``. That file holds the hashes of all other files, so the hash stands for
    # the whole bundle.
    sha256: str

    @property
    def recipe(self) -> PreprocessRecipe:
        """Settings of preprocessing."""
        return self.manifest.recipe

    @property
    def context(self) -> SliceContext:
        """Which neighbour slices the network sees."""
        from cmbnet.slices import SliceContext

        context = self.manifest.context
        return SliceContext(None if context == "adjacent" else context.target_mm)

    def operating_point(self, name: str = "default") -> OperatingPoint:
        """Return an operating point by its name. The manifest chooses the "default".

        Raises:
            UsageError: If there is no operating point of that name.
        """
        points = {point.name: point for point in self.manifest.operating_points}
        if name == "default" and name not in points:
            name = self.manifest.default_operating_point
        if name not in points:
            raise UsageError(
                f"operating point {name!r} is not in bundle {self.manifest.name}; "
                f"it has: {', '.join(points)}"
            )
        return points[name]

    def rules_at(self, point: OperatingPoint) -> LesionRules:
        """Return the lesion rules with the thresholds of an operating point."""
        return replace(
            self.manifest.rules, pixel_threshold=point.pixel_threshold, min_score=point.lesion_score
        )

    def artefacts(self, kind: str) -> tuple[Artefact, ...]:
        """Return all artefacts of a kind."""
        return tuple(a for a in self.manifest.artefacts if a.kind == kind)

    def read(self, entry: BundleFile) -> bytes:
        """Read one file, check its hash, and return those bytes.

        Raises:
            BundleError: If the file is missing, or its content differs from the manifest.
        """
        content = _file_inside(self.path, entry).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != entry.sha256:
            raise BundleError(
                f"{self.path / entry.file} was altered: sha256 {entry.sha256} is required, got "
                f"{found}; restore the bundle from its source"
            )
        return content

    def verify(self) -> None:
        """Check the hash of every file.

        Raises:
            BundleError: For the first file that is missing or altered.
        """
        for artefact in self.manifest.artefacts:
            for entry in (artefact, *artefact.companions):
                self.read(entry)


def load_bundle(path: str | Path = "default") -> Bundle:
    """Read a bundle's manifest and check that its files are there.

    The hash of a file is checked when the file is read (`Bundle.read`), so unused artefacts cost
    nothing. `Bundle.verify` checks all files.

    Args:
        path: Folder of a bundle, or "default" for the one in the package.

    Raises:
        BundleError: If the folder holds no valid bundle. The message has the first faults.
    """
    folder = DEFAULT_FOLDER if str(path) == "default" else Path(path)
    text = _read_manifest(folder)
    try:
        manifest = Manifest.model_validate_json(text)
    except (ValidationError, UsageError) as error:  # UsageError: the dataclasses of recipe, rules
        _require_format(folder, text)
        faults = _faults(error) if isinstance(error, ValidationError) else error
        raise BundleError(f"{folder / MANIFEST_NAME} is not valid: {faults}") from error
    for artefact in manifest.artefacts:
        for entry in (artefact, *artefact.companions):
            _file_inside(folder, entry)
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest())


def _read_manifest(folder: Path) -> bytes:
    file = folder / MANIFEST_NAME
    try:
        size = file.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{file} has {size} bytes, at most {MAX_MANIFEST_BYTES} are allowed")
        return file.read_bytes()
    except OSError as error:
        if folder == DEFAULT_FOLDER:
            raise BundleError(
                "this installation of cmbnet has no default model; train one and give "
                "the folder of its bundle",
                argument="bundle",
            ) from error
        raise BundleError(
            f"{folder} is no model bundle, its {MANIFEST_NAME} cannot be read "
            f"({error.strerror}); give the folder that cmbnet train or cmbnet-export wrote"
        ) from error


class _Versioned(BaseModel):
    """The fields that every version of a manifest has."""

    format: int = FORMAT_VERSION


def _require_format(folder: Path, text: bytes) -> None:
    """If an invalid manifest has another format version, say so."""
    try:
        found = _Versioned.model_validate_json(text).format
    except ValidationError:
        return
    if found != FORMAT_VERSION:
        advice = (
            "export it again from its training run (cmbnet export RUN), or use the cmbnet that "
            "wrote it"
            if found < FORMAT_VERSION
            else "use the cmbnet that wrote it, or a newer one"
        )
        raise BundleError(
            f"{folder / MANIFEST_NAME} has format {found}, this cmbnet reads {FORMAT_VERSION}: "
            f"{advice}"
        )


def _file_inside(folder: Path, entry: BundleFile) -> Path:
    """Return the path of a file, after checking that it is in the folder and has the right size."""
    file = folder / entry.file
    if not file.is_file():
        raise BundleError(f"{file} is missing; restore the bundle from its source")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{file} is a link that leaves the bundle's folder")
    size = file.stat().st_size
    if size != entry.bytes:
        raise BundleError(
            f"{file} was altered: {entry.bytes} bytes are required, got {size}; "
            "restore the bundle from its source"
        )
    return file


def _faults(error: ValidationError) -> str:
    """Write the first faults in one line, without the values, which may be long."""
    faults = error.errors(include_url=False, include_input=False)
    lines = [f"{'.'.join(map(str, f['loc'])) or 'file'}: {f['msg']}" for f in faults[:3]]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(lines) + more
