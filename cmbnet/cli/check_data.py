"""``cmbnet check-data``: say what a data set holds, and what would make training wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options


@click.command("check-data", epilog=RESEARCH_USE_ONLY)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--root", type=options.OLD_FOLDER,
              help="Folder of the scans. A spec of published numbers needs none.")  # fmt: skip
@options.scan_jobs("Number of processes that read scans.")
@click.option("--cases", "show_cases", is_flag=True, help="Also print a line for each case.")
@click.option("--json", "json_path", type=options.FILE,
              help="Write everything to this JSON file, for programs.")  # fmt: skip
def command(
    spec_path: Path, root: Path | None, jobs: int, show_cases: bool, json_path: Path | None
) -> None:
    """Count cases, lesions and sizes of the data set that SPEC describes, and find its faults.

    If training on it would be wrong, the exit code is 3.
    """
    options.keep_blas_quiet()
    from cmbnet.errors import InputRefused, UsageError, require

    require("yaml", "h5py", extra="train", purpose="to read labelled scans")
    from cmbnet.preprocess import PreprocessRecipe
    from cmbnet.training.data.cache import reports_of
    from cmbnet.training.data.check_table import (
        print_cases,
        print_faults,
        print_reference,
        print_summary,
        write_json,
    )
    from cmbnet.training.data.specs.load import load_spec
    from cmbnet.training.data.specs.model import ReferenceSpec

    spec = load_spec(spec_path)
    if isinstance(spec, ReferenceSpec):
        print_reference(spec)
        click.echo(RESEARCH_USE_ONLY)
        return
    if root is None:
        raise UsageError(f"{spec_path} describes scans: say with --root where they lie")
    result = reports_of(spec, root, recipe=PreprocessRecipe(), jobs=jobs)
    print_summary(result)
    if show_cases:
        print_cases(result)
    print_faults(result)
    if json_path is not None:
        write_json(json_path, spec, result)
    click.echo(RESEARCH_USE_ONLY)
    sys.stdout.flush()
    if result.wrong:
        faults = "1 fault" if result.wrong == 1 else f"{result.wrong} faults"
        raise InputRefused(
            f"{faults} would make training wrong: mend them, or exclude the cases in {spec_path}"
        )
