"""``cmbnet readers``: analyse a reader study of the system's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UsageError


@click.command("readers", epilog=RESEARCH_USE_ONLY)
@click.option("--system", type=options.OLD_FOLDER, help="Folder of the masks of the system.")
@click.option("--readers", type=options.OLD_FOLDER,
              help="Folder that has a folder of revised masks for each reader.")  # fmt: skip
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
def command(times: Path | None, out: Path | None, **given: Any) -> None:
    """Count correct, missed and incorrect labels per reader, and measure how readers agree.

    Readers revise the system's masks, or label its lesions in a table.
    """
    from cmbnet.evaluation.readers.load import read_labels_table, read_masks, reader_folders
    from cmbnet.evaluation.readers.report import study_tables, title, write_study
    from cmbnet.evaluation.readers.study import analyse_study
    from cmbnet.evaluation.readers.times import compare_times, read_times
    from cmbnet.evaluation.show.table import join_markdown

    system, readers, truth, ignore, labels = (
        given[name] for name in ("system", "readers", "truth", "ignore", "labels")
    )
    seed, kind = given["seed"], given["data_kind"]
    if out is not None:
        options.require_kind(kind)
    masks = (system, readers, truth, ignore)
    if labels is not None and all(folder is None for folder in masks):
        names, cases = read_labels_table(labels)
    elif labels is None and system is not None and readers is not None:
        folders = reader_folders(readers)
        names = sorted(folders)
        cases = read_masks(
            system, folders, truth, ignore, report=lambda line: click.echo(line, err=True)
        )
    else:
        raise UsageError(
            "either --labels, or --system and --readers (with --truth and --ignore) are required"
        )
    study = analyse_study(names, cases, resamples=given["resamples"], seed=seed)
    timed = [] if times is None else compare_times(read_times(times), seed=seed)
    tables = study_tables(study, timed, paper=given["paper"])
    if out is not None:
        write_study(out, study, kind, tables, timed, figures=given["figures"])
    click.echo(join_markdown(title(kind), tables, RESEARCH_USE_ONLY))
