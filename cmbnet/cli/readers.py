"""``cmbnet readers``: analyse a reader study of the system's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.data_kind import KINDS
from cmbnet.errors import UsageError

FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("readers", epilog=RESEARCH_USE_ONLY)
@click.option("--system", type=FOLDER, help="Masks of the system.")
@click.option("--readers", type=FOLDER, help="A folder per reader, with the revised masks.")
@click.option("--truth", type=FOLDER, help="Reviewed truth.")
@click.option("--ignore", type=FOLDER, help="Masks of where nothing is counted.")
@click.option("--labels", type=FILE, help="Instead of masks: CSV of reader, case, lesion, label.")
@click.option("--times", type=FILE, help="CSV of reader, case, arm (with, without), seconds.")
@click.option("--data-kind", type=click.Choice(list(KINDS)),
              help="What the scans are; stands in every result.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False),
              help="Where to write; only tables are printed without.")  # fmt: skip
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--seed", default=20220324, show_default=True, help="Of the bootstrap.")
@click.option("--paper/--no-paper", default=False, show_default=True,
              help="The averages of Fan et al. 2022 beside these.")  # fmt: skip
@click.option("--figures/--no-figures", default=True, show_default=True)
def command(times: Path | None, out: Path | None, **options: Any) -> None:
    """Count correct, missed and incorrect labels per reader, and how readers agree.

    Readers revise the system's masks, or label its lesions in a table.
    """
    from cmbnet.evaluation.readers.labels import read_labels_table
    from cmbnet.evaluation.readers.load import read_masks, reader_folders
    from cmbnet.evaluation.readers.report import study_tables, title, write_study
    from cmbnet.evaluation.readers.study import analyse_study
    from cmbnet.evaluation.readers.times import compare_times, read_times
    from cmbnet.evaluation.show.table import join_markdown

    system, readers, truth, ignore, labels = (
        options[name] for name in ("system", "readers", "truth", "ignore", "labels")
    )
    seed, kind = options["seed"], options["data_kind"]
    if out is not None and kind is None:
        raise UsageError(
            f"--data-kind is required with -o: say what the scans are ({', '.join(KINDS)})"
        )
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
    study = analyse_study(names, cases, resamples=options["resamples"], seed=seed)
    timed = [] if times is None else compare_times(read_times(times), seed=seed)
    tables = study_tables(study, timed, paper=options["paper"])
    if out is not None:
        write_study(out, study, kind, tables, timed, figures=options["figures"])
    click.echo(join_markdown(title(kind), tables, RESEARCH_USE_ONLY))
