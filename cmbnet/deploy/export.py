"""Export a bundle: convert, judge, write. What fails the gate is marked and fails the export."""

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

    Everything is made and judged beside the target, which changes only at the end.

    Args:
        bundle: Holds the Keras network.
        output: Folder of a copy, new or empty; None adds to the bundle itself.
        plan: What to make.
        allow_failure: Keep going, and say so in the bundle, if the gate fails.
        report: Receives what was done, line by line.

    Returns:
        The bundle with its new artefacts.

    Raises:
        UsageError: If the output is not empty, or the default bundle would be changed.
        ParityFailed: If an artefact failed its gate; it was written, and marked as failed.
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
    """Where to stage: the file system of the target, so that too little space shows early."""
    folder = bundle.path.parent if output is None else output.parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_for_export(name: str) -> Bundle:
    """The bundle to export, every hash checked."""
    bundle = load_bundle(name)
    bundle.verify()
    return bundle
