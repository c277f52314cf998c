"""Read the masks of a reader study, or a table of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cmbnet.errors import InputRefused
from cmbnet.evaluation.cohort.images import MASKS, find_images
from cmbnet.evaluation.cohort.load import read_labels_file
from cmbnet.evaluation.match.labels import read_labels, scattered
from cmbnet.evaluation.readers.sites import ReadCase, find_sites
from cmbnet.evaluation.readers.study import LABELS
from cmbnet.io.table import read_rows

TRUTH = "truth"
"""Reader name under which a table gives the reviewed truth's labels of the system."""


def reader_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders of a folder, one per reader, by name.

    Raises:
        InputRefused: If there is no sub-folder.
    """
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    if not found:
        raise InputRefused(f"a folder per reader is required in {folder}, got none")
    return found


def read_masks(
    system: Path,
    readers: dict[str, Path],
    truth: Path | None = None,
    ignore: Path | None = None,
    *,
    report: Callable[[str], None],
) -> list[ReadCase]:
    """Read system, readers and truth of every case and collect the sites.

    Raises:
        InputRefused: If the folders hold different cases.
    """
    folders = {"the system": system, **readers, "the truth": truth}
    images = {who: find_images(one) for who, one in folders.items() if one is not None}
    if ignore is not None:
        images["the masks to ignore"] = find_images(ignore, ("ignore", *MASKS))
    wanted = images["the system"].keys()
    for who, found in images.items():
        if found.keys() != wanted:
            odd = ", ".join(sorted(found.keys() ^ wanted)[:10])
            raise InputRefused(
                f"system, readers and truth must hold the same cases; {who} and the system differ "
                f"in {odd}. A reader who changed nothing hands in the system's mask unchanged"
            )
    cases = []
    for case in sorted(wanted):
        read = {who: read_labels_file(found[case]) for who, found in images.items()}
        ignored = read.pop("the masks to ignore", None)
        for who, volume in read.items():
            for line in scattered(read_labels(volume), volume):
                report(f"warning: case {case}, {who}: {line}")
        marks = {who: read[who] for who in readers}
        cases.append(find_sites(case, read["the system"], marks, read.get("the truth"), ignored))
    return cases


def read_labels_table(path: Path) -> tuple[list[str], list[ReadCase]]:
    """Read a CSV with the columns reader, case, lesion, label.

    ``lesion`` names a site: a lesion of the system, or any name that the readers share for a lesion
    that the system missed. ``label`` is the reader's judgement of the system at this site:
    ``correct`` (there is a lesion), ``incorrect`` (there is none) or ``missed`` (the system lacks
    it). Every reader labels every lesion of the system. If a reader does not list a missed lesion,
    it is no lesion for that reader. A case without any site has a row with empty ``lesion`` and
    ``label``. The reader named ``truth`` is the reviewed truth.

    Returns:
        The names of the readers, and the cases.

    Raises:
        UnreadableFile: If the file is not such a table.
        InputRefused: If labels contradict each other or are incomplete.
    """
    rows = _rows(path)
    names = sorted({reader for reader, *_ in rows} - {TRUTH})
    raters = [*names, TRUTH] if any(reader == TRUTH for reader, *_ in rows) else names
    cases = sorted({case for _, case, *_ in rows})
    return names, [_case(case, rows, names, raters, path) for case in cases]


def _rows(path: Path) -> list[tuple[str, str, str, str]]:
    rows = read_rows(
        path,
        "columns reader, case, lesion, label",
        lambda row: (row["reader"], row["case"], row["lesion"], row["label"]),
    )
    for reader, case, lesion, label in rows:
        if bool(lesion) != bool(label) or (label and label not in LABELS):
            raise InputRefused(
                f"a label of {', '.join(LABELS)} is required for each lesion, got {label!r} for "
                f"lesion {lesion!r} of case {case} by {reader} in {path}"
            )
    if len({row[:3] for row in rows}) < len(rows):
        raise InputRefused(f"a reader labels a lesion twice in {path}")
    return rows


def _case(
    case: str,
    rows: Sequence[tuple[str, str, str, str]],
    names: Sequence[str],
    raters: Sequence[str],
    path: Path,
) -> ReadCase:
    given = {(reader, lesion): label for reader, at, lesion, label in rows if at == case and lesion}
    read = {reader for reader, at, *_ in rows if at == case}
    absent = sorted(set(raters) - read)
    if absent:
        raise InputRefused(f"case {case} was not read by {', '.join(absent)} in {path}")
    sites = sorted({lesion for _, lesion in given})
    system = np.array([_system_has(site, case, given, raters, path) for site in sites], bool)
    marks = np.array(
        [[given.get((rater, site)) in ("correct", "missed") for rater in raters] for site in sites],
        bool,
    ).reshape(len(sites), len(raters))
    truth = marks[:, len(names)] if len(raters) > len(names) else None
    return ReadCase(case, system, marks[:, : len(names)], truth)


def _system_has(
    site: str, case: str, given: dict[tuple[str, str], str], raters: Sequence[str], path: Path
) -> bool:
    labels = {rater: given.get((rater, site)) for rater in raters}
    has = {label != "missed" for label in labels.values() if label is not None}
    if len(has) > 1:
        raise InputRefused(
            f"lesion {site} of case {case} is missed by the system for one reader and not for "
            f"another in {path}: a missed lesion needs a name that no lesion of the system has"
        )
    without = [rater for rater, label in labels.items() if label is None]
    if has == {True} and without:
        raise InputRefused(
            f"lesion {site} of case {case} is the system's and has no label by "
            f"{', '.join(without)} in {path}"
        )
    return has == {True}
