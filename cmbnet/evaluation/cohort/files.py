"""Pair the files of a prediction with those of a reference by name. Other files are refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cmbnet.errors import InputRefused, UnreadableFile, UsageError, printable
from cmbnet.io.scan import nifti_stem
from cmbnet.io.table import read_rows
from cmbnet.volume import Volume

Value = TypeVar("Value")

SUFFIXES = (".nii.gz", ".nii")
SUBJECT = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)(?=_|$)")
"""The subject in a BIDS name."""
_NOT_OF_THE_SCAN = ("space-", "res-", "label-", "desc-", "part-")
"""Entities of a BIDS name that say what was made of a scan, and not of which one."""
MASKS = ("lesions", "mask")
NESTED = (*MASKS, "probability")
"""Images in a case's folder of ``cmbnet predict``."""
USUAL_STRATA = ("field_t", "protocol", "vendor", "anatomy")
"""Columns of a manifest that always become strata."""


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


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A row of a manifest. Without a column ``patient``, each case is a separate patient."""

    patient: str
    strata: Mapping[str, str]
    patient_is_stated: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of the cases, or of the subjects in the names of BIDS files."""

    rows: Mapping[str, ManifestRow]  # Case, or subject as ``sub-01`` -> its row
    of_subjects: bool = False

    def row(self, case: str) -> ManifestRow | None:
        """Return the row of a case, or None if there is none."""
        if not self.of_subjects:
            return self.rows.get(case)
        subject = SUBJECT.search(case)
        return None if subject is None else self.rows.get(subject[1])


def find_images(folder: Path, names: Sequence[str] = MASKS) -> dict[str, Path]:
    """Find the images of a folder by case.

    Args:
        folder: Folder of ``<case>.nii.gz`` (or ``.nii``), of ``<case>/<name>.nii.gz`` as ``cmbnet
            predict`` writes, the output of ``cmbnet bids``, or other BIDS derivatives. Of those,
            cases have the entities of the scan as their name.
        names: Names of the image in a case's folder. The first that exists is taken.

    Raises:
        InputRefused: If it is not a folder, a case occurs twice, or there is no image.
    """
    if not folder.is_dir():
        raise InputRefused(f"a folder of NIfTI files is required, got {folder}")
    folder = _cases_of(folder)
    if is_bids_tree(folder):
        return _bids_images(folder, names)
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


def _cases_of(folder: Path) -> Path:
    """Return the folder of the cases, which ``cmbnet bids`` has in its output folder."""
    return folder / "cases" if (folder / "cases").is_dir() else folder


def is_bids_tree(folder: Path) -> bool:
    """Return whether a folder holds subjects of BIDS, and no cases."""
    inner = ("sub-*/anat", "sub-*/swi", "sub-*/ses-*")
    return _cases_of(folder) == folder and any(any(folder.glob(one)) for one in inner)


def scan_entities(name: str) -> str:
    """Return the part of a BIDS name that says of which scan an image is. Other names stay.

    Examples:
        >>> scan_entities("sub-01_ses-a_acq-SWI_space-orig_label-CMB_desc-x_mask")
        'sub-01_ses-a_acq-SWI'
        >>> scan_entities("case-7_mask")
        'case-7_mask'
    """
    if not name.startswith("sub-"):
        return name
    pieces = [one for one in name.split("_") if "-" in one]
    return "_".join(one for one in pieces if not one.startswith(_NOT_OF_THE_SCAN))


def _bids_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the images of BIDS derivatives by the entities of their scans.

    Masks and labels of microbleeds have ``label-CMB``. Regions to ignore have
    ``label-uncertain``.
    """
    label = "label-uncertain" if "ignore" in names else "label-CMB"
    images: dict[str, Path] = {}
    for path in sorted((*folder.glob("sub-*/*/*.nii*"), *folder.glob("sub-*/ses-*/*/*.nii*"))):
        *entities, suffix = (nifti_stem(path.name) or "").split("_")
        if suffix not in ("mask", "dseg") or label.lower() not in map(str.lower, entities):
            continue
        name = scan_entities("_".join([*entities, suffix]))
        if name in images:
            raise InputRefused(f"case {name} occurs twice: {images[name]} and {path}")
        images[name] = path
    if not images:
        raise InputRefused(
            f"no images in {folder}: sub-<label>/.../sub-*_{label}_*mask.nii.gz is required"
        )
    return images


def nested_images(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the images ``<case>/<name>.nii.gz`` by case, with the first of `names` that exists."""
    found: dict[str, Path] = {}
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        candidates = [case / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
        image = next((one for one in candidates if one.is_file()), None)
        if image is not None:
            found[printable(case.name)] = image
    return found


def read_manifest(path: Path, strata: Sequence[str] = (), *, repeated: bool = False) -> Manifest:
    """Read a table of cases, or the ``participants.tsv`` of BIDS.

    Args:
        path: A CSV with a column ``case`` and, if patients were scanned twice, ``patient``; or a
            TSV with a column ``participant_id``. Its subjects may have several scans.
        strata: Columns that become strata. A missing column is refused. Columns of
            `USUAL_STRATA` are added if they exist.
        repeated: Whether a patient may have several scans.

    Raises:
        UnreadableFile: If the file is not a CSV with these columns.
        InputRefused: If a case occurs twice, or a patient does and `repeated` is False.
    """
    rows = read_rows(path, "cases", dict)
    columns = set(rows[0]) if rows else set()
    of_subjects = "participant_id" in columns and "case" not in columns
    needed = strata if of_subjects else ("case", *strata)
    absent = [name for name in needed if name not in columns]
    if absent:
        raise UnreadableFile(f"the manifest {path} needs the columns {', '.join(absent)}")
    chosen = [*strata, *(name for name in USUAL_STRATA if name in columns - set(strata))]
    manifest: dict[str, ManifestRow] = {}
    patients: dict[str, str] = {}
    for row in rows:
        case = row["participant_id"] if of_subjects else row["case"]
        patient = case if of_subjects else row.get("patient") or case
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
        stated = of_subjects or bool(row.get("patient"))
        manifest[case] = ManifestRow(patient, strata_of_case, stated)
    return Manifest(manifest, of_subjects)


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
    manifest: Manifest | None = None,
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
    return nested_images(_cases_of(folders.predicted), ("probability",))


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
    """Return the patient of each case, or "".

    Raises:
        InputRefused: If cases look like sessions of one subject, and nothing says whose they are.
    """
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
