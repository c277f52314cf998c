"""``cmbnet bids``: a BIDS App for cohorts."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options, with_flag
from cmbnet.errors import printable

if TYPE_CHECKING:
    from cmbnet.bids.find import Session
    from cmbnet.bids.record import Record
    from cmbnet.bids.run import Engine
    from cmbnet.bids.sessions import Followed
    from cmbnet.bundle import Bundle

EPILOG = f"""
Exit code: 0, all scans are done. 1, the run was interrupted; the next run skips finished scans.
2, the command was wrong. 3, some scans were refused, a session has none that is clear, or sessions
cannot be compared. 4, some scans failed.

{RESEARCH_USE_ONLY}
"""
_LABELS = ("--participant-label", "--participant_label", "--session-label", "--session_label")


class _BidsApp(click.Command):
    """A command that takes several labels after one flag, as BIDS Apps do."""

    def make_parser(self, ctx: click.Context) -> Any:
        """Repeat the flag before each of its labels, which is click's way."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args
        parser.parse_args = lambda args: parse(_repeated(args))  # type: ignore[method-assign]
        return parser


def _repeated(words: Iterable[str]) -> list[str]:
    """Put the flag before each label.

    Examples:
        >>> _repeated(["in", "--participant-label", "01", "02", "--jobs", "2"])
        ['in', '--participant-label', '01', '--participant-label', '02', '--jobs', '2']
    """
    result: list[str] = []
    flag, first = "", False
    for word in words:
        if word.startswith("-"):
            flag, first = (word, True) if word in _LABELS else ("", False)
        elif flag and not first:
            result.append(flag)
        else:
            first = False
        result.append(word)
    return result


@click.command("bids", cls=_BidsApp, epilog=EPILOG)
@click.argument("bids_dir", type=options.OLD_FOLDER)
@click.argument("output_dir", type=options.FOLDER)
@click.argument("level", type=click.Choice(["participant", "group"]))
@click.option("--participant-label", "--participant_label", "participants", multiple=True,
              metavar="LABEL...",
              help="Labels of the subjects to analyse, without sub-. By default all.")  # fmt: skip
@click.option("--session-label", "--session_label", "sessions", multiple=True, metavar="LABEL...",
              help="Labels of the sessions to analyse, without ses-. By default all.")  # fmt: skip
@click.option("--select", multiple=True, metavar="ENTITY-LABEL",
              help="Part of the name that a scan must have, such as echo-2 or acq-high. May be "
                   "given several times.")  # fmt: skip
@click.option("--skip-bids-validation", "--skip_bids_validation", is_flag=True,
              help="Do not ask for a valid dataset_description.json.")  # fmt: skip
@options.model
@options.operating_point
@options.backend
@click.option("--threads", type=click.IntRange(1),
              help="Threads of the network. On Dask, the share of a worker decides.  [default: all "
                   "processors]")  # fmt: skip
@options.count_calcifications
@click.option("--save-probability", is_flag=True,
              help="Also write the probability map, probseg.nii.gz.")  # fmt: skip
@options.force
@click.option("--overwrite", is_flag=True, help="Analyse finished scans again.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Number of scans to analyse at a time, or of workers with "
                   "--dask local.")  # fmt: skip
@click.option("--shard", metavar="I/N",
              help="Analyse only part I of N of the subjects, as in 3/20. With the word array, a "
                   "job of a SLURM or SGE array takes its own part.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS",
              help="Analyse on Dask workers: the address of a scheduler, such as "
                   "tcp://host:8786, or local for workers on this machine.")  # fmt: skip
@click.option("--json-lines", is_flag=True,
              help="Print each scan as a line of JSON when it is finished, for "
                   "programs.")  # fmt: skip
def command(bids_dir: Path, output_dir: Path, level: str, **how: Any) -> None:
    """Find microbleeds on the SWI of a BIDS data set, as a BIDS App.

    The level participant writes BIDS derivatives and a report for each subject, and compares the
    sessions of a subject. The level group then joins all results into cmbnet_group.tsv and one
    page, cmbnet_group.html.

    BIDS_DIR is only read. A finished scan is skipped if scan, model and options are the same.
    """
    options.keep_blas_quiet()
    from cmbnet.bids.find import require_bids

    if not how["skip_bids_validation"]:
        require_bids(bids_dir)
    run = _group if level == "group" else _all
    sys.exit(run(bids_dir, output_dir, how))


def _group(root: Path, out: Path, how: dict[str, Any]) -> int:
    from cmbnet.bids.group import write_group
    from cmbnet.bids.run import compare_subjects
    from cmbnet.bundle import load_bundle

    statuses = set()
    for one in compare_subjects(root, out, load_bundle(how["model"])):
        statuses.add(one.status)
        _say(one, out, json_lines=False)
    click.echo(f"{write_group(root, out)}\n{RESEARCH_USE_ONLY}")
    return _exit_code(statuses)


def _exit_code(statuses: Collection[str]) -> int:
    return 4 if "failed" in statuses else 3 if "refused" in statuses else 0


def _all(root: Path, out: Path, how: dict[str, Any]) -> int:
    """Analyse what the options name, and return the exit code."""
    from cmbnet.bids.derivatives import prepare_folder
    from cmbnet.bids.find import find_sessions
    from cmbnet.bids.run import run_participants
    from cmbnet.bids.shard import Shard, read_shard

    shard = read_shard(how["shard"], os.environ) if how["shard"] else Shard()
    found = find_sessions(
        root, participants=how["participants"], sessions=how["sessions"], select=how["select"]
    )
    part = shard.part(found)
    _remark(part)
    engine, bundle = _engine(out, how)
    prepare_folder(out, root)
    statuses = set()
    for one in run_participants(part, root, out, engine, bundle):
        statuses.add(one.status)
        _say(one, out, json_lines=how["json_lines"])
    if not how["json_lines"]:
        click.echo(f"{len({one.subject for one in part})} subjects: {out}\n{RESEARCH_USE_ONLY}")
    return _exit_code(statuses)


def _engine(out: Path, how: dict[str, Any]) -> tuple[Engine, Bundle]:
    """Open the model, so that a wrong name is a fault of the call and not of a scan."""
    from cmbnet.bids.record import CASES
    from cmbnet.bundle import load_bundle
    from cmbnet.predict import Request

    names = ("operating_point", "backend", "force", "count_calcifications", "save_probability")
    request = Request(**{name: how[name] for name in names})
    bundle = load_bundle(how["model"])
    bundle.operating_point(request.operating_point)
    cases, overwrite = out / CASES, how["overwrite"]
    if how["dask"]:
        from cmbnet.bids.on_dask import job_of, run_on_dask

        job = job_of(how["model"], bundle, request, cases, overwrite=overwrite)
        say = partial(click.echo, err=True)
        where = {"scheduler": how["dask"], "workers": how["jobs"]}
        return partial(run_on_dask, job=job, say=say, **where), bundle
    from cmbnet.backends import open_backend
    from cmbnet.report.batch import run_cases

    backend = open_backend(bundle, request.backend, threads=how["threads"])
    return partial(
        run_cases,
        out_dir=cases,
        bundle=bundle,
        backend=backend,
        request=request,
        overwrite=overwrite,
        jobs=how["jobs"],
    ), bundle


def _remark(sessions: Iterable[Session]) -> None:
    """Say on stderr what is left out, and what a BIDS validator will say of SWI."""
    from cmbnet.bids.find import NO_BIDS, names_outside_bids

    outside = False
    for session in sessions:
        outside = outside or names_outside_bids(session)
        for path, why in session.left_out:
            click.echo(printable(f"{path.name} is {why} by its name: it is left out"), err=True)
    if outside:
        click.echo(NO_BIDS, err=True)


def _say(one: Record | Followed, out: Path, *, json_lines: bool) -> None:
    """Print a line for a scan or a comparison: its result on stdout, or a fault on stderr."""
    from cmbnet.bids.record import Record

    if json_lines and isinstance(one, Record):
        click.echo(one.model_dump_json(exclude={"picture"}))
    elif one.status != "done":
        reason = with_flag(one.reason, one.argument)
        click.echo(f"{one.case}: {one.status}: {reason}", err=True)
    elif not isinstance(one, Record):
        said = f"{one.case}: {'; '.join(one.lines)}: {out / one.page}"
        click.echo(said, err=json_lines)
    else:
        row = one.row
        call = "positive" if row["positive"] else "negative"
        click.echo(
            f"{one.case}: {row['lesions']} lesions ({row['small']} small, {row['large']} large), "
            f"{call}: {out / one.subject_page}"
        )
