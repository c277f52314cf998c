"""``cmbnet card``: write a page of Markdown that describes a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UnreadableFile


@click.command("card", epilog=RESEARCH_USE_ONLY)
@click.argument("bundle", default="default")
@click.option("--results", type=options.OLD_FILE,
              help="The results.json of `cmbnet evaluate` for a test cohort.")  # fmt: skip
@click.option("--curves", type=options.OLD_FILE,
              help="The results.json of the same cohort, scored from probability maps. "
                   "The lesion ROC comes from it.")  # fmt: skip
@click.option("--elsewhere", type=(str, options.OLD_FILE), multiple=True, metavar="WORDS FILE",
              help='Words and the results.json of another cohort, '
                   'as in: --elsewhere "outside of training" results.json.')  # fmt: skip
@click.option("--shares", type=options.OLD_FILE, multiple=True,
              help="File of counts that a benchmark of the repository wrote.")  # fmt: skip
@click.option("--notes", type=options.OLD_FILE, help="Markdown file to add at the end of the card.")
@click.option("--paper", is_flag=True,
              help="Show the values of Fan et al. 2022 beside the test cohort.")  # fmt: skip
@click.option("--unrecorded", is_flag=True,
              help="Accept results that do not record their bundle. The card says so.")  # fmt: skip
@click.option("-o", "--output", type=options.FILE,
              help="File to write the card to.  [default: the screen]")  # fmt: skip
def command(bundle: str, output: Path | None, **given: Any) -> None:
    """Write the model card of BUNDLE, a folder or "default".

    Results must belong to this bundle at one of its operating points. To get them, score the
    output of `cmbnet predict` with `cmbnet evaluate`.
    """
    from cmbnet.bundle import load_bundle
    from cmbnet.bundle.card import SHARES_SCHEMA, CardContent, model_card
    from cmbnet.io import write_text_atomically

    notes, results, curves = (given[name] for name in ("notes", "results", "curves"))
    content = CardContent(
        results=None if results is None else read_results(results),
        curves=None if curves is None else read_results(curves),
        elsewhere={words: read_results(file) for words, file in given["elsewhere"]},
        shares=[read_results(file, SHARES_SCHEMA) for file in given["shares"]],
        notes="" if notes is None else notes.read_text(encoding="utf-8"),
        paper=given["paper"],
        unrecorded=given["unrecorded"],
    )
    text = model_card(load_bundle(bundle), content)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text_atomically(output, text)


def read_results(path: Path, schema: str | None = None) -> Any:
    """Read a ``results.json``, or another file of JSON with a schema.

    Raises:
        UnreadableFile: If the file is no ``results.json`` of this version, or of another schema.
    """
    from cmbnet.evaluation.show.results import SCHEMA

    required = schema or SCHEMA
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"a file of the schema {required!r} is required, got {path}: {error!r}"
        ) from error
    if found != required:
        raise UnreadableFile(
            f"schema {required!r} is required in {path}, got {found!r}: score it again"
        )
    return content
