"""``cmbnet predict``: find microbleeds on scans."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options, with_flag
from cmbnet.errors import CmbnetError, UsageError, printable

if TYPE_CHECKING:
    from cmbnet.io.case import Case
    from cmbnet.report.batch import Outcome

_OBJECTS = ("dicom_seg", "dicom_sr", "dicom_key_images", "dicom_pdf")
_DICOM_ONLY = ("series", "phase_series", *_OBJECTS)

EPILOG = f"""
Exit code: 0, all cases are done. 1, the run was interrupted; the next run skips finished cases.
2, the command was wrong. 3, some cases were refused as not analysable, or lack a DICOM object that
you asked for. 4, some cases failed.

{RESEARCH_USE_ONLY}
"""


@click.command(epilog=EPILOG)
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--out", required=True, type=options.FOLDER,
              help="Folder for the results. It gets a folder for each case, and "
                   "summary.csv.")  # fmt: skip
@options.model
@options.operating_point
@options.backend
@options.threads
@options.root
@options.side
@click.option("--brain-mask", type=options.OLD_PATH,
              help="Brain mask on the grid of the scan. For several scans, a "
                   "folder of masks that have the file names of the scans.")  # fmt: skip
@click.option("--phase", type=options.OLD_PATH,
              help="Phase of the same acquisition on the grid of the scan, to tell "
                   "calcifications from microbleeds. For several scans, a folder of files "
                   "that have the names of the scans.")  # fmt: skip
@click.option("--phase-series",
              help="DICOM series of the phase: its name in `cmbnet dicom explain`, its UID, or "
                   "none to use no phase.  [default: the one that belongs to the SWI]")  # fmt: skip
@options.count_calcifications
@click.option("--frame", type=click.IntRange(0),
              help="Number of the image to read from a 4D file. The first is 0.")  # fmt: skip
@click.option("--series",
              help="DICOM series to read: its name in `cmbnet dicom explain`, or "
                   "its UID.")  # fmt: skip
@click.option("--dicom-seg", is_flag=True,
              help="Also write the outlines as a DICOM SEG, seg.dcm. For DICOM "
                   "input only.")  # fmt: skip
@click.option("--dicom-sr", is_flag=True,
              help="Also write the findings as a DICOM SR, sr.dcm. For DICOM input "
                   "only.")  # fmt: skip
@click.option("--dicom-key-images", is_flag=True,
              help="Also write a DICOM picture of each lesion, key-01.dcm and so "
                   "on. For DICOM input only.")  # fmt: skip
@click.option("--dicom-pdf", is_flag=True,
              help="Also write the report as a PDF in DICOM, pdf.dcm. For DICOM "
                   "input only.")  # fmt: skip
@click.option("--save-probability", is_flag=True,
              help="Also write the probability map, probability.nii.gz.")  # fmt: skip
@options.force
@click.option("--overwrite", is_flag=True, help="Analyse finished cases again.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Number of cases to analyse at a time. With 1, neighbouring cases overlap by "
                   "a stage.")  # fmt: skip
def command(
    inputs: tuple[str, ...],
    out: Path,
    model: str,
    threads: int | None,
    brain_mask: Path | None,
    phase: Path | None,
    jobs: int,
    overwrite: bool,
    **how: Any,
) -> None:
    """Find microbleeds on SWI scans: NIfTI files, DICOM folders and zips, patterns.

    A data spec (with --root) or a cache of `cmbnet prepare` stands for its scans. In a folder with
    NIfTI files, each file is a scan. Any other folder is one DICOM input, and its SWI series is
    read. A finished case is skipped if scan, model and options are the same.
    """
    options.keep_blas_quiet()
    from cmbnet.cli.cases import collect_cases
    from cmbnet.io.read_ahead import ReadAhead

    cases = collect_cases(
        inputs,
        brain_mask=brain_mask,
        phase=phase,
        root=how.pop("root"),
        side=how.pop("side"),
        say=_remark,
    )
    _require_dicom(cases, **{name: how[name] for name in _DICOM_ONLY})
    read_ahead = ReadAhead(how["frame"], how["series"], how["phase_series"])
    if overwrite or not (out / cases[0].name).exists():
        read_ahead.begin(cases[0].path)  # while the rest is imported

    from cmbnet.backends import open_backend
    from cmbnet.bundle import load_bundle
    from cmbnet.predict import Request
    from cmbnet.report.batch import run_batch

    bundle = load_bundle(model)
    request = Request(**how)
    # A wrong name is a fault of the call, not of a case.
    bundle.operating_point(request.operating_point)
    opened = open_backend(bundle, request.backend, threads=threads)
    _make_folder(out)
    statuses = set()
    outcomes = run_batch(
        cases,
        out,
        bundle=bundle,
        backend=opened,
        request=request,
        overwrite=overwrite,
        jobs=jobs,
        read_ahead=read_ahead,
    )
    with closing(outcomes):
        for outcome in _with_progress(outcomes, len(cases)):
            statuses.add(outcome.status)
            _say(outcome)
            if _say_unwritten(outcome):
                statuses.add("refused")
    opened.close()
    if request.backend == "auto":
        from cmbnet.backends.measure import measure_once

        measure_once(bundle, threads=threads)  # once, and after all results: for the next run
    if len(cases) > 1:
        click.echo(f"{len(cases)} cases: {out / 'summary.csv'}")
    click.echo(RESEARCH_USE_ONLY)
    sys.exit(4 if "failed" in statuses else 3 if "refused" in statuses else 0)


def _require_dicom(cases: Iterable[Case], **wanted: Any) -> None:
    """Before any work, refuse options that need DICOM inputs or a missing extra."""
    given = [f"--{name.replace('_', '-')}" for name, value in wanted.items() if value]
    nifti = next((case.path for case in cases if not case.dicom), None)
    if given and nifti is not None:
        raise UsageError(f"a DICOM input is required for {' and '.join(given)}, got {nifti}")
    if any(wanted[name] for name in _OBJECTS):
        import_module("cmbnet.report.dicom")  # says what to install
    if wanted["dicom_pdf"]:
        import_module("cmbnet.report.pdf")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CmbnetError(
            f"cannot make the output folder {out} ({error.strerror}); choose another with -o"
        ) from error


def _remark(text: str) -> None:
    click.echo(printable(text), err=True)


def _say(outcome: Outcome) -> None:
    """Print a line for a case: its result on stdout, or a fault on stderr."""
    from cmbnet.regions.counts import in_words

    name = outcome.case.name
    if outcome.result is None:
        reason = with_flag(outcome.reason, outcome.argument)
        click.echo(f"{name}: {outcome.status}: {reason}", err=True)
        return
    scan, regions = outcome.result.scan, outcome.result.regions
    again = " (finished before)" if outcome.status == "skipped" else ""
    call = "positive" if scan.positive else "negative"
    click.echo(
        f"{name}: {scan.lesions} lesions ({scan.small} small, {scan.large} large), {call}{again}: "
        f"{outcome.report}"
    )
    if regions.failed:
        click.echo(f"{name}: {regions.failed}", err=True)
    elif scan.lesions:
        click.echo(f"{name}: approximate regions: {in_words(regions)}; {regions.pattern}")


def _say_unwritten(outcome: Outcome) -> bool:
    """Say on stderr if DICOM objects could not be written, and return whether this is so."""
    from cmbnet.report.write import NO_OBJECTS

    findings = () if outcome.result is None else outcome.result.quality.findings
    missing = [finding.message for finding in findings if finding.code == NO_OBJECTS]
    for message in missing:
        click.echo(f"{outcome.case.name}: {message}", err=True)
    return bool(missing)


def _with_progress(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Show a bar on stderr if it is a terminal and there are several cases."""
    if total < 2 or not sys.stderr.isatty():
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        outcomes, total=total, description="Scans", console=Console(stderr=True), transient=True
    )
