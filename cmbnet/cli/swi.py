"""``cmbnet swi``: make an SWI from magnitude and phase."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cmbnet import RESEARCH_USE_ONLY

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=RESEARCH_USE_ONLY)
@click.argument("magnitude", type=_FILE)
@click.argument("phase", type=_FILE)
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="NIfTI file for the SWI. A JSON file beside it says how it was made.",
)  # fmt: skip
@click.option(
    "--projection", type=click.IntRange(2),
    help="Also write the minimum of this number of slices, for viewing only: OUT with _minip.",
)  # fmt: skip
@click.option(
    "--blood",
    type=click.Choice(["auto", "positive", "negative"]),
    default="auto",
    show_default=True,
    help="Sign of the phase of veins. auto needs most of a brain.",
)
@click.option("--frame", type=click.IntRange(0), help="Number of the echo in 4D files, from 0.")
def command(
    magnitude: Path,
    phase: Path,
    out: Path,
    projection: int | None,
    blood: Literal["auto", "positive", "negative"],
    frame: int | None,
) -> None:
    """Make an SWI from MAGNITUDE and PHASE, NIfTI files of one gradient-echo scan.

    The phase may have any unit and sign. It must be wrapped, as the scanner sent it.
    """
    import json

    import numpy as np

    from cmbnet import __version__
    from cmbnet.errors import UsageError
    from cmbnet.io import write_nifti
    from cmbnet.io.atomic import write_text_atomically
    from cmbnet.io.digest import content_sha256
    from cmbnet.io.nifti import read_nifti
    from cmbnet.io.scan import nifti_stem
    from cmbnet.phase.swi import BACKGROUND_MM, POWER, minimum_projection, susceptibility_weighted

    stem = nifti_stem(out.name)
    if stem is None:
        raise UsageError(f"a name that ends in .nii or .nii.gz is required, got {out.name}")
    images = [read_nifti(file, frame=frame) for file in (magnitude, phase)]
    swi, sign, read = susceptibility_weighted(*images, blood=blood)
    write_nifti(swi, out, dtype=np.float32)
    if projection is not None:
        name = f"{stem}_minip{out.name[len(stem) :]}"
        write_nifti(minimum_projection(swi, projection), out.with_name(name), dtype=np.float32)
    made = {
        "notice": RESEARCH_USE_ONLY,
        "cmbnet": __version__,
        "magnitude_sha256": content_sha256(magnitude),
        "phase_sha256": content_sha256(phase),
        "frame": frame,
        "phase": list(read.notes),
        "sign_of_blood": sign.sign,
        "agreeing": round(sign.agreeing, 3),
        "background_mm": BACKGROUND_MM,
        "mask_power": POWER,
    }
    write_text_atomically(out.with_name(f"{stem}.json"), json.dumps(made, indent=2) + "\n")
    click.echo(f"{out}\n{RESEARCH_USE_ONLY}")
