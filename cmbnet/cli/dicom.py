"""``cmbnet dicom``: look at DICOM input without analysing it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmbnet.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from cmbnet.io.dicom import Examination


@click.group()
def command() -> None:
    """Look at DICOM folders, zips and DICOMDIRs."""


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON, for programs.")
@click.option("--allow-magnitude", is_flag=True,
              help="If there is no SWI, accept a gradient-echo magnitude series.")  # fmt: skip
def explain(path: Path, as_json: bool, allow_magnitude: bool) -> None:
    """List every series of PATH, say which one is the SWI, and why the others are not."""
    from cmbnet.io.dicom import SelectionRules, examine_dicom

    seen = examine_dicom(path, rules=SelectionRules(allow_magnitude=allow_magnitude))
    if as_json:
        click.echo(json.dumps(asdict(seen), indent=2))
        return
    _print(seen)


def _print(seen: Examination) -> None:
    from rich.console import Console

    from cmbnet import RESEARCH_USE_ONLY

    console = Console(highlight=False, markup=False)
    # In a pipe rich would wrap at 80 columns and cut the reasons into confetti.
    if not console.is_terminal:
        console.width = 160
    console.print(_table(seen))
    for note in seen.notes:
        console.print(f"- {printable(note)}")
    if seen.refusal:
        console.print(f"Nothing would be read. {seen.refusal[:1].upper()}{seen.refusal[1:]}.")
    console.print(RESEARCH_USE_ONLY)


def _table(seen: Examination) -> Table:
    from rich.table import Table

    table = Table(title=f"Series in {seen.name}", title_justify="left", show_lines=True)
    for name in ("series", "description", "kind", "volume z, y, x", "score", "verdict", "why"):
        table.add_column(name, overflow="fold", justify="right" if name == "score" else "left")
    for verdict in seen.verdicts:
        size = f"{verdict.images} images"
        if verdict.shape is not None and verdict.spacing_mm is not None:
            voxels = "x".join(map(str, verdict.shape))
            size = f"{voxels} of {'x'.join(f'{side:.2f}' for side in verdict.spacing_mm)} mm"
        why = [*(one.message for one in verdict.objections), *verdict.points, *verdict.notes]
        table.add_row(
            verdict.key,
            printable(verdict.description),
            str(verdict.kind),
            size,
            str(verdict.score),
            verdict.status,
            "\n".join(map(printable, why)),
        )
    return table
