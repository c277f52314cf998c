"""Read the images of a case, and score many cases in parallel."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.evaluation.cohort.files import CaseFiles
from cmbnet.evaluation.match.candidates import Candidate
from cmbnet.evaluation.match.case import Case, Settings
from cmbnet.evaluation.match.score import ScoredCase, score_case
from cmbnet.io import read_nifti
from cmbnet.volume import Volume
from cmbnet.workers import start_workers


def load_case(files: CaseFiles) -> Case:
    """Read all images of a case.

    Raises:
        UnreadableFile: If one of them cannot be read.
        InputRefused: If one of them holds NaN or infinite values.
    """
    if isinstance(files.truth, Path):
        truth, ignore = read_labels_file(files.truth), _maybe(files.ignore)
    else:
        truth, ignore = files.truth()
    predicted = None if files.predicted is None else read_labels_file(files.predicted)
    notes: tuple[str, ...] = ()
    if files.missing:
        predicted = truth.with_data(np.zeros(truth.shape, np.uint8))
        notes = ("prediction missing, counted as empty",)
    table = None if files.lesion_table is None else read_lesion_table(files.lesion_table)
    return Case(
        name=files.name,
        truth=truth,
        predicted=predicted,
        probability=_maybe(files.probability),
        ignore=ignore,
        brain=_maybe(files.brain),
        regions=_maybe(files.regions),
        patient=files.patient,
        strata=files.strata,
        lesion_regions=files.lesion_regions,
        predicted_regions=None if table is None else table.regions,
        lesion_scores={} if table is None else table.scores,
        candidates=None if table is None else table.candidates,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class LesionTable:
    """A ``lesions.csv`` of ``cmbnet predict``."""

    scores: dict[int, float]  # Score of each lesion, by label
    # Candidates that were excluded by their score. None if the table has only lesions.
    candidates: tuple[Candidate, ...] | None
    # Region of each lesion and candidate, by label. None if the table has no column of them.
    regions: dict[int, str] | None = None


def read_lesion_table(path: Path) -> LesionTable:
    """Read the scores of lesions and of candidates that were excluded by their score.

    Raises:
        UnreadableFile: If the table has no column ``id``, has neither ``score`` nor
            ``mean_probability``, or lacks place or volume of an excluded candidate.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows, columns = list(reader), reader.fieldnames or ()
        scores = {int(row["id"]): _score(row) for row in rows
                  if row.get("status", "lesion") == "lesion"}  # fmt: skip
        by_score = [row for row in rows if row.get("removed_by") == "score"]
        candidates = tuple(_candidate(row) for row in by_score)
        known = {int(row["id"]): row["region"] for row in rows} if "region" in columns else None
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise UnreadableFile(
            f"columns id and score (or mean_probability) of numbers are required in {path}: "
            f"{error!r}"
        ) from error
    return LesionTable(scores, candidates if "removed_by" in columns else None, known)


def _score(row: dict[str, str]) -> float:
    return float(row.get("score") or row["mean_probability"])


def _candidate(row: dict[str, str]) -> Candidate:
    right, anterior, superior = (float(row[f"{a}_mm"]) for a in ("right", "anterior", "superior"))
    return Candidate(
        label=int(row["id"]),
        centre_ras_mm=(right, anterior, superior),
        volume_mm3=float(row["volume_mm3"]),
        score=_score(row),
        mean_probability=float(row["mean_probability"]),
        max_probability=float(row["max_probability"]),
    )


def score_many(
    files: Sequence[CaseFiles], settings: Settings, *, jobs: int
) -> Iterator[ScoredCase]:
    """Score cases in several processes, or in this one if `jobs` is 1, and yield them in order."""
    score = partial(_score_files, settings)
    if jobs <= 1 or len(files) < 2:
        yield from map(score, files)
        return
    with start_workers(jobs) as pool:
        yield from pool.map(score, files, chunksize=4)


def _score_files(settings: Settings, files: CaseFiles) -> ScoredCase:
    return score_case(load_case(files), settings)


def _maybe(path: Path | None) -> Volume | None:
    return None if path is None else read_labels_file(path)


def read_labels_file(path: Path) -> Volume:
    """Read a mask, labels or probabilities.

    Raises:
        InputRefused: If the file has NaN or infinite values, which reading would make 0.
    """
    volume = read_nifti(path)
    changed = [note for note in volume.notes if "became 0" in note]
    if changed:
        raise InputRefused(f"finite values are required to score, got: {changed[0]}, in {path}")
    return volume
