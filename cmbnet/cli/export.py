"""``cmbnet export``: a finished training run in, a bundle that `cmbnet predict` runs out."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("export", epilog=RESEARCH_USE_ONLY)
@click.argument("run", type=_DIRECTORY)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the bundle."
)
@click.option(
    "--validation", required=True, type=_DIRECTORY, help="Cohort that thresholds are chosen on."
)
@click.option(
    "--cache",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Training cache (.h5) that int8 ranges are measured on.  [default: RUN/train.h5]",
)
@click.option("--name", default="cmbnet", show_default=True, help="Name of the bundle.")
@click.option("--tflite", is_flag=True, help="Only LiteRT float32 (with --int8: both).")
@click.option("--int8", is_flag=True, help="Only LiteRT int8 (with --tflite: both).")
@click.option("--real-data", is_flag=True, help="The cohorts are scans of patients.")
def command(
    run: Path,
    output: Path,
    validation: Path,
    cache: Path | None,
    name: str,
    tflite: bool,
    int8: bool,
    real_data: bool,
) -> None:
    """Write the bundle of a training RUN.

    By default LiteRT in int8 and float32. Operating points are chosen by running the bundle over
    the scans of the validation cohort, which must not be the one that results are reported on.
    """
    from cmbnet.training.bundle_writer import Export, export_run

    both = tflite == int8
    export = Export(
        name=name,
        precisions=("int8", "float32") if both else ("int8",) if int8 else ("float32",),
        real_patient_data=real_data,
        cohort_name=validation.name,
    )
    bundle = export_run(
        run,
        output,
        validation=validation,
        cache=cache or run / "train.h5",
        export=export,
        report=click.echo,
    )
    click.echo(f"{bundle.path}  sha256 {bundle.sha256}")
    click.echo(RESEARCH_USE_ONLY)
