"""``cmbnet train``: train a model from a recipe and labelled scans."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import require

_PATH = click.Path(exists=True, path_type=Path)


@click.command("train", epilog=RESEARCH_USE_ONLY)
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=_PATH,
              help="Training scans: a data spec (with --root), a cache of `cmbnet prepare`, "
                   "or a cohort folder.")  # fmt: skip
@click.option("--validation", type=_PATH,
              help="Scans that choose the best epoch, given as for --data.  "
                   "[default: the side 'validation' of --data]")  # fmt: skip
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of the scans of a data spec.")  # fmt: skip
@click.option("-o", "--output", "run", required=True,
              type=click.Path(file_okay=False, path_type=Path),
              help="Folder to write the run to. If a run stops, the same command "
                   "continues it.")  # fmt: skip
@click.option(
    "--jobs", default=1, show_default=True, help="Number of processes that prepare scans."
)
@click.option(
    "--prepare-only", is_flag=True, help="Only make the caches of prepared scans, and do not train."
)
def command(
    recipe_path: Path,
    data: Path,
    validation: Path | None,
    root: Path | None,
    run: Path,
    jobs: int,
    prepare_only: bool,
) -> None:
    """Train a model from a YAML RECIPE.

    A cohort folder has images/ and lesions/, and may have ignore/ and mimics/. Each of them has one
    NIfTI file per case, with the name of the case. Scans are prepared once, into RUN.
    """
    require("yaml", "h5py", extra="train", purpose="to prepare scans")
    # Read when numpy is imported: more threads only spin between the small matrices of preparing.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cmbnet.training.data.sources import Sources, caches_of
    from cmbnet.training.fit.recipe import load_recipe

    recipe = load_recipe(recipe_path)
    sources = Sources(data, validation, root, run, jobs)
    sides = caches_of(sources, recipe.preprocess.recipe(), report=click.echo)
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
