"""``cmbnet backends``: list the runtimes, and say which one a bundle would run on."""

from __future__ import annotations

import click

from cmbnet.cli import options


@click.command()
@options.model
def command(model: str) -> None:
    """List the backends, say which are installed, and say which one `auto` chooses."""
    from cmbnet.backends import available_backends, open_backend
    from cmbnet.bundle import load_bundle

    for status in available_backends(importing=True):
        mark = "broken" if status.broken else "installed" if status.installed else "missing"
        click.echo(f"{status.name:10} {mark:10} {status.detail}")
    bundle = load_bundle(model)
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
