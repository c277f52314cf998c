"""``cmbnet train``: train a model from a recipe and labelled scans."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import require


@click.command("train", epilog=RESEARCH_USE_ONLY)
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=options.OLD_PATH,
              help="Training scans: a data spec (with --root), a cache of `cmbnet prepare`, "
                   "or a cohort folder.")  # fmt: skip
@click.option("--validation", type=options.OLD_PATH,
              help="Scans that choose the best epoch, given as for --data.  "
                   "[default: the side 'validation' of --data]")  # fmt: skip
@click.option("--root", type=options.OLD_FOLDER,
              help="Folder of the scans of a data spec.")  # fmt: skip
@click.option("-o", "--output", "run", required=True, type=options.FOLDER,
              help="Folder to write the run to. If a run stops, the same command "
                   "continues it.")  # fmt: skip
@options.fold
@options.scan_jobs("Number of processes that prepare scans.")
@click.option("--prepare-only", is_flag=True,
              help="Only make the caches of prepared scans, and do not train.")  # fmt: skip
def command(
    recipe_path: Path,
    data: Path,
    validation: Path | None,
    root: Path | None,
    run: Path,
    fold: int | None,
    jobs: int,
    prepare_only: bool,
) -> None:
    """Train a model from a YAML RECIPE.

    A cohort folder has images/ and lesions/, and may have ignore/ and mimics/. Each of them has one
    NIfTI file per case, with the name of the case. Scans are prepared once, into RUN.
    """
    require("yaml", "h5py", extra="train", purpose="to prepare scans")
    options.keep_blas_quiet()
    from cmbnet.training.data.sources import Sources, caches_of
    from cmbnet.training.fit.recipe import load_recipe
    from cmbnet.training.fit.start import preprocessing_of, with_start

    recipe = with_start(load_recipe(recipe_path))
    sources = Sources(data, validation, root, run, jobs, fold)
    sides = caches_of(sources, preprocessing_of(recipe), report=click.echo)
    if prepare_only:
        return
    from cmbnet.training.data.reader import Cache
    from cmbnet.training.fit.loop import train

    result = train(
        recipe,
        Cache(*sides[0]),
        Cache(*sides[1]),
        run,
        report=click.echo,
        show_progress=sys.stdout.isatty(),
    )
    click.echo(f"{result.best_model}  (validation Dice {result.best_dice:.4f})")
    click.echo(RESEARCH_USE_ONLY)
