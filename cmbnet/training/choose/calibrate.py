"""Choose new operating points for a bundle on a few labelled scans of a site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cmbnet.backends import open_backend
from cmbnet.bundle import Bundle
from cmbnet.bundle.manifest import MANIFEST_NAME, ChosenOn
from cmbnet.data_kind import DataKind
from cmbnet.deploy.bundles import changed_manifest, copy_bundle
from cmbnet.errors import UsageError
from cmbnet.io.digest import content_sha256
from cmbnet.training.choose.candidates import OutlineRule, find_candidates
from cmbnet.training.choose.operating_points import OUTLINES, choose_operating_points
from cmbnet.training.choose.statement import calibrated
from cmbnet.training.data.labelled import Labelled

FEW_SCANS = 20
"""With fewer scans of a kind, the intervals are too wide to mean much."""


def calibrate(
    bundle: Bundle,
    cohort: Labelled,
    folder: Path,
    *,
    data_kind: DataKind,
    backend: str = "auto",
    cohort_name: str = "",
    report: Callable[[str], None],
) -> Bundle:
    """Write a copy of a bundle whose operating points are chosen on other scans.

    Pixel threshold, lesion score and patient threshold may change. The lesion rules stay, because
    a few scans would fit them to chance. With a learned score the pixel threshold stays too,
    because the score was learned at it.
    The files of the model are copied byte by byte into a folder that must not hold a bundle. The
    new bundle records the kind of the scans, and its statement is changed. The thresholds hold for
    the backend and for runtimes that agree. Without a name, the cohort has that of its folder.

    Raises:
        UsageError: If the folder holds a bundle already.
        InputRefused: If no scan is analysable or none holds a lesion.
    """
    if (folder / MANIFEST_NAME).exists():
        raise UsageError(f"{folder} holds a bundle already: choose a new one", argument="output")
    name = cohort_name or cohort.path.resolve().stem
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
    hashes = tuple(content_sha256(case.image) for case in cohort.cases)
    chosen_on = ChosenOn(data_kind=data_kind, scans=hashes)
    origin = {"calibrated_from_sha256": bundle.sha256, "calibrated_on": name}
    changes = {
        "rules": chosen.rules,
        "training": calibrated(bundle.manifest.training, chosen_on, name),
        "operating_points": chosen.points,
        "default_operating_point": "balanced",
        "versions": bundle.manifest.versions | origin,
    }
    return copy_bundle(bundle, folder, changed_manifest(bundle, changes))


def _outlines(bundle: Bundle) -> tuple[OutlineRule, ...]:
    """Return the outline rules to try. The outline share is a lesion rule, and stays."""
    rules = bundle.manifest.rules
    thresholds = {outline.pixel_threshold for outline in OUTLINES}
    if rules.evidence is not None:
        thresholds = {point.pixel_threshold for point in bundle.manifest.operating_points}
    return tuple(OutlineRule(threshold, rules.outline_share) for threshold in sorted(thresholds))
