"""``cmbnet predict``: find microbleeds on scans."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import CmbnetError

if TYPE_CHECKING:
    from cmbnet.report.batch import Outcome

EPILOG = f"""
Exit code: 0 all cases done, 3 some refused as not analysable, 4 some failed, 2 wrong usage.

{RESEARCH_USE_ONLY}
"""


@click.command(epilog=EPILOG)
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results: a folder a case, and summary.csv.",
)
@click.option("--model", default="default", help="Folder of a model bundle, or default.")
@click.option("--operating-point", default="default", help="Named set of thresholds of the bundle.")
@click.option(
    "--backend",
    default="auto",
    help="auto, or a name of `cmbnet backends`, also with a precision: litert:float32.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads of the network (default: all).")
@click.option(
    "--brain-mask",
    type=click.Path(exists=True, path_type=Path),
    help="Brain mask on the grid of the scan; for several scans a folder with masks of the "
    "same file names.",
)
@click.option("--frame", type=click.IntRange(0), help="Which image of a 4D file, from 0.")
@click.option("--save-probability", is_flag=True, help="Write probability.nii.gz, too.")
@click.option("--force", is_flag=True, help="Answer even on what is not analysable.")
@click.option("--overwrite", is_flag=True, help="Run finished cases again.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Cases at a time."
)
def command(
    inputs: tuple[str, ...],
    out: Path,
    model: str,
    threads: int | None,
    brain_mask: Path | None,
    jobs: int,
    **how: Any,
) -> None:
    """Find microbleeds on SWI scans (.nii, .nii.gz; files, folders, patterns).

    Finished cases are skipped if scan, model and options are the same.
    """
    from cmbnet.cli.cases import collect_cases
    from cmbnet.io.ahead import ReadAhead

    cases = collect_cases(inputs, brain_mask=brain_mask)
    ahead = ReadAhead(how["frame"])
    if how["overwrite"] or not (out / cases[0].name).exists():
        ahead.begin(cases[0].path)  # while the rest is imported

    from cmbnet.backends import open_backend
    from cmbnet.bundle import load_bundle
    from cmbnet.report.batch import Options, run_batch

    bundle = load_bundle(model)
    options = Options(**how)
    # A wrong name is a fault of the call, not of a case.
    bundle.operating_point(options.operating_point)
    opened = open_backend(bundle, options.backend, threads=threads)
    _make_folder(out)
    outcomes = run_batch(
        cases, out, bundle=bundle, backend=opened, options=options, jobs=jobs, ahead=ahead
    )
    statuses = set()
    for outcome in _with_progress(outcomes, len(cases)):
        statuses.add(outcome.status)
        _say(outcome)
    opened.close()
    if len(cases) > 1:
        click.echo(f"{len(cases)} cases: {out / 'summary.csv'}")
    click.echo(RESEARCH_USE_ONLY)
    sys.exit(4 if "failed" in statuses else 3 if "refused" in statuses else 0)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CmbnetError(
            f"cannot make the output folder {out} ({error.strerror}); choose another with -o"
        ) from error


def _say(outcome: Outcome) -> None:
    """A line a case: results on stdout, faults on stderr."""
    name = outcome.case.name
    if outcome.result is None:
        click.echo(f"{name}: {outcome.status}: {outcome.reason}", err=True)
        return
    scan = outcome.result.scan
    again = " (finished before)" if outcome.status == "skipped" else ""
    call = "positive" if scan.positive else "negative"
    click.echo(
        f"{name}: {scan.lesions} lesions ({scan.small} small, {scan.large} large), {call}{again}: "
        f"{outcome.report}"
    )


def _with_progress(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Show a bar on stderr where someone watches and there is something to wait for."""
    if total < 2 or not sys.stderr.isatty():
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        outcomes, total=total, description="Scans", console=Console(stderr=True), transient=True
    )
