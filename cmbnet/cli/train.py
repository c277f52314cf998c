"""``cmbnet train``: a recipe and labelled scans in, a model out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY

_PATH = click.Path(exists=True, path_type=Path)


@click.command("train", epilog=RESEARCH_USE_ONLY)
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=_PATH, help="Training cohort, or its cache (.h5).")
@click.option(
    "--validation", required=True, type=_PATH, help="Validation cohort, or its cache (.h5)."
)
@click.option(
    "-o",
    "--output",
    "run",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the run; the same command goes on with an interrupted run.",
)
@click.option("--jobs", default=1, show_default=True, help="Processes that prepare a cohort.")
@click.option("--prepare-only", is_flag=True, help="Make the caches and stop.")
def command(
    recipe_path: Path, data: Path, validation: Path, run: Path, jobs: int, prepare_only: bool
) -> None:
    """Train a model from a YAML RECIPE.

    A cohort is a directory with images/, lesions/ and, if there are, ignore/ and mimics/, with
    one NIfTI file of the same name for each case; it is prepared once, into RUN/*.h5.
    """
    from cmbnet.training.cache import cache_of
    from cmbnet.training.recipe import load_recipe

    recipe = load_recipe(recipe_path)
    paths = [
        cache_of(
            source,
            run / f"{role}.h5",
            recipe=recipe.preprocess.recipe(),
            jobs=jobs,
            report=click.echo,
        )
        for role, source in (("train", data), ("validation", validation))
    ]
    if prepare_only:
        return
    from cmbnet.training.fit import train
    from cmbnet.training.reader import Cache

    result = train(
        recipe,
        Cache(paths[0]),
        Cache(paths[1]),
        run,
        report=click.echo,
        show_progress=sys.stdout.isatty(),
    )
    click.echo(f"{result.best_model}  (validation Dice {result.best_dice:.4f})")
    click.echo(RESEARCH_USE_ONLY)
