"""Pair the files of a prediction with those of a reference by name. Other files are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cmbnet.errors import InputRefused, UsageError
from cmbnet.evaluation.cohort.images import (
    NESTED,
    SUBJECT,
    cases_of,
    find_images,
    is_bids_tree,
    nested_images,
    scan_entities,
)
from cmbnet.evaluation.cohort.manifest import Manifest
from cmbnet.volume import Volume

Value = TypeVar("Value")

ReadReference = Callable[[], tuple[Volume, Volume]]
"""Returns the instance labels of a case, and the mask of the region where nothing counts."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The truth of a case, as `CaseFiles.truth`, and its patient. Empty if it is not known."""

    truth: Path | ReadReference
    patient: str = ""


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """The files of one case."""

    name: str  # Name of the case
    # Reference mask or instance labels, or a function that reads them and the region to ignore.
    truth: Path | ReadReference
    # Predicted mask or instance labels. None if it is missing or a probability map replaces it.
    predicted: Path | None
    probability: Path | None = None  # Probability map
    ignore: Path | None = None  # Mask of the region where nothing counts
    brain: Path | None = None  # Brain mask
    regions: Path | None = None  # Region labels
    # ``lesions.csv`` of ``cmbnet predict``, with the scores of the lesions.
    lesion_table: Path | None = None
    # ``result.json`` of ``cmbnet predict``, with the origin of the prediction.
    result: Path | None = None
    patient: str = ""  # Name of the patient
    strata: Mapping[str, str] = field(default_factory=dict)  # Properties of the scan
    # Region of each true lesion. None without a table of them.
    lesion_regions: Mapping[int, str] | None = None
    missing: bool = False  # Whether the prediction is missing and counts as empty


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders from which a cohort is read.

    Without predictions, probabilities are thresholded. The other folders may be absent. The truth
    may be given case by case.
    """

    truth: Path | Mapping[str, Reference]
    predicted: Path | None = None
    probability: Path | None = None
    ignore: Path | None = None
    brain: Path | None = None
    regions: Path | None = None


def pair_files(
    folders: Folders,
    manifest: Manifest | None = None,
    lesion_regions: Mapping[str, Mapping[int, str]] | None = None,
    *,
    allow_missing: bool,
) -> list[CaseFiles]:
    """Pair predictions with references by name.

    The manifest must name exactly the reference cases. Cases that `lesion_regions`, from
    `read_lesion_regions`, does not name have no lesion. With `allow_missing`, a missing prediction
    counts as empty, and one without a reference is left out.

    Raises:
        InputRefused: If names differ. It lists all of them.
    """
    truth, predicted, probability = _named_alike(folders)
    _check_names(truth, predicted or probability, folders, allow_missing=allow_missing)
    if predicted and probability and not allow_missing:
        _check_probabilities(truth, probability)
    _check_tables(truth, manifest, lesion_regions)
    patients = _patients(truth, manifest)
    ignore, brain, regions = (
        {} if folder is None else find_images(folder, (kind, "mask"))
        for kind, folder in (
            ("ignore", folders.ignore),
            ("brain", folders.brain),
            ("regions", folders.regions),
        )
    )
    return [
        CaseFiles(
            name=name,
            truth=reference.truth,
            predicted=predicted.get(name),
            probability=probability.get(name),
            ignore=_required(ignore, name, folders.ignore),
            brain=_required(brain, name, folders.brain),
            regions=_required(regions, name, folders.regions),
            lesion_table=_beside(predicted.get(name), "lesions.csv", ("lesions",)),
            result=_beside(predicted.get(name) or probability.get(name), "result.json", NESTED),
            patient=patients[name],
            strata={} if manifest is None or (row := manifest.row(name)) is None else row.strata,
            lesion_regions=None if lesion_regions is None else lesion_regions.get(name, {}),
            missing=name not in predicted and name not in probability,
        )
        for name, reference in truth.items()
    ]


_Images = dict[str, Path]


def _named_alike(folders: Folders) -> tuple[dict[str, Reference], _Images, _Images]:
    """Return truth, predictions and probabilities by case. BIDS pairs them by their entities."""
    given = folders.truth
    predicted = {} if folders.predicted is None else find_images(folders.predicted)
    probability = _probabilities(folders)
    if isinstance(given, Path):
        truth = {name: Reference(path) for name, path in find_images(given).items()}
    else:
        truth = dict(given)
    trees = [one for one in (given, folders.predicted) if isinstance(one, Path)]
    if not any(map(is_bids_tree, trees)):
        return truth, predicted, probability
    return _by_scan(truth), _by_scan(predicted), _by_scan(probability)


def _by_scan(named: Mapping[str, Value]) -> dict[str, Value]:
    keyed = {scan_entities(name): one for name, one in named.items()}
    if len(keyed) < len(named):
        raise InputRefused(f"names that tell scans apart are required, got {', '.join(named)}")
    return keyed


def _probabilities(folders: Folders) -> dict[str, Path]:
    if folders.probability is not None:
        return find_images(folders.probability, ("probability",))
    if folders.predicted is None:
        raise UsageError("a folder of predictions or of probabilities is required, got neither")
    return nested_images(cases_of(folders.predicted), ("probability",))


def _required(images: Mapping[str, Path], name: str, folder: Path | None) -> Path | None:
    if folder is None or (name not in images and is_bids_tree(folder)):
        return None
    if name not in images:
        raise InputRefused(f"case {name} has no image in {folder}")
    return images[name]


def _beside(image: Path | None, name: str, images: Sequence[str]) -> Path | None:
    """Return a file beside an image, if the image lies in a case's folder."""
    if image is None or image.name.split(".")[0] not in images:
        return None
    path = image.parent / name
    return path if path.is_file() else None


def _check_names(
    truth: Mapping[str, Reference],
    predicted: Mapping[str, Path],
    folders: Folders,
    *,
    allow_missing: bool,
) -> None:
    if allow_missing and truth.keys() & predicted.keys():
        return
    missing, extra = truth.keys() - predicted.keys(), predicted.keys() - truth.keys()
    if missing or extra:
        raise InputRefused(
            f"{folders.predicted or folders.probability} and {_shown(folders.truth)} "
            "must hold the same cases; "
            f"without a prediction: {_list(missing)}; without a reference: {_list(extra)}. "
            "they may be missing where a missing prediction is to count as empty",
            argument="allow_missing",
        )


def _shown(truth: Path | Mapping[str, Reference]) -> str:
    return str(truth) if isinstance(truth, Path) else "the reference"


def _check_probabilities(truth: Mapping[str, Reference], probability: Mapping[str, Path]) -> None:
    without = truth.keys() - probability.keys()
    if without:
        raise InputRefused(
            f"probability maps are required of all cases or of none, got none of {_list(without)}: "
            "there would be no curve. They may be missing where no curve is wanted",
            argument="allow_missing",
        )


def _check_tables(
    truth: Mapping[str, Reference],
    manifest: Manifest | None,
    lesion_regions: Mapping[str, Mapping[int, str]] | None,
) -> None:
    strangers = (lesion_regions or {}).keys() - truth.keys()
    if strangers:
        raise InputRefused(
            f"the table of true lesions names cases without a reference: {_list(strangers)}"
        )
    if manifest is None:
        return
    absent = {name for name in truth if manifest.row(name) is None}
    unknown = set() if manifest.of_subjects else manifest.rows.keys() - truth.keys()
    if absent or unknown:
        raise InputRefused(
            f"manifest and reference must name the same cases; not in the manifest: "
            f"{_list(absent)}; without a reference: {_list(unknown)}"
        )


def _patients(truth: Mapping[str, Reference], manifest: Manifest | None) -> dict[str, str]:
    """Return the patient of each case, or ""."""
    first: dict[str, str] = {}
    patients: dict[str, str] = {}
    for name, reference in truth.items():
        row = None if manifest is None else manifest.row(name)
        patients[name] = reference.patient if row is None else row.patient
        subject = SUBJECT.search(name)
        if subject is None or reference.patient or (row is not None and row.patient_is_stated):
            continue
        other = first.setdefault(subject[1], name)
        if other != name:
            raise InputRefused(
                f"{other} and {name} look like scans of one patient, {subject[1]}, and would "
                "count as two: name the patients in the column patient of the manifest, and allow "
                "that they repeat where the scans of each are to be pooled",
                argument="repeated_patients",
            )
    return patients


def _list(names: Set[str]) -> str:
    shown = ", ".join(sorted(names)[:10]) or "none"
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
