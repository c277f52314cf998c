"""``cmbnet review``: judge the lesions of result folders on a page."""

from __future__ import annotations

import getpass
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UsageError, require

if TYPE_CHECKING:
    from cmbnet.io.case import Case
    from cmbnet.review import Cohort


@click.command(epilog=RESEARCH_USE_ONLY)
@click.argument("results", type=options.OLD_FOLDER)
@click.argument("scans", nargs=-1)
@click.option("--reader",
              help="Name of the reader. Each reader has a folder of this name.  "
                   "[default: the name of the user]")  # fmt: skip
@click.option(
    "--blind",
    is_flag=True,
    help="Hide the model's answer until the reader has read the case alone.",
)
@click.option("-o", "--out", type=options.FOLDER,
              help="Folder that gets a folder for each reader.  "
                   "[default: the folder reviews in RESULTS]")  # fmt: skip
@click.option("--plan",
              help="Plan a cross-over study of these readers (names with commas between), in two "
                   "sessions with and without the model's answer, and stop.")  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the shuffles of --plan."
)
@click.option("--session", type=click.IntRange(1, 2), help="Session of the plan to read.")
@click.option("--verify", metavar="FAMILY^GIVEN",
              help="Write SEG and SR of the reader's finished cases, VERIFIED in this name, and "
                   "stop. The scans must be DICOM.")  # fmt: skip
@click.option("--organization", default="", help="Where the reader of --verify works.")
@click.option("--export", "export_to", type=options.FOLDER, metavar="FILE.xlsx",
              help="Write the reader's verdicts as findings for Microbleed-review-viewer, and "
                   "stop.")  # fmt: skip
@click.option("--import", "import_from", type=options.OLD_FILE,
              help="Take over the reader's verdicts from a database of Microbleed-review-viewer, "
                   "and stop. Cases that were begun here are left alone.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0,
              help="Port of the page on this machine.  [default: any free one]")  # fmt: skip
@click.option("--open", "open_page", is_flag=True, help="Also open the page in a browser.")
def command(results: Path, out: Path | None, session: int | None, **given: Any) -> None:
    """Judge the lesions that `cmbnet predict` wrote to RESULTS, and add what it missed.

    It prints the address of a page that only this machine can open. SCANS are the files and folders
    that were given to `cmbnet predict`; without them, scans are looked for beside RESULTS. Stop it
    with Ctrl-C. Nothing is lost, and the next start goes on.
    """
    require("starlette", "uvicorn", extra="review", purpose="to serve the page")
    from cmbnet.review import ReviewLog, Session, check_reader, open_cohort, read_plan
    from cmbnet.review.server import serve

    reader = given["reader"]
    cohort = open_cohort(results, _cases(given["scans"]))
    reviews = results / "reviews" if out is None else out
    if given["plan"] is not None:
        click.echo(_planned(reviews, cohort, given["plan"], given["seed"]))
        return
    name = check_reader(_user() if reader is None else reader)
    turns = None if session is None else read_plan(reviews, name, session)
    folder = (reviews if session is None else reviews / f"session-{session}") / name

    if given["verify"] is not None:
        require("highdicom", extra="dicom", purpose="to write DICOM SEG and SR")
        from cmbnet.review.verify import write_verified

        for path in write_verified(cohort, folder, given["verify"], given["organization"]):
            click.echo(path)
        return

    if (export_to := given["export_to"]) is not None:
        require("openpyxl", extra="train", purpose="to write a workbook")
        from cmbnet.review.outputs import read_review
        from cmbnet.review.viewer import write_findings

        click.echo(f"{write_findings(read_review(folder), export_to)} findings: {export_to}")
        return

    def say(address: str) -> None:
        click.echo(f"{len(review.cases)} cases, reader {name}: {address}")
        click.echo(f"Verdicts and masks are written to {folder}. Stop with Ctrl-C.")
        click.echo(RESEARCH_USE_ONLY)
        if given["open_page"]:
            click.launch(address)

    with ReviewLog(folder) as log:
        review = Session(cohort, log, name, blind=given["blind"], plan=turns)
        for fault in review.repair():
            click.echo(fault, err=True)
        if given["import_from"] is not None:
            from cmbnet.review.viewer import read_verdicts

            for line in read_verdicts(given["import_from"], name, review, cohort):
                click.echo(line)
            return
        with suppress(KeyboardInterrupt):
            serve(review, port=given["port"], say=say)


def _planned(reviews: Path, cohort: Cohort, plan: str, seed: int) -> str:
    """Write a plan and say what it is."""
    from cmbnet.review import check_reader, make_plan, write_plan

    readers = [check_reader(name.strip()) for name in plan.split(",")]
    if len(set(readers)) < len(readers):
        raise UsageError("readers of different names are required", argument="plan")
    found = {one.name: bool(one.result.lesions) for one in cohort.cases if one.result is not None}
    path = write_plan(reviews, make_plan(found, readers, seed=seed))
    return f"{len(readers)} readers read {len(found)} cases in two sessions: {path}"


def _user() -> str:
    """Return the name of the user, as far as it can be that of a reader."""
    try:
        return re.sub(r"[^\w-]", "-", getpass.getuser()).strip("-") or "reader"
    except (OSError, KeyError):
        raise UsageError("a name of the reader is required", argument="reader") from None


def _cases(scans: tuple[str, ...]) -> list[Case]:
    from cmbnet.cli.cases import collect_cases

    return collect_cases(scans, say=lambda line: click.echo(line, err=True)) if scans else []
