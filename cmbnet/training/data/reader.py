"""Reading the training cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmbnet.errors import UsageError
from cmbnet.training.data.cache_index import locate, part_path, read_index
from cmbnet.training.data.cache_part import CachedCase, read_part


class Cache:
    """All cases on one side of a cache, held in memory.

    A crop is then a copy of a few rows. From disk, each crop would cost a search through HDF5's
    index. 60 slices of a head take about 6 MB.

    Args:
        path: Folder written by `cmbnet.training.data.cache.prepare_cache`, or the folder of a side
            in it.
        split: Side of the split. It may be left out if there is only one.

    Raises:
        UnreadableFile: If the cache is missing, unfinished, damaged, or of another version.
        UsageError: If it has no such side, or has several and none is chosen.
    """

    def __init__(self, path: Path, split: str | None = None) -> None:
        folder, named = locate(path)
        split = split or named
        index = read_index(folder)
        if split is None and len(index.splits) == 1:
            (split,) = index.splits
        if split is None or split not in index.splits:
            raise UsageError(
                f"one of {', '.join(index.splits)} is required of the cache {folder}, got "
                f"{split or 'none'}"
            )
        self.preprocess: dict[str, Any] = index.preprocess
        self.cohort_description = index.description
        self.cases: tuple[CachedCase, ...] = tuple(
            read_part(part_path(folder, split, entry.case), entry.key)
            for entry in index.splits[split]
        )

    @property
    def with_lesions(self) -> list[int]:
        """Indices of the cases with a target lesion."""
        return [n for n, case in enumerate(self.cases) if len(case.crop_centres.lesion)]

    @property
    def controls(self) -> list[int]:
        """Indices of the cases without a target lesion."""
        return [n for n, case in enumerate(self.cases) if not len(case.crop_centres.lesion)]
