"""How a model does at home and on heads of another simulator, side by side, with its errors.

    python -m benchmarks.transfer [MODEL] -o OUT home=COHORT rival=COHORT rival=COHORT ...

A cohort is a folder of `cmbnet phantom` (``images/ lesions/ ignore/``), or of a simulator that
writes ``images/NAME_swi.nii.gz``, ``labels/NAME_cmb.nii.gz`` and ``labels/NAME_ignore.nii.gz``.
Cohorts of the same name are scored together. Every scan goes through ``cmbnet predict`` with the
bundle's own operating point, and every figure comes from `cmbnet.evaluation`; a refused scan
counts as one without a lesion, and is counted in a column of its own. Slices of 3 mm and more, as
2D acquisitions have them, get a row of their own.

OUT gets ``table.md``, for each name ``scores.json``, ``errors.csv`` and ``errors.png``: every
false lesion and every missed one, in the slice and across the slices. Predictions stay in
OUT/NAME/predicted; what is finished is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.evaluation import Case, CohortScores, ScoredCase, Settings, score_case, summarise
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.io import read_nifti
from cmbnet.volume import Volume

SETTINGS = Settings(size_rule="ignore")
PICTURES = 60
REACH_MM = 14.0
THICK_MM = 3.0


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan with its truth.

    Args:
        name: Of the case, unlike any other of its cohorts.
        image: The file.
        truth: Labels of its microbleeds.
        ignore: Where nothing is counted, or None.
    """

    name: str
    image: Path
    truth: Path
    ignore: Path | None


@dataclass(frozen=True, slots=True)
class Error:
    """A false or a missed lesion.

    Args:
        kind: "false" or "missed".
        case: Its scan.
        diameter_mm: Longest in a slice.
        across_mm: Across the slices.
        score: Of a false one; of a missed one that of the best candidate in it, 0 if none.
        place: Mean voxel (z, y, x).
        reason: Why the best candidate in a missed one was excluded.
    """

    kind: str
    case: str
    diameter_mm: float
    across_mm: float
    score: float
    place: tuple[int, int, int]
    reason: str = ""


def scans_of(folder: Path, prefix: str) -> list[Scan]:
    """The scans of a cohort of either layout.

    Raises:
        SystemExit: If it has neither.
    """
    images = sorted((folder / "images").glob("*.nii*"))
    if (folder / "lesions").is_dir():
        found = [
            Scan(f"{prefix}{_stem(file)}", file, folder / "lesions" / file.name,
                 _existing(folder / "ignore" / file.name))
            for file in images
        ]  # fmt: skip
    else:
        stems = [(file, _stem(file).removesuffix("_swi")) for file in images]
        found = [
            Scan(f"{prefix}{stem}", file, folder / f"labels/{stem}_cmb.nii.gz",
                 _existing(folder / f"labels/{stem}_ignore.nii.gz"))
            for file, stem in stems
        ]  # fmt: skip
    if not found or not all(scan.truth.is_file() for scan in found):
        raise SystemExit(f"images with lesions/ or labels/ are required in {folder}")
    return found


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".nii")


def _existing(file: Path) -> Path | None:
    return file if file.is_file() else None


def predict(scans: Sequence[Scan], model: str, folder: Path, jobs: int) -> None:
    """Run ``cmbnet predict`` over scans: links give every case its name."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        link = images / f"{scan.name}.nii{'.gz' if scan.image.suffix == '.gz' else ''}"
        if not link.is_symlink():
            link.symlink_to(scan.image.resolve())
    command = [sys.executable, "-m", "cmbnet", "predict", str(images), "--model", model]
    done = subprocess.run(
        [*command, "-o", str(folder / "predicted"), "--jobs", str(jobs)],
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in (0, 3):  # 3: some were refused, which the table counts
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scan came to.

    Args:
        scored: Its lesions with their verdicts.
        errors: The false and the missed ones.
        refused: Whether the quality gate refused the scan.
        thick: Whether its slices are of `THICK_MM` and more.
    """

    scored: ScoredCase
    errors: list[Error]
    refused: bool
    thick: bool


def score(scans: Sequence[Scan], predicted: Path) -> Iterator[Answer]:
    """Score each scan."""
    for scan in scans:
        truth = read_nifti(scan.truth)
        answer = predicted / scan.name / "lesions.nii.gz"
        refused = not answer.is_file()
        found = truth.with_data(np.zeros(truth.shape, np.uint8)) if refused else read_nifti(answer)
        scored = score_case(
            Case(
                name=scan.name,
                truth=truth,
                predicted=found,
                ignore=None if scan.ignore is None else read_nifti(scan.ignore),
            ),
            SETTINGS,
        )
        candidates = [] if refused else _candidates(predicted / scan.name / "lesions.csv")
        errors = list(_errors(scored, truth, found, candidates))
        yield Answer(scored, errors, refused, truth.spacing_mm[0] > THICK_MM - 0.05)


def _candidates(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _errors(
    scored: ScoredCase, truth: Volume, found: Volume, candidates: list[dict[str, str]]
) -> Iterator[Error]:
    """False lesions, then missed ones."""
    scores = {int(row["id"]): float(row["score"]) for row in candidates}
    wrong = [(found, one, "false") for one in scored.predicted if one.verdict == "false"]
    wrong += [(truth, one, "missed") for one in scored.truth if one.verdict == "missed"]
    for volume, lesion, kind in wrong:
        at = np.argwhere(np.rint(volume.data) == lesion.label)
        across = (np.ptp(at[:, 0]) + 1) * volume.spacing_mm[0]
        z, y, x = np.rint(at.mean(axis=0)).astype(int).tolist()
        sure, reason = scores.get(lesion.label, 0.0), ""
        if kind == "missed":
            sure, reason = _best_inside(set(map(tuple, at.tolist())), candidates)
        yield Error(kind, scored.name, lesion.diameter_mm, float(across), sure, (z, y, x), reason)


def _best_inside(
    voxels: set[tuple[int, ...]], candidates: list[dict[str, str]]
) -> tuple[float, str]:
    """Score of the best candidate whose centre is one of the voxels, and why it is excluded."""
    inside = [
        (float(row["score"]), row["reason"] or "too little of it is covered")
        for row in candidates
        if (int(row["k"]), int(row["j"]), int(row["i"])) in voxels
    ]
    return max(inside, default=(0.0, "no candidate"))


COLUMNS = ("scans", "lesions", "precision", "recall", "F1", "false per control",
           "controls positive", "patients negative", "Dice", "refused")  # fmt: skip


def row(scores: CohortScores, refused: int) -> list[str]:
    """A row of the table: shares with Wilson's intervals, lesions taken as independent."""
    count = scores.counts
    patients, controls = (
        count["patient_tp"] + count["patient_fn"],
        count["patient_fp"] + count["patient_tn"],
    )
    control_names = {c.name for c in scores.cases if not any(_counts(t) for t in c.truth)}
    false = sum(
        one.verdict == "false"
        for case in scores.cases
        if case.name in control_names
        for one in case.predicted
    )
    return [
        f"{patients:.0f} + {controls:.0f}",
        f"{count['found'] + count['missed']:.0f}",
        _share(count["correct"], count["correct"] + count["false"]),
        _share(count["found"], count["found"] + count["missed"]),
        f"{scores.metrics['lesion_f1']:.3f}",
        f"{false / max(controls, 1):.2f}",
        _share(count["patient_fp"], controls),
        _share(count["patient_fn"], patients),
        f"{scores.metrics['dice']:.3f}",
        str(refused),
    ]


def _counts(lesion: Any) -> bool:
    return bool(lesion.verdict != "ignored")


def _share(part: float, whole: float) -> str:
    if not whole:
        return "-"
    interval = wilson(int(part), int(whole))
    return f"{part / whole:.3f} ({interval.low:.2f}-{interval.high:.2f})"


def draw(errors: Sequence[Error], scans: dict[str, Scan], title: str, path: Path) -> None:
    """A picture of each error, in the slice and across the slices, surest false ones first."""
    from matplotlib import pyplot as plt

    shown = errors[:PICTURES]
    columns = 6
    rows = max(1, -(-len(shown) // columns))
    figure, axes = plt.subplots(2 * rows, columns, figsize=(2 * columns, 4.4 * rows), squeeze=False)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[], frame_on=False)
    for number, error in enumerate(shown):
        block, column = divmod(number, columns)
        pair = axes[2 * block : 2 * block + 2, column]
        _draw_error(pair, error, read_nifti(scans[error.case].image))
    figure.suptitle(f"{title}: {len(shown)} of {len(errors)} errors. {RESEARCH_USE_ONLY}", size=9)
    figure.tight_layout(rect=(0, 0, 1, 0.99))
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _draw_error(axes: Any, error: Error, image: Volume) -> None:
    z, y, x = error.place
    dz, dy, dx = image.spacing_mm
    low, high = np.percentile(image.data[image.data > 0], [1, 99.5])
    planes = ((image.data[z], (y, x), (dy, dx)), (image.data[:, y], (z, x), (dz, dx)))
    for axis, (plane, (row_at, column_at), (row_mm, column_mm)) in zip(axes, planes, strict=True):
        axis.imshow(plane, cmap="gray", vmin=low, vmax=high, aspect=row_mm / column_mm)
        axis.set_xlim(column_at - REACH_MM / column_mm, column_at + REACH_MM / column_mm)
        axis.set_ylim(row_at - REACH_MM / row_mm, row_at + REACH_MM / row_mm)
    colour = "red" if error.kind == "false" else "blue"
    words = (
        f"{error.kind} {error.score:.2f}\n{error.diameter_mm:.1f} mm, {error.across_mm:.0f} across"
    )
    axes[0].set_title(words, fontsize=8, color=colour)
    axes[1].set_title(error.case, fontsize=6, pad=2)


def measure(
    name: str, cohorts: Sequence[Path], model: str, out: Path, jobs: int
) -> Iterator[list[str]]:
    """Predict and score the cohorts of a name; write its files and give its rows."""
    scans = [
        scan
        for folder in cohorts
        for scan in scans_of(folder, f"{folder.name}-" if len(cohorts) > 1 else "")
    ]
    folder = out / name
    predict(scans, model, folder, jobs)
    answers = list(score(scans, folder / "predicted"))
    yield [name, *_summary(answers, folder / "scores.json")]
    thick = [answer for answer in answers if answer.thick]
    if 0 < len(thick) < len(answers):
        words = f"{name}, slices of {THICK_MM:g} mm and more"
        yield [words, *_summary(thick, folder / "scores-thick.json")]
    errors = [error for answer in answers for error in answer.errors]
    errors.sort(key=lambda error: (error.kind, -error.score))
    with (folder / "errors.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, Error.__slots__)
        table.writeheader()
        table.writerows(map(asdict, errors))
    draw(errors, {scan.name: scan for scan in scans}, name, folder / "errors.png")


def _summary(answers: Sequence[Answer], file: Path) -> list[str]:
    """Write the scores of some scans, and give the cells of their row."""
    scores = summarise([answer.scored for answer in answers], SETTINGS)
    refused = sum(answer.refused for answer in answers)
    summary = {"counts": scores.counts, "metrics": scores.metrics, "refused": refused}
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return row(scores, refused)


def main() -> None:
    """Measure every cohort and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    # A model is no cohort: `NAME=FOLDER` tells them apart.
    known, rest = parser.parse_known_args()
    names = [known.model, *rest] if "=" in known.model else rest
    model = "default" if "=" in known.model else known.model
    cohorts: dict[str, list[Path]] = defaultdict(list)
    for given in names:
        name, _, folder = given.partition("=")
        cohorts[name].append(Path(folder))
    lines = [f"| cohort | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, folders in cohorts.items():
        for cells in measure(name, folders, model, known.out, known.jobs):
            lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines) + "\n"
    (known.out / "table.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
