"""The training cache: preprocessed cases in one HDF5 file, written whole or not at all.

Layout, for each case a group ``cases/<case>``:

- ``image`` uint8 (z, y, x), the prepared image times 255. One grey level is 0.004 of the window;
  the noise of a scan is several times that, and a case takes a quarter of its float32 size.
- ``marks`` uint8 (z, y, x), bits `LESION`, `IGNORE`, `MIMIC`, `BRAIN`.
- ``places/lesion``, ``brain``, ``dark``, ``mimic``: see `cmbnet.training.places`.
- attributes ``spacing_mm``, ``origin`` (of the box within the frame), ``frame_shape``,
  ``lesions`` (in the target) and ``findings`` of the preprocessing.

A chunk is a slice. Images are stored as they are (a crop is read in the time that a filter would
need to unpack it); marks, nearly empty, are packed with LZF.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import CmbnetError, InputRefused, UsageError
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.cohort import CohortCase, list_cohort, read_case
from cmbnet.training.places import Places, find_places

FORMAT = "cmbnet training cache 1"
LESION, IGNORE, MIMIC, BRAIN = 1, 2, 4, 8
"""Bits of ``marks``."""

BOX_MARGIN_PX = 32
"""What is kept of the frame around the brain; lesions near the edge see their surround."""

BOX_MULTIPLE_PX = 8


@dataclass(frozen=True, slots=True)
class CachedCase:
    """What the cache holds of one case; see the page of the module."""

    name: str
    image: NDArray[np.uint8]
    marks: NDArray[np.uint8]
    places: Places
    spacing_mm: tuple[float, float, float]
    origin: tuple[int, int, int]
    frame_shape: tuple[int, int, int]
    lesions: int
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """How a build went.

    Args:
        cases: Names in the cache, in order.
        refused: Case and reason of those left out.
    """

    cases: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def build_cache(
    cohort: Path,
    path: Path,
    *,
    recipe: PreprocessRecipe | None = None,
    jobs: int = 1,
    limit: int | None = None,
) -> BuildResult:
    """Prepare every case of a cohort and write the cache.

    Args:
        cohort: Directory with ``images/``, ``lesions/`` and, if there are, ``ignore/``
            and ``mimics/``, one file of the same name for a case in each.
        path: The HDF5 file; it appears when it is complete.
        recipe: `cmbnet.preprocess.PreprocessRecipe`; its default if None.
        jobs: Processes that prepare cases.
        limit: Most cases taken, for trials.

    Raises:
        InputRefused: If no case is left.
    """
    recipe = PreprocessRecipe() if recipe is None else recipe
    cases = list_cohort(cohort)[:limit]
    names: list[str] = []
    refused: list[tuple[str, str]] = []
    with _new_file(path) as file:
        for case, result in _prepare_all(cases, recipe, jobs):
            if isinstance(result, CachedCase):
                _write_case(file, result)
                names.append(case.name)
            else:
                refused.append((case.name, result))
        if not names:
            raise InputRefused(f"no case of {cohort} could be used: {refused[:3]}")
        _write_provenance(file, recipe, names, cohort)
    return BuildResult(tuple(names), tuple(refused))


def cache_of(
    source: Path,
    target: Path,
    *,
    recipe: PreprocessRecipe,
    jobs: int,
    report: Callable[[str], None],
) -> Path:
    """The cache of a cohort: the source itself if it is one, else `target`, built if missing.

    Args:
        source: Cache file or cohort directory.
        target: Where to build.
        recipe: How cases are preprocessed.
        jobs: Processes that prepare cases.
        report: Receives what was built and what was left out.

    Raises:
        UsageError: If there is a cache already that was prepared in another way.
    """
    if source.is_file() or target.is_file():
        found = source if source.is_file() else target
        _require_recipe(found, recipe)
        return found
    result = build_cache(source, target, recipe=recipe, jobs=jobs)
    report(f"{target}: {len(result.cases)} cases prepared, {len(result.refused)} left out")
    for name, reason in result.refused:
        report(f"left out {name}: {reason}")
    return target


def _require_recipe(cache: Path, recipe: PreprocessRecipe) -> None:
    """Refuse a cache whose scans were preprocessed in another way."""
    try:
        with h5py.File(cache) as file:
            found = json.loads(file.attrs["preprocess"])
    except (OSError, KeyError):
        return  # no cache at all: reading it explains that
    if found != recipe.to_dict():
        raise UsageError(
            f"the cache {cache} was prepared with {found}, the recipe asks for "
            f"{recipe.to_dict()}: take another run folder, or the cohort instead of its cache"
        )


def _prepare_all(
    cases: Iterable[CohortCase], recipe: Any, jobs: int
) -> Iterator[tuple[CohortCase, CachedCase | str]]:
    """Each case with its prepared content, or with the reason why there is none, in order."""
    from rich.progress import track

    cases = list(cases)
    if jobs <= 1:
        for case in track(cases, "preparing"):
            yield case, prepare_case(case, recipe)
        return
    # Forking a process that runs TensorFlow threads can hang.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = pool.map(prepare_case, cases, [recipe] * len(cases))
        yield from track(zip(cases, results, strict=True), "preparing", total=len(cases))


def prepare_case(case: CohortCase, recipe: Any) -> CachedCase | str:
    """Preprocess one case; the reason in words if it cannot be used."""
    try:
        content = read_case(case, recipe)
    except CmbnetError as error:
        return str(error)
    box = _box(content.brain | (content.lesions > 0))
    image = content.image[box]
    lesions, ignore = content.lesions[box], content.ignore[box]
    mimics, brain = content.mimics[box], content.brain[box]
    marks = (lesions > 0) * LESION + ignore * IGNORE + (mimics > 0) * MIMIC + brain * BRAIN
    return CachedCase(
        name=case.name,
        image=np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8),
        marks=marks.astype(np.uint8),
        places=find_places(
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
    """The part of the frame that is kept: every slice, and the brain with a margin in plane."""
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


def _write_case(file: h5py.File, case: CachedCase) -> None:
    """Store one case."""
    group = file.create_group(f"cases/{case.name}")
    chunk = (1, *case.image.shape[1:])
    group.create_dataset("image", data=case.image, chunks=chunk)
    group.create_dataset("marks", data=case.marks, chunks=chunk, compression="lzf")
    for kind in ("lesion", "brain", "dark", "mimic"):
        group.create_dataset(f"places/{kind}", data=getattr(case.places, kind))
    group.attrs["spacing_mm"] = case.spacing_mm
    group.attrs["origin"] = case.origin
    group.attrs["frame_shape"] = case.frame_shape
    group.attrs["lesions"] = case.lesions
    group.attrs["findings"] = json.dumps(case.findings)


def _write_provenance(file: h5py.File, recipe: Any, names: list[str], cohort: Path) -> None:
    """Say what the cache was made of and by what."""
    file.attrs["format"] = FORMAT
    file.attrs["cmbnet_version"] = __version__
    file.attrs["statement"] = RESEARCH_USE_ONLY
    file.attrs["preprocess"] = json.dumps(recipe.to_dict(), sort_keys=True)
    file.attrs["cohort"] = cohort.name
    description = cohort / "cohort.json"
    file.attrs["cohort_description"] = (
        description.read_text(encoding="utf-8") if description.is_file() else ""
    )
    file.attrs["cases"] = json.dumps(names)


@contextmanager
def _new_file(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file under a temporary name that takes its own when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            yield file
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
