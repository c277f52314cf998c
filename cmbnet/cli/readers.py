"""``cmbnet readers``: analyse a reader study of the system's output."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from cmbnet.evaluation.readers import ReadCase
    from cmbnet.review.study import ReviewStudy


@click.command("readers", epilog=RESEARCH_USE_ONLY)
@click.option("--system", type=options.OLD_FOLDER, help="Folder of the masks of the system.")
@click.option("--readers", type=options.OLD_FOLDER,
              help="Folder that has a folder of revised masks for each reader.")  # fmt: skip
@click.option("--reviews", type=options.OLD_FOLDER,
              help="Folder of the reviews of `cmbnet review`. It replaces --readers. Its results "
                   "are --system, or the folder around it.")  # fmt: skip
@click.option("--truth", type=options.OLD_FOLDER, help="Folder of the masks of the reviewed truth.")
@click.option(
    "--ignore", type=options.OLD_FOLDER, help="Folder of masks of the regions where nothing counts."
)
@click.option("--labels", type=options.OLD_FILE,
              help="CSV with the columns reader, case, lesion, label. It replaces "
                   "the masks.")  # fmt: skip
@click.option("--times", type=options.OLD_FILE,
              help="CSV of reading times with the columns reader, case, arm (with or without), "
                   "seconds.")  # fmt: skip
@options.data_kind("What kind of scans these are. Every result will say so.")
@click.option("-o", "--out", type=options.FOLDER,
              help="Folder to write results to. Tables are printed anyway.")  # fmt: skip
@options.resamples
@options.bootstrap_seed
@click.option("--paper/--no-paper", default=False, show_default=True,
              help="Show the averages of Fan et al. 2022 beside these.")  # fmt: skip
@click.option("--figures/--no-figures", default=True, show_default=True,
              help="Also draw the figures.")  # fmt: skip
@options.for_print
def command(times: Path | None, out: Path | None, **given: Any) -> None:
    """Count correct, missed and incorrect labels per reader, and measure how readers agree.

    Readers review results on the page of `cmbnet review`, revise the system's masks, or label its
    lesions in a table.
    """
    from cmbnet.evaluation.readers.report import study_tables, title, write_study
    from cmbnet.evaluation.readers.study import analyse_study
    from cmbnet.evaluation.readers.times import compare_times, read_times
    from cmbnet.evaluation.show.table import join_markdown

    seed, kind = given["seed"], given["data_kind"]
    if out is not None:
        options.require_kind(kind)
    arms, readings = None, [] if times is None else read_times(times)
    if given["reviews"] is None:
        names, cases = _marks(**given)
    else:
        reviewed = _reviewed(**given)
        names, cases, arms = reviewed.readers, reviewed.cases, reviewed.compared()
        readings = readings or reviewed.paired_times()
    study = analyse_study(names, cases, resamples=given["resamples"], seed=seed)
    timed = compare_times(readings, seed=seed) if readings else []
    tables = study_tables(study, timed, arms, paper=given["paper"])
    if out is not None:
        write_study(
            out,
            study,
            kind,
            tables,
            timed,
            arms,
            figures=given["figures"],
            for_print=given["for_print"],
        )
    click.echo(join_markdown(title(kind), tables, RESEARCH_USE_ONLY))


def _marks(
    system: Path | None,
    readers: Path | None,
    truth: Path | None,
    ignore: Path | None,
    labels: Path | None,
    **_: Any,
) -> tuple[list[str], list[ReadCase]]:
    """Read masks or a table of labels."""
    from cmbnet.evaluation.readers.load import read_labels_table, read_masks, reader_folders

    masks = (system, readers, truth, ignore)
    if labels is not None and all(folder is None for folder in masks):
        return read_labels_table(labels)
    if labels is None and system is not None and readers is not None:
        folders = reader_folders(readers)
        say = partial(click.echo, err=True)
        return sorted(folders), read_masks(system, folders, truth, ignore, report=say)
    raise UsageError(
        "--reviews, or --labels, or --system and --readers (with --truth and --ignore) are required"
    )


def _reviewed(
    reviews: Path,
    system: Path | None,
    readers: Path | None,
    truth: Path | None,
    ignore: Path | None,
    labels: Path | None,
    **_: Any,
) -> ReviewStudy:
    """Read the folders of the reviews."""
    from cmbnet.review.study import read_reviews

    if readers is not None or ignore is not None or labels is not None:
        raise UsageError("--reviews replaces --readers, --ignore and --labels, got both")
    found = read_reviews(reviews, system, truth)
    if found.left_out:
        click.echo(
            f"left out, because not all of {', '.join(found.readers)} have finished them with the "
            f"model's answer: {', '.join(found.left_out)}",
            err=True,
        )
    return found
