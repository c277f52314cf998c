"""``cmbnet phantom``: write digital SWI phantoms with ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UsageError


@click.command("phantom", epilog=RESEARCH_USE_ONLY)
@click.option("-o", "--output", type=options.FOLDER, required=True,
              help="Folder to write the cohort to. Finished cases in it are kept.")  # fmt: skip
@click.option("--positives", default=1, show_default=True, help="Number of cases with microbleeds.")
@click.option("--negatives", default=0, show_default=True,
              help="Number of cases without microbleeds (controls).")  # fmt: skip
@click.option("--seed", default=1, show_default=True,
              help="Number that chooses the cohort. Cohorts of different seeds share "
                   "neither cases nor heads.")  # fmt: skip
@click.option("--protocols", default=None, metavar="NAME",
              help="Scan protocols: training, validation, test, gaps, ood, family (wide), a family "
                   "such as siemens-3t, or tiny.  "
                   "[default: training; tiny for procedural heads]")  # fmt: skip
@click.option("--anatomy", type=click.Choice(["mni", "procedural"]), default="mni",
              show_default=True, help="Anatomy. mni needs the extra 'phantom'.")  # fmt: skip
@click.option("--cases-per-head", default=3, show_default=True,
              help="Scans of each head, with other protocols, lesions and noise.")  # fmt: skip
@click.option("--lesions", nargs=2, type=int, default=None, metavar="LOW HIGH",
              help="Lowest and highest number of microbleeds in a positive case.  "
                   "[default: as in patients]")  # fmt: skip
@click.option("--follow-up", nargs=2, type=int, default=None, metavar="LOW HIGH",
              help="Also write a second scan of each case with this many more microbleeds, to "
                   "follow-up/.")  # fmt: skip
@click.option("--phase", type=click.Choice(["siemens", "ge", "philips", "canon"]), default=None,
              help="Also write phase to phase/, in the unit and sign of a vendor.")  # fmt: skip
@click.option("--calcifications", default=0, show_default=True,
              help="Number of calcifications of 1 to 8 mm to add to each case.")  # fmt: skip
@options.scan_jobs("Number of processes that make phantoms.")
@click.option("--montage", is_flag=True, help="Also write a picture of every new case.")
@click.option("--dicom", type=click.Choice(["siemens", "ge", "philips", "canon"]), default=None,
              help="Also write the scans as DICOM series of this vendor, to dicom/.")  # fmt: skip
@click.option("--enhanced", is_flag=True,
              help="With --dicom, write one multi-frame file per series.")  # fmt: skip
def command(
    output: Path,
    jobs: int,
    montage: bool,
    protocols: str | None,
    dicom: str | None,
    enhanced: bool,
    **counts: Any,
) -> None:
    """Write digital SWI phantoms: images, microbleeds, mimics, brain masks and tables.

    The phantoms follow MRI physics. No image of a patient was used. The same options give the
    same bytes.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from cmbnet.phantom.cohort import CohortPlan, write_cohort

    if enhanced and dicom is None:
        raise UsageError("--enhanced needs --dicom and a vendor")
    if dicom is not None:
        import_module("cmbnet.phantom.dicom")  # says what to install, before any work
    default = "training" if counts["anatomy"] == "mni" else "tiny"
    plan = CohortPlan(protocols=protocols or default, **counts)
    columns = ("Phantoms", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("phantoms", total=plan.positives + plan.negatives)
        manifest = write_cohort(
            output, plan, jobs=jobs, montage=montage, on_case=lambda _: progress.advance(task)
        )
        if dicom is not None:
            task = progress.add_task("DICOM", total=plan.positives + plan.negatives)
            for _ in _write_dicom(output, dicom, enhanced=enhanced):
                progress.advance(task)
    click.echo(f"{manifest}\n{RESEARCH_USE_ONLY}")


def _write_dicom(output: Path, vendor: str, *, enhanced: bool) -> Iterator[str]:
    from cmbnet.phantom.dicom import Vendor, write_dicom_cohort

    return write_dicom_cohort(output, vendor=Vendor(vendor), enhanced=enhanced)
