"""``cache.json``: the list of a finished cache. It is written last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic

from cmbnet.errors import UnreadableFile
from cmbnet.io import write_text_atomically
from cmbnet.io.settings import FrozenModel

FORMAT = "cmbnet training cache 2"
INDEX = "cache.json"


class IndexedCase(FrozenModel):
    """One case."""

    case: str
    patient: str
    key: str
    """Key of the sources from which the part must be made."""
    lesions: int


class LeftOut(FrozenModel):
    """A case that is not in the cache."""

    case: str
    reason: str


class CacheIndex(FrozenModel):
    """The content of a cache, its sources and its makers."""

    format: str
    statement: str
    versions: dict[str, str]
    """Versions of cmbnet and of the libraries that determine the content."""
    spec: dict[str, Any]
    spec_sha256: str
    root: str = ""
    """Folder of the data set when the cache was made. Empty in caches of earlier versions."""
    description: str
    """``cohort.json`` of a phantom cohort. Otherwise empty."""
    preprocess: dict[str, Any]
    splits: dict[str, tuple[IndexedCase, ...]]
    excluded: tuple[LeftOut, ...]
    """Cases that the spec excludes."""
    left_out: tuple[LeftOut, ...]
    """Cases that could not be used."""
    notes: tuple[str, ...]
    """Notes of the check."""


def part_path(cache: Path, split: str, case: str) -> Path:
    """Return the file of a case."""
    return cache / split / f"{case}.h5"


def write_index(cache: Path, index: CacheIndex) -> None:
    """Write the list, which finishes a cache."""
    write_text_atomically(cache / INDEX, index.model_dump_json(indent=1) + "\n")


def read_index(cache: Path) -> CacheIndex:
    """Read the list of a finished cache.

    Raises:
        UnreadableFile: If the cache is missing, unfinished, damaged, or of another version.
    """
    file = cache / INDEX
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        if any(cache.glob("*/*.h5")) or any(cache.glob("*/.*.tmp")):
            raise UnreadableFile(
                f"the training cache {cache} is not finished: repeat the command that prepares "
                "it, it goes on where it stopped"
            ) from None
        raise UnreadableFile(f"a training cache is required, got {cache}: {error}") from error
    try:
        index = CacheIndex.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise UnreadableFile(f"{file} is damaged: {error.errors()[0]['msg']}") from None
    if index.format != FORMAT:
        raise UnreadableFile(f"{cache} must be a {FORMAT!r}, got {index.format!r}: build it again")
    return index


def is_cache(path: Path) -> bool:
    """Return whether a path is a finished cache, or one side of it."""
    return any((folder / INDEX).is_file() for folder in (path, path.parent))


def locate(path: Path) -> tuple[Path, str | None]:
    """Return the folder of a cache, and its side if the path is the folder of a side.

    Raises:
        UnreadableFile: If it is a single file, like caches of earlier versions.
    """
    if path.is_file():
        raise UnreadableFile(f"a training cache is required, a folder, got {path}: build it again")
    if not (path / INDEX).is_file() and (path.parent / INDEX).is_file():
        return path.parent, path.name
    return path, None


def side_of(path: Path, role: str) -> tuple[Path, str]:
    """Return the folder of a cache, and the side of this role if the path names none.

    Raises:
        UnreadableFile: If `read_index` raises it.
    """
    folder, chosen = locate(path)
    sides = read_index(folder).splits
    return folder, chosen or (role if role in sides or len(sides) > 1 else next(iter(sides)))
