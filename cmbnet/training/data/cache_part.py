"""One case of the training cache: an HDF5 file that is whole or missing.

Layout of ``CACHE/<split>/<case>.h5``:

- ``image`` uint8 (z, y, x), the prepared image times 255. One grey level is 0.004 of the window;
  the noise of a scan is several times that, and a case takes a quarter of its float32 size.
- ``marks`` uint8 (z, y, x), bits `LESION`, `IGNORE`, `MIMIC`, `BRAIN`.
- ``places/lesion``, ``brain``, ``dark``, ``mimic``: see `cmbnet.training.data.crop_centres`.
- attributes ``spacing_mm``, ``origin`` (of the box within the frame), ``frame_shape``,
  ``lesions`` (in the target), ``findings`` of the preprocessing; ``report`` of the check;
  ``key``, the hash of the case's sources, and ``sources``, the hashes of its files.

A chunk is a slice, compressed with LZF. HDF5 verifies its checksum on reading.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pydantic
from numpy.typing import NDArray

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import CmbnetError, UnreadableFile
from cmbnet.io.digest import code_sha256
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache_index import FORMAT
from cmbnet.training.data.cohort import FrameCase
from cmbnet.training.data.crop_centres import KINDS, CropCentres, find_crop_centres
from cmbnet.training.data.specs.centres import Centres
from cmbnet.training.data.specs.check import CaseReport
from cmbnet.training.data.specs.discover import ScanCase
from cmbnet.training.data.specs.labels import LabelImage

LESION, IGNORE, MIMIC, BRAIN = 1, 2, 4, 8
"""Bits of ``marks``."""

_PREPARING = ("io", "lesions", "preprocess", "training/data", "volume")
"""The code that determines what a part holds."""

BOX_MARGIN_PX = 32
"""Margin of the frame that is kept around the brain, so that lesions near the edge have
surroundings."""

BOX_MULTIPLE_PX = 8


@dataclass(frozen=True, slots=True)
class CachedCase:
    """One case of the cache; see the module."""

    name: str
    image: NDArray[np.uint8]
    marks: NDArray[np.uint8]
    crop_centres: CropCentres
    spacing_mm: tuple[float, float, float]
    origin: tuple[int, int, int]
    frame_shape: tuple[int, int, int]
    lesions: int
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartLabel:
    """The label of a part."""

    key: str  # Hash of everything that determines the content
    sources: dict[str, str]  # Role and SHA-256 of its source files
    report: CaseReport  # Report of the check


_REPORT = pydantic.TypeAdapter(CaseReport)


def encode(name: str, content: FrameCase) -> CachedCase:
    """Crop, mark and compress a case."""
    box = _box(content.brain | (content.lesions > 0))
    image = content.image[box]
    lesions, ignore = content.lesions[box], content.ignore[box]
    mimics, brain = content.mimics[box], content.brain[box]
    marks = (lesions > 0) * LESION + ignore * IGNORE + (mimics > 0) * MIMIC + brain * BRAIN
    return CachedCase(
        name=name,
        image=np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8),
        marks=marks.astype(np.uint8),
        crop_centres=find_crop_centres(
            image,
            lesions=lesions,
            excluded=ignore,
            mimics=mimics,
            brain=brain,
            spacing_mm=content.spacing_mm,
        ),
        spacing_mm=content.spacing_mm,
        origin=tuple(edge.start for edge in box),
        frame_shape=content.image.shape,
        lesions=len(np.unique(lesions[lesions > 0])),
        findings=content.findings,
    )


def _box(occupied: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Choose the part of the frame to keep: all slices, and the brain with a margin in plane."""
    edges = [slice(0, occupied.shape[0])]
    for axis in (1, 2):
        other = tuple(n for n in range(3) if n != axis)
        where = np.flatnonzero(occupied.any(axis=other))
        size = occupied.shape[axis]
        start, stop = (int(where[0]), int(where[-1]) + 1) if len(where) else (0, size)
        start = max(start - BOX_MARGIN_PX, 0) // BOX_MULTIPLE_PX * BOX_MULTIPLE_PX
        stop = -(-min(stop + BOX_MARGIN_PX, size) // BOX_MULTIPLE_PX) * BOX_MULTIPLE_PX
        edges.append(slice(start, min(stop, size)))
    z, y, x = edges
    return z, y, x


def write_part(path: Path, case: CachedCase, label: PartLabel) -> None:
    """Write a part under a temporary name, sync it, and rename it.

    Raises:
        CmbnetError: If the disk is full or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name for each process: after a kill, workers of that run may still be writing.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            _fill(file, case, label)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CmbnetError(
            f"cannot write {path}: {error}; make room and repeat the command, it goes on where "
            "it stopped"
        ) from error


def _fill(file: h5py.File, case: CachedCase, label: PartLabel) -> None:
    """Write the content of a part."""
    chunk = (1, *case.image.shape[1:])
    packed = {"chunks": chunk, "compression": "lzf", "fletcher32": True}
    file.create_dataset("image", data=case.image, **packed)
    file.create_dataset("marks", data=case.marks, **packed)
    for kind in KINDS:
        file.create_dataset(f"places/{kind}", data=getattr(case.crop_centres, kind))
    attributes = {
        "format": FORMAT,
        "cmbnet_version": __version__,
        "statement": RESEARCH_USE_ONLY,
        "case": case.name,
        "spacing_mm": case.spacing_mm,
        "origin": case.origin,
        "frame_shape": case.frame_shape,
        "lesions": case.lesions,
        "findings": json.dumps(case.findings),
        "key": label.key,
        "sources": json.dumps(label.sources, sort_keys=True),
        "report": json.dumps(asdict(label.report)),
    }
    file.attrs.update(attributes)


def read_label(path: Path) -> PartLabel | None:
    """Read the label of a part. None if the part is missing, damaged or of another version."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT:
                return None
            return PartLabel(
                key=str(file.attrs["key"]),
                sources=json.loads(file.attrs["sources"]),
                report=_REPORT.validate_json(file.attrs["report"]),
            )
    except (OSError, KeyError, ValueError):
        return None


def read_part(path: Path, key: str) -> CachedCase:
    """Read the case of a part.

    Raises:
        UnreadableFile: If it is missing or damaged, or has another key.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["key"] != key:
                raise UnreadableFile(
                    f"{path} was changed after the cache was finished: prepare it again"
                )
            return _content(file)
    except (OSError, KeyError, ValueError) as error:
        raise UnreadableFile(
            f"{path} is missing or damaged ({error}): prepare the cache again, only what is "
            "missing is made"
        ) from error


def _content(file: h5py.File) -> CachedCase:
    """Read the case from an open part."""
    attributes = file.attrs
    return CachedCase(
        name=str(attributes["case"]),
        image=file["image"][()],
        marks=file["marks"][()],
        crop_centres=CropCentres(**{kind: file[f"places/{kind}"][()] for kind in KINDS}),
        spacing_mm=_triple(attributes["spacing_mm"], float),
        origin=_triple(attributes["origin"], int),
        frame_shape=_triple(attributes["frame_shape"], int),
        lesions=int(attributes["lesions"]),
        findings=tuple(json.loads(attributes["findings"])),
    )


def _triple(values: NDArray[Any], kind: Any) -> Any:
    """Return three plain numbers."""
    z, y, x = np.asarray(values).tolist()
    return kind(z), kind(y), kind(x)


def hash_sources(case: ScanCase) -> dict[str, str]:
    """Hash all files of a case, by role."""
    files = {"image": case.image, "ignore": case.ignore, "mimics": case.mimics}
    hashes = {}
    if isinstance(case.label, LabelImage):
        files["label"] = case.label.path
        more = (*case.label.others, *case.label.uncertain)
        files |= {f"label {number}": path for number, path in enumerate(more, start=2)}
    elif isinstance(case.label, Centres):
        rule = [case.label.points, case.label.unit, case.label.target.model_dump()]
        hashes["centres"] = hashlib.sha256(json.dumps(rule).encode()).hexdigest()
    for role, path in files.items():
        if path is not None:
            try:
                with path.open("rb") as stream:
                    hashes[role] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise UnreadableFile(f"cannot read {path}: {error.strerror}") from error
    return hashes


def part_key(case: ScanCase, sources: dict[str, str], recipe: PreprocessRecipe) -> str:
    """Hash everything that determines the content of a part."""
    kind = case.label.kind if isinstance(case.label, LabelImage) else ""
    stated = [case.name, case.patient, case.split, case.stated_lesions, case.expects_lesions]
    code = code_sha256(*_PREPARING)
    parts: list[Any] = [FORMAT, code, recipe.to_dict(), sources, kind, stated]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
