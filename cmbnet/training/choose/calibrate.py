"""New operating points for a bundle from a few labelled scans of a site; the network stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cmbnet.backends import open_backend
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.bundle.manifest import MANIFEST_NAME, ChosenOn, Manifest
from cmbnet.data_kind import DataKind
from cmbnet.errors import UsageError
from cmbnet.io import write_bytes_atomically, write_text_atomically
from cmbnet.io.digest import content_sha256
from cmbnet.training.choose.candidates import OutlineRule, find_candidates
from cmbnet.training.choose.operating_points import OUTLINES, choose_operating_points
from cmbnet.training.choose.statement import calibrated
from cmbnet.training.data.cohort import list_cohort

FEW_SCANS = 20
"""With fewer scans of a kind than this, an interval spans most of what it could."""


def calibrate(
    bundle: Bundle,
    cohort: Path,
    folder: Path,
    *,
    data_kind: DataKind,
    backend: str = "auto",
    cohort_name: str = "",
    report: Callable[[str], None],
) -> Bundle:
    """Write a copy of a bundle whose operating points are chosen on other scans.

    Pixel threshold, lesion score and patient threshold move. The lesion rules stay as they are:
    a few scans would fit them to chance. A learned score belongs to the pixel threshold that it
    was learned at, so that one stays too where there is such a score.

    Args:
        bundle: The model; its files are copied byte by byte.
        cohort: Folder with ``images/``, ``lesions/`` and, if there is, ``ignore/``.
        folder: Of the new bundle; must not hold one.
        data_kind: What the scans are; stands in the bundle, whose statement is changed to hold.
        backend: Name of the runtime; thresholds hold for it and those that agree with it.
        cohort_name: What the scans are, for the manifest; the folder's name if empty.
        report: Receives what was found, line by line.

    Raises:
        UsageError: If the folder holds a bundle already.
        InputRefused: If no scan is analysable or none holds a lesion.
    """
    if (folder / MANIFEST_NAME).exists():
        raise UsageError(f"{folder} holds a bundle already: choose a new one", argument="output")
    name = cohort_name or cohort.resolve().name
    engine = open_backend(bundle, backend)
    try:
        candidates = find_candidates(
            [cohort], bundle, engine, outlines=_outlines(bundle), report=report
        )
    finally:
        engine.close()
    chosen = choose_operating_points(candidates, cohort=name, variants=[bundle.manifest.rules])
    for point in chosen.points:
        report(f"{point.name}: {point.model_dump_json(exclude={'name'})}")
    scans = len(next(iter(candidates.values())))
    measured = chosen.points[0].measured
    fewest = min(measured.n_positive, measured.n_negative) if measured else 0
    if fewest < FEW_SCANS:
        report(
            f"{scans} scans, {fewest} of the rarer kind: read the intervals, not the rates "
            f"({FEW_SCANS} scans with and {FEW_SCANS} without lesions make a start)"
        )
    hashes = tuple(content_sha256(case.image) for case in list_cohort(cohort))
    chosen_on = ChosenOn(data_kind=data_kind, scans=hashes)
    values = {key: getattr(bundle.manifest, key) for key in Manifest.model_fields}
    origin = {"calibrated_from_sha256": bundle.sha256, "calibrated_on": name}
    manifest = Manifest.model_validate(
        values
        | {
            "rules": chosen.rules,
            "training": calibrated(bundle.manifest.training, chosen_on, name),
            "operating_points": chosen.points,
            "default_operating_point": "balanced",
            "versions": bundle.manifest.versions | origin,
        }
    )
    return _write(bundle, manifest, folder)


def _outlines(bundle: Bundle) -> tuple[OutlineRule, ...]:
    """Those that may be chosen; how much of a candidate is its outline is a lesion rule."""
    rules = bundle.manifest.rules
    thresholds = {outline.pixel_threshold for outline in OUTLINES}
    if rules.evidence is not None:
        thresholds = {point.pixel_threshold for point in bundle.manifest.operating_points}
    return tuple(OutlineRule(threshold, rules.outline_share) for threshold in sorted(thresholds))


def _write(bundle: Bundle, manifest: Manifest, folder: Path) -> Bundle:
    """Copy the files of a bundle beside another manifest, which comes last."""
    for artefact in bundle.manifest.artefacts:
        for entry in (artefact, *artefact.companions):
            write_bytes_atomically(folder / entry.file, bundle.read(entry))
    write_text_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
    return load_bundle(folder)
