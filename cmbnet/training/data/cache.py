"""Preparation of a training cache: one HDF5 file per case and ``cache.json``.

Processes prepare cases and write each at once (`cache_part.py`). ``cache.json``, the list of all
cases, comes last. If the process is killed, the cache has no list, and every reader refuses it. The
same command then continues. It keeps a part if its files, the recipe and the rules of the labels
are unchanged (their hash is its key).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache_index import (
    FORMAT,
    INDEX,
    CacheIndex,
    IndexedCase,
    LeftOut,
    part_path,
    write_index,
)
from cmbnet.training.data.cache_part import (
    PartLabel,
    encode,
    hash_sources,
    part_key,
    read_label,
    write_part,
)
from cmbnet.training.data.cohort import FOLDER, read_case
from cmbnet.training.data.specs.check import CaseReport, check_together, report_case
from cmbnet.training.data.specs.discover import Discovery, ScanCase, discover
from cmbnet.training.data.specs.fault import Fault
from cmbnet.training.data.specs.load import spec_sha256
from cmbnet.training.data.specs.model import ScanSpec
from cmbnet.workers import done_by

FAULTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The result of a build."""

    cases: tuple[str, ...]  # Names of the cases in the cache, in order
    refused: tuple[tuple[str, str], ...]  # Name and reason of each case that was left out
    reports: tuple[CaseReport, ...]  # Reports of the cases in the cache
    kept: int  # Number of cases that were there already
    faults: tuple[Fault, ...]  # Faults of the check, including notes

    @property
    def wrong(self) -> int:
        """Number of faults that would make training wrong."""
        return sum(fault.severity == "wrong" for fault in self.faults)


@dataclass(frozen=True, slots=True)
class _Done:
    """The result of one case: a report, or the reason why there is none."""

    case: ScanCase
    key: str = ""
    report: CaseReport | None = None
    kept: bool = False
    reason: str = ""


def build_cache(
    cohort: Path, path: Path, *, recipe: PreprocessRecipe | None = None, jobs: int = 1
) -> BuildResult:
    """Prepare a cohort folder that has no spec. Unusable cases are left out and reported.

    The cohort has ``images/`` and ``lesions/``, and perhaps ``ignore/`` and ``mimics/``, each with
    one file per case that has its name. `path` is the folder of the cache.

    Raises:
        UnreadableFile: If there are no images, or an image has no label.
        InputRefused: If no case is left.
    """
    recipe = recipe or PreprocessRecipe()
    _require_none(discover(FOLDER, cohort).faults, UnreadableFile, cohort)
    return prepare_cache(FOLDER, cohort, path, recipe=recipe, jobs=jobs, leave_out=True)


def prepare_cache(
    spec: ScanSpec,
    root: Path,
    cache: Path,
    *,
    recipe: PreprocessRecipe,
    jobs: int = 1,
    leave_out: bool = False,
) -> BuildResult:
    """Prepare every case of a data set, or finish what an earlier run left.

    `leave_out` leaves out faulty cases and records why. Otherwise a faulty case ends the
    preparation.

    Raises:
        UnreadableFile: If the folder or a table is missing.
        InputRefused: If no case is left, or a case is faulty and may not be left out.
        CmbnetError: If the disk is full or a process was ended from outside.
    """
    found = discover(spec, root)
    if not leave_out:
        _require_none(found.faults, InputRefused, root)
    (cache / INDEX).unlink(missing_ok=True)
    done = sorted(_prepare_all(found, cache, recipe, jobs), key=lambda one: one.case.name)
    result = _judge(spec, found, done, leave_out=leave_out)
    _require_none(result.faults, InputRefused, root)
    if not result.cases:
        raise InputRefused(f"no case of {root} could be used: {list(result.refused[:3])}")
    index = _index(spec, root, recipe, found, done, result)
    _remove_others(cache, index)
    write_index(cache, index)
    return result


def reports_of(
    spec: ScanSpec, root: Path, *, recipe: PreprocessRecipe, jobs: int = 1
) -> BuildResult:
    """Check a data set as `prepare_cache` does, and write nothing."""
    found = discover(spec, root)
    done = sorted(_prepare_all(found, None, recipe, jobs), key=lambda one: one.case.name)
    return _judge(spec, found, done, leave_out=False)


def _judge(spec: ScanSpec, found: Discovery, done: list[_Done], *, leave_out: bool) -> BuildResult:
    """Combine the reports of all cases, and leave out faulty ones if that is wanted."""
    refused = {one.case.name: one.reason for one in done if one.report is None}
    faults = [*found.faults, *(Fault("unusable", "wrong", why, n) for n, why in refused.items())]
    faults += [fault for one in done if one.report for fault in one.report.faults]
    if leave_out:
        wrong = [fault for fault in faults if fault.severity == "wrong" and fault.case]
        refused |= {fault.case: fault.message for fault in wrong}
        faults = [fault for fault in faults if fault not in wrong]
    kept = [one for one in done if one.case.name not in refused]
    reports = tuple(one.report for one in kept if one.report is not None)
    faults += check_together(reports, spec.expected)
    return BuildResult(
        cases=tuple(report.name for report in reports),
        refused=tuple(sorted(refused.items())),
        reports=reports,
        kept=sum(one.kept for one in kept),
        faults=tuple(sorted(faults, key=lambda one: (one.severity == "note", one.code, one.case))),
    )


def _require_none(faults: tuple[Fault, ...], error: type[CmbnetError], root: Path) -> None:
    """Refuse to continue with faulty cases."""
    wrong = [fault for fault in faults if fault.severity == "wrong"]
    if wrong:
        shown = "; ".join(
            f"{fault.case}: {fault.message}" if fault.case else fault.message
            for fault in wrong[:FAULTS_SHOWN]
        )
        more = f"; and {len(wrong) - FAULTS_SHOWN} more" if len(wrong) > FAULTS_SHOWN else ""
        raise error(f"{root}: {shown}{more}")


def _prepare_all(
    found: Discovery, cache: Path | None, recipe: PreprocessRecipe, jobs: int
) -> Iterator[_Done]:
    """Yield the result of each case as it is finished."""
    from rich.progress import track

    word = "checking" if cache is None else "preparing"
    done = done_by(jobs, partial(_prepare, cache=cache, recipe=recipe), found.cases)
    try:
        yield from track(done, word, total=len(found.cases))
    except BrokenProcessPool as error:
        raise CmbnetError(
            "a process that prepared cases was ended from outside, most often for want of "
            "memory: repeat it with fewer at a time, it goes on where it stopped",
            argument="jobs",
        ) from error


def _prepare(case: ScanCase, cache: Path | None, recipe: PreprocessRecipe) -> _Done:
    """Prepare one case, or keep its part. Return the reason if it cannot be used."""
    try:
        if cache is None:
            return _Done(case, report=report_case(case, read_case(case, recipe)))
        sources = hash_sources(case)
        key = part_key(case, sources, recipe)
        path = part_path(cache, case.split, case.name)
        label = read_label(path)
        if label is not None and label.key == key:
            return _Done(case, key, label.report, kept=True)
        content = read_case(case, recipe)
    except CmbnetError as error:
        return _Done(case, reason=str(error))
    report = report_case(case, content)
    write_part(path, encode(case.name, content), PartLabel(key, sources, report))
    return _Done(case, key, report)


def _index(
    spec: ScanSpec,
    root: Path,
    recipe: PreprocessRecipe,
    found: Discovery,
    done: list[_Done],
    result: BuildResult,
) -> CacheIndex:
    """Make the list of the cases."""
    keys = {one.case.name: one.key for one in done}
    splits: dict[str, list[IndexedCase]] = {}
    for one in result.reports:
        entry = IndexedCase(
            case=one.name, patient=one.patient, key=keys[one.name], lesions=one.lesions
        )
        splits.setdefault(one.split, []).append(entry)
    description = root / "cohort.json"
    return CacheIndex(
        format=FORMAT,
        statement=RESEARCH_USE_ONLY,
        versions={
            "cmbnet": __version__,
            **{package: version(package) for package in ("numpy", "scipy", "h5py")},
        },
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec_sha256(spec),
        root=str(root.resolve()),
        description=(
            description.read_text(encoding="utf-8") if description.is_file() else spec.title
        ),
        preprocess=recipe.to_dict(),
        splits={name: tuple(cases) for name, cases in sorted(splits.items())},
        excluded=tuple(LeftOut(case=name, reason=why) for name, why in found.excluded),
        left_out=tuple(LeftOut(case=name, reason=why) for name, why in result.refused),
        notes=tuple(str(fault) for fault in result.faults),
    )


def _remove_others(cache: Path, index: CacheIndex) -> None:
    """Delete parts of cases that left the data set, and unfinished files."""
    listed = {
        part_path(cache, split, case.case)
        for split, cases in index.splits.items()
        for case in cases
    }
    for path in cache.glob("*/*.h5"):
        # A folder may hold other people's HDF5 files.
        if path not in listed and read_label(path) is not None:
            path.unlink()
    for split in index.splits:
        for path in (cache / split).glob(".*.h5.*.tmp"):
            path.unlink(missing_ok=True)


def report_line(target: Path, result: BuildResult, report: Callable[[str], None]) -> None:
    """Say what was built and what was left out."""
    kept = f", {result.kept} of them were there already" if result.kept else ""
    report(f"{target}: {len(result.cases)} cases prepared{kept}, {len(result.refused)} left out")
    for name, reason in result.refused:
        report(f"left out {name}: {reason}")
