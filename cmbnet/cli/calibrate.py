"""``cmbnet calibrate``: choose operating points for a new site on a few of its labelled scans."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.data_kind import DataKind


@click.command("calibrate", epilog=RESEARCH_USE_ONLY)
@click.argument("bundle")
@click.option("--data", required=True, type=options.OLD_PATH,
              help="Labelled scans, some of them without lesions: a data spec (with --root), a "
                   "cache of `cmbnet prepare`, or a folder with images/ and lesions/.")  # fmt: skip
@options.root
@options.side
@click.option("-o", "--output", required=True, type=options.FOLDER,
              help="Folder to write the new bundle to.")  # fmt: skip
@options.data_kind(
    "What kind of scans these are. The bundle and its card will say so.", required=True
)
@click.option("--name", default="", help="Name of the set of scans. The bundle keeps it.")
@options.backend
def command(
    bundle: str,
    data: Path,
    root: Path | None,
    side: str | None,
    output: Path,
    data_kind: DataKind,
    name: str,
    backend: str,
) -> None:
    """Choose new thresholds for BUNDLE on labelled scans. The network itself does not change.

    BUNDLE is a folder that holds bundle.json, or "default". Of data with sides, the side
    validation is taken unless --side says otherwise. The command needs no training software.
    """
    from cmbnet.bundle import load_bundle
    from cmbnet.training.choose.calibrate import calibrate
    from cmbnet.training.data.labelled import read_labelled
    from cmbnet.training.data.specs.splits import VALIDATION

    written = calibrate(
        load_bundle(bundle),
        read_labelled(data, root, side=side, role=VALIDATION),
        output,
        data_kind=data_kind,
        backend=backend,
        cohort_name=name,
        report=click.echo,
    )
    click.echo(f"{written.path}  sha256 {written.sha256}")
    click.echo(RESEARCH_USE_ONLY)
