"""``cmbnet prepare``: make a training cache from a data spec and its scans."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import require


@click.command("prepare", epilog=RESEARCH_USE_ONLY)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--root", required=True, help="Folder of the scans.",
              type=options.OLD_FOLDER)  # fmt: skip
@click.option("-o", "--output", required=True, type=options.FOLDER,
              help="Folder to write the cache to. If a run stops, the same command "
                   "continues it.")  # fmt: skip
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path),
              help="Training recipe. Only its section 'preprocess' is used.  "
                   "[default: the default preprocessing]")  # fmt: skip
@options.fold
@options.scan_jobs("Number of processes that prepare scans.")
@click.option("--leave-out", is_flag=True,
              help="Leave out faulty cases, and record why. Without it, a faulty case ends the "
                   "command.")  # fmt: skip
def command(
    spec_path: Path,
    root: Path,
    output: Path,
    recipe_path: Path | None,
    fold: int | None,
    jobs: int,
    leave_out: bool,
) -> None:
    """Prepare the scans that SPEC describes for training, once.

    Each scan is brought into the frame of the network and written to a file of its own. The list
    of all files, cache.json, comes last. A file is kept if nothing about its scan changed.
    """
    require("yaml", "h5py", extra="train", purpose="to prepare scans")
    options.keep_blas_quiet()
    from cmbnet.preprocess import PreprocessRecipe
    from cmbnet.training.data.cache import prepare_cache, report_line
    from cmbnet.training.data.check_table import print_summary
    from cmbnet.training.data.labelled import load_with_root

    recipe = PreprocessRecipe()
    if recipe_path is not None:
        from cmbnet.training.fit.recipe import load_recipe
        from cmbnet.training.fit.start import preprocessing_of

        recipe = preprocessing_of(load_recipe(recipe_path))
    spec, _ = load_with_root(spec_path, root, fold)
    result = prepare_cache(spec, root, output, recipe=recipe, jobs=jobs, leave_out=leave_out)
    print_summary(result)
    report_line(output, result, click.echo)
    click.echo(RESEARCH_USE_ONLY)
