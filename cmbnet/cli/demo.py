"""``cmbnet demo``: make a phantom scan, find its microbleeds, and compare with the truth."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cmbnet import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from cmbnet.evaluation import ScoredCase, ScoredLesion
    from cmbnet.phantom import PhantomCase
    from cmbnet.predict import Prediction
    from cmbnet.report import Result

EVERYDAY = "siemens-3t"
SCAN = "phantom.nii.gz"
TRUTH = "truth.nii.gz"


@click.command(epilog=RESEARCH_USE_ONLY)
@click.option(
    "-o",
    "--out",
    default="cmbnet-demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the phantom, the prediction and the report.",
)
@click.option(
    "--seed",
    default=7,
    show_default=True,
    help="Number that chooses the phantom. Another seed makes another phantom.",
)
@click.option(
    "--anatomy",
    type=click.Choice(["mni", "procedural"]),
    help="Anatomy of the head.  [default: mni if nilearn is installed, else procedural]",
)
@click.option(
    "--model", default="default", help="Model to use: the folder of a bundle, or default."
)
@click.option(
    "--backend",
    default="auto",
    help="Runtime of the network: auto, or a name that `cmbnet backends` lists.",
)
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
    prediction = predict_file(out / SCAN, bundle, opened)
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
    # An everyday protocol: those of training reach far beyond what is common.
    protocol = EVERYDAY if kind == "mni" else None
    phantom = make_case(seed, positive=True, anatomy=kind, protocol=protocol)
    write_nifti(phantom.image, out / SCAN, dtype=phantom.image.data.dtype)
    write_nifti(phantom.lesions, out / TRUTH, dtype=np.uint16)
    return phantom


def _score(phantom: PhantomCase, prediction: Prediction) -> ScoredCase:
    from cmbnet.evaluation import Case, score_case

    finding = prediction.finding
    return score_case(
        Case(
            name="phantom",
            truth=phantom.lesions,
            predicted=prediction.volume.with_data(finding.labels),
            ignore=phantom.ignore,
            lesion_scores={lesion.id: lesion.score for lesion in finding.lesions},
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


def _row(lesion: ScoredLesion, predicted: ScoredLesion | None) -> list[str]:
    return [
        lesion.verdict,
        "" if predicted is None else str(predicted.label),
        f"{lesion.diameter_mm:.1f}",
        f"{lesion.volume_mm3:.1f}",
        "" if predicted is None else f"{predicted.score:.2f}",
        ", ".join(f"{mm:.0f}" for mm in lesion.centroid_ras_mm),
    ]
