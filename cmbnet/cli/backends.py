"""``cmbnet backends``: list the runtimes, and say which one a bundle would run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cmbnet.cli import options

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle


@click.command()
@options.model
@click.option("--measure", "again", is_flag=True, help="Measure again how quick the backends are.")
def command(model: str, again: bool) -> None:
    """List the backends, say how quick they are here, and say which one `auto` chooses.

    If there is a choice, each backend runs the network for a tenth of a second. The result is kept
    for this machine and model.
    """
    from cmbnet.backends import available_backends, open_backend
    from cmbnet.bundle import load_bundle

    bundle = load_bundle(model)
    speeds = _speeds(bundle, again=again)
    for status in available_backends(importing=True):
        mark = "broken" if status.broken else "installed" if status.installed else "missing"
        click.echo(f"{status.name:10} {mark:10} {status.detail}{speeds.get(status.name, '')}")
    backend = open_backend(bundle)
    info = backend.info
    backend.close()
    click.echo(
        f"\nmodel {bundle.manifest.name} runs on {info.name} {info.precision} ({info.reason})"
    )
    for artefact in bundle.manifest.artefacts:
        size = "x".join("?" if n is None else str(n) for n in artefact.shape)
        kind = f"{artefact.kind}:{artefact.precision}"
        click.echo(f"{kind:18} {size:14} {artefact.bytes / 1e6:8.2f} MB  {artefact.file}")


def _speeds(bundle: Bundle, *, again: bool) -> dict[str, str]:
    """Words on the speed of each backend that `auto` may choose, measured now if need be."""
    from cmbnet.backends.measure import measure
    from cmbnet.backends.registry import contest_here
    from cmbnet.backends.speed import keep
    from cmbnet.threads import processors

    found = contest_here(bundle, processors())
    if found is None:
        return {}
    speeds = {} if again else found.speeds
    if not speeds:
        speeds = measure(bundle, found)
        if not keep(found.file, speeds):
            click.echo(f"the measurement cannot be kept: {found.file} cannot be written", err=True)
    return {
        name: f": {speed.fault}"
        if speed.fault
        else f": {speed.ms_per_slice:.1f} ms a slice, ready in {speed.start_ms / 1e3:.2f} s"
        for name, speed in speeds.items()
    }
