"""``cmbnet edge``: run and look after the node beside the scanner."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import CmbnetError, UsageError, require

if TYPE_CHECKING:
    from cmbnet.edge.config import EdgeConfig
    from cmbnet.edge.folders import Folders
    from cmbnet.edge.records import Study
    from cmbnet.edge.watch import Watch

_CONFIG = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))


@click.group(epilog=RESEARCH_USE_ONLY)
def command() -> None:
    """Run a DICOM node that finds microbleeds and sends SEG and SR back into the study."""
    require("pynetdicom", "yaml", extra="edge", purpose="for the node")


@command.command(epilog=RESEARCH_USE_ONLY)
@_CONFIG
def run(config: Path) -> None:
    """Run the node until it is told to stop (Ctrl-C, SIGTERM)."""
    from cmbnet.edge.check import open_to_all
    from cmbnet.edge.logs import quiet_libraries
    from cmbnet.edge.node import Node
    from cmbnet.edge.watch import Watch

    settings = _load(config)
    os.umask(0o077)
    quiet_libraries()
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    node = Node(settings)
    watch = Watch(settings, node.journal, full=lambda: node.receiver.full)
    node.events.add(watch)
    watch.start()
    node.start()
    click.echo(
        f"{settings.ae_title} listens on {settings.listen.host}:{node.receiver.port}\n"
        f"{_page(settings, watch)}\n{RESEARCH_USE_ONLY}"
    )
    for host in (settings.listen.host, settings.watch.host):
        if fault := open_to_all(host):
            click.echo(f"warning: {fault}", err=True)
    told.wait()
    node.stop()
    watch.stop()


@command.command(epilog=RESEARCH_USE_ONLY)
@_CONFIG
@click.option("--last", default=10, show_default=True, type=click.IntRange(0),
              help="Number of studies to list.")  # fmt: skip
def status(config: Path, last: int) -> None:
    """Count the studies in each state, and list what became of the last ones."""
    from cmbnet.edge.journal_reader import JournalReader

    folders = _folders_of(_load(config))
    reader = JournalReader(folders.journal)
    for state, count in reader.counts().items():
        click.echo(f"{state:15} {count:6}")
    click.echo(f"oldest in work  {reader.queue_age_s():6.0f} s")
    click.echo(f"free disk       {folders.free_bytes() / 1e9:6.1f} GB")
    for study in reader.last_studies(last):
        click.echo(_line(study))
        for delivery in reader.deliveries(study.study):
            said = f": {delivery.reason}" if delivery.reason else ""
            click.echo(
                f"    {delivery.destination} {delivery.state}, {delivery.tries} faults{said}"
            )
    reader.close()
    click.echo(RESEARCH_USE_ONLY)


@command.command(epilog=RESEARCH_USE_ONLY)
@_CONFIG
@click.argument("studies", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Run all studies again that were refused or failed."
)
@click.option("--done", is_flag=True, help="With --all, also run studies again that have a count.")
def retry(config: Path, studies: tuple[str, ...], everything: bool, done: bool) -> None:
    """Analyse the named studies again, for example after a change of the model.

    A Study Instance UID names a study. The new report names the old one as its predecessor. The
    node may be running.
    """
    from cmbnet.edge.journal import Journal

    if not studies and not everything:
        raise UsageError("a Study Instance UID, or --all, is required")
    journal = Journal(_folders_of(_load(config)).journal)
    if everything:
        wanted = {"refused", "failed", *(["done"] if done else [])}
        known = journal.last_studies(1_000_000)
        studies = tuple(one.study for one in known if one.outcome in wanted and not one.purged)
    again = [study for study in studies if journal.retry(study)]
    journal.close()
    click.echo(f"{len(again)} of {len(studies)} studies will be run again\n{RESEARCH_USE_ONLY}")
    if len(again) < len(studies):
        raise UsageError("only studies that ended, and are still on disk, run again")


@command.command(epilog=RESEARCH_USE_ONLY)
@_CONFIG
@click.option("--now", is_flag=True, help="Remove every committed study, whatever its age.")
def purge(config: Path, now: bool) -> None:
    """Remove old studies from the disk that every destination has committed to keep.

    A running node does this by itself. Stop the node before you use this command.
    """
    from cmbnet.edge.node import Node

    node = Node(_load(config))
    removed = node.purge.step(everything=now)
    node.stop()
    click.echo(f"{removed} studies removed\n{RESEARCH_USE_ONLY}")


@command.command(epilog=RESEARCH_USE_ONLY)
@_CONFIG
@click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--studies", default=1, show_default=True, type=click.IntRange(1),
              help="Without FOLDER, number of phantoms to make and send.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Number that chooses the first phantom.")
@click.option("--vendor", default="siemens", show_default=True,
              type=click.Choice(["siemens", "ge", "philips", "canon"]),
              help="Scanner that the phantoms imitate.")  # fmt: skip
@click.option("--wait", "wait_s", default=0.0, help="Seconds to wait for the results.")
def simulate(
    config: Path, folder: Path | None, studies: int, seed: int, vendor: str, wait_s: float
) -> None:
    """Play the scanner: send the DICOM files of FOLDER, or phantoms, to the running node."""
    from cmbnet.edge.simulate import Peer, send_files

    settings = _load(config)
    listen = settings.listen
    if listen.port == 0:
        raise UsageError("a port other than 0 is required to find the node")
    caller = listen.allowed_callers[0]
    peer = Peer(listen.host, listen.port, settings.ae_title, caller, listen.tls)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cmbnet-") as scratch:
        for number in range(1 if folder else studies):
            source = folder or _phantom(Path(scratch) / str(number), seed + number, vendor)
            files = _images(source)
            start = time.monotonic()
            answers = send_files(files, peer)
            said = ", ".join(f"{count} x 0x{status:04X}" for status, count in answers.items())
            click.echo(f"{len(files)} objects in {time.monotonic() - start:.1f} s: {said}")
            failed += len(files) - answers[0]
    ended = _wait_for_results(settings, wait_s) if wait_s else True
    click.echo(RESEARCH_USE_ONLY)
    if failed:
        raise CmbnetError(f"{failed} objects were refused: see `cmbnet edge status`")
    if not ended:
        raise CmbnetError(f"no result after {wait_s:g} s: see `cmbnet edge status`, and the log")


@command.command(epilog=RESEARCH_USE_ONLY)
@_CONFIG
def check(config: Path) -> None:
    """Try what the node needs: addresses, disk, audit trail, model and destinations."""
    from cmbnet.edge.check import NOT_TRIED, check_node

    faults = 0
    for name, fault in check_node(_load(config)):
        faults += bool(fault)
        click.echo(f"{'FAULT' if fault else 'ok':6} {name}{': ' + fault if fault else ''}")
    for what in NOT_TRIED:
        click.echo(f"{'?':6} not tried: {what}")
    click.echo(RESEARCH_USE_ONLY)
    sys.exit(4 if faults else 0)


def _page(settings: EdgeConfig, watch: Watch) -> str:
    if settings.watch.port is None:
        return "no status page"
    return f"status page: http://{settings.watch.host}:{watch.port}/"


def _load(config: Path) -> EdgeConfig:
    from cmbnet.edge.config import load_config

    return load_config(config)


def _folders_of(settings: EdgeConfig) -> Folders:
    from cmbnet.edge.folders import Folders

    folders = Folders(settings.root)
    if not folders.journal.exists():
        raise UsageError(f"a node that has run is required, {settings.root} has no journal")
    return folders


def _line(study: Study) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(study.received_at))
    what = study.outcome or "-"
    lesions = f", {study.details['lesions']} lesions" if "lesions" in study.details else ""
    reason = f": {study.reason}" if study.reason else ""
    return f"{at}  {study.state:15} {what:8} {study.study}{lesions}{reason}"


def _phantom(folder: Path, seed: int, vendor: str) -> Path:
    from cmbnet.phantom import make_case
    from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series

    case = make_case(seed, positive=True)
    write_dicom_series(
        case.image, folder, vendor=Vendor(vendor), scan=ScanHeader(name=f"edge-simulate-{seed}")
    )
    return folder


def _images(folder: Path) -> list[Path]:
    """Find the DICOM files of a folder. A DICOMDIR lists images and is left out."""
    from pydicom.misc import is_dicom

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in files if is_dicom(path) and path.name.upper() != "DICOMDIR"]
    if not images:
        raise UsageError(f"DICOM files are required, {folder} has none among {len(files)} files")
    return images


def _wait_for_results(settings: EdgeConfig, wait_s: float) -> bool:
    """Wait until no study is in work, and list the last ones; False if the time ran out."""
    from cmbnet.edge.folders import Folders
    from cmbnet.edge.journal_reader import JournalReader
    from cmbnet.edge.records import State

    reader = JournalReader(Folders(settings.root).journal)
    end = time.monotonic() + wait_s
    over = {State.COMMITTED, State.FAILED}
    while in_work := any(n for state, n in reader.counts().items() if state not in over):
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    for study in reader.last_studies(5):
        click.echo(_line(study))
    reader.close()
    return not in_work
