"""``cmbnet evaluate``: score predictions against a reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from cmbnet.evaluation import CohortScores, Settings
    from cmbnet.evaluation.cohort.files import CaseFiles, Reference
    from cmbnet.evaluation.cohort.manifest import Manifest


@click.command("evaluate", epilog=RESEARCH_USE_ONLY)
@click.option("--truth", type=click.Path(path_type=Path), required=True,
              help="The reference: a folder of masks or instance labels, BIDS derivatives, a data "
                   "spec (with --root), or a cache of `cmbnet prepare`.")  # fmt: skip
@options.root
@options.side
@click.option("--pred", type=options.FOLDER,
              help="Folder of the predictions: files, or the output of `cmbnet predict` or "
                   "`cmbnet bids`.")  # fmt: skip
@click.option("--probabilities", type=options.FOLDER,
              help="Folder of probability maps. Without --pred, they are "
                   "thresholded.")  # fmt: skip
@click.option("--versus", type=options.FOLDER,
              help="Folder of the predictions of another model, to compare.")  # fmt: skip
@click.option(
    "--ignore", type=options.FOLDER, help="Folder of masks of the regions where nothing counts."
)
@click.option(
    "--brain", type=options.FOLDER, help="Folder of brain masks. Only voxels inside count."
)
@click.option("--regions", type=options.FOLDER,
              help="Folder of region labels. Each region becomes a stratum.")  # fmt: skip
@click.option("--lesions", type=options.FILE,
              help="CSV of the true lesions with the columns case, lesion, region. "
                   "It replaces --regions.")  # fmt: skip
@click.option(
    "--images", type=options.FOLDER, help="Folder of the scans. The error gallery shows them."
)
@click.option("--comparisons", type=options.FOLDER,
              help="Folder of `cmbnet compare --table`, to score follow-up alone. --truth is then "
                   "a cohort of `cmbnet phantom --follow-up`.")  # fmt: skip
@click.option("--manifest", type=options.FILE,
              help="CSV of the cases, with the columns case and, optionally, "
                   "patient. Or the participants.tsv of BIDS.")  # fmt: skip
@click.option("--stratum", multiple=True, help="Column of the manifest whose values become strata.")
@options.data_kind("What kind of scans these are. Every result will say so.")
@click.option("-o", "--out", type=options.FOLDER,
              help="Folder to write all results to. Without it, tables are printed.")  # fmt: skip
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
@click.option("--repeated-patients", is_flag=True,
              help="Accept several scans of one patient, and sum them.")  # fmt: skip
@options.resamples
@options.bootstrap_seed
@click.option("--paper/--no-paper", default=False, show_default=True,
              help="Show the values of Fan et al. 2022 beside these.")  # fmt: skip
@click.option("--figures/--no-figures", default=True, show_default=True,
              help="Draw figures and the report.")  # fmt: skip
@options.for_print
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True,
              help="Number of processes that score cases.")  # fmt: skip
def command(**given: Any) -> None:
    """Score the predictions of a folder against the reference of another.

    Cases are paired by file name, and those of BIDS by their entities. Files on different grids and
    missing cases are refused. Nothing is resampled or padded.
    """
    if given["out"] is not None:
        options.require_kind(given["data_kind"])
    if given["comparisons"] is not None:
        _score_follow_up(given)
        return
    from cmbnet.evaluation import MatchingRule, Settings
    from cmbnet.evaluation.cohort.analysis import Plan, analyse
    from cmbnet.evaluation.cohort.compare import compare
    from cmbnet.evaluation.cohort.images import find_images
    from cmbnet.evaluation.cohort.origin import origin_of
    from cmbnet.evaluation.show.table import join_markdown
    from cmbnet.evaluation.show.tables import all_tables
    from cmbnet.evaluation.show.write import title, write_figures, write_tables

    settings = Settings(
        rule=MatchingRule.parse(given["rule"]),
        probability_threshold=given["threshold"],
        score=given["score"],
        size_rule=given["size_rule"],
    )
    images = find_images(given["images"]) if given["images"] else {}
    plan = Plan(resamples=given["resamples"], seed=given["seed"])
    files = _pair(given, "pred")
    others = [] if given["versus"] is None else _pair(given, "versus")
    origin = origin_of(files, given["data_kind"], others)
    scores = _score(files, settings, given["jobs"], "Scoring")
    comparison, other = None, None
    if others:
        other = _score(others, settings, given["jobs"], "The other")
        comparison = compare(scores, other, resamples=plan.resamples, seed=plan.seed)
    analysis = analyse(scores, plan)
    tables = all_tables(analysis, comparison, paper=given["paper"])
    if given["out"] is None:
        click.echo(join_markdown(title(origin), tables, RESEARCH_USE_ONLY))
        return
    write_tables(given["out"], analysis, origin, tables, comparison)
    if given["figures"]:
        write_figures(
            given["out"], analysis, origin, tables, files,
            images=images, other=other, for_print=given["for_print"],
        )  # fmt: skip
    _print_summary(scores, given["out"])


def _score_follow_up(given: dict[str, Any]) -> None:
    """Score the output of ``cmbnet compare``."""
    import json
    from dataclasses import asdict

    from cmbnet.evaluation.show.results import plain
    from cmbnet.followup.score import figures, score_cohort, table_of
    from cmbnet.io import write_text_atomically

    if given["pred"] is not None:
        raise UsageError("either --pred or --comparisons is scored, got both")
    scores, without = score_cohort(given["comparisons"], given["truth"])
    found = figures(scores, without)
    text = f"{table_of(found).to_markdown()}\n{RESEARCH_USE_ONLY}\n"
    click.echo(text, nl=False)
    if given["out"] is not None:
        head = {"notice": RESEARCH_USE_ONLY, "data_kind": given["data_kind"]}
        values = plain(head | found | {"cases": [asdict(one) for one in scores]})
        write_text_atomically(
            given["out"] / "follow-up.json", json.dumps(values, indent=1, allow_nan=False) + "\n"
        )
        write_text_atomically(given["out"] / "follow-up.md", text)


def _pair(given: dict[str, Any], predictions: Literal["pred", "versus"]) -> list[CaseFiles]:
    from cmbnet.evaluation.cohort.files import Folders, pair_files
    from cmbnet.evaluation.cohort.manifest import read_lesion_regions, read_manifest

    if given["regions"] is not None and given["lesions"] is not None:
        raise UsageError("either --regions or --lesions says where lesions are, got both")
    if given["stratum"] and given["manifest"] is None:
        raise UsageError("--stratum names a column of the manifest: pass --manifest too")
    regions = None if given["lesions"] is None else read_lesion_regions(given["lesions"])
    rows: Manifest | None = None
    if given["manifest"] is not None:
        repeated = given["repeated_patients"]
        rows = read_manifest(given["manifest"], given["stratum"], repeated=repeated)
    folders = Folders(
        truth=_truth(given),
        predicted=given[predictions],
        # Probabilities belong to the first model only.
        probability=given["probabilities"] if predictions == "pred" else None,
        ignore=given["ignore"],
        brain=given["brain"],
        regions=given["regions"],
    )
    return pair_files(folders, rows, regions, allow_missing=given["allow_missing"])


def _truth(given: dict[str, Any]) -> Path | dict[str, Reference]:
    """Return the folder of the reference, or the cases of a data spec or cache."""
    from cmbnet.evaluation.cohort.files import Reference
    from cmbnet.training.data.cache_index import is_cache
    from cmbnet.training.data.labelled import is_spec, read_labelled, read_reference

    path: Path = given["truth"]
    if not is_spec(path) and not is_cache(path):
        return path
    if given["ignore"] is not None:
        raise UsageError(f"{path} says itself where nothing counts: leave out --ignore")
    scans = read_labelled(path, given["root"], side=given["side"])
    return {
        case.name: Reference(partial(read_reference, case), case.patient) for case in scans.cases
    }


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
