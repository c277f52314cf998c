"""Scans with truth, in every form in which they are given: spec, cache, cohort folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import read_nifti
from cmbnet.training.data.cache_index import is_cache, locate, read_index
from cmbnet.training.data.cohort import FOLDER
from cmbnet.training.data.specs.discover import ScanCase, discover
from cmbnet.training.data.specs.labels import ScanLabels, read_labels
from cmbnet.training.data.specs.model import FoldSplit, OneSplit, ScanSpec
from cmbnet.volume import Volume


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scans with truth."""

    path: Path  # What the user gave
    cases: tuple[ScanCase, ...]  # The scans, by name
    patients: frozenset[str]  # Their patients; see `patient_names`
    # Name and image of each scan without a label, if no side is chosen
    unlabelled: tuple[tuple[str, Path], ...] = ()


def read_labelled(
    path: Path, root: Path | None = None, *, side: str | None = None, role: str | None = None
) -> Labelled:
    """Find the scans of a data spec, of a cache or one of its sides, or of a cohort folder.

    Args:
        path: Any of the three.
        root: Folder of the scans. A spec needs it. A cache knows where its scans were.
        side: Side of the split. None takes the folder of a side that `path` names, or else `role`.
        role: Side to take if there are several. None takes all.

    Raises:
        UnreadableFile: If files are missing.
        InputRefused: If a case is faulty.
        UsageError: If the spec is wrong or has no root, or there is no such side.
    """
    listed: dict[str, str] | None = None
    if is_spec(path):
        spec, root = load_with_root(path, root)
    elif is_cache(path):
        folder, named = locate(path)
        index, side = read_index(folder), side or named
        listed = {one.case: name for name, cases in index.splits.items() for one in cases}
        once = {"splits": OneSplit(by="none")}  # the cache knows the sides
        spec = ScanSpec.model_validate(index.spec).model_copy(update=once)
        root = _required(root or (Path(index.root) if index.root else None), path)
    else:
        spec, root = FOLDER, path
    found = discover(spec, root)
    wrong = [fault for fault in found.faults if fault.severity == "wrong"]
    if wrong and listed is None:
        error = UnreadableFile if spec is FOLDER else InputRefused
        raise error("; ".join(fault.message for fault in wrong))
    cases = found.cases if listed is None else _listed(found.cases, listed, root)
    chosen = _of_side(cases, side, role, path)
    return Labelled(
        path,
        chosen,
        frozenset(patient_names(spec.name, ((one.name, one.patient) for one in chosen))),
        tuple((name, image) for name, image, _ in found.unlabelled),
    )


def is_spec(path: Path) -> bool:
    """Return whether a path is a data spec by its name."""
    return path.suffix in (".yaml", ".yml") and path.is_file()


def load_with_root(path: Path, root: Path | None, fold: int | None = None) -> tuple[ScanSpec, Path]:
    """Read a spec of scans, with another fold of validation if that is given.

    Raises:
        UsageError: If the spec is wrong, has no root, or has no such fold.
    """
    from cmbnet.training.data.specs.load import load_scan_spec  # needs YAML

    spec = load_scan_spec(path)
    if fold is not None:
        splits = spec.splits
        if not isinstance(splits, FoldSplit) or not 1 <= fold <= splits.folds:
            raise UsageError(
                f"splits `by: folds` with {fold} folds or more are required in {path}",
                argument="fold",
            )
        splits = splits.model_copy(update={"fold": fold})
        spec = spec.model_copy(update={"splits": splits})
    return spec, _required(root, path)


def _required(root: Path | None, path: Path) -> Path:
    if root is None:
        what = "a data spec" if is_spec(path) else "a cache of an earlier version"
        raise UsageError(f"{path} is {what}: say where its scans lie", argument="root")
    return root


def _listed(cases: Iterable[ScanCase], listed: dict[str, str], root: Path) -> tuple[ScanCase, ...]:
    """Take the cases that a cache lists, each with its side."""
    found = {case.name: case for case in cases}
    missing = [name for name in listed if name not in found]
    if missing:
        raise UnreadableFile(
            f"the cache lists {len(missing)} cases that {root} has no more, such as {missing[0]}; "
            "say where they lie",
            argument="root",
        )
    return tuple(replace(found[name], split=side) for name, side in sorted(listed.items()))


def _of_side(
    cases: tuple[ScanCase, ...], side: str | None, role: str | None, path: Path
) -> tuple[ScanCase, ...]:
    sides = Counter(case.split for case in cases)
    wanted = side or (role if len(sides) > 1 else None)
    if wanted is None:
        return cases
    if wanted not in sides:
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(sides.items()))
        raise UsageError(f"a side of {path} is required: {counts}; got {wanted}", argument="side")
    return tuple(case for case in cases if case.split == wanted)


def read_truth(case: ScanCase) -> tuple[Volume, ScanLabels]:
    """Read a scan and its truth, both on the grid of the scan.

    Raises:
        CmbnetError: If a file cannot be read, or the grids differ.
    """
    image = read_nifti(case.image)
    return image, read_labels(case.label, case.ignore, image)


def read_reference(case: ScanCase) -> tuple[Volume, Volume]:
    """Read the instance labels of a scan, and the mask where nothing counts.

    Raises:
        CmbnetError: If a file cannot be read, or the grids differ.
    """
    image, labels = read_truth(case)
    return image.with_data(labels.instances), image.with_data(labels.uncertain)


def patient_names(data_set: str, cases: Iterable[tuple[str, str]]) -> set[str]:
    """Return the patients of cases, each with the name of its data set.

    Two data sets may number their patients alike. The patients of a folder without a spec are known
    only if a table names them. Phantoms have heads.
    """
    if data_set in (FOLDER.name, "phantom"):
        return {patient for case, patient in cases if patient != case}
    return {f"{patient} of {data_set}" for _, patient in cases}


def require_other_patients(learned: Iterable[str], judged: Iterable[str], where: str) -> None:
    """Refuse to judge a model on patients from whom it learned.

    `where` names both sides as the user gave them.

    Raises:
        UsageError: If a patient is on both sides.
    """
    both = sorted(set(learned) & set(judged))
    if both:
        raise UsageError(
            f"{where} share {len(both)} patients ({', '.join(both[:3])}): what is judged by must "
            "not be learned from; phantoms need another seed, whatever their protocols"
        )
