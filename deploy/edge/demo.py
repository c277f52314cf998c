"""Scanner, node and PACS on one machine: send a phantom study, print the objects that come back.

``make demo-edge``, or ``python deploy/edge/demo.py [FOLDER]`` for a DICOM study of your own. The
scanner is `cmbnet edge simulate`, the PACS Debian's Orthanc. Research use only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from cmbnet import RESEARCH_USE_ONLY

HERE = Path(__file__).parent
CMBNET = (sys.executable, "-m", "cmbnet", "edge")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_S = 180.0
RESULTS_S = 600


def find_orthanc() -> str | None:
    """The program, where it and its DICOMweb plugin are installed."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    return program if program and PLUGIN.exists() else None


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def write_settings(folder: Path) -> tuple[Path, Path, dict[str, int]]:
    """Settings of node and PACS in a folder: the examples beside this file, with free ports."""
    ports = dict(zip(("node", "watch", "pacs", "web"), free_ports(4), strict=True))
    node = yaml.safe_load((HERE / "node.yaml").read_text(encoding="utf-8"))
    node["root"] = str(folder / "node")
    node["listen"]["port"], node["watch"]["port"] = ports["node"], ports["watch"]
    node["destinations"][0]["port"] = ports["pacs"]
    node["settle"] = {"settle_s": 2, "patience_s": 10}
    node["storage"]["reserve_mb"] = 100
    pacs = json.loads((HERE / "orthanc.json").read_text(encoding="utf-8"))
    pacs |= {"DicomPort": ports["pacs"], "HttpPort": ports["web"]}
    pacs |= {name: str(folder / "pacs") for name in ("StorageDirectory", "IndexDirectory")}
    pacs["DicomModalities"]["node"]["Port"] = ports["node"]
    paths = folder / "node.yaml", folder / "orthanc.json"
    paths[0].write_text(yaml.safe_dump(node), encoding="utf-8")
    paths[1].write_text(json.dumps(pacs), encoding="utf-8")
    return *paths, ports


@contextlib.contextmanager
def running(name: str, arguments: list[str], log: Path, ready: str) -> Iterator[None]:
    """A program that runs as long as the context, from when it answers at a URL."""
    with log.open("wb") as said:
        process = subprocess.Popen(arguments, stdout=said, stderr=said)
    try:
        end = time.monotonic() + START_S
        while not answers(ready):
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(errors="replace")[-2000:]
                raise click.ClickException(f"{name} did not start:\n{tail}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    """Whether there is something at a URL."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def objects(web: int) -> list[tuple[str, str, str, int]]:
    """Study, modality, description and number of objects of every series that the PACS holds."""
    found = []
    for series in _json(f"http://127.0.0.1:{web}/series?expand"):
        tags = series["MainDicomTags"]
        study = _json(f"http://127.0.0.1:{web}/studies/{series['ParentStudy']}")
        found.append(
            (
                study["MainDicomTags"]["StudyInstanceUID"],
                tags.get("Modality", ""),
                tags.get("SeriesDescription", ""),
                len(series["Instances"]),
            )
        )
    return sorted(found)


def show(returned: list[tuple[str, str, str, int]]) -> None:
    """Print what the PACS holds, and what it says."""
    click.echo("\nWhat came back, now in the PACS:" if returned else "\nNothing came back.")
    for study, series in itertools.groupby(returned, key=lambda one: one[0]):
        click.echo(f"  study {study}")
        for _, modality, description, count in series:
            click.echo(f"    {modality:4} {count} x {description}")
    held = {modality for _, modality, _, _ in returned}
    if {"SEG", "SR"} <= held:
        click.echo(
            "SEG: the outlines of the candidates, a segment each. SR: count and measurements."
        )
    elif "SR" in held:
        click.echo("SR alone: nothing was found, or there is no answer; the line above says which.")
    click.echo(RESEARCH_USE_ONLY)


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


@click.command(epilog=RESEARCH_USE_ONLY)
@click.argument("study", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--keep", is_flag=True, help="Leave all running until Ctrl-C.")
def main(study: Path | None, keep: bool) -> None:
    """Send STUDY, or a phantom, through a node to a PACS, and print what came back."""
    program = find_orthanc()
    if program is None:
        click.echo("Orthanc is needed: sudo apt install orthanc orthanc-dicomweb", err=True)
        sys.exit(2)
    with tempfile.TemporaryDirectory(prefix="cmbnet-demo-") as name, contextlib.ExitStack() as up:
        folder = Path(name)
        node, pacs, ports = write_settings(folder)
        web = f"http://127.0.0.1:{ports['web']}"
        page = f"http://127.0.0.1:{ports['watch']}"
        up.enter_context(
            running("Orthanc", [program, str(pacs)], folder / "pacs.log", f"{web}/system")
        )
        up.enter_context(
            running("the node", [*CMBNET, "run", str(node)], folder / "node.log", f"{page}/readyz")
        )
        click.echo(f"PACS (Orthanc):  {web}/\nnode:            DICOM port {ports['node']}")
        click.echo(f"status page:     {page}/\n")
        click.echo(f"Sending {study or 'a phantom with microbleeds (some seconds to make)'} ...")
        source = [str(study)] if study else []
        sent = subprocess.run(
            [*CMBNET, "simulate", str(node), *source, "--wait", str(RESULTS_S)], check=False
        )
        returned = objects(ports["web"])
        show(returned)
        if keep:
            click.pause("Press a key to stop node and PACS.")
        sys.exit(sent.returncode if sent.returncode or returned else 4)


if __name__ == "__main__":
    main()
