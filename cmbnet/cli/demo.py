"""``cmbnet demo``: make a phantom scan, find its microbleeds, and compare with the truth."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options

if TYPE_CHECKING:
    from cmbnet.evaluation import ScoredCase, ScoredLesion
    from cmbnet.phantom import PhantomCase
    from cmbnet.predict import Prediction
    from cmbnet.report import Result

EVERYDAY = "siemens-3t"
SCAN = "phantom.nii.gz"
TRUTH = "truth.nii.gz"
PHASE = "phase.nii.gz"
CALCIFICATIONS = 8
"""The network itself rejects most of them by their look; phase tells the rest apart."""


@click.command(epilog=RESEARCH_USE_ONLY)
@click.option("-o", "--out", default="cmbnet-demo", show_default=True, type=options.FOLDER,
              help="Folder for the phantom, the prediction and the report.")  # fmt: skip
@click.option("--seed", default=7, show_default=True,
              help="Number that chooses the phantom. Another seed makes another "
                   "phantom.")  # fmt: skip
@click.option("--anatomy", type=click.Choice(["mni", "procedural"]),
              help="Anatomy of the head.  "
                   "[default: mni if nilearn is installed, else procedural]")  # fmt: skip
@options.model
@options.backend
def command(out: Path, seed: int, anatomy: str | None, model: str, backend: str) -> None:
    """Make a phantom scan with microbleeds, find them, and compare with the truth."""
    from cmbnet.backends import open_backend
    from cmbnet.bundle import load_bundle
    from cmbnet.predict import predict_file
    from cmbnet.report import write_prediction

    bundle = load_bundle(model)
    opened = open_backend(bundle, backend)
    anatomy = anatomy or ("mni" if find_spec("nilearn") else "procedural")
    click.echo(f"Making a phantom (seed {seed}, anatomy {anatomy}) ...")
    phantom = _phantom(out, seed, anatomy)
    click.echo("Looking for microbleeds ...")
    phase = out / PHASE if anatomy == "mni" else None
    prediction = predict_file(out / SCAN, bundle, opened, phase=phase)
    opened.close()
    result = write_prediction(prediction, out / "prediction", case="phantom")
    _print(_score(phantom, prediction), result)
    click.echo(f"\nReport: {(out / 'prediction' / 'report.html').resolve()}")
    click.echo(f"{bundle.manifest.training.statement}\n{RESEARCH_USE_ONLY}")


def _phantom(out: Path, seed: int, anatomy: str) -> PhantomCase:
    """Make a positive phantom and write its scan and its truth."""
    import numpy as np

    from cmbnet.io import write_nifti
    from cmbnet.phantom import make_case

    kind: Literal["mni", "procedural"] = "mni" if anatomy == "mni" else "procedural"
    if kind == "mni":
        # An everyday protocol: those of training reach far beyond what is common.
        phantom = make_case(
            seed, positive=True, anatomy=kind, protocol=EVERYDAY, phase="siemens",
            calcifications=CALCIFICATIONS,
        )  # fmt: skip
    else:  # half a head has too few veins to find the sign of its phase
        phantom = make_case(seed, positive=True, anatomy=kind, protocol=None)
    if phantom.phase is not None:
        write_nifti(phantom.phase, out / PHASE, dtype=phantom.phase.data.dtype)
    write_nifti(phantom.image, out / SCAN, dtype=phantom.image.data.dtype)
    write_nifti(phantom.lesions, out / TRUTH, dtype=np.uint16)
    return phantom


def _score(phantom: PhantomCase, prediction: Prediction) -> ScoredCase:
    from cmbnet.evaluation import Case, score_case

    found = prediction.found
    return score_case(
        Case(
            name="phantom",
            truth=phantom.lesions,
            predicted=prediction.volume.with_data(found.labels),
            ignore=phantom.ignore,
            lesion_scores={lesion.id: lesion.score for lesion in found.lesions},
        )
    )


def _print(scored: ScoredCase, result: Result) -> None:
    """Print the true lesions with their verdicts, and then the false ones."""
    from rich.console import Console
    from rich.table import Table

    from cmbnet.regions.counts import in_words

    table = Table(title="Microbleeds of the phantom and what was found")
    for heading in ("", "lesion", "size, mm", "volume, mm³", "score", "right, anterior, superior"):
        table.add_column(heading, justify="right" if heading else "left")
    found = {lesion.label: lesion for lesion in scored.predicted}
    for lesion in scored.truth:
        table.add_row(*_row(lesion, found.get(lesion.partner)))
    for lesion in scored.predicted:
        if lesion.verdict == "false":
            table.add_row(*_row(lesion, lesion))
    Console().print(table)
    verdicts = [lesion.verdict for lesion in scored.truth]
    false = sum(lesion.verdict == "false" for lesion in scored.predicted)
    click.echo(
        f"{verdicts.count('found')} found, {verdicts.count('missed')} missed, {false} false, "
        f"{verdicts.count('ignored')} too faint or small to count; the scan is called "
        f"{'positive' if result.scan.positive else 'negative'}"
    )
    click.echo(result.regions.failed or f"Approximate regions: {in_words(result.regions)}")
    apart = result.stages.get("removed_by_phase", 0)
    if apart:
        noun = "calcification" if apart == 1 else "calcifications"
        click.echo(f"{apart} possible {noun} told apart by phase; see the report")


def _row(lesion: ScoredLesion, predicted: ScoredLesion | None) -> list[str]:
    return [
        lesion.verdict,
        "" if predicted is None else str(predicted.label),
        f"{lesion.diameter_mm:.1f}",
        f"{lesion.volume_mm3:.1f}",
        "" if predicted is None else f"{predicted.score:.2f}",
        ", ".join(f"{mm:.0f}" for mm in lesion.centroid_ras_mm),
    ]
