"""Export a bundle: convert, judge and write. A file that fails the gate is marked as failed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from cmbnet.bundle import Bundle, add_artefacts, load_bundle
from cmbnet.bundle.bundle import DEFAULT_FOLDER
from cmbnet.deploy.bundles import CannotWrite, copy_bundle
from cmbnet.deploy.convert import Converter, ExportPlan
from cmbnet.deploy.judge import Judge, require_passed
from cmbnet.errors import UsageError

Report = Callable[[str], None]


def export_bundle(
    bundle: Bundle,
    output: Path | None,
    plan: ExportPlan,
    *,
    allow_failure: bool = False,
    report: Report,
) -> Bundle:
    """Add the artefacts of a plan to a bundle, or to a copy of it.

    They are made and judged beside the target, which changes only at the end.
    `output` is a new or empty folder of a copy; None adds to the bundle itself. With
    `allow_failure` files that fail the gate are kept, and the bundle says so. Return the bundle
    with its new artefacts.

    Raises:
        UsageError: If the output is not empty, or the default bundle would be changed.
        ParityFailed: If an artefact failed its gate. It was written, and marked as failed.
        CannotWrite: If the file system refuses.
    """
    _require_place(bundle, output)
    try:
        with tempfile.TemporaryDirectory(dir=_beside(bundle, output), prefix=".export-") as folder:
            converter = Converter(bundle, plan, report)
            with plan.samples.judged_meanwhile() as cases:
                made = list(converter.artefacts())
                staged = add_artefacts(copy_bundle(bundle, Path(folder) / "staged"), made)
                judged_on = cases()
            judge = Judge(staged, judged_on, report, calibrations=plan.calibrations)
            judged = judge.judge_all(made, converter.make_again, allow_failure=allow_failure)
        target = bundle if output is None else copy_bundle(bundle, output)
        done = add_artefacts(target, judged)
    except OSError as error:
        raise CannotWrite(
            f"{output or bundle.path} cannot be written ({error}); nothing was changed there"
        ) from error
    require_passed(judged, done.path)
    return done


def _require_place(bundle: Bundle, output: Path | None) -> None:
    if output is None:
        if bundle.path.resolve() == DEFAULT_FOLDER.resolve():
            raise UsageError(
                "the bundle in the package is not changed; give a folder for a copy",
                argument="output",
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"a new or empty folder is required for the export, got {output}")


def _beside(bundle: Bundle, output: Path | None) -> Path:
    """Return the folder for staging. It shares the target's disk, so a full disk shows early."""
    folder = bundle.path.parent if output is None else output.parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_for_export(name: str) -> Bundle:
    """Load the bundle to export, and check every hash."""
    bundle = load_bundle(name)
    bundle.verify()
    return bundle
