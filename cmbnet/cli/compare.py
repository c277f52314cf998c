"""``cmbnet compare``: which microbleeds are new since the first scan."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options


@click.command("compare", epilog=RESEARCH_USE_ONLY)
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("followup", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=options.FOLDER,
    help="Folder for compare.json and compare.html.",
)
@options.model
@click.option(
    "--operating-point",
    default="default",
    help="Name of a set of thresholds of the bundle, or default.",
)
@options.backend
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of the network.  [default: all processors]"
)
@click.option(
    "--same-protocol",
    is_flag=True,
    help="State that sequence and field strength of the scans agree. NIfTI files do not say so, "
    "and without it there is no category of ARIA-H.",
)
def command(
    baseline: Path,
    followup: tuple[Path, ...],
    out: Path,
    model: str,
    operating_point: str,
    backend: str,
    threads: int | None,
    same_protocol: bool,
) -> None:
    """Compare each FOLLOWUP with BASELINE: scans of one patient in order of time.

    Each is a NIfTI file or a DICOM folder or zip. Every later scan is laid on the first. Where that
    fails, or a scan is not analysable, nothing is written and the exit code is 3.
    """
    options.keep_blas_quiet()
    from cmbnet.backends import open_backend
    from cmbnet.bundle import load_bundle
    from cmbnet.followup import compare_scans, write_comparison
    from cmbnet.predict import Request

    bundle = load_bundle(model)
    # Without phase: scans of which only some have it would differ by that.
    request = Request(operating_point=operating_point, backend=backend, phase_series="none")
    opened = open_backend(bundle, backend, threads=threads)
    compared = compare_scans(
        (baseline, *followup), bundle, opened, request, same_protocol=same_protocol
    )
    opened.close()
    page = write_comparison(compared, out)
    for follow_up in compared.comparison.follow_ups:
        point = compared.comparison.time_points[follow_up.time_point]
        counts = ", ".join(f"{n} {name}" for name, n in follow_up.counts.items() if n)
        grade = follow_up.aria_h
        click.echo(f"{point.file}: {counts or 'no lesions'}")
        click.echo(f"ARIA-H by microhaemorrhages: {grade.category or grade.refused}; {grade.note}")
    click.echo(f"{page}\n{RESEARCH_USE_ONLY}")
