"""The forms of training data, and the caches that are made from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cmbnet.errors import UsageError
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache import build_cache, prepare_cache, report_line
from cmbnet.training.data.cache_index import INDEX, is_cache, read_index, side_of
from cmbnet.training.data.labelled import (
    is_spec,
    load_with_root,
    patient_names,
    require_other_patients,
)
from cmbnet.training.data.specs.splits import TRAINING, VALIDATION


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a training."""

    data: Path  # A data spec, a cache, one side of a cache, or a cohort folder
    # Validation data in one of these forms. None means the side ``validation`` of `data`.
    validation: Path | None
    root: Path | None  # Folder of the scans of a spec. None without a spec.
    run: Path  # Folder of the run, in which caches are made
    jobs: int = 1  # Number of processes that prepare cases
    fold: int | None = None  # Fold of validation, in place of that of the spec. None keeps it.


Side = tuple[Path, str]
"""Folder of a cache, and its side."""


def caches_of(
    sources: Sources, recipe: PreprocessRecipe, *, report: Callable[[str], None]
) -> tuple[Side, Side]:
    """Return the caches for training and validation, and prepare them if they are missing.

    Raises:
        UsageError: If a cache was prepared in another way, a spec lacks a root, there is no
            validation side, or a patient is on both sides.
        CmbnetError: If `prepare_cache` raises it.
    """
    training = _cache_of(sources, sources.data, TRAINING, recipe, report)
    if sources.validation is not None:
        validation = _cache_of(sources, sources.validation, VALIDATION, recipe, report)
        where = f"{sources.data} and {sources.validation}"
        require_other_patients(patients_of(*training), patients_of(*validation), where)
        return training, validation
    folder = training[0]
    if VALIDATION not in read_index(folder).splits:
        raise UsageError(
            f"{sources.data} has no side {VALIDATION!r}: give the validation cases",
            argument="validation",
        )
    return training, (folder, VALIDATION)


def cache_of_run(run: Path) -> Path:
    """Return the cache that a run made from a spec or a cohort folder."""
    of_spec = run / "cache"
    return of_spec if of_spec.is_dir() else run / TRAINING


def _cache_of(
    sources: Sources,
    given: Path,
    role: str,
    recipe: PreprocessRecipe,
    report: Callable[[str], None],
) -> Side:
    """Return the cache of one side."""
    if is_spec(given):
        spec, root = load_with_root(given, sources.root, sources.fold)
        folder, split = sources.run / "cache", role
        result = prepare_cache(spec, root, folder, recipe=recipe, jobs=sources.jobs)
        report_line(folder, result, report)
    elif given.is_file() or is_cache(given):
        folder, split = side_of(given, role)
        _require_recipe(folder, recipe)
    else:
        folder, split = sources.run / role, "all"
        if (folder / INDEX).is_file():
            _require_recipe(folder, recipe)
        else:
            report_line(
                folder, build_cache(given, folder, recipe=recipe, jobs=sources.jobs), report
            )
    return folder, split


def patients_of(cache: Path, split: str | None = None) -> set[str]:
    """Return the patients of a cache, or of one side; see `patient_names`."""
    index = read_index(cache)
    sides = index.splits if split is None else {split: index.splits.get(split, ())}
    cases = itertools.chain.from_iterable(sides.values())
    return patient_names(index.spec["name"], ((one.case, one.patient) for one in cases))


def _require_recipe(cache: Path, recipe: PreprocessRecipe) -> None:
    """Refuse a cache whose scans were preprocessed in another way."""
    found = read_index(cache).preprocess
    if found != recipe.to_dict():
        raise UsageError(
            f"the cache {cache} was prepared with {found}, the recipe asks for "
            f"{recipe.to_dict()}: take another run folder, or the scans instead of their cache"
        )
