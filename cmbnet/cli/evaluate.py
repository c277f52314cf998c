"""``cmbnet evaluate``: score predictions against a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.data_kind import KINDS
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from cmbnet.evaluation import CohortScores, Settings
    from cmbnet.evaluation.cohort.files import CaseFiles, ManifestRow

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The folders and files of the command line."""

    truth: Path
    pred: Path | None
    probabilities: Path | None
    versus: Path | None
    ignore: Path | None
    brain: Path | None
    regions: Path | None
    lesions: Path | None
    manifest: Path | None
    stratum: tuple[str, ...]
    allow_missing: bool
    repeated_patients: bool


@click.command("evaluate", epilog=RESEARCH_USE_ONLY)
@click.option(
    "--truth", type=FOLDER, required=True, help="Folder of the reference: masks or instance labels."
)
@click.option(
    "--pred",
    type=FOLDER,
    help="Folder of the predictions: files, or the output of `cmbnet predict`.",
)
@click.option(
    "--probabilities",
    type=FOLDER,
    help="Folder of probability maps. Without --pred, they are thresholded.",
)
@click.option(
    "--versus", type=FOLDER, help="Folder of the predictions of another model, to compare."
)
@click.option("--ignore", type=FOLDER, help="Folder of masks of the regions where nothing counts.")
@click.option("--brain", type=FOLDER, help="Folder of brain masks. Only voxels inside count.")
@click.option(
    "--regions", type=FOLDER, help="Folder of region labels. Each region becomes a stratum."
)
@click.option("--lesions", type=FILE,
              help="CSV of the true lesions with the columns case, lesion, region. "
                   "It replaces --regions.")  # fmt: skip
@click.option("--images", type=FOLDER, help="Folder of the scans. The error gallery shows them.")
@click.option(
    "--manifest",
    type=FILE,
    help="CSV of the cases, with the columns case and, optionally, patient.",
)
@click.option("--stratum", multiple=True, help="Column of the manifest whose values become strata.")
@click.option("--data-kind", type=click.Choice(list(KINDS)),
              help="What kind of scans these are. Every result will say so.")  # fmt: skip
@click.option(
    "-o",
    "--out",
    type=FOLDER,
    help="Folder to write all results to. Without it, tables are printed.",
)
@click.option("--rule", default="paper", show_default=True,
              help="When a lesion is found: paper[:0.4], coverage[:0.4], iou[:0.1], any-voxel "
                   "or centroid[:5].")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Probability from which a voxel of --probabilities is predicted.")  # fmt: skip
@click.option("--score", type=click.Choice(["mean", "max"]), default="mean", show_default=True,
              help="How the probabilities of its voxels make the score of a lesion.")  # fmt: skip
@click.option("--size-rule", type=click.Choice(["keep", "ignore"]), default="keep",
              show_default=True, help="What to do with true lesions outside 2-10 mm.")  # fmt: skip
@click.option("--allow-missing", is_flag=True, help="Count a missing prediction as empty.")
@click.option(
    "--repeated-patients", is_flag=True, help="Accept several scans of one patient, and sum them."
)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True,
              help="Number of resamples of the bootstrap.")  # fmt: skip
@click.option("--seed", default=20220324, show_default=True, help="Seed of the bootstrap.")
@click.option("--paper/--no-paper", default=False, show_default=True,
              help="Show the values of Fan et al. 2022 beside these.")  # fmt: skip
@click.option("--figures/--no-figures", default=True, show_default=True,
              help="Draw figures and the report.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True,
              help="Number of processes that score cases.")  # fmt: skip
def command(**options: Any) -> None:
    """Score the predictions of a folder against the reference of another.

    Cases are paired by file name. Files on different grids and missing cases are refused. Nothing
    is resampled or padded.
    """
    from cmbnet.evaluation import MatchingRule, Settings
    from cmbnet.evaluation.cohort.analysis import Plan, analyse
    from cmbnet.evaluation.cohort.compare import compare
    from cmbnet.evaluation.cohort.files import find_images
    from cmbnet.evaluation.cohort.origin import origin_of
    from cmbnet.evaluation.show.table import join_markdown
    from cmbnet.evaluation.show.tables import all_tables
    from cmbnet.evaluation.show.write import title, write_figures, write_tables

    inputs = Inputs(**{name: options[name] for name in Inputs.__dataclass_fields__})
    settings = Settings(
        rule=MatchingRule.parse(options["rule"]),
        probability_threshold=options["threshold"],
        score=options["score"],
        size_rule=options["size_rule"],
    )
    images = find_images(options["images"]) if options["images"] else {}
    plan = Plan(resamples=options["resamples"], seed=options["seed"])
    if options["out"] is not None and options["data_kind"] is None:
        raise UsageError(
            "--data-kind is required with -o: say what the scans are, for no file tells "
            f"({', '.join(KINDS)})"
        )
    files = _pair(inputs, inputs.pred)
    others = [] if inputs.versus is None else _pair(inputs, inputs.versus)
    origin = origin_of(files, options["data_kind"], others)
    scores = _score(files, settings, options["jobs"], "Scoring")
    comparison = None
    if others:
        other = _score(others, settings, options["jobs"], "The other")
        comparison = compare(scores, other, resamples=plan.resamples, seed=plan.seed)
    analysis = analyse(scores, plan)
    tables = all_tables(analysis, comparison, paper=options["paper"])
    if options["out"] is None:
        click.echo(join_markdown(title(origin), tables, RESEARCH_USE_ONLY))
        return
    write_tables(options["out"], analysis, origin, tables, comparison)
    if options["figures"]:
        write_figures(options["out"], analysis, origin, tables, files, images=images)
    _print_summary(scores, options["out"])


def _pair(inputs: Inputs, predicted: Path | None) -> list[CaseFiles]:
    from cmbnet.evaluation.cohort.files import (
        Folders,
        pair_files,
        read_lesion_regions,
        read_manifest,
    )

    if inputs.regions is not None and inputs.lesions is not None:
        raise UsageError("either --regions or --lesions says where lesions are, got both")
    if inputs.stratum and inputs.manifest is None:
        raise UsageError("--stratum names a column of the manifest: pass --manifest too")
    regions = None if inputs.lesions is None else read_lesion_regions(inputs.lesions)
    rows: dict[str, ManifestRow] | None = None
    if inputs.manifest is not None:
        rows = read_manifest(inputs.manifest, inputs.stratum, repeated=inputs.repeated_patients)
    # Probabilities belong to the first model only.
    probabilities = inputs.probabilities if predicted == inputs.pred else None
    folders = Folders(
        inputs.truth, predicted, probabilities, inputs.ignore, inputs.brain, inputs.regions
    )
    return pair_files(folders, rows, regions, allow_missing=inputs.allow_missing)


def _score(files: list[CaseFiles], settings: Settings, jobs: int, what: str) -> CohortScores:
    from rich.console import Console
    from rich.progress import track

    from cmbnet.evaluation import summarise
    from cmbnet.evaluation.cohort.load import score_many

    scored = score_many(files, settings, jobs=jobs)
    console = Console(stderr=True)
    scores = summarise(
        track(scored, what, total=len(files), console=console, transient=True), settings
    )
    for case in scores.cases:
        for warning in case.warnings:
            click.echo(f"warning: case {case.name}: {warning}", err=True)
    return scores


def _print_summary(scores: CohortScores, out: Path) -> None:
    from cmbnet.evaluation.show.table import number

    for name in ("dice", "lesion_precision", "lesion_recall", "fp_per_scan", "patient_fpr"):
        click.echo(f"{name:18} {number(scores.metrics[name])}")
    click.echo(f"written to {out}. {RESEARCH_USE_ONLY}")
