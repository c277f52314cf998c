"""``cmbnet adapt``: let a model learn from the reviewed scans of a site."""

from __future__ import annotations

from typing import Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import require


@click.command("adapt", epilog=RESEARCH_USE_ONLY)
@click.argument("bundle")
@click.option("--reviewed", required=True, multiple=True, type=options.OLD_FOLDER,
              help="Folder of a reader, of several readers, or of the results that they reviewed; "
                   "or a folder with images/ and lesions/. You may repeat it.")  # fmt: skip
@click.option("-o", "--output", required=True, type=options.FOLDER,
              help="Folder to write the new bundle to.")  # fmt: skip
@options.data_kind(
    "What kind of scans were reviewed. The bundle and its card will say so.", required=True
)
@click.option("--scans", multiple=True,
              help="Reviewed scans, as they were given to `cmbnet predict`. You may repeat it.  "
                   "[default: they are looked for beside the results]")  # fmt: skip
@click.option("--results", type=options.OLD_FOLDER,
              help="Folder of the reviewed results.  [default: the folder above the "
                   "reviews]")  # fmt: skip
@click.option("--patients", type=options.OLD_FILE,
              help="CSV with the columns case and patient, if patients were scanned "
                   "twice.")  # fmt: skip
@click.option("--replay", type=options.OLD_FOLDER,
              help="Folder with images/ and lesions/ of scans that the model must not forget.  "
                   "[default: as many new phantoms as reviewed cases]")  # fmt: skip
@click.option("--consensus", "how", type=click.Choice(["majority", "staple"]),
              default="majority", show_default=True,
              help="How the readers of one scan are brought to one truth.")  # fmt: skip
@click.option("--recipe", "recipe_path", type=options.OLD_FILE,
              help="Training recipe, to replace the usual one.")  # fmt: skip
@click.option("--anyway", is_flag=True,
              help="Write the new bundle even if it is worse than the old one.")  # fmt: skip
@click.option("--work", type=options.FOLDER,
              help="Folder for what is made on the way. If the command stops, the same one "
                   "continues from it.  [default: the output folder with .work added]")  # fmt: skip
@click.option("--name", default="", help="Name of the new bundle.  [default: the old one with "
              "-adapted added]")  # fmt: skip
@click.option("--seed", default=0, show_default=True,
              help="Number that chooses the held-out patients and the phantoms.")  # fmt: skip
@options.scan_jobs("Number of processes that make phantoms and prepare scans.")
@options.backend
@click.option("--anatomy", type=click.Choice(["mni", "procedural"]), hidden=True)
def command(**given: Any) -> None:
    """Train BUNDLE further on reviewed scans, and say whether the new model is better.

    BUNDLE is a folder that holds bundle.json, or "default". A quarter of the patients choose the
    thresholds, and another quarter is held out to judge by. Phantoms are replayed, so that what the
    model knew is not forgotten. A new model that is worse is not written.
    """
    require("yaml", "h5py", extra="train", purpose="to prepare scans")
    options.keep_blas_quiet()
    from cmbnet.cli.cases import collect_cases
    from cmbnet.training.adapt.adapt import Adaptation, adapt
    from cmbnet.training.fit.recipe import load_recipe

    scans = given.pop("scans")
    output, work, anyway = (given.pop(name) for name in ("output", "work", "anyway"))
    recipe = given.pop("recipe_path")
    asked = Adaptation(
        start=given.pop("bundle"),
        scans=tuple(collect_cases(scans, say=click.echo)) if scans else (),
        recipe=None if recipe is None else load_recipe(recipe),
        **given,
    )
    written = adapt(
        asked,
        output,
        work or output.with_name(f"{output.name}.work"),
        anyway=anyway,
        report=click.echo,
    )
    click.echo(f"{written.path}  sha256 {written.sha256}")
    click.echo(RESEARCH_USE_ONLY)
