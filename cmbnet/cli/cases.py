"""From the arguments of a command to cases: files, folders and patterns become named inputs."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from cmbnet.errors import UsageError
from cmbnet.io.case import Case

SUFFIXES = (".nii.gz", ".nii")
_MAGIC = re.compile(r"[*?\[]")


def collect_cases(inputs: Sequence[str], *, brain_mask: Path | None = None) -> list[Case]:
    """Find the files that are meant and give each a name of its own.

    A case is named after its file. Files of the same name are told apart by as many of the
    folders above them as that takes; what differs by its suffix alone is refused.

    Args:
        inputs: Files, folders (the NIfTI files in them, not below) and patterns with ``*``,
            ``?``, ``[...]`` and ``**``.
        brain_mask: A mask file, for one input; or a folder that holds a mask of the same name
            for every input.

    Returns:
        Cases, each file once, in the order given.

    Raises:
        UsageError: If an input does not exist or holds no NIfTI file, names collide, or a mask
            is missing.
    """
    files = list(dict.fromkeys(file for given in inputs for file in _files(given)))
    names = _names(files)
    _refuse_collisions(names, files)
    masks = _masks(files, brain_mask)
    return [Case(*fields) for fields in zip(names, files, masks, strict=True)]


def _files(given: str) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if _is_nifti(file))
        if not found:
            raise UsageError(f"folder {given} holds no .nii or .nii.gz file")
        return found
    if path.exists():
        return [path]
    if _MAGIC.search(given):
        found = sorted(Path(name) for name in glob.glob(given, recursive=True))  # noqa: PTH207
        found = [file for file in found if _is_nifti(file)]
        if not found:
            raise UsageError(f"no .nii or .nii.gz file matches {given}")
        return found
    raise UsageError(f"input {given} does not exist")


def _is_nifti(file: Path) -> bool:
    return file.is_file() and file.name.endswith(SUFFIXES) and not file.name.startswith(".")


def _names(files: Sequence[Path]) -> list[str]:
    """A name a file; equal ones get the folders above in front, one more each round."""
    paths = [file.resolve() for file in files]
    names = [_name(path.name) for path in paths]
    for depth in range(2, max((len(path.parts) for path in paths), default=0)):
        often = Counter(name.casefold() for name in names)
        if max(often.values()) == 1:
            break
        names = [
            _name("_".join(path.parts[-depth:])) if often[name.casefold()] > 1 else name
            for name, path in zip(names, paths, strict=True)
        ]
    return names


def _name(file: str) -> str:
    """A name that is harmless as a folder, in a table and on a page."""
    for suffix in SUFFIXES:
        file = file.removesuffix(suffix)
    return re.sub(r"[^\w.-]", "_", file).lstrip(".-") or "case"


def _refuse_collisions(names: Iterable[str], files: Iterable[Path]) -> None:
    taken: dict[str, Path] = {"summary.csv": Path("summary.csv")}
    for name, file in zip(names, files, strict=True):
        other = taken.setdefault(name.casefold(), file)
        if other is not file:
            raise UsageError(
                f"{other} and {file} would both be written to the folder {name}; rename one or "
                "run them into different output folders"
            )


def _masks(files: Sequence[Path], brain_mask: Path | None) -> list[Path | None]:
    if brain_mask is None:
        return [None] * len(files)
    if brain_mask.is_dir():
        masks = [brain_mask / file.name for file in files]
    elif len(files) == 1:
        masks = [brain_mask]
    else:
        raise UsageError(
            f"one brain mask file fits one scan, got {len(files)} scans; give a folder that holds "
            "a mask of the same file name for each"
        )
    for mask in masks:
        if not mask.is_file():
            raise UsageError(f"brain mask {mask} does not exist")
    return list(masks)
