"""``cmbnet compare``: which microbleeds are new since the first scan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options, with_flag
from cmbnet.errors import CmbnetError, InputRefused, UsageError

if TYPE_CHECKING:
    from cmbnet.backends import Backend
    from cmbnet.followup import Comparison
    from cmbnet.io.read_ahead import ReadAhead
    from cmbnet.predict import Answer
    from cmbnet.threads import Steps


@click.command("compare", epilog=RESEARCH_USE_ONLY)
@click.argument("scans", nargs=-1, type=click.Path(exists=True, path_type=Path),
                metavar="[BASELINE FOLLOWUP...]")  # fmt: skip
@click.option("--table", type=options.OLD_FILE,
              help="CSV of many patients with the columns case, baseline and followup (and "
                   "followup_2...), in place of the arguments. Each gets a folder.")  # fmt: skip
@click.option("-o", "--out", required=True, type=options.FOLDER,
              help="Folder for compare.json and compare.html.")  # fmt: skip
@click.option("--scans", "scan_folder", type=options.OLD_FOLDER,
              help="Folder of the scans of finished results, which do not say where they "
                   "lie.")  # fmt: skip
@options.model
@options.operating_point
@options.backend
@options.threads
@click.option("--same-protocol", is_flag=True,
              help="State that sequence and field strength of the scans agree. NIfTI files do not "
                   "say so, and without it there is no category of ARIA-H.")  # fmt: skip
@click.option("--dicom-seg", is_flag=True,
              help="Write scan-1/seg.dcm and so on, for DICOM inputs.")  # fmt: skip
@click.option("--dicom-sr", is_flag=True,
              help="Write scan-1/sr.dcm and so on, for DICOM inputs.")  # fmt: skip
def command(
    scans: tuple[Path, ...],
    table: Path | None,
    out: Path,
    same_protocol: bool,
    dicom_seg: bool,
    dicom_sr: bool,
    **how: Any,
) -> None:
    """Compare each FOLLOWUP with BASELINE: scans of one patient in order of time.

    Each is a NIfTI file, a DICOM folder or zip, or the folder of a finished case of cmbnet predict.
    Every later scan is laid on the first. Where that fails, or a scan is not analysable, nothing is
    written and the exit code is 3.
    """
    options.keep_blas_quiet()
    ahead = _read_ahead(scans)  # while the rest is imported
    from cmbnet.followup import compare_scans, write_comparison
    from cmbnet.followup.cohort import SUMMARY, compare_cohort, read_patients
    from cmbnet.predict import STAGES
    from cmbnet.threads import in_stages

    dicom = [name for name, wanted in (("seg", dicom_seg), ("sr", dicom_sr)) if wanted]
    if len(scans) < 2 if table is None else scans:
        raise UsageError("BASELINE and FOLLOWUP are required, or --table and no scan")
    if table is None:
        read = _reader(**how, ahead=ahead)
        answers = list(in_stages(map(read, scans), stages=STAGES))
        compared = compare_scans(answers, same_protocol=same_protocol)
        page = write_comparison(compared, out, dicom=dicom)
        _say(compared.comparison)
        click.echo(f"{page}\n{RESEARCH_USE_ONLY}")
        return
    patients = read_patients(table)
    statuses = set()
    for outcome in compare_cohort(
        patients, out, _reader(**how), same_protocol=same_protocol, dicom=dicom
    ):
        statuses.add(outcome.status)
        if outcome.compared is None:
            reason = with_flag(outcome.reason, outcome.argument)
            click.echo(f"{outcome.patient.name}: {outcome.status}: {reason}", err=True)
        else:
            _say(outcome.compared.comparison, f"{outcome.patient.name}: ")
    click.echo(f"{len(patients)} patients: {out / SUMMARY}\n{RESEARCH_USE_ONLY}")
    sys.exit(4 if "failed" in statuses else 3 if "refused" in statuses else 0)


def _read_ahead(scans: tuple[Path, ...]) -> ReadAhead:
    """Begin to read the NIfTI files."""
    from cmbnet.io.read_ahead import ReadAhead
    from cmbnet.io.scan import nifti_stem

    ahead = ReadAhead(phase_series="none")
    for scan in scans:
        if scan.is_file() and nifti_stem(scan.name) is not None:
            ahead.begin(scan)
    return ahead


def _reader(
    *,
    scan_folder: Path | None,
    model: str,
    operating_point: str,
    backend: str,
    threads: int | None,
    ahead: ReadAhead | None = None,
) -> Callable[[Path], Steps[Answer]]:
    """Make what finds the lesions of a scan, or reads those that were found."""
    from cmbnet.backends import open_backend
    from cmbnet.bundle import load_bundle
    from cmbnet.cli.cases import collect_cases
    from cmbnet.predict import Request, steps_of_file
    from cmbnet.report.finished import is_finished, read_answer

    bundle = load_bundle(model)
    # Of studies of which only some have phase, the counts would differ by that.
    request = Request(operating_point=operating_point, backend=backend, phase_series="none")
    bundle.operating_point(operating_point)

    context = click.get_current_context()

    @cache  # results that are finished need no network
    def opened() -> Backend:
        found = open_backend(bundle, backend, threads=threads)
        context.call_on_close(found.close)
        return found

    def read(path: Path) -> Steps[Answer]:
        if is_finished(path):
            return read_answer(path, bundle, scans=scan_folder)
        cases = collect_cases([str(path)], say=lambda _: None)
        if len(cases) > 1:
            raise UsageError(
                f"one scan is required for each time point, got {len(cases)} in {path}"
            )
        (case,) = cases
        begun = None if ahead is None or case.phase else ahead.take(case.path)
        try:
            return (
                yield from steps_of_file(
                    case.path, bundle, opened(), request, phase=case.phase, read=begun
                )
            )
        except CmbnetError as error:
            kind = InputRefused if isinstance(error, InputRefused) else CmbnetError
            raise kind(case.scrubbed(str(error)), argument=error.argument) from None

    return read


def _say(comparison: Comparison, case: str = "") -> None:
    """Print what became of the lesions, and what a reader should check."""
    for warning in comparison.warnings:
        click.echo(f"{case}warning: {warning}", err=True)
    for follow_up in comparison.follow_ups:
        point, grade = comparison.time_points[follow_up.time_point], follow_up.aria_h
        click.echo(f"{case}{point.file}: {follow_up.words}")
        said = grade.category or grade.refused
        click.echo(f"{case}ARIA-H by microhaemorrhages: {said}; {grade.note}")
