"""``cmbnet prepare``: a data spec and its scans in, a training cache out."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import require


@click.command("prepare", epilog=RESEARCH_USE_ONLY)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--root", required=True, help="Where the scans lie.",
              type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder of the cache; the same command goes on where it was "
                   "stopped.")  # fmt: skip
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path),
              help="Training recipe; its section 'preprocess' counts.  "
                   "[default: the default preprocessing]")  # fmt: skip
@click.option("--jobs", default=1, show_default=True, help="Processes.")
@click.option("--leave-out", is_flag=True,
              help="Leave out cases with which something is wrong, and write down why; without "
                   "it nothing is finished then.")  # fmt: skip
def command(
    spec_path: Path, root: Path, output: Path, recipe_path: Path | None, jobs: int, leave_out: bool
) -> None:
    """Prepare the scans that SPEC describes for training, once.

    Each scan is brought into the frame of the network and written to a file of its own; the list
    of all, cache.json, comes last. What is there already is kept if nothing about it changed.
    """
    require("yaml", "h5py", extra="train", purpose="to prepare scans")
    # Read when numpy is imported: more threads only spin between our small matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cmbnet.preprocess import PreprocessRecipe
    from cmbnet.training.data.cache import prepare_cache, report_line
    from cmbnet.training.data.check_table import print_summary
    from cmbnet.training.data.specs.load import load_scan_spec

    recipe = PreprocessRecipe()
    if recipe_path is not None:
        from cmbnet.training.fit.recipe import load_recipe

        recipe = load_recipe(recipe_path).preprocess.recipe()
    spec = load_scan_spec(spec_path)
    result = prepare_cache(spec, root, output, recipe=recipe, jobs=jobs, leave_out=leave_out)
    print_summary(result)
    report_line(output, result, click.echo)
    click.echo(RESEARCH_USE_ONLY)
