"""Pair the files of a prediction with those of a reference by name. Other files are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from cmbnet.errors import InputRefused, UnreadableFile, UsageError, printable
from cmbnet.io.scan import nifti_stem
from cmbnet.io.table import read_rows

SUFFIXES = (".nii.gz", ".nii")
SUBJECT = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)(?=_|$)")
"""The subject in a BIDS name."""
MASKS = ("lesions", "mask")
NESTED = (*MASKS, "probability")
"""Images in a case's folder of ``cmbnet predict``."""
USUAL_STRATA = ("field_t", "protocol", "vendor", "anatomy")
"""Columns of a manifest that always become strata."""


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """The files of one case."""

    name: str  # Name of the case
    truth: Path  # Reference mask or instance labels
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

    Without predictions, probabilities are thresholded. The other folders may be absent.
    """

    truth: Path
    predicted: Path | None = None
    probability: Path | None = None
    ignore: Path | None = None
    brain: Path | None = None
    regions: Path | None = None


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A row of a manifest. Without a column ``patient``, each case is a separate patient."""

    patient: str
    strata: Mapping[str, str]
    patient_is_stated: bool = True


def find_images(folder: Path, names: Sequence[str] = MASKS) -> dict[str, Path]:
    """Find the images of a flat folder, or of the output folder of ``cmbnet predict``, by case.

    Args:
        folder: Folder of ``<case>.nii.gz`` (or ``.nii``), or of ``<case>/<name>.nii.gz``.
        names: Names of the image in a case's folder. The first that exists is taken.

    Raises:
        InputRefused: If it is not a folder, a case occurs twice, or there is no image.
    """
    if not folder.is_dir():
        raise InputRefused(f"a folder of NIfTI files is required, got {folder}")
    images = nested_images(folder, names)
    for path in sorted(folder.iterdir()):
        name = nifti_stem(printable(path.name))
        if name is None or path.is_dir() or path.name.startswith("."):
            continue
        if name in images:
            raise InputRefused(f"case {name} occurs twice: {images[name]} and {path}")
        images[name] = path
    if not images:
        raise InputRefused(
            f"no images in {folder}: <case>.nii.gz or <case>/{names[0]}.nii.gz is required"
        )
    return dict(sorted(images.items()))


def nested_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the images ``<case>/<name>.nii.gz`` by case, with the first of `names` that exists."""
    found: dict[str, Path] = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        candidates = [case / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
        image = next((one for one in candidates if one.is_file()), None)
        if image is not None:
            found[printable(case.name)] = image
    return found


def read_manifest(
    path: Path, strata: Sequence[str] = (), *, repeated: bool = False
) -> dict[str, ManifestRow]:
    """Read a CSV of cases.

    Args:
        path: A CSV with a column ``case`` and, if patients were scanned twice, ``patient``.
        strata: Columns that become strata. A missing column is refused. Columns of
            `USUAL_STRATA` are added if they exist.
        repeated: Whether a patient may have several scans.

    Raises:
        UnreadableFile: If the file is not a CSV with these columns.
        InputRefused: If a case occurs twice, or a patient does and `repeated` is False.
    """
    rows = read_rows(path, "cases", dict)
    columns = set(rows[0]) if rows else set()
    absent = [name for name in ("case", *strata) if name not in columns]
    if absent:
        raise UnreadableFile(f"the manifest {path} needs the columns {', '.join(absent)}")
    chosen = [*strata, *(name for name in USUAL_STRATA if name in columns - set(strata))]
    manifest: dict[str, ManifestRow] = {}
    patients: dict[str, str] = {}
    for row in rows:
        case, patient = row["case"], row.get("patient") or row["case"]
        if case in manifest:
            raise InputRefused(f"case {case} occurs twice in {path}")
        if patient in patients and not repeated:
            raise InputRefused(
                f"patient {patient} occurs twice in {path}, as {patients[patient]} and {case}; "
                "allow that patients repeat if these are scans of one person, to be pooled",
                argument="repeated_patients",
            )
        patients[patient] = case
        strata_of_case = {name: row[name] for name in chosen}
        manifest[case] = ManifestRow(patient, strata_of_case, bool(row.get("patient")))
    return manifest


def read_lesion_regions(path: Path) -> dict[str, dict[int, str]]:
    """Read the region of each true lesion from a CSV with the columns case, lesion, region.

    ``lesions.csv`` of a phantom cohort is such a file. Rows of lesion 0 (not in the reference) are
    skipped.

    Returns:
        The regions, as case -> instance label -> region.

    Raises:
        UnreadableFile: If the file is not such a table.
        InputRefused: If a lesion occurs twice or has no region.
    """
    regions: dict[str, dict[int, str]] = {}
    for case, lesion, region in read_rows(
        path,
        "columns case, lesion (a number) and region",
        lambda row: (row["case"], int(row["lesion"]), row["region"]),
    ):
        own = regions.setdefault(case, {})
        if lesion == 0:
            continue
        if lesion in own or not region:
            raise InputRefused(f"lesion {lesion} of case {case} needs one region in {path}")
        own[lesion] = region
    return regions


def pair_files(
    folders: Folders,
    manifest: Mapping[str, ManifestRow] | None = None,
    lesion_regions: Mapping[str, Mapping[int, str]] | None = None,
    *,
    allow_missing: bool,
) -> list[CaseFiles]:
    """Pair predictions with references by name.

    Args:
        folders: The folders of the images.
        manifest: The manifest of the cases. It must name exactly the reference cases.
        lesion_regions: Result of `read_lesion_regions`. Cases that it does not name have no lesion.
        allow_missing: Whether a missing prediction counts as empty, and a prediction without a
            reference is left out.

    Raises:
        InputRefused: If names differ. It lists all of them.
    """
    truth = find_images(folders.truth)
    predicted = {} if folders.predicted is None else find_images(folders.predicted)
    probability = _probabilities(folders)
    _check_names(truth, predicted or probability, folders, allow_missing=allow_missing)
    if predicted and probability and not allow_missing:
        _check_probabilities(truth, probability)
    _check_tables(truth, manifest, lesion_regions)
    _check_sessions(list(truth), manifest)
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
            truth=path,
            predicted=predicted.get(name),
            probability=probability.get(name),
            ignore=_required(ignore, name, folders.ignore),
            brain=_required(brain, name, folders.brain),
            regions=_required(regions, name, folders.regions),
            lesion_table=_beside(predicted.get(name), "lesions.csv", ("lesions",)),
            result=_beside(predicted.get(name) or probability.get(name), "result.json", NESTED),
            patient="" if manifest is None else manifest[name].patient,
            strata={} if manifest is None else manifest[name].strata,
            lesion_regions=None if lesion_regions is None else lesion_regions.get(name, {}),
            missing=name not in predicted and name not in probability,
        )
        for name, path in truth.items()
    ]


def _probabilities(folders: Folders) -> dict[str, Path]:
    if folders.probability is not None:
        return find_images(folders.probability, ("probability",))
    if folders.predicted is None:
        raise UsageError("a folder of predictions or of probabilities is required, got neither")
    return nested_images(folders.predicted, ("probability",))


def _required(images: Mapping[str, Path], name: str, folder: Path | None) -> Path | None:
    if folder is None:
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
    truth: Mapping[str, Path],
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
            f"{folders.predicted or folders.probability} and {folders.truth} "
            "must hold the same cases; "
            f"without a prediction: {_list(missing)}; without a reference: {_list(extra)}. "
            "they may be missing where a missing prediction is to count as empty",
            argument="allow_missing",
        )


def _check_probabilities(truth: Mapping[str, Path], probability: Mapping[str, Path]) -> None:
    without = truth.keys() - probability.keys()
    if without:
        raise InputRefused(
            f"probability maps are required of all cases or of none, got none of {_list(without)}: "
            "there would be no curve. They may be missing where no curve is wanted",
            argument="allow_missing",
        )


def _check_tables(
    truth: Mapping[str, Path],
    manifest: Mapping[str, ManifestRow] | None,
    lesion_regions: Mapping[str, Mapping[int, str]] | None,
) -> None:
    strangers = (lesion_regions or {}).keys() - truth.keys()
    if strangers:
        raise InputRefused(
            f"the table of true lesions names cases without a reference: {_list(strangers)}"
        )
    known = truth if manifest is None else manifest
    absent, unknown = truth.keys() - known.keys(), known.keys() - truth.keys()
    if absent or unknown:
        raise InputRefused(
            f"manifest and reference must name the same cases; not in the manifest: "
            f"{_list(absent)}; without a reference: {_list(unknown)}"
        )


def _check_sessions(names: Sequence[str], manifest: Mapping[str, ManifestRow] | None) -> None:
    """Refuse sessions of one subject if no manifest says which patient they belong to."""
    first: dict[str, str] = {}
    for name in names:
        subject = SUBJECT.search(name)
        stated = manifest is not None and manifest[name].patient_is_stated
        if subject is None or stated:
            continue
        other = first.setdefault(subject[1], name)
        if other != name:
            raise InputRefused(
                f"{other} and {name} look like scans of one patient, {subject[1]}, and would "
                "count as two: name the patients in the column patient of the manifest, and allow "
                "that they repeat where the scans of each are to be pooled",
                argument="repeated_patients",
            )


def _list(names: Set[str]) -> str:
    shown = ", ".join(sorted(names)[:10]) or "none"
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
